"""`fieldgate tags`: tags of a running gateway, as they stand."""

from __future__ import annotations

import click
import msgspec

from gateway.cli import views
from gateway.cli.client import PAGE, Api, Unreachable, asks_gateway, leave
from gateway.core.limits import TAGS_MAX
from gateway.serving.http.status import TagPage, TagStatus

LIMIT = 50
NONE_YET = "no tags: the gateway has none, or is still starting; `fieldgate status` says which"


@click.command(name="tags")
@click.argument("search", nargs=-1)
@click.option("--problems", is_flag=True, help="Only tags that are not good, or in alarm.")
@click.option("--limit", type=click.IntRange(1, TAGS_MAX), default=LIMIT, show_default=True, help="Tags shown at most.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with the windows of each tag.")
@asks_gateway
def command(api: Api, search: tuple[str, ...], problems: bool, limit: int, as_json: bool) -> None:
    """List tags whose name holds every word of SEARCH; all without one."""
    try:
        total, tags = find(api, " ".join(search), problems=problems, limit=limit)
    except Unreachable as error:
        leave(error)
    if as_json:
        report = {"total": total, "tags": tags}
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
        return
    console = views.console()
    if tags:
        console.print(views.tag_table(tags))
    if total > len(tags):
        console.print(f"{len(tags):,} of {total:,} tags; --limit shows more", style="dim")
    elif not tags:
        console.print("no tag matches" if search or problems else NONE_YET, style="dim")


def find(api: Api, search: str, *, problems: bool, limit: int) -> tuple[int, list[TagStatus]]:
    """How many tags match, and the first of them. Raises Unreachable."""
    tags: list[TagStatus] = []
    while True:
        parameters = [("search", search), ("only", "problems" if problems else "")]
        parameters += [("offset", str(len(tags))), ("limit", str(min(PAGE, limit - len(tags))))]
        page = api.get("/api/tags", TagPage, parameters)
        tags += page.tags
        if len(tags) >= min(limit, page.total) or not page.tags:
            return page.total, tags
