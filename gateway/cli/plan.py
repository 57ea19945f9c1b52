"""`fieldgate plan`: what each Modbus link will be asked for, how busy that makes it, and how old values can get."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from gateway.cli.common import load_or_exit
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.protocol.modbus.load import BusLoad
from gateway.settings.planning import ROUND_TRIP_ASSUMED_NS, loads
from gateway.settings.schema import ModbusLink
from gateway.settings.units import WrongValueError, duration, show_duration

ROWS_MAX = 40
"""Blocks and groups of one link that are printed one by one. More are counted; --json has them all."""
ROUND_TRIP = duration(NS_PER_MS // 10, 60 * NS_PER_S)


class RoundTrip(click.ParamType[int]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return ROUND_TRIP(value)
        except WrongValueError as wrong:
            self.fail(str(wrong), param, ctx)


@click.command(help="Show the reads, the load and the worst-case age of values of every Modbus link.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--round-trip",
    "round_trip_ns",
    type=RoundTrip(),
    default=show_duration(ROUND_TRIP_ASSUMED_NS),
    show_default=True,
    help="Time a device takes to answer; fieldgate_modbus_round_trip_seconds tells what was measured.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(file: Path, round_trip_ns: int, as_json: bool) -> None:
    settings = load_or_exit(file)
    found = loads(settings, round_trip_ns)
    links = {link.name: link for link in settings.links if isinstance(link, ModbusLink)}
    if as_json:
        report = {"round_trip_ms": round_trip_ns / NS_PER_MS, "links": [_json(links[k], v) for k, v in found.items()]}
        click.echo(json.dumps(report, indent=2))
        return
    console = Console(highlight=False, markup=False)
    if not found:
        console.print("There is no Modbus link in this configuration.")
    for name, load in found.items():
        _print(console, links[name], load, round_trip_ns)


def _json(link: ModbusLink, load: BusLoad) -> dict[str, object]:
    return {
        "link": link.name,
        "address": link.place,
        "baud": link.baud,
        "requests_per_s": round(load.requests_per_s, 3),
        "load_percent": round(100 * load.share, 1),
        "worst_age_ms": load.worst_age_ns / NS_PER_MS,
        "older_when_a_unit_falls_silent_ms": load.silence_ns / NS_PER_MS,
        "probes_percent_max": 100 * load.probes_share,
        "groups": [
            {
                "device": group.device,
                "unit": group.unit,
                "every_ms": group.period_ns / NS_PER_MS,
                "jitter_ms": group.jitter_ns / NS_PER_MS,
                "reads": group.reads,
                "tags": group.tags,
                "worst_age_ms": group.worst_age_ns / NS_PER_MS,
            }
            for group in load.groups
        ],
        "reads": [
            {
                "device": read.device,
                "unit": read.unit,
                "table": read.table,
                "address": read.address,
                "count": read.count,
                "tags": read.tags,
                "every_ms": read.period_ns / NS_PER_MS,
                "phase_ms": read.phase_ns / NS_PER_MS,
                "jitter_ms": read.jitter_ns / NS_PER_MS,
                "takes_ms": read.read_ns / NS_PER_MS,
            }
            for read in load.reads
        ],
    }


def _print(console: Console, link: ModbusLink, load: BusLoad, round_trip_ns: int) -> None:
    behind = "" if link.baud is None else f", a serial bus at {link.baud} baud behind it"
    if link.serial is not None:
        behind = f", {link.kind} at {link.serial.describe}"
    console.print(
        f"{link.name}: {link.place}{behind}, {load.requests_per_s:.1f} reads a second, "
        f"{100 * load.share:.0f} % loaded (a device answers in {show_duration(round_trip_ns)})",
        soft_wrap=True,
    )
    if load.silence_ns:
        older = f"values of the others may get up to {load.silence_ns / NS_PER_S:.2f} s older"
        probes = f"probing it takes at most {100 * load.probes_share:g} % of the link"
        console.print(f"When one of its units falls silent, {older}; {probes}", soft_wrap=True)
    groups = _table("device", "unit", "every", "reads", "tags", "oldest value")
    for group in load.groups[:ROWS_MAX]:
        age = f"{group.worst_age_ns / NS_PER_S:.2f} s"
        every = show_duration(group.period_ns)
        if group.jitter_ns:
            every += f" +{show_duration(group.jitter_ns)}"
        groups.add_row(group.device, str(group.unit), every, str(group.reads), str(group.tags), age)
    _show(console, groups, len(load.groups))
    reads = _table("read", "unit", "count", "tags", "every", "phase", "takes")
    for read in load.reads[:ROWS_MAX]:
        takes = f"{read.read_ns / NS_PER_MS:.1f} ms"
        place = f"{read.table} {read.address}"
        when = (show_duration(read.period_ns), f"{read.phase_ns / NS_PER_MS:.0f} ms")
        reads.add_row(place, str(read.unit), str(read.count), str(read.tags), *when, takes)
    _show(console, reads, len(load.reads))


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    for title in others:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _show(console: Console, table: Table, rows: int) -> None:
    console.print(table)
    if rows > ROWS_MAX:
        console.print(f"and {rows - ROWS_MAX} more: --json has them all")
    console.print()
