"""`fieldgate events`: what changed, newest last, as in a log. `--follow` goes on."""

from __future__ import annotations

import time

import click
import msgspec

from gateway.cli import views
from gateway.cli.client import PAGE, Api, Unreachable, asks_gateway, leave
from gateway.serving.http.status import EventPage, EventStatus

SEVERITIES = ("error", "warning", "notice", "info")
"""Worst first."""
FOLLOW_S = 1.0


@click.command(name="events")
@click.option("--limit", type=click.IntRange(1, PAGE), default=50, show_default=True, help="The latest so many.")
@click.option("--severity", type=click.Choice(SEVERITIES), default="info", help="This and worse.  [default: all]")
@click.option("--follow", "-f", is_flag=True, help="Go on with those that come, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@asks_gateway
def command(api: Api, limit: int, severity: str, follow: bool, as_json: bool) -> None:
    """List the latest events of a running gateway: links, devices, alarms, loops, reloads."""
    kinds = frozenset(SEVERITIES[: SEVERITIES.index(severity) + 1])
    try:
        seen = _latest(api)
        _print([event for event in seen if event.severity in kinds][:limit], as_json=as_json)
        while follow:
            time.sleep(FOLLOW_S)
            now = _latest(api)
            _print([event for event in since(now, seen) if event.severity in kinds], as_json=as_json)
            seen = now
    except Unreachable as error:
        leave(error)


def _latest(api: Api) -> tuple[EventStatus, ...]:
    return api.get("/api/events", EventPage, [("limit", PAGE)]).events


def since(now: tuple[EventStatus, ...], seen: tuple[EventStatus, ...]) -> tuple[EventStatus, ...]:
    """Those of `now` that came after the newest of `seen`; both newest first. All when that one is no longer kept.

    An event may come twice within a millisecond, so what follows is compared, not one event.
    """
    added = len(now) - len(seen)
    if added >= 0 and now[added:] == seen:  # nothing was forgotten in between
        return now[:added]
    for new in range(len(now)):
        shared = min(len(now) - new, len(seen))
        if now[new : new + shared] == seen[:shared]:
            return now[:new]
    return now


def _print(newest_first: list[EventStatus], *, as_json: bool) -> None:
    console = views.console()
    for event in reversed(newest_first):
        if as_json:
            click.echo(msgspec.json.encode(event))
        else:
            console.print(views.event_line(event), soft_wrap=True)
