"""Who may log in: a TOML file of names, roles and scrypt hashes, kept by `fieldgate user`.

A password is never stored: scrypt (RFC 7914) makes guessing cost memory and time, with a salt for each user, so that
two equal passwords do not look alike. The parameters stand with each hash, so that they can be raised later.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import tomllib
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Final

import msgspec

USERS_MAX: Final = 1_000
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
PASSWORD_CHARACTERS_MIN: Final = 10
PASSWORD_CHARACTERS_MAX: Final = 200

COST_EXPONENT: Final = 14
BLOCK: Final = 8
LANES: Final = 5
"""N = 2^14, r = 8, p = 5 (OWASP's password storage sheet): 16 MiB, a tenth of a second or two on a small machine."""
SALT_BYTES: Final = 16
HASH_BYTES: Final = 32
MEMORY_BYTES_MAX: Final = 64 * 1024 * 1024
_STORED: Final = re.compile(r"scrypt:(1[0-9]):([1-9]):([1-9]):([0-9a-f]{32}):([0-9a-f]{64})")


class Role(IntEnum):
    """Each may do what those before it may."""

    VIEWER = 1
    """Sees everything."""
    OPERATOR = 2
    """Acknowledges and shelves alarms, writes to what [writes] opens to the page."""
    ENGINEER = 3
    """Teaches the scores: maintenance, feedback, baselines."""

    @property
    def word(self) -> str:
        return self.name.lower()


ROLES: Final = {role.word: role for role in Role}


class User(msgspec.Struct, frozen=True):
    role: Role
    password: str
    """As `hashed` gives it."""


class UsersInvalid(Exception):
    """The file cannot be used; the text says where and why."""


class PasswordRefused(ValueError):
    """The text says what a password must be."""


def hashed(password: str) -> str:
    """What is stored. Raises PasswordRefused."""
    if not PASSWORD_CHARACTERS_MIN <= len(password) <= PASSWORD_CHARACTERS_MAX:
        raise PasswordRefused(
            f"a password has {PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS_MAX} characters;"
            f" this one has {len(password)}"
        )
    salt = secrets.token_bytes(SALT_BYTES)
    digest = _scrypt(password, salt, COST_EXPONENT, BLOCK, LANES)
    return f"scrypt:{COST_EXPONENT}:{BLOCK}:{LANES}:{salt.hex()}:{digest.hex()}"


NOBODY: Final = f"scrypt:{COST_EXPONENT}:{BLOCK}:{LANES}:{'00' * SALT_BYTES}:{'00' * HASH_BYTES}"
"""Compared with when there is no such user, so that the time of the answer does not tell."""


def matches(password: str, stored: str) -> bool:
    """Takes as long as `hashed`, whatever comes of it."""
    found = _STORED.fullmatch(stored)
    if found is None or len(password) > PASSWORD_CHARACTERS_MAX:
        return False
    exponent, block, lanes = (int(part) for part in found.groups()[:3])
    digest = _scrypt(password, bytes.fromhex(found[4]), exponent, block, lanes)
    return hmac.compare_digest(digest, bytes.fromhex(found[5]))


def _scrypt(password: str, salt: bytes, exponent: int, block: int, lanes: int) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=1 << exponent, r=block, p=lanes, maxmem=MEMORY_BYTES_MAX, dklen=HASH_BYTES
    )


def read_users(path: Path) -> dict[str, User]:
    """By name. Raises UsersInvalid, with everything that is wrong, and OSError."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsersInvalid(f"{path}: {error}") from error
    tables = document.get("users", {})
    if not isinstance(tables, dict) or document.keys() - {"users"}:
        raise UsersInvalid(f"{path}: only [users.NAME] tables stand here; `fieldgate user add NAME` writes them")
    if len(tables) > USERS_MAX:
        raise UsersInvalid(f"{path}: {len(tables)} users; at most {USERS_MAX}")
    users: dict[str, User] = {}
    wrong: list[str] = []
    for name, table in tables.items():
        try:
            users[name] = _read_user(name, table)
        except ValueError as error:
            wrong.append(f"{path}: users.{name}: {error}")
    if wrong:
        raise UsersInvalid("\n".join(wrong))
    return users


def _read_user(name: str, table: object) -> User:
    if not NAME.fullmatch(name):
        raise ValueError("a name is of a-z, 0-9, dot, hyphen and underscore, at most 32 of them")
    if not isinstance(table, dict) or table.keys() != {"role", "password"}:
        raise ValueError("write role and password, and nothing else")
    role, password = table["role"], table["password"]
    if role not in ROLES:
        raise ValueError(f"role {role!r} is none of {', '.join(ROLES)}")
    if not isinstance(password, str) or not _STORED.fullmatch(password):
        raise ValueError("the password is not one that `fieldgate user` wrote; set it anew with `fieldgate user add`")
    return User(ROLES[role], password)


def write_users(path: Path, users: Mapping[str, User]) -> None:
    """Whole or not at all. The group may read it: the service's, where a folder with its group's bit holds the file.
    Raises OSError."""
    lines = ["# Who may log in to the page and the API. Kept by `fieldgate user`; read anew when it changes.\n"]
    lines += [
        f'\n[users."{name}"]\nrole = "{user.role.word}"\npassword = "{user.password}"\n'
        for name, user in sorted(users.items())
    ]
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
            if path.exists():  # as it was: the service's user must go on reading it
                state = path.stat()
                os.fchmod(file.fileno(), state.st_mode & 0o777)
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), state.st_uid, state.st_gid)
            elif os.geteuid() == 0:
                os.fchown(file.fileno(), -1, path.parent.stat().st_gid)
        aside.rename(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
