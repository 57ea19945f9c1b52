"""`fieldgate migrate`: bring a configuration to the present version of its keys."""

from __future__ import annotations

import os
import sys
import tomllib
from difflib import unified_diff
from pathlib import Path
from typing import NamedTuple

import click

from gateway.cli.app import EXIT_FAILED
from gateway.cli.common import exit_with
from gateway.settings.document import Document
from gateway.settings.including import read_whole
from gateway.settings.migrations import PRESENT, VERSION, rewritten, understood, version_of
from gateway.settings.moves import CannotMove, same
from gateway.settings.problems import ConfigurationError, Problem, Report, show_key


class Rewrite(NamedTuple):
    file: Path
    old: str
    new: str


@click.command(name="migrate")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--write", is_flag=True, help="Rewrite the file and those it includes.")
def command(file: Path, write: bool) -> None:
    """Show what FILE would be in the present version of the configuration.

    Keys that were renamed get their new names, those that stand elsewhere now are moved, in the files that it includes
    too; comments and order stay. Without --write nothing is changed.
    """
    try:
        document = read_whole(file)
        rewrites = _rewrites(document)
    except ConfigurationError as error:
        exit_with(error)
    for one in rewrites:
        name = str(one.file)
        lines = unified_diff(one.old.splitlines(True), one.new.splitlines(True), name, f"{name} (version {PRESENT})")
        click.echo("".join(lines), nl=False)
    if not rewrites:
        click.echo(f"{file} is of version {PRESENT} already")
    elif not write:
        click.echo("nothing was changed; --write does it")
    else:
        _write(rewrites)


def _rewrites(document: Document) -> list[Rewrite]:
    """Of all its files that change. Raises ConfigurationError."""
    version = version_of(document)
    wanted = understood(document, Report()).content
    found = []
    for part in (document, *document.parts):
        try:
            text = rewritten(part.source.text, version, is_main=part is document)
        except CannotMove as error:
            path, now = error.args
            why = f"stands at {show_key(now)} now, and cannot be moved as it is written; move it by hand"
            raise ConfigurationError((Problem(*part.position(path), show_key(path), why),)) from None
        if text != part.source.text:
            found.append(Rewrite(part.source.file, part.source.text, text))
    if not document.parts:
        assert same(tomllib.loads(found[0].new if found else document.source.text), {**wanted, VERSION: PRESENT})
    return found


def _write(rewrites: list[Rewrite]) -> None:
    """Each whole or not at all, with its mode, its mark of UTF-8 and its line ends."""
    for one in rewrites:
        part = one.file.with_name(f"{one.file.name}.part")
        try:
            before = one.file.read_bytes()
            body = one.new.replace("\n", "\r\n") if b"\r\n" in before else one.new
            mark = "\ufeff" if before.startswith(b"\xef\xbb\xbf") else ""
            with part.open("wb") as out:
                os.fchmod(out.fileno(), one.file.stat().st_mode & 0o7777)
                out.write((mark + body).encode())
                out.flush()
                os.fsync(out.fileno())
            part.replace(one.file)
        except OSError as error:
            part.unlink(missing_ok=True)
            click.echo(f"{one.file}: {error.strerror}; it was not changed", err=True)
            sys.exit(EXIT_FAILED)
        click.echo(f"{one.file}: rewritten")
