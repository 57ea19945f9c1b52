"""`fieldgate baseline`: tags held against a reference period instead of their recent past."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.operate import ask, of_gateway, tell
from gateway.core.types import NS_PER_S
from gateway.settings.units import WrongValueError, duration

LEARNED_FOR = duration(NS_PER_S, 400 * 24 * 3_600 * NS_PER_S)


@click.group(name="baseline")
def command() -> None:
    """Freeze a reference period of a tag, or of all tags of a device.

    Level, drift, noise and frozen are then told against it, and it never changes: a fault does not become normal, and a
    slow drift is seen in the end. NAME is device.tag, or a device.
    """


@command.command()
@click.argument("name")
@click.option("--for", "for_", metavar="DURATION", help="Learn from now on for so long, like 3d as 72h.")
@of_gateway
def learn(name: str, for_: str | None, config: Path | None, as_json: bool) -> None:
    """Learn a baseline of NAME: for a time from now on, each sample counting the same; without --for, what its running
    reference is now."""
    try:
        for_ns = LEARNED_FOR(for_) if for_ is not None else 0
    except WrongValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from error
    tell(ask(config, "baseline.learn", name=name, for_s=for_ns / NS_PER_S), as_json=as_json)


@command.command()
@of_gateway
def show(config: Path | None, as_json: bool) -> None:
    """The baselines that are kept; --json prints all that is in them."""
    tell(ask(config, "baseline.show"), as_json=as_json)


@command.command()
@click.argument("name")
@of_gateway
def apply(name: str, config: Path | None, as_json: bool) -> None:
    """Put the baseline of NAME in force."""
    tell(ask(config, "baseline.apply", name=name), as_json=as_json)


@command.command()
@click.argument("name")
@of_gateway
def lift(name: str, config: Path | None, as_json: bool) -> None:
    """Forget the baseline of NAME: the running reference learns again."""
    tell(ask(config, "baseline.lift", name=name), as_json=as_json)
