"""`fieldgate backup`: configuration and state of a gateway in one archive, while it runs or not."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from pathlib import Path

import click

from gateway.cli.app import EXIT_FAILED
from gateway.cli.common import exit_unwritten, load_or_exit, prepare_kernels


@click.command(name="backup")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Where to.  [default: GATEWAY-TIME.tar.gz]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(file: Path, output: Path | None, as_json: bool) -> None:
    """Put configuration and state into one archive, which `fieldgate restore` takes.

    FILE is the configuration. A running gateway goes on. Secret files, the journal and durable messages that wait are
    not in it; for what was under way at this moment, stop the gateway first.
    """
    settings = load_or_exit(file)
    path = output or Path(time.strftime(f"{settings.gateway_id}-%Y%m%dT%H%M%S.tar.gz"))
    if path.exists():
        raise click.UsageError(f"{path} is there already; name another --output")
    prepare_kernels()
    from gateway.runtime.backup import back_up  # behind the choice of the kernel cache

    try:
        names = back_up(settings, path)
    except (OSError, sqlite3.Error) as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(path)):
            exit_unwritten(path, error)
        click.echo(f"{path}: no backup was made: {error}", err=True)
        sys.exit(EXIT_FAILED)
    size = path.stat().st_size
    if as_json:
        click.echo(json.dumps({"file": str(path), "bytes": size, "files": names}, indent=1, ensure_ascii=False))
    else:
        click.echo(
            f"{path}: {len(names)} files, {size / 1e6:.1f} MB; copy it elsewhere, and the secret files beside it"
        )
