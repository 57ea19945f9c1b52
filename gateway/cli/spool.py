"""`fieldgate spool`: what waits, what is kept, and whether it is sound. Reads beside a running gateway."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from gateway.cli.app import EXIT_FAILED
from gateway.cli.common import of_uplink

if TYPE_CHECKING:
    from gateway.spool.view import Row, View

STREAMS: Final = ("events", "aggregates", "calculations", "samples", "multivariate")
STATES: Final = ("waiting", "kept", "dead")
COLUMNS: Final = ("state", "stream", "segment", "sequence", "samples", "bytes", "first_ns", "last_ns")
LISTED: Final = 50
F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def command() -> None:
    """Look into the spool: what waits for the upstream, and what is kept after it.

    FILE is the configuration. All but compact only read, and may be used beside a running gateway.
    """


def _which(function: F) -> F:
    """The options that choose records."""
    for option in (
        click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="Only these; default: all."),
        click.option("--stream", "streams", type=click.Choice(STREAMS), multiple=True, help="Only these."),
        of_uplink,
        click.argument("file", type=click.Path(path_type=Path)),
    ):
        function = option(function)
    return function


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@of_uplink
def status(file: Path, as_json: bool, uplink: str) -> None:
    """How much waits, is kept, and was lost."""
    with _viewed(file, uplink) as seen:
        found = _status(seen)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"{found['path']}: {found['file_bytes'] / 1e6:.1f} MB, {found['free_bytes'] / 1e6:.1f} MB of it free")
    _table(("stream", "state", "records", "samples", "bytes"), found["records"])
    _table(("stream", "produced", "segments open", "closed", "done"), found["streams"])
    _table(("stream", "reason", "records lost", "samples"), found["losses"])
    if found["resends"]:
        click.echo(f"{found['resends']} records are to be sent again")


def _status(seen: View) -> dict[str, Any]:
    from gateway.core.record import Stream
    from gateway.spool.view import State

    size, pages, free = seen.pages()
    segments = seen.segments()
    losses: dict[tuple[str, str], list[int]] = {}
    for loss in seen.losses():
        total = losses.setdefault((loss.stream, loss.reason), [0, 0])
        total[0] += loss.records
        total[1] += loss.samples
    return {
        "path": str(seen.path),
        "file_bytes": size * pages,
        "free_bytes": size * free,
        "records": [
            dict(zip(("records", "samples", "bytes"), seen.tally(state, stream), strict=True))
            | {"stream": stream.value, "state": state.value}
            for stream in Stream
            for state in State
        ],
        "streams": [
            {"stream": row.stream, "produced": row.records}
            | {
                title: sum(segment[:3:2] == (row.stream, state) for segment in segments)
                for title, state in (("segments open", "open"), ("closed", "closed"), ("done", "done"))
            }
            for row in seen.produced()
        ],
        "losses": [
            {"stream": stream, "reason": reason, "records lost": records, "samples": samples}
            for (stream, reason), (records, samples) in sorted(losses.items())
        ],
        "resends": seen.resends(),
    }


@command.command(name="list")
@_which
@click.option("--limit", type=click.IntRange(1), default=LISTED, show_default=True, help="Rows of each state.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead of a table.")
def list_records(
    file: Path, streams: tuple[str, ...], states: tuple[str, ...], limit: int, as_json: bool, uplink: str
) -> None:
    """The records, the oldest first. Times are engine time in ns."""
    with _viewed(file, uplink) as seen:
        rows = [row._asdict() for row in _chosen(seen, states, streams, limit)]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        _table(COLUMNS, rows)


@command.command()
@_which
@click.option("--output", type=click.File("wb", lazy=True), default="-", help="Default: standard output.")
def export(file: Path, streams: tuple[str, ...], states: tuple[str, ...], output: Any, uplink: str) -> None:
    """Write whole records, one line of JSON each, as they go upstream."""
    from gateway.core.encode import envelope
    from gateway.core.record import Identity
    from gateway.spool.records import Key, StoreDamaged
    from gateway.spool.view import State

    damaged = 0
    settings = _settings(file)
    with _viewed_at(settings, uplink) as seen:
        for row in _chosen(seen, states, streams, -1):
            key = Key(row.stream, row.segment, row.sequence)
            try:
                body = seen.body(State(row.state), key)
            except StoreDamaged as error:
                damaged += 1
                click.echo(str(error), err=True)
                continue
            output.write(envelope(Identity(settings.gateway_id, *key), body) + b"\n")
    if damaged:
        _leave(f"{damaged} records are damaged and were left out")


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@of_uplink
def verify(file: Path, as_json: bool, uplink: str) -> None:
    """Check every page and every record; exit code 1 when something is wrong."""
    with _viewed(file, uplink) as seen:
        faults = list(seen.faults())
        path = seen.path
    if as_json:
        click.echo(json.dumps({"path": str(path), "sound": not faults, "faults": faults}, indent=2))
    else:
        click.echo("\n".join([f"{path}: {'damaged' if faults else 'sound'}", *faults]))
    if faults:
        sys.exit(EXIT_FAILED)


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@of_uplink
def compact(file: Path, as_json: bool, uplink: str) -> None:
    """Give free space in the file back to the disk. The gateway must be stopped."""
    from gateway.runtime.statedir import StateInUse, hold_state_dir
    from gateway.spool.records import StoreRefused, StoreUnavailable
    from gateway.spool.view import compact as compact_file

    path = _spool(_settings(file), uplink)
    try:
        with hold_state_dir(path.parent):
            before, after = compact_file(path)
    except (StateInUse, StoreRefused, StoreUnavailable, OSError) as error:
        _leave(str(error))
    if as_json:
        click.echo(json.dumps({"path": str(path), "bytes_before": before, "bytes_after": after}))
    else:
        click.echo(f"{path}: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now")


def _chosen(seen: View, states: Sequence[str], streams: Sequence[str], limit: int) -> Iterator[Row]:
    from gateway.spool.view import State

    for state in states or STATES:
        yield from seen.rows(State(state), streams or STREAMS, limit)


def _settings(file: Path) -> Any:
    from gateway.cli.common import load_or_exit

    return load_or_exit(file)


def _spool(settings: Any, uplink: str) -> Path:
    from gateway.cli.common import spool_or_exit

    return spool_or_exit(settings, uplink)


def _viewed(file: Path, uplink: str) -> Any:
    return _viewed_at(_settings(file), uplink)


@contextmanager
def _viewed_at(settings: Any, uplink: str) -> Iterator[View]:
    """The spool of an uplink, or exit code 1 with the reason."""
    from gateway.spool.records import StoreRefused, StoreUnavailable
    from gateway.spool.view import view

    path = _spool(settings, uplink)
    try:
        with view(path) as seen:
            yield seen
    except (StoreRefused, StoreUnavailable) as error:
        _leave(str(error))


def _table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    lines = [tuple(columns), *(tuple(str(row[column]) for column in columns) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines if rows else ():
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _leave(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(EXIT_FAILED)
