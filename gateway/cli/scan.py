"""`fieldgate scan`: look for Modbus units at the addresses that are given, and at no others."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from gateway.cli.app import EXIT_FAILED, EXIT_INTERRUPTED
from gateway.cli.common import prepare_kernels, write_or_exit
from gateway.cli.scan_file import configuration
from gateway.cli.scan_targets import HOSTS_UNASKED_MAX, Line, WrongTarget, links_of, numbers
from gateway.settings.schema import Table
from gateway.settings.schema_modbus import Parity

if TYPE_CHECKING:
    from gateway.runtime.scan import FoundLink, FoundUnit

UNITS_TCP = "1-16,255"
UNITS_LINE = "1-247"
RANGES_SHOWN = 6
WHOLE = {"holding": (Table.HOLDING,), "registers": (Table.HOLDING, Table.INPUT), "all": tuple(Table), "none": ()}


class _Bar:
    """The scan's progress, on stderr."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=steps)
        self._total = steps

    def doing(self, what: str) -> None:
        self._progress.update(self._task, description=what)

    def done(self, steps: int) -> None:
        self._progress.advance(self._task, steps)

    def more(self, steps: int) -> None:
        self._total += steps
        self._progress.update(self._task, total=self._total)


@click.command(name="scan")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("--units", help=f"Unit ids, like 1-10,255.  [default: {UNITS_TCP}; of serial lines {UNITS_LINE}]")
@click.option(
    "--tables",
    type=click.Choice(list(WHOLE)),
    default="registers",
    show_default=True,
    help="Where to search.",
)
@click.option("--addresses", default="0-499", show_default=True, help="Addresses to search, like 0-999.")
@click.option("--timeout", type=click.FloatRange(0.02, 10), default=0.3, show_default=True, help="Seconds for a reply.")
@click.option(
    "--pause", type=click.FloatRange(0, 10), default=0.02, show_default=True, help="Seconds between requests."
)
@click.option(
    "--requests", type=click.IntRange(1, 65_536), default=1_000, show_default=True, help="Most, for one table."
)
@click.option("--at-once", type=click.IntRange(1, 32), default=4, show_default=True, help="Addresses at one time.")
@click.option("--baud", type=int, default=19_200, show_default=True, help="Of serial ports.")
@click.option("--parity", type=click.Choice([each.value for each in Parity]), default="even", show_default=True)
@click.option("--stop-bits", type=click.IntRange(1, 2), default=1, show_default=True)
@click.option("--write", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write a first configuration.")
@click.option("--yes", is_flag=True, help=f"Scan more than {HOSTS_UNASKED_MAX} addresses without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    targets: tuple[str, ...], units: str | None, tables: str, addresses: str, timeout: float, pause: float,
    requests: int, at_once: int, baud: int, parity: str, stop_bits: int, file: Path | None, yes: bool, as_json: bool,
) -> None:  # fmt: skip
    """Look for Modbus units at TARGET: who they are, and which registers they have.

    TARGET is 10.0.0.5, 10.0.0.5:1502, 10.0.0.1-20 or 10.0.0.0/28 for Modbus TCP; rtu:/dev/ttyUSB0 or
    ascii:/dev/ttyUSB0 for a serial port; rtu:10.0.0.5:4001 for a converter. Nothing is written to any unit, and no
    other address is asked. One connection to an address and one request at a time: still, look at who else is there.
    """
    try:
        line = Line(baud=baud, parity=Parity(parity), stop_bits=stop_bits)
        links = links_of(targets, line=line, timeout_s=timeout)
        is_line = all(link.is_line for link in links)
        unit_ids = numbers(units or (UNITS_LINE if is_line else UNITS_TCP), 0, 255, "units")
        span = numbers(addresses, 0, 65_535, "addresses", is_one_range=True)
    except WrongTarget as wrong:
        raise click.UsageError(str(wrong)) from None
    if file is not None and file.exists():
        raise click.UsageError(f"{file} is there already; name another file, or move it away")
    if len(links) > HOSTS_UNASKED_MAX and not yes:
        click.confirm(f"Scan {len(links)} addresses?", abort=True, err=True)
    prepare_kernels()
    # Behind the choice of the kernel cache: it imports numba.
    from gateway.runtime.scan import Options, scan

    options = Options(
        units=unit_ids,
        tables=WHOLE[tables],
        first=span[0],
        last=span[-1],
        pause_s=pause,
        requests_max=requests,
    )
    try:
        with _progress() as progress:
            bar = _Bar(progress, len(links) * len(unit_ids))
            found = asyncio.run(scan(links, options, bar, at_once=at_once))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    if file is not None:
        write_or_exit(file, configuration(found, targets))
    if as_json:
        click.echo(json.dumps({"links": [_json(each) for each in found]}, indent=2, ensure_ascii=False))
    else:
        _print(found, file)
    if not any(each.units for each in found):
        sys.exit(EXIT_FAILED)


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _json(found: FoundLink) -> dict[str, object]:
    return {
        "address": found.link.place,
        "kind": found.link.kind,
        "problem": found.problem or None,
        "units": [
            {
                "unit": unit.unit,
                "identification": unit.identification,
                "went_silent": unit.went_silent,
                "tables": {
                    table.value: {
                        "ranges": [list(each) for each in readable.ranges],
                        "longest_read": readable.longest,
                        "is_limited": readable.is_limited,
                        "requests": readable.requests,
                        "is_complete": readable.is_complete,
                    }
                    for table, readable in unit.tables.items()
                },
            }
            for unit in found.units
        ],
    }


def _print(links: Sequence[FoundLink], file: Path | None) -> None:
    console = Console(highlight=False, markup=False)
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("address", "unit", "says it is", "readable"):
        grid.add_column(title, overflow="fold")
    for link in links:
        for unit in link.units:
            says = " ".join(unit.identification.values()) or "–"
            grid.add_row(link.link.place, str(unit.unit), says, _readable(unit))
    if grid.row_count:
        console.print(grid)
    problems = [link for link in links if link.problem]
    for link in problems[:RANGES_SHOWN]:
        console.print(f"{link.problem}", soft_wrap=True)
    if len(problems) > RANGES_SHOWN:
        console.print(f"and {len(problems) - RANGES_SHOWN} more that could not be reached")
    silent = [link.link.place for link in links if not link.units and not link.problem]
    if silent:
        console.print(f"no unit answers at {', '.join(silent)}: check unit ids, and of lines baud rate and parity")
    if file is not None:
        console.print(f"{file} is a first configuration; fieldgate check {file} says what it would run")


def _readable(unit: FoundUnit) -> str:
    parts = []
    for table, readable in unit.tables.items():
        spans = [f"{first}" if first == last else f"{first}-{last}" for first, last in readable.ranges]
        shown = ", ".join(spans[:RANGES_SHOWN]) + (f" and {len(spans) - RANGES_SHOWN} more" if len(spans) > 6 else "")
        limited = f" (at most {readable.longest} a read)" if readable.is_limited else ""
        open_end = "" if readable.is_complete else " …"
        parts.append(f"{table.value} {shown or '–'}{open_end}{limited}")
    if unit.went_silent:
        parts.append("stopped answering")
    return "; ".join(parts) or "–"
