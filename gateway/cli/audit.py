"""`fieldgate audit`: who did what, and whether the trail of it is whole. Works beside a running gateway, or without."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Final, NoReturn

import click

from gateway.cli.app import EXIT_FAILED
from gateway.cli.common import load_or_exit
from gateway.writing.audit import FILE
from gateway.writing.chain import Head, read_line, trail_files, verify

LISTED: Final = 20
HEAD: Final = re.compile(r"(\d{1,15}):([0-9a-f]{64})")


@click.group()
def command() -> None:
    """The audit trail: every write, log-in and reload, each line holding on to the one before.

    FILE is the configuration.
    """


@command.command(name="verify")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--expect", metavar="NUMBER:HASH", help="A head of earlier, from an event audit.head: it must be in the trail."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify_trail(file: Path, expect: str | None, as_json: bool) -> None:
    """Say whether a line was changed, added or removed since it was written. Exit code 1 when one was.

    Note the head it prints, or keep the events audit.head elsewhere: without one, a trail that was cut off at its
    end looks whole.
    """
    path = _trail(file)
    try:
        found = verify(path, _expected(expect))
    except OSError as error:
        _leave(f"{path}: cannot be read: {error.strerror}")
    if as_json:
        answer = {**found._asdict(), "head": str(found.head), "ok": not found.problems}
        click.echo(json.dumps(answer, indent=1, ensure_ascii=False))
    else:
        for problem in found.problems:
            click.echo(problem, err=True)
        unchained = f", {found.unchained} of them from before there was a chain" if found.unchained else ""
        span = f"numbers {found.first} to {found.head.number}" if found.first else "none is numbered"
        click.echo(f"{found.lines} lines in {found.files} files{unchained}; {span}; head {found.head}")
        click.echo("the trail is whole" if not found.problems else f"the trail has {len(found.problems)} faults")
    if found.problems:
        sys.exit(EXIT_FAILED)


@command.command(name="list")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--limit", type=click.IntRange(1), default=LISTED, show_default=True, help="The newest so many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_lines(file: Path, limit: int, as_json: bool) -> None:
    """The lines, the newest last."""
    lines: list[bytes] = []
    try:
        for each in reversed(trail_files(_trail(file))):
            if len(lines) < limit:
                lines = each.read_bytes().splitlines() + lines
    except OSError as error:
        _leave(f"{error.filename}: cannot be read: {error.strerror}")
    shown = lines[-limit:]
    found = [line for line in map(read_line, shown) if line is not None]
    if as_json:
        click.echo(json.dumps(found, indent=1, ensure_ascii=False))
    for line in found if not as_json else ():
        change = f"{line['old']} -> {line['new']}" if line.get("old") else line.get("new", "")
        reason = f" ({line['reason']})" if line.get("reason") else ""
        words = (line["time"], f"{line['who']} by {line['way']}:", line["what"], change, line["result"])
        click.echo(" ".join(word for word in words if word) + reason)
    if len(found) < len(shown):
        _leave(f"{len(shown) - len(found)} of these lines cannot be read; `fieldgate audit verify {file}` names them")


def _trail(file: Path) -> Path:
    path = load_or_exit(file).state_dir / FILE
    if not trail_files(path):
        _leave(f"{path}: there is no audit trail yet; the first write, log-in or reload begins it")
    return path


def _expected(text: str | None) -> Head | None:
    if text is None:
        return None
    match = HEAD.fullmatch(text)
    if match is None:
        raise click.BadParameter("write it as the event has it, NUMBER:HASH", param_hint="--expect")
    return Head(int(match[1]), match[2])


def _leave(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(EXIT_FAILED)
