"""`fieldgate dead-letters`: what could not be used, on its way in or up. Works beside a running gateway, or without."""

from __future__ import annotations

import base64
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from gateway.cli.app import EXIT_FAILED

LISTED: Final = 50
NS_PER_S: Final = 1_000_000_000
IN: Final = "in"
UP: Final = "up"


@click.group()
def command() -> None:
    """Dead letters: payloads that came in and could not be used, and records that the upstream refused for ever.

    FILE is the configuration. A letter is known by its id: a number on the way in, stream/segment/sequence on the way
    up.
    """


@command.command(name="list")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--limit", type=click.IntRange(1), default=LISTED, show_default=True, help="The newest so many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead of a table.")
def list_letters(file: Path, limit: int, as_json: bool) -> None:
    """The letters, the newest last."""
    found = _letters(_state_dir(file))[-limit:]
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    if not found:
        click.echo("no dead letters")
        return
    lines = [("id", "way", "of", "topic or record", "time", "bytes", "reason")]
    lines += [
        (each["id"], each["way"], each["of"], each["topic"], each["time"], str(each["bytes"]), each["reason"])
        for each in found
    ]
    widths = [max(len(line[place]) for line in lines) for place in range(6)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True)).rstrip())


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("letter")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, the payload as text or base64.")
def show(file: Path, letter: str, as_json: bool) -> None:
    """One letter whole: where it came from, why it could not be used, and its payload."""
    state_dir = _state_dir(file)
    found = next((each for each in _letters(state_dir) if each["id"] == letter), None)
    payload = None if found is None else _payload(state_dir, letter)
    if found is None or payload is None:
        _leave(f"there is no dead letter {letter}; list them: fieldgate dead-letters list {file}")
    if as_json:
        try:
            body: dict[str, Any] = {"payload": payload.decode()}
        except UnicodeDecodeError:
            body = {"payload_base64": base64.b64encode(payload).decode()}
        click.echo(json.dumps(found | body, indent=1))
        return
    for key, value in found.items():
        click.echo(f"{key:<10} {value}")
    click.echo(payload.decode("utf-8", "backslashreplace"))


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("letters", nargs=-1, type=int)
@click.option("--all", "wants_all", is_flag=True, help="All that came in and are whole.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def requeue(file: Path, letters: tuple[int, ...], wants_all: bool, as_json: bool) -> None:
    """Have payloads tried again, as if they came now: by a running gateway within two seconds, else at its next start.

    Only what came in: a record that the upstream refused is in its loss ledger already, which the other end has seen.
    """
    from gateway.spool.letters import LETTERS_FILE, ask_again, listed
    from gateway.spool.records import StoreUnavailable

    if bool(letters) == wants_all:
        raise click.UsageError("name the letters by their numbers, or write --all")
    path = _state_dir(file) / LETTERS_FILE
    try:
        wanted = [each.id for each in listed(path)] if wants_all else list(letters)
        done = ask_again(path, wanted)
    except StoreUnavailable as error:
        _leave(str(error))
    if as_json:
        click.echo(json.dumps({"asked": len(wanted), "requeued": done}))
    else:
        click.echo(f"{done} of {len(wanted)} letters are tried again")
    if done < len(wanted):
        _leave("the others are not there, or were too long to be kept whole")


def _letters(state_dir: Path) -> list[dict[str, Any]]:
    """Of both ways, by time."""
    from gateway.runtime.spoolfiles import spools
    from gateway.spool.letters import LETTERS_FILE, listed
    from gateway.spool.records import StoreRefused, StoreUnavailable
    from gateway.spool.view import view

    try:
        found = [
            {
                "id": str(each.id),
                "way": IN,
                "of": each.link,
                "topic": each.topic,
                "time": _iso(each.wall_ns),
                "bytes": each.size,
                "reason": each.reason,
                "requeued": bool(each.requeued),
            }
            for each in listed(state_dir / LETTERS_FILE)
        ]
        for spool in spools(state_dir):
            with view(spool) as seen:
                found = [
                    {
                        "id": "/".join(map(str, each.key)),
                        "way": UP,
                        "of": each.key.stream,
                        "topic": f"{each.samples} samples",
                        "time": f"{each.rejected_ns} ns",
                        "bytes": each.bytes,
                        "reason": each.reason,
                        "requeued": False,
                    }
                    for each in seen.dead_letters()
                ] + found
    except (StoreUnavailable, StoreRefused) as error:
        _leave(str(error))
    return found


def _payload(state_dir: Path, letter: str) -> bytes | None:
    from gateway.runtime.spoolfiles import spools
    from gateway.spool.letters import LETTERS_FILE, payload_of
    from gateway.spool.records import Key, StoreDamaged, StoreUnavailable
    from gateway.spool.view import State, view

    try:
        if letter.isdigit():
            return payload_of(state_dir / LETTERS_FILE, int(letter))
        stream, segment, sequence = letter.split("/")
        key = Key(stream, int(segment), int(sequence))
        for spool in spools(state_dir):
            with view(spool) as seen:
                if any(each.key == key for each in seen.dead_letters()):
                    return seen.body(State.DEAD, key)
        return None
    except (StoreUnavailable, StoreDamaged) as error:
        _leave(str(error))


def _iso(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns // NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _state_dir(file: Path) -> Path:
    from gateway.cli.common import load_or_exit

    return load_or_exit(file).state_dir


def _leave(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(EXIT_FAILED)
