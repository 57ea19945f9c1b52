"""What goes into a support bundle, and what is taken out of it: everything that a developer asks for, and no secret.

Secrets are kept from it twice. Values of settings whose names say that they are secret, and passwords inside addresses,
are blanked wherever they stand. And what is in the files that the configuration names for passwords, tokens, keys and
users is looked for in every byte of the bundle, and blanked there too, however it got in.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

REMOVED: Final = "[removed]"
SECRET_FILE_KEYS: Final = ("password_file", "token_file", "key_file", "key_password_file", "users_file")
SECRET_BYTES_MIN: Final = 4
"""Shorter texts of a secret file are not looked for: they stand everywhere."""
SECRET_FILE_BYTES_MAX: Final = 1_000_000
MEMBER_BYTES_MAX: Final = 16_000_000
"""Of one file in the bundle; the end of a longer one."""

_SETTING: Final = re.compile(
    r"""(?imx) ^ ( \s* \#? \s* "? [\w.-]* (?: password | passwd | secret | token | hash | api_?key ) "? \s* = \s* )
    .* $"""
)
_ADDRESS: Final = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s:@\"']*:[^/\s@\"']*@")
_KEY_BLOCK: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)
_INLINE_FILE: Final = re.compile(rf"""(?:{"|".join(SECRET_FILE_KEYS)})\s*=\s*["']([^"'\n]+)["']""")


def secret_files(texts: Iterable[str], folder: Path, credentials: Path | None = None) -> list[Path]:
    """Files with secrets that configurations name."""
    named = {match for text in texts for match in _INLINE_FILE.findall(text)}
    places = [folder] if credentials is None else [folder, credentials]
    return sorted({place / name for name in named for place in places})


def secrets_of(files: Iterable[Path]) -> list[bytes]:
    """What must not be in the bundle: the content of each file, and each line and quoted text of it."""
    found: set[bytes] = set()
    for file in files:
        try:
            content = file.read_bytes()[:SECRET_FILE_BYTES_MAX]
        except OSError:
            continue  # who may not read it cannot put it in
        found |= {content.strip(), *(line.strip() for line in content.splitlines())}
        found |= set(re.findall(rb'"([^"\n]{16,})"', content))
    usual = re.compile(rb"-----(BEGIN|END) .*-----|[\w.-]{0,20}\s*=.*|\[.*\]")
    return sorted((each for each in found if len(each) >= SECRET_BYTES_MIN and not usual.fullmatch(each)), key=len)[
        ::-1
    ]


def without_secrets(text: str) -> str:
    """Settings, addresses and keys that say of themselves that they are secret."""
    text = _KEY_BLOCK.sub(REMOVED, text)
    text = _ADDRESS.sub(rf"\1{REMOVED}@", text)
    return _SETTING.sub(rf'\1"{REMOVED}"', text)


class Bundle:
    """Members by name; `secrets` are blanked in each."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = list(secrets)
        self.members: dict[str, bytes] = {}

    def add(self, name: str, content: str | bytes) -> None:
        raw = content if isinstance(content, bytes) else content.encode()
        cleaned = without_secrets(raw[-MEMBER_BYTES_MAX:].decode(errors="replace")).encode()
        for secret in self._secrets:
            cleaned = cleaned.replace(secret, REMOVED.encode())
            cleaned = cleaned.replace(json.dumps(secret.decode(errors="replace"))[1:-1].encode(), REMOVED.encode())
        self.members[name] = cleaned

    def add_json(self, name: str, content: object) -> None:
        self.add(name, json.dumps(content, indent=1, ensure_ascii=False, default=str))

    def write(self, path: Path, folder: str, modes: Mapping[str, int] | None = None) -> None:
        """As a tar.gz that only its owner reads. Raises OSError."""
        with path.open("xb") as file:
            path.chmod(0o600)
            with tarfile.open(fileobj=file, mode="w:gz") as archive:
                for name, content in self.members.items():
                    entry = tarfile.TarInfo(f"{folder}/{name}")
                    entry.size, entry.mode = len(content), (modes or {}).get(name, 0o600)
                    archive.addfile(entry, io.BytesIO(content))
