"""`fieldgate alarms`: what is in alarm, and what operators do about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from gateway.cli import views
from gateway.cli.client import PAGE, Api, Unreachable, asks_gateway, leave
from gateway.cli.operate import ask, tell
from gateway.core.types import NS_PER_S
from gateway.serving.http.alarms import AlarmPage, AlarmStatus
from gateway.settings.units import WrongValueError, duration

LIMIT = 50
SHELVED_FOR = duration(NS_PER_S, 24 * 3_600 * NS_PER_S)
F = TypeVar("F", bound=Callable[..., Any])


class Listing(click.Group):
    """A group which lists, with the list's options, where no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_list = not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        return super().parse_args(ctx, ["list", *args] if is_list else args)


@click.group(name="alarms", cls=Listing)
def command() -> None:
    """List the alarms of a running gateway, acknowledge or shelve them. Without a command: list, with its options.

    ALARM is device.tag/kind, as the list shows it.
    """


@command.command(name="list")
@click.argument("search", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Those that are normal too.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=LIMIT, show_default=True, help="Alarms at most.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@asks_gateway
def list_alarms(
    api: Api, search: tuple[str, ...] = (), every: bool = False, limit: int = LIMIT, as_json: bool = False
) -> None:
    """List alarms whose name holds every word of SEARCH, those to be acknowledged first."""
    try:
        total, alarms = find(api, " ".join(search), every=every, limit=limit)
    except Unreachable as error:
        leave(error)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"total": total, "alarms": alarms}), indent=2))
        return
    console = views.console()
    if alarms:
        console.print(views.alarm_table(alarms))
    if total > len(alarms):
        console.print(f"{len(alarms):,} of {total:,} alarms; --limit shows more", style="dim")
    elif not alarms:
        console.print("no alarm" if not search else "no alarm matches", style="dim")


def find(api: Api, search: str, *, every: bool, limit: int) -> tuple[int, list[AlarmStatus]]:
    """How many alarms match, and the first of them. Raises Unreachable."""
    alarms: list[AlarmStatus] = []
    while True:
        parameters = [("search", search), ("include", "all" if every else "")]
        parameters += [("offset", str(len(alarms))), ("limit", str(min(PAGE, limit - len(alarms))))]
        page = api.get("/api/alarms", AlarmPage, parameters)
        alarms += page.alarms
        if len(alarms) >= min(limit, page.total) or not page.alarms:
            return page.total, alarms


def _one(function: F) -> F:
    """An alarm, and which gateway."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option(
            "--config", metavar="FILE", type=click.Path(path_type=Path), help="The running gateway's configuration."
        ),
        click.argument("alarm"),
    ):
        function = option(function)
    return function


@command.command()
@_one
def acknowledge(alarm: str, config: Path | None, as_json: bool) -> None:
    """Say that ALARM was seen; one that latches and is over goes away."""
    tell(ask(config, "alarm.acknowledge", alarm=alarm), as_json=as_json)


@command.command()
@click.option("--for", "for_", metavar="DURATION", default="1h", show_default=True, help="Like 30min, at most 24h.")
@_one
def shelve(alarm: str, for_: str, config: Path | None, as_json: bool) -> None:
    """Put ALARM aside for a time: it is neither shown nor told."""
    try:
        for_ns = SHELVED_FOR(for_)
    except WrongValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from error
    tell(ask(config, "alarm.shelve", alarm=alarm, for_s=for_ns / NS_PER_S), as_json=as_json)


@command.command()
@_one
def unshelve(alarm: str, config: Path | None, as_json: bool) -> None:
    """Show ALARM again before its time is over."""
    tell(ask(config, "alarm.unshelve", alarm=alarm), as_json=as_json)
