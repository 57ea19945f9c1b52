"""`fieldgate replay SOURCE`: what came in once, through the engine again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import click

from gateway.cli.app import EXIT_FAILED, EXIT_WRONG_INPUT
from gateway.cli.common import exit_unwritten

if TYPE_CHECKING:
    from gateway.core.cycle import Cycle
    from gateway.core.spec import EngineSpec
    from gateway.core.symbols import Symbols
    from gateway.spool.journal.files import Reading
    from gateway.spool.journal.format import Head

NS = 1_000_000_000


class Speed(click.ParamType[float]):
    name = "max|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if value == "max":
            return 0.0
        try:
            speed = float(value)
        except ValueError:
            speed = -1.0
        if not 0 < speed < 1e9:
            self.fail(f'{value!r} is no speed; write "max", or how many times as fast as then, like 10', param, ctx)
        return speed


@click.command(name="replay")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--config", type=click.Path(path_type=Path), help="Replay for this configuration's tags and windows.")
@click.option("--speed", type=Speed(), default="max", show_default=True, help="As fast as it goes, or N times as then.")
@click.option("--records", type=click.Path(dir_okay=False, path_type=Path), help="Write the records here, JSON lines.")
@click.option("--after", type=click.IntRange(0), default=0, help="Begin behind this cycle of a journal.")
@click.option("--until", type=click.IntRange(1), default=None, help="End with this cycle.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def command(
    source: Path,
    config: Path | None,
    speed: float,
    records: Path | None,
    after: int,
    until: int | None,
    as_json: bool,
) -> None:
    """Play a journal, or a table of recorded values, through the engine, and count or write what comes of it.

    SOURCE is the state directory of a gateway or its journal folder, which may be in use, or a CSV or Parquet file. A
    table needs --config; a journal brings its plant along. Equal digests are equal records, byte for byte.
    """
    from gateway.cli.common import prepare_kernels

    prepare_kernels()
    from gateway.core.symbols import Symbols
    from gateway.runtime.replaying import Player
    from gateway.runtime.tables import TableUnfit
    from gateway.spool.journal.files import Reading

    gateway, spec = _configuration(config)
    symbols = Symbols()
    began_s = time.monotonic()
    with ExitStack() as stack:
        write: Callable[[bytes], None] = _drop
        if records is not None:
            try:
                file = stack.enter_context(records.open("wb"))
            except OSError as error:
                exit_unwritten(records, error)
            write = partial(_write_line, file)
        reading = None
        if source.is_dir():
            reading = Reading(_folder(source), after)
            cycles: Iterator[tuple[Head | None, Cycle]] = iter(reading.cycles())
            gateway = gateway or _gateway_of(reading)
        elif spec is None:
            _leave(f"{source}: a table has no plant of its own; add --config FILE", EXIT_WRONG_INPUT)
        else:
            cycles = _of_table(source, spec, symbols)
        player = Player(
            gateway=gateway,
            spec=spec,
            write=write,
            pause=(lambda s: time.sleep(max(0.0, s))) if speed else None,
            speed=speed or 1.0,
            symbols=symbols,
        )
        try:
            summary = player.play(_watched(cycles, reading, until))
        except TableUnfit as error:
            _leave(str(error), EXIT_WRONG_INPUT)
    seconds = time.monotonic() - began_s
    if summary.cycles == 0:
        _leave(f"{source}: there is nothing to replay in it", EXIT_FAILED)
    wrong = [str(each) for each in reading.found if not each.is_torn] if reading is not None else []
    told = asdict(summary) | {
        "seconds": round(seconds, 3),
        "times_as_fast": round((summary.last_ns - summary.first_ns) / NS / max(seconds, 1e-9), 1),
        "damaged": wrong,
    }
    click.echo(json.dumps(told) if as_json else _text(told))
    if wrong:
        sys.exit(EXIT_FAILED)


def _configuration(config: Path | None) -> tuple[str, EngineSpec | None]:
    if config is None:
        return "", None
    from gateway.cli.common import load_or_exit
    from gateway.runtime.model import build_model, spec_of

    settings = load_or_exit(config)
    return settings.gateway_id, spec_of(settings, build_model(settings))


def _folder(source: Path) -> Path:
    from gateway.runtime.statedir import JOURNAL_FOLDER
    from gateway.spool.journal.files import paths

    found = [folder for folder in (source, source / JOURNAL_FOLDER) if paths(folder)]
    if not found:
        _leave(f"{source}: there is no journal in it; name a state directory, or its {JOURNAL_FOLDER}", EXIT_FAILED)
    return found[0]


def _gateway_of(reading: Reading) -> str:
    from gateway.spool.journal.files import head_of, paths
    from gateway.spool.journal.format import BlockDamaged

    for path in paths(reading.folder):
        try:
            return head_of(path).gateway
        except BlockDamaged:
            continue
    return "unknown"


def _of_table(source: Path, spec: EngineSpec, symbols: Symbols) -> Iterator[tuple[Head | None, Cycle]]:
    from gateway.cli.recordings import moment_ns
    from gateway.runtime.tables import Table

    table = Table(source, spec.model, symbols, moment_ns)
    for cycle in table.cycles():
        yield None, cycle
    for name, count in list(table.unknown.items())[:20]:
        often = f", {count} rows" if count else ""
        click.echo(f"{source}: no tag is called {name!r}{often}; left out", err=True)
    if table.refused:
        click.echo(f"{source}: {table.refused} values are of another kind than their tags; taken as bad", err=True)


def _watched(
    cycles: Iterator[tuple[Head | None, Cycle]], reading: Reading | None, until: int | None
) -> Iterator[tuple[Head | None, Cycle]]:
    """With a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    total = reading.total_bytes if reading is not None else None
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("replay", total=total)
        for head, cycle in cycles:
            if until is not None and cycle.number > until:
                return
            if reading is not None and cycle.number % 100 == 0:
                progress.update(task, completed=reading.bytes, description=f"cycle {cycle.number:,}")
            yield head, cycle


def _text(told: dict[str, Any]) -> str:
    records = ", ".join(f"{count} {stream}" for stream, count in told["records"].items()) or "none"
    lines = [
        f"{told['cycles']:,} cycles with {told['samples']:,} samples in {told['seconds']} s, "
        f"{told['times_as_fast']:g} times as fast as then",
        f"records: {records}",
        f"digest: {told['digest']}",
    ]
    if told["samples_without_tag"]:
        lines.append(f"samples of tags that the configuration has not: {told['samples_without_tag']:,}")
    if told["holes"]:
        lines.append(f"holes in the journal: {told['holes']}")
    lines += [f"damaged: {each}" for each in told["damaged"]]
    return "\n".join(lines)


def _write_line(file: IO[bytes], line: bytes) -> None:
    file.write(line + b"\n")


def _drop(line: bytes) -> None:
    return


def _leave(message: str, code: int) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)
