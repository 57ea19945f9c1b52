"""`fieldgate diff`: what a reload would change and restart, before it is done."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import msgspec

from gateway.cli.app import EXIT_FAILED
from gateway.cli.common import load_or_exit, prepare_kernels
from gateway.cli.operate import ask

LINES_MAX = 40
"""Differences that are printed one by one. More are counted; --json has all."""


@click.command(name="diff")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("new", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(file: Path, new: Path | None, as_json: bool) -> None:
    """Say what a reload would change and restart.

    With FILE alone, what the gateway that runs it would do now, had it to read it again: nothing is done. With FILE
    and NEW, what it would do with NEW in place of FILE. Exit code 1 when a reload would be refused.
    """
    if new is None:
        answer = ask(file, "configuration.diff")
        result = answer.result
        if not isinstance(result, dict):
            click.echo(answer.says, err=True)
            sys.exit(EXIT_FAILED)
    else:
        old_settings, new_settings = load_or_exit(file), load_or_exit(new, place=file)
        prepare_kernels()
        # Behind the choice of the kernel cache: what it compares with imports numba.
        from gateway.runtime.reload import foresee

        result = msgspec.to_builtins(foresee(old_settings, new_settings))
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False, indent=1))
    else:
        _print(result)
    if result["refused"]:
        sys.exit(EXIT_FAILED)


def _print(result: dict[str, list[str]]) -> None:
    differences = result["differences"]
    for line in differences[:LINES_MAX]:
        click.echo(line)
    if len(differences) > LINES_MAX:
        click.echo(f"and {len(differences) - LINES_MAX} more; --json has all")
    if result["refused"]:
        for reason in result["refused"]:
            click.echo(f"refused: {reason}")
        return
    click.echo(f"would restart: {', '.join(result['restarts']) or 'nothing'}")
    for line in result["keeps"]:
        click.echo(f"keeps: {line}")
