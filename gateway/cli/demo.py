"""`fieldgate demo`: everything at work on simulated devices; no broker, no devices, no root needed."""

from __future__ import annotations

import sys

import click


@click.command(name="demo", help="Show everything at work, with simulated devices and no set-up.")
@click.option(
    "--seconds",
    default=45.0,
    show_default=True,
    help="How long, 12 at the least; Ctrl-C ends it sooner, with the summary.",
)
def command(seconds: float) -> None:
    try:
        from hil.demo.main import run_demo
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; the demo needs the extra: pip install 'fieldgate[nats]'") from error
    sys.exit(run_demo(seconds))
