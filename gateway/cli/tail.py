"""`fieldgate tail`: the values of a few tags, a line for each that came.

The live table is looked at, not a queue of every sample: of several values within one interval the last is shown.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TypeAlias

import click
import msgspec
from rich.text import Text

from gateway.cli import views
from gateway.cli.app import EXIT_FAILED
from gateway.cli.client import PAGE, Api, Unreachable, asks_gateway, leave
from gateway.cli.tags import NONE_YET, find
from gateway.serving.http.status import TagPage, TagStatus

Look: TypeAlias = tuple[int | None, str | None, int]
"""What makes a line: time of the acquisition, value, quality."""


@click.command(name="tail")
@click.argument("tags", nargs=-1, required=True, metavar="TAG...")
@click.option(
    "--every", type=click.FloatRange(0.1, 3_600), default=1.0, show_default=True, help="Seconds between looks."
)
@click.option("--count", type=click.IntRange(1), help="End after so many lines.  [default: at Ctrl-C]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@asks_gateway
def command(api: Api, tags: tuple[str, ...], every: float, count: int | None, as_json: bool) -> None:
    """Print the values of tags as they come, with the time at which they were acquired.

    TAG is a full name, as `fieldgate tags` lists it. Of several values between two looks the last one is printed.
    """
    if len(tags) > PAGE:
        raise click.UsageError(f"{len(tags)} tags; at most {PAGE} at a time")
    console = views.console()
    width = max(map(len, tags))
    seen: dict[str, Look] = {}
    printed = 0
    try:
        _refuse_unknown(api, tags)
        while True:
            for tag in look(api, tags):
                now = (tag.acquired_ms, tag.text, tag.quality.code)
                if seen.get(tag.name) == now:
                    continue
                seen[tag.name] = now
                if as_json:
                    click.echo(msgspec.json.encode(tag))
                else:
                    console.print(line(tag, width), soft_wrap=True)
                printed += 1
                if printed == count:
                    return
            time.sleep(every)
    except Unreachable as error:
        leave(error)


def look(api: Api, names: Sequence[str]) -> tuple[TagStatus, ...]:
    return api.get("/api/tags", TagPage, [("limit", PAGE), *(("name", name) for name in names)]).tags


def line(tag: TagStatus, width: int) -> Text:
    when = views.DASH if tag.acquired_ms is None else views.clock(tag.acquired_ms)
    text = Text.assemble((f"{when:>12}", "dim"), f"  {views.clean(tag.name):<{width}}  ")
    text.append(f"{tag.text or views.DASH} {views.clean(tag.unit)}".rstrip(), "bold")
    if tag.quality.level != "good":
        text.append(f"  {tag.quality.reason}", views.LEVEL_STYLES[tag.quality.level])
    if tag.alarms:
        text.append(f"  alarm: {', '.join(tag.alarms)}", "red")
    return text


def _refuse_unknown(api: Api, names: Sequence[str]) -> None:
    """Leaves with exit code 1 when a name is no tag's, and says which are near."""
    known = {tag.name for tag in look(api, names)}
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    for name in unknown:
        total, near = find(api, name.replace(".", " "), problems=False, limit=3)
        if not near:
            _, beside = find(api, name.partition(".")[0], problems=False, limit=PAGE)
            close = get_close_matches(name, [tag.name for tag in beside], cutoff=0.8)
            near = [tag for tag in beside if tag.name in close]
            total = len(near)
        if not near and not find(api, "", problems=False, limit=1)[0]:
            click.echo(NONE_YET, err=True)
            break
        hint = f"; there are {', '.join(tag.name for tag in near)}" if near else "; `fieldgate tags` lists them"
        click.echo(f"{name} is not a tag{hint}{' and more' if total > len(near) else ''}", err=True)
    if unknown:
        sys.exit(EXIT_FAILED)
