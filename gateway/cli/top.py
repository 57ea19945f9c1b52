"""`fieldgate top`: the status of a running gateway, over and over. A gateway that goes away is waited for."""

from __future__ import annotations

import time

import click
import msgspec
from rich.console import Group
from rich.live import Live
from rich.text import Text

from gateway.cli import views
from gateway.cli.client import Api, Unreachable, asks_gateway, leave
from gateway.cli.status import parts
from gateway.cli.tags import find
from gateway.serving.http.status import Status, TagStatus

PROBLEMS_SHOWN = 8
FIXED_LINES = 16
"""Lines of the screen that are taken whatever is shown; the rest is shared by links, loops, problems and events."""


@click.command(name="top")
@click.option(
    "--every", type=click.FloatRange(0.2, 3_600), default=1.0, show_default=True, help="Seconds between looks."
)
@click.option("--count", type=click.IntRange(1), help="End after so many looks.  [default: at Ctrl-C]")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the status as one JSON object a line, instead of a screen."
)
@asks_gateway
def command(api: Api, every: float, count: int | None, as_json: bool) -> None:
    """Watch a running gateway: health, latencies against budgets, links, loops, tags with problems, events."""
    try:
        status = api.get("/api/status", Status)
        problems = find(api, "", problems=True, limit=PROBLEMS_SHOWN)
    except Unreachable as error:
        leave(error)
    looks = 1
    if as_json:
        click.echo(msgspec.json.encode(status))
        while looks != count:
            time.sleep(every)
            try:
                click.echo(msgspec.json.encode(api.get("/api/status", Status)))
            except Unreachable as error:
                leave(error)
            looks += 1
        return
    console = views.console()
    lost = ""
    with Live(_screen(status, problems, lost, console.height), console=console, screen=console.is_terminal) as live:
        while looks != count:
            time.sleep(every)
            try:
                status = api.get("/api/status", Status)
                problems = find(api, "", problems=True, limit=PROBLEMS_SHOWN)
                lost = ""
            except Unreachable as error:
                lost = str(error)
            live.update(_screen(status, problems, lost, console.height), refresh=True)
            looks += 1


def _screen(status: Status, problems: tuple[int, list[TagStatus]], lost: str, height: int) -> Group:
    total, tags = problems
    room = max(8, height - FIXED_LINES) // 4
    top = [Text(f"{lost}\nas of {views.moment(status.time_ms)}:", "bold red")] if lost else []
    shown = [*top, *parts(status, room, 0), "", Text(f"tags that are not good or in alarm: {total:,}", "dim")]
    if tags:
        shown.append(views.tag_table(tags[:room]))
    return Group(*shown, "", *map(views.event_line, status.events[:room]))
