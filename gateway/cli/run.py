"""`fieldgate run`: the daemon."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


@click.command(
    name="run", help="Run the gateway until it is told to stop (SIGTERM, Ctrl-C). SIGHUP reads the file again."
)
@click.option(
    "--config",
    "path",
    required=True,
    type=click.Path(path_type=Path),
    help="The configuration (TOML). `fieldgate check FILE` checks it without running.",
)
def command(path: Path) -> None:
    from gateway.cli.common import load_or_exit, prepare_kernels
    from gateway.runtime import garbage

    garbage.share_heaps()
    garbage.begin_reading()
    settings = load_or_exit(path)
    garbage.begin_building(len(settings.tags))
    prepare_kernels()
    from gateway.runtime.groundwork import Groundwork

    groundwork = Groundwork(settings)
    # All the rest, beside it.
    from gateway.runtime.process import run_daemon

    sys.exit(run_daemon(settings, os.environ, groundwork))
