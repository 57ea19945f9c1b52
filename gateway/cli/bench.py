"""`fieldgate bench NAME`: what can this machine sustain? The last line of output is one JSON object."""

from __future__ import annotations

import json

import click

from gateway.core.limits import TAGS_MAX


@click.group()
def command() -> None:
    """Measure what this machine can do."""


@command.command()
@click.option("--seconds", type=click.FloatRange(5, 600), default=30.0, show_default=True, help="About how long.")
@click.option("--tags", type=click.IntRange(1, TAGS_MAX), default=100_000, show_default=True, help="Tags of the plant.")
@click.option("--json", "json_only", is_flag=True, help="Print the JSON object alone, on one line.")
def pipeline(seconds: float, tags: int, json_only: bool) -> None:
    """Batched samples through inbox and engine at increasing rate."""
    from gateway.cli.common import prepare_kernels

    prepare_kernels()
    from gateway.runtime.benches.pipeline import run

    def progress(line: str) -> None:
        click.echo(line, err=True)

    result = run(tags=tags, seconds=seconds, progress=progress)
    click.echo(json.dumps(result) if json_only else json.dumps(result, indent=2))


@command.command()
@click.option("--seconds", type=click.FloatRange(40, 600), default=48.0, show_default=True, help="About how long.")
@click.option("--json", "json_only", is_flag=True, help="Print the JSON object alone, on one line.")
def modbus(seconds: float, json_only: bool) -> None:
    """Modbus TCP reads of 100 registers over 50 connections, beside pymodbus's asynchronous client."""
    from gateway.cli.common import prepare_kernels

    prepare_kernels()
    from gateway.runtime.benches.modbus import run

    def progress(line: str) -> None:
        click.echo(line, err=True)

    result = run(seconds=seconds, progress=progress)
    click.echo(json.dumps(result) if json_only else json.dumps(result, indent=2))
