"""`fieldgate feedback`: what a score flagged was normal, and is to be flagged less from now on."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.operate import ask, of_gateway, tell


@click.group(name="feedback")
def command() -> None:
    """Say that what a score flags was normal. Each feedback is kept, and can be taken back."""


@command.command()
@click.argument("tag")
@of_gateway
def normal(tag: str, config: Path | None, as_json: bool) -> None:
    """What TAG does now is normal: a score that is high now would be 0.4 from now on.

    When none is high any more, the odds of the event score are divided by 1.5.
    """
    tell(ask(config, "feedback.normal", tag=tag), as_json=as_json)


@command.command(name="list")
@of_gateway
def list_feedback(config: Path | None, as_json: bool) -> None:
    """What was said, by number."""
    tell(ask(config, "feedback.list"), as_json=as_json)


@command.command()
@click.argument("number", type=click.IntRange(1))
@of_gateway
def undo(number: int, config: Path | None, as_json: bool) -> None:
    """Take feedback NUMBER back."""
    tell(ask(config, "feedback.undo", number=number), as_json=as_json)
