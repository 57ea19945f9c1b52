"""`fieldgate score FILE`: the daemon's anomaly scores over a recorded history, before trusting them with a plant."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import click

from gateway.cli.app import EXIT_FAILED, EXIT_WRONG_INPUT
from gateway.cli.common import exit_unwritten, prepare_kernels, write_or_exit
from gateway.cli.recordings import HistoryUnfit, Progress, read_csv

NS = 1_000_000_000
JOIN_SAMPLES = 30
Paint: TypeAlias = Callable[..., Any]


@click.command(name="score")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--column", "columns", multiple=True, help="Only this value column; may be given again.")
@click.option(
    "--event", "event_at", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Flag from here."
)
@click.option(
    "--persistent", "persistent_at", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Flag from here."
)
@click.option("--window", type=click.FloatRange(0.001), default=60.0, show_default=True, help="First window, seconds.")
@click.option("--time-format", metavar="FORMAT", help="Of the times in a CSV, like '%d.%m.%Y %H:%M'.")
@click.option("--shape", is_flag=True, help="The event score is also of waveforms.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw one column into this file.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="The same as a PNG (fieldgate[plot]).")
@click.option("--plot", "in_terminal", is_flag=True, help="Draw one column in the terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    file: Path,
    columns: tuple[str, ...],
    event_at: float,
    persistent_at: float,
    window: float,
    time_format: str | None,
    shape: bool,
    svg: Path | None,
    png: Path | None,
    in_terminal: bool,
    as_json: bool,
) -> None:
    """Score a recorded history with the daemon's own detectors and list what they flag.

    FILE is CSV with a header: a time column first (ISO 8601, UTC unless it says otherwise, or a number since 1970),
    then one or more value columns, between commas, semicolons or tabs. Cells that are empty or no numbers count as
    missing. A name that ends in .parquet is read as Parquet with the same columns (fieldgate[parquet]).
    """
    times_ns, table = in_order(file, *with_numbers(file, *read_history(file, time_format)))
    unknown = [name for name in columns if name not in table]
    if unknown:
        leave(f"{file}: no column {unknown[0]!r}; there are {', '.join(table)}")
    chosen = {name: table[name] for name in columns or table}
    if (svg or png or in_terminal) and len(chosen) != 1:
        leave(f"one column can be drawn; choose one of {', '.join(chosen)} by --column")
    paint = painter() if png is not None else None

    prepare_kernels()
    import numpy as np

    from gateway.runtime.drawing import draw
    from gateway.runtime.scoring import score, stretches
    from gateway.runtime.terminalplot import plot

    found: list[dict[str, object]] = []
    times = np.array(times_ns, np.int64)
    for name, cells in chosen.items():
        values = np.array(cells, np.float64)
        scored = score(values, times, window * NS, shape=shape)
        flagged = list(stretches(scored, event_at, persistent_at, JOIN_SAMPLES))
        for one in flagged:
            row = asdict(one) | {"column": name, "from": iso(times_ns[one.first]), "to": iso(times_ns[one.last])}
            row |= {"once_in_h": None if np.isnan(one.once_h) else one.once_h}
            found.append(row)
        if in_terminal:
            for line in plot(times, values, scored, flagged):
                click.echo(line, err=as_json)
        if paint is not None and png is not None:
            try:
                paint(png, name, times, values, scored, flagged)
            except OSError as error:
                exit_unwritten(png, error)
        if svg is not None:
            write_or_exit(svg, draw(name, times, values, scored, flagged))
    print_found(found, samples=len(times_ns), as_json=as_json)


def painter() -> Paint:
    """What paints a PNG. Leaves with exit code 1 where Pillow is not installed."""
    try:
        from gateway.runtime.painting import paint
    except ImportError:
        click.echo("--png needs Pillow: pip install 'fieldgate[plot]'; --svg needs nothing", err=True)
        sys.exit(EXIT_FAILED)
    return paint


def read_history(path: Path, time_format: str | None) -> tuple[list[int], dict[str, list[float]]]:
    """Times and columns of a file. Leaves when it cannot be read."""
    if path.suffix.lower() not in (".parquet", ".pq"):
        try:
            with watched(path) as progress:
                return read_csv(path, time_format, progress)
        except HistoryUnfit as error:
            leave(str(error))
    from gateway.cli.parquet import HistoryInvalid, read_parquet

    try:
        times_ns, columns = read_parquet(path)
    except HistoryInvalid as error:
        leave(str(error))
    except ImportError:
        click.echo(f"{path}: Parquet needs pyarrow: pip install 'fieldgate[parquet]'", err=True)
        sys.exit(EXIT_FAILED)
    return times_ns.tolist(), {name: values.tolist() for name, values in columns.items()}


@contextmanager
def watched(path: Path) -> Iterator[Progress]:
    """A bar on a terminal while a file is read."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"reading {path.name}", total=path.stat().st_size)
        yield lambda read: bar.update(task, completed=read)


def with_numbers(
    path: Path, times_ns: list[int], table: dict[str, list[float]]
) -> tuple[list[int], dict[str, list[float]]]:
    """Without the columns that hold none; those are named. Leaves when nothing is left."""
    known = {name: cells for name, cells in table.items() if any(isfinite(cell) for cell in cells)}
    if not known:
        leave(f"{path}: no column after the first holds numbers")
    if left_out := [name for name in table if name not in known]:
        click.echo(f"{path}: no numbers in {', '.join(left_out)}; left out", err=True)
    return times_ns, known


def in_order(
    path: Path, times_ns: list[int], table: dict[str, list[float]]
) -> tuple[list[int], dict[str, list[float]]]:
    """By time. Rows of a time that was there already teach nothing; they are counted."""
    if any(later < earlier for earlier, later in pairwise(times_ns)):
        order = sorted(range(len(times_ns)), key=times_ns.__getitem__)
        times_ns = [times_ns[place] for place in order]
        table = {name: [cells[place] for place in order] for name, cells in table.items()}
        click.echo(f"{path}: the rows are not in the order of their times; sorted", err=True)
    if doubled := sum(1 for earlier, later in pairwise(times_ns) if later == earlier):
        click.echo(f"{path}: {doubled} rows have the time of the row before; they teach nothing", err=True)
    return times_ns, table


def print_found(found: list[dict[str, object]], *, samples: int, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"samples": samples, "stretches": found}, indent=1))
        return
    click.echo(f"{samples} samples, {len(found)} stretches flagged")
    for row in found:
        reasons = row["reasons"]
        words = ", ".join(reasons) if isinstance(reasons, tuple) else ""
        click.echo(
            f"{row['column']:<20}  {row['from']}  {row['to']}  {row['peak']:4.2f}  "
            f"{often(row['once_in_h']):<16}  {words}"
        )


def often(once_h: object) -> str:
    """How rare, by the column's own past."""
    if not isinstance(once_h, float):
        return ""
    return f"once in {once_h:.3g} h" if once_h < 48 else f"once in {once_h / 24:.3g} d"


def iso(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def leave(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(EXIT_WRONG_INPUT)
