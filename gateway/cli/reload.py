"""`fieldgate reload`: the running gateway reads its configuration again."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.operate import ask, of_gateway, tell


@click.command(name="reload")
@click.option("--no-rollback", is_flag=True, help="Keep it, whatever comes of it.")
@of_gateway
def command(no_rollback: bool, config: Path | None, as_json: bool) -> None:
    """Have a running gateway read its configuration again.

    As `systemctl reload`, but it says what was restarted, or why it was refused (exit code 1). If the plant does worse
    within the time of `trial` in [reload], the configuration before returns by itself.
    """
    tell(ask(config, "configuration.reload", rollback=not no_rollback), as_json=as_json)
