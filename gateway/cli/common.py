"""What several commands share: reading the configuration, or leaving with everything that is wrong with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from gateway.cli.app import EXIT_FAILED, EXIT_WRONG_INPUT
from gateway.kernelcache import CacheNotOurs, choose
from gateway.settings.load import Examined, examine
from gateway.settings.problems import ConfigurationError, Problem
from gateway.settings.schema import Settings

F = TypeVar("F", bound=Callable[..., Any])
CONFIGURATION: Final = Path("/etc/fieldgate/fieldgate.toml")
"""Of the service; read when a command that asks a gateway is not told which, and it is there."""


def load_or_exit(path: Path, place: Path | None = None) -> Settings:
    """The settings of a file; its warnings go to stderr. With problems: all on stderr, one a line, and exit code 2.

    `place`: as if the file lay there.
    """
    try:
        examined = examine(path, os.environ, place)
    except ConfigurationError as error:
        exit_with(error)
    print_warnings(examined.warnings)
    return examined.settings


def of_uplink(function: F) -> F:
    """The option that says whose spool is meant."""
    return click.option("--uplink", default="", metavar="NAME", help="Whose spool; default: the first uplink's.")(
        function
    )


def spool_or_exit(settings: Settings, uplink: str) -> Path:
    """The file that holds the records of an uplink; exit code 2 when there is no such uplink, 1 when no file yet."""
    from gateway.runtime.spoolfiles import spool_files
    from gateway.runtime.statedir import SPOOL_FILE

    names = [each.name for each in settings.uplinks]
    path = settings.state_dir / SPOOL_FILE
    if uplink and uplink not in names:
        click.echo(f"there is no uplink {uplink}; the configuration has: {', '.join(names) or 'none'}", err=True)
        sys.exit(EXIT_WRONG_INPUT)
    if names:
        path = spool_files(settings.state_dir, names)[uplink or names[0]]
    if not path.exists():
        click.echo(f"{path}: there is no spool yet; the gateway makes it when it starts", err=True)
        sys.exit(EXIT_FAILED)
    return path


def examine_here(path: Path) -> Examined:
    """The settings as this process's environment makes them. Raises ConfigurationError."""
    return examine(path, os.environ)


def prepare_kernels() -> None:
    """Choose the kernel cache, before anything imports numba; exit code 1 when there is no safe place for it."""
    try:
        choose(os.environ)
    except (CacheNotOurs, OSError) as error:
        click.echo(f"no place for compiled kernels: {error}", err=True)
        sys.exit(EXIT_FAILED)


def write_or_exit(path: Path, text: str) -> None:
    """A file that somebody asked for; exit code 1, with the reason, where it cannot be."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        exit_unwritten(path, error)


def exit_unwritten(path: Path, error: OSError) -> NoReturn:
    why = (error.strerror or str(error)).lower()
    click.echo(f"{path}: cannot be written ({why}); check that the folder exists and lets you", err=True)
    sys.exit(EXIT_FAILED)


def exit_with(error: ConfigurationError) -> NoReturn:
    print_warnings(error.warnings)
    for problem in error.problems:
        click.echo(str(problem), err=True)
    sys.exit(EXIT_WRONG_INPUT)


def print_warnings(warnings: Iterable[Problem]) -> None:
    for found in warnings:
        click.echo(str(found._replace(message=f"warning: {found.message}")), err=True)
