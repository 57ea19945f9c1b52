"""`fieldgate user`: who may log in to the page and the API."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click
import msgspec

from gateway.cli.app import EXIT_FAILED, EXIT_WRONG_INPUT
from gateway.cli.common import CONFIGURATION, exit_with
from gateway.serving.http.users import (
    NAME,
    ROLES,
    USERS_MAX,
    PasswordRefused,
    Role,
    User,
    UsersInvalid,
    hashed,
    read_users,
    write_users,
)
from gateway.settings.brokers import Files
from gateway.settings.including import read_whole, substituted
from gateway.settings.problems import ConfigurationError, Report
from gateway.settings.section import Section
from gateway.settings.serving import read_http

of_config = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=CONFIGURATION,
    show_default=True,
    help="The configuration whose [http] names the users_file.",
)


@click.group(name="user")
def command() -> None:
    """Say who may log in to the page and the API, and as what.

    viewer sees everything; operator acknowledges and shelves alarms, and writes what [writes] opens to the page;
    engineer teaches the scores as well. A running gateway knows of a change within a second.
    """


@command.command()
@click.argument("name")
@click.option("--role", type=click.Choice(list(ROLES)), help="What the user may do.  [default: as before; viewer]")
@click.option("--password-stdin", is_flag=True, help="Take the password from the first line of the standard input.")
@of_config
def add(name: str, role: str | None, password_stdin: bool, config: Path) -> None:
    """Let NAME log in; or give NAME another password and role. The password is asked for."""
    path = users_file(config)
    users = _read(path)
    if not NAME.fullmatch(name):
        _wrong(f"{name!r} is no name for a user; write a-z, 0-9, dot, hyphen and underscore, at most 32 of them")
    if name not in users and len(users) >= USERS_MAX:
        _wrong(f"{path}: there are {USERS_MAX} users already; remove one first")
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt(f"Password of {name}", hide_input=True, confirmation_prompt="Again", err=True)
    try:
        stored = hashed(password)
    except PasswordRefused as error:
        _wrong(str(error))
    before = users[name].role if name in users else Role.VIEWER
    known = "changed" if name in users else "added"
    users[name] = User(ROLES[role] if role else before, stored)
    _write(path, users)
    click.echo(f"{name} is {known}, as {users[name].role.word}, in {path}")


@command.command()
@click.argument("name")
@of_config
def remove(name: str, config: Path) -> None:
    """Let NAME in no more; whoever is logged in under that name is out at once."""
    path = users_file(config)
    users = _read(path)
    if users.pop(name, None) is None:
        _wrong(f"{path}: there is no user {name}; there are: {', '.join(sorted(users)) or 'none'}")
    _write(path, users)
    click.echo(f"{name} is removed from {path}")


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@of_config
def list_users(as_json: bool, config: Path) -> None:
    """List the users and their roles."""
    path = users_file(config)
    users = sorted(_read(path).items())
    if as_json:
        listed = [{"name": name, "role": user.role.word} for name, user in users]
        click.echo(msgspec.json.format(msgspec.json.encode({"file": str(path), "users": listed}), indent=2))
        return
    for name, user in users:
        click.echo(f"{name:<32}  {user.role.word}")
    if not users:
        click.echo(f"nobody yet: `fieldgate user add NAME --role engineer --config {config}`", err=True)


def users_file(config: Path) -> Path:
    """The users file that a configuration names. Leaves with exit code 2 when it names none."""
    try:
        document = substituted(read_whole(config), os.environ, Report())
    except ConfigurationError as error:
        exit_with(error)
    http = read_http(Section(Report(), document.root(), document.content), Files(config.parent, None))
    if http is None or http.users_file is None:
        _wrong(f'{config} names no users file; write users_file = "fieldgate.users.toml" under [http] first')
    return http.users_file


def _read(path: Path) -> dict[str, User]:
    try:
        return read_users(path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        click.echo(f"cannot read {path}: {error.strerror}", err=True)
    except UsersInvalid as error:
        click.echo(str(error), err=True)
    sys.exit(EXIT_FAILED)


def _write(path: Path, users: dict[str, User]) -> None:
    try:
        write_users(path, users)
    except OSError as error:
        click.echo(f"cannot write {path}: {error.strerror}", err=True)
        sys.exit(EXIT_FAILED)


def _wrong(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(EXIT_WRONG_INPUT)
