"""`fieldgate status`: how a running gateway is, on one screen."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click
import msgspec
from rich.console import RenderableType
from rich.text import Text

from gateway.cli import views
from gateway.cli.app import EXIT_FAILED
from gateway.cli.client import Api, Unreachable, asks_gateway, leave
from gateway.serving.http.status import Status

ROWS_MAX = 12
"""Links and loops that are listed. More are counted."""
EVENTS_SHOWN = 5


@click.command(name="status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, as /api/status gives it.")
@asks_gateway
def command(api: Api, as_json: bool) -> None:
    """Say how a running gateway is.

    Exit code 0 when it is healthy; 1 when it is not, or does not answer.
    """
    try:
        status = api.get("/api/status", Status)
    except Unreachable as error:
        leave(error)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(status), indent=2))
    else:
        console = views.console()
        for part in parts(status, ROWS_MAX, EVENTS_SHOWN):
            console.print(part, soft_wrap=isinstance(part, Text))
    if not status.is_healthy:
        sys.exit(EXIT_FAILED)


def parts(status: Status, rows_max: int, events_max: int) -> Iterator[RenderableType]:
    """From top to bottom, with an empty line between."""
    yield views.health_line(status)
    yield views.rate_line(status)
    if status.latencies:
        yield ""
        yield views.latency_table(status.latencies)
    if status.links.total:
        yield ""
        yield views.link_table(status.links, rows_max)
    if status.loops:
        yield ""
        yield views.loop_table(status.loops, rows_max)
    if status.uplinks:
        yield ""
        yield from map(views.uplink_line, status.uplinks)
    if status.events and events_max:
        yield ""
        yield from map(views.event_line, status.events[:events_max])
