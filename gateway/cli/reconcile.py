"""`fieldgate reconcile`: proves that what was produced arrived once, or names what did not."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from gateway.cli.app import EXIT_FAILED
from gateway.cli.common import of_uplink

if TYPE_CHECKING:
    from gateway.runtime.received import Read
    from gateway.runtime.reconcile import Verdict
    from gateway.settings.schema import Settings

NAMED: Final = 20


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--receiver",
    "receivers",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="What it has: its SQLite file, files of JSON lines, folders of those or of Parquet files; may be given several"
    " times. Default: what the uplink has, where that can be read: its files, its JetStream, its topics.",
)
@click.option("--repair", "mend", is_flag=True, help="Have the gateway send again what the upstream lost.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 60),
    default=0.5,
    show_default=True,
    metavar="SECONDS",
    help="Between looks at the receiver for what was acknowledged and is not there yet; it looks five times.",
)
@of_uplink
def command(file: Path, receivers: tuple[Path, ...], mend: bool, as_json: bool, wait_s: float, uplink: str) -> None:
    """Compare what the gateway produced with what a receiver has.

    FILE is the configuration. May be used beside a running gateway and a running receiver. Exit code 1 when something
    is lost, doubled or unknown. What is sent again keeps its identity, so a receiver takes it once; files have it once
    more, where what they lack is elsewhere.
    """
    from gateway.cli.common import load_or_exit, spool_or_exit
    from gateway.runtime.received import ReceiverUnfit
    from gateway.runtime.reconcile import reconcile, repair
    from gateway.spool.records import StoreRefused, StoreUnavailable

    settings = load_or_exit(file)
    spool = spool_or_exit(settings, uplink)
    read = _far_end(settings, uplink, receivers)
    try:
        verdict = reconcile(spool, read, pause=lambda: time.sleep(wait_s))
        asked = repair(spool, verdict) if mend else 0
    except (StoreRefused, StoreUnavailable, ReceiverUnfit) as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_FAILED)
    if as_json:
        click.echo(json.dumps({"whole": verdict.is_whole, "asked_again": asked, **asdict(verdict)}, indent=1))
    else:
        _print(verdict, asked)
    if not verdict.is_whole:
        sys.exit(EXIT_FAILED)


def _far_end(settings: Settings, name: str, receivers: tuple[Path, ...]) -> Read:
    """How what is there is read; exit code 1 when nobody says where, and the uplink itself cannot be asked."""
    from gateway.runtime.clusters import can_be_asked, read_cluster
    from gateway.runtime.receivers import read_files
    from gateway.settings.schema import FileAddress, ParquetAddress

    if receivers:
        return partial(read_files, receivers, settings.gateway_id)
    uplink = next((each for each in settings.uplinks if name in ("", each.name)), None)
    if uplink is not None and isinstance(uplink.address, FileAddress | ParquetAddress):
        return partial(read_files, (uplink.address.path,), settings.gateway_id)
    if uplink is not None and can_be_asked(uplink):
        return partial(read_cluster, uplink, settings.gateway_id)
    click.echo("this uplink cannot be asked what it has; name what its receiver has: --receiver", err=True)
    sys.exit(EXIT_FAILED)


def _print(verdict: Verdict, asked: int) -> None:
    lost = sum(map(len, verdict.lost_kept)) + sum(map(len, verdict.lost))
    click.echo(
        f"produced {verdict.produced} = received {verdict.received} + waiting {verdict.waiting}"
        f" + ledgered {verdict.ledgered} + lost {lost}"
        + (f" + unexamined {verdict.unexamined}" if verdict.unexamined else "")
    )
    click.echo(f"received twice: {len(verdict.duplicates)}")
    if verdict.lost_before_identity:
        click.echo(f"dropped before they had an identity: {verdict.lost_before_identity}, ledgered")
    for title, parts in (
        ("lost by the upstream, still kept here", verdict.lost_kept),
        ("lost, and no longer kept", verdict.lost),
        ("received twice", verdict.duplicates),
        ("received, but never given out by this spool", verdict.strangers),
        ("cannot be read", verdict.unreadable),
    ):
        for part in parts[:NAMED]:
            click.echo(f"{title}: {part}")
        if len(parts) > NAMED:
            click.echo(f"{title}: and {len(parts) - NAMED} more; --json names them all")
    if verdict.taken_away:
        click.echo(
            f"{verdict.taken_away} of them it had and has no more: files that were taken away (name where they are,"
            " with a further --receiver), or what its retention let go of"
        )
    if asked:
        click.echo(f"{asked} records will be sent again")
    elif verdict.lost_kept:
        click.echo("--repair has the gateway send again what it keeps")
