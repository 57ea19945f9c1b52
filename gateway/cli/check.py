"""`fieldgate check`: what a configuration would run, or everything that is wrong with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from gateway.cli.app import EXIT_WRONG_INPUT
from gateway.cli.common import examine_here, exit_with, print_warnings
from gateway.serving.scada import lock
from gateway.serving.scada.map import MapError, build_map
from gateway.settings.problems import ConfigurationError, Problem
from gateway.settings.schema import Settings
from gateway.settings.units import show_duration, show_size

PIPED_WIDTH = 200
ROWS_MAX = 8
"""Links and loops that are printed one by one. More are counted."""


@click.command(help="Check a configuration and report every error in it.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(file: Path, as_json: bool) -> None:
    try:
        examined = examine_here(file)
    except ConfigurationError as error:
        if not as_json:
            exit_with(error)
        _print_json(ok=False, problems=error.problems, warnings=error.warnings, runs=None)
        sys.exit(EXIT_WRONG_INPUT)
    refusal = _register_refusal(examined.settings)
    if refusal is not None:
        if as_json:
            _print_json(ok=False, problems=(refusal,), warnings=examined.warnings, runs=None)
        else:
            click.echo(str(refusal), err=True)
        sys.exit(EXIT_WRONG_INPUT)
    if as_json:
        _print_json(ok=True, problems=(), warnings=examined.warnings, runs=summary(examined.settings))
        return
    print_warnings(examined.warnings)
    _print_text(examined.settings)


def _register_refusal(settings: Settings) -> Problem | None:
    """Why the Modbus server could not start: more registers than there are, or a lock file that contradicts itself."""
    if settings.scada is None:
        return None
    try:
        build_map(settings, settings.scada, lock.load(settings.scada.lock_file))
    except (lock.LockError, MapError) as error:
        lines = settings.path.read_text(encoding="utf-8").splitlines()
        line = next((number for number, text in enumerate(lines, 1) if text.strip().startswith("[scada]")), 1)
        return Problem(settings.path, line, 1, "scada", str(error).removeprefix("scada: "))
    return None


def summary(settings: Settings) -> dict[str, object]:
    """What would run, in numbers and addresses."""
    devices_of = _count(device.link for device in settings.devices)
    link_of = settings.link_of
    tags_of = _count(link_of[tag.device] for tag in settings.tags)
    return {
        "gateway": settings.gateway_id,
        "state_dir": str(settings.state_dir),
        "links": [
            {
                "name": link.name,
                "address": link.place,
                "devices": devices_of.get(link.name, 0),
                "tags": tags_of.get(link.name, 0),
            }
            for link in settings.links
        ],
        "devices": len(settings.devices),
        "tags": len(settings.tags),
        "loops": [
            {
                "name": loop.name,
                "input": loop.input,
                "output": loop.output,
                "every": show_duration(loop.every_ns),
                "failsafe": "hold" if loop.failsafe_output is None else loop.failsafe_output,
            }
            for loop in settings.loops
        ],
        "uplinks": [
            {
                "name": uplink.name,
                "address": uplink.address.described,
                "streams": list(uplink.streams),
                "buffer": show_size(uplink.buffer_bytes_max),
            }
            for uplink in settings.uplinks
        ],
        "scada": None
        if settings.scada is None
        else {
            "address": f"{settings.scada.host}:{settings.scada.port}" if settings.scada.has_tcp else None,
            "places": list(settings.scada.places),
            "tags": len(settings.scada.tags),
            "writable": list(settings.scada.writable),
        },
        "http": None if settings.http is None else f"http://{settings.http.host}:{settings.http.port}",
    }


def _count(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts


def _print_json(
    *, ok: bool, problems: tuple[Problem, ...], warnings: tuple[Problem, ...], runs: dict[str, object] | None
) -> None:
    report = {
        "ok": ok,
        "problems": [found._asdict() for found in problems],
        "warnings": [found._asdict() for found in warnings],
        "runs": runs,
    }
    click.echo(json.dumps(report, default=str, ensure_ascii=False, indent=2))


def _print_text(settings: Settings) -> None:
    # Piped, a line is a line: nobody's terminal decides where it ends.
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    console.print(f"{settings.path} is sound. It would run gateway {settings.gateway_id}:", soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for title, text in _lines(settings):
        table.add_row(title, text)
    console.print(table)


def _lines(settings: Settings) -> Iterable[tuple[str, str]]:
    """The summary as pairs of title and text."""
    devices_of = _count(device.link for device in settings.devices)
    for link in settings.links[:ROWS_MAX]:
        title = "" if link.name == link.place else f"{link.name}: "
        yield "link", f"{title}{link.place}, {_plural(devices_of.get(link.name, 0), 'device')}"
    if len(settings.links) > ROWS_MAX:
        yield "", f"and {len(settings.links) - ROWS_MAX} more links"
    yield "devices", f"{len(settings.devices)} with {_plural(len(settings.tags), 'tag')}"
    for loop in settings.loops[:ROWS_MAX]:
        failsafe = "hold" if loop.failsafe_output is None else f"{loop.failsafe_output:g}"
        yield (
            "loop",
            f"{loop.name}: {loop.input} drives {loop.output} every {show_duration(loop.every_ns)}, "
            f"fail-safe {failsafe} when older than {show_duration(loop.stale_after_ns)}",
        )
    if len(settings.loops) > ROWS_MAX:
        yield "", f"and {len(settings.loops) - ROWS_MAX} more loops"
    for up in settings.uplinks:
        streams = ", ".join(up.streams)
        yield (
            "uplink",
            f"{up.name}: {streams} to {up.address.described}, up to {show_size(up.buffer_bytes_max)} waiting",
        )
    if settings.scada is not None:
        writes = f"{len(settings.scada.writable)} writable" if settings.scada.writable else "writes off"
        shown = _plural(len(settings.scada.tags), "tag")
        yield "scada", f"{', '.join((*settings.scada.places, shown, writes))}"
    if settings.http is not None:
        yield "http", f"http://{settings.http.host}:{settings.http.port}"
    yield "state", str(settings.state_dir)


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
