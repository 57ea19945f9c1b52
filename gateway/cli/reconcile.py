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
    " times. Default: where an uplink that writes files writes them.",
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
    from gateway.runtime.receivers import read_files
    from gateway.runtime.reconcile import reconcile, repair
    from gateway.spool.records import StoreRefused, StoreUnavailable

    settings = load_or_exit(file)
    spool = spool_or_exit(settings, uplink)
    read = partial(read_files, receivers or _own_files(settings, uplink), settings.gateway_id)
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


def _own_files(settings: Settings, uplink: str) -> tuple[Path, ...]:
    """Exit code 1 when the uplink does not write files."""
    from gateway.settings.schema import FileAddress, ParquetAddress

    address = next((each.address for each in settings.uplinks if uplink in ("", each.name)), None)
    if isinstance(address, FileAddress | ParquetAddress):
        return (address.path,)
    click.echo("this uplink writes no files; name what its receiver has: --receiver", err=True)
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
            f"{verdict.taken_away} of them the folder had: its files were taken away; name where they are now,"
            " with a further --receiver"
        )
    if asked:
        click.echo(f"{asked} records will be sent again")
    elif verdict.lost_kept:
        click.echo("--repair has the gateway send again what it keeps")
