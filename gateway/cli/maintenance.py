"""`fieldgate maintenance`: a device is worked on, so its scores learn and raise no alarm."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.operate import ask, of_gateway, tell


@click.group(name="maintenance")
def command() -> None:
    """Devices under maintenance: their scores learn and raise no alarm. Declared limits hold all the same.

    It is kept over restarts, until it is switched off.
    """


@command.command()
@click.argument("device")
@of_gateway
def on(device: str, config: Path | None, as_json: bool) -> None:
    """DEVICE is worked on from now on."""
    tell(ask(config, "maintenance.on", device=device), as_json=as_json)


@command.command()
@click.argument("device")
@of_gateway
def off(device: str, config: Path | None, as_json: bool) -> None:
    """The work on DEVICE is done."""
    tell(ask(config, "maintenance.off", device=device), as_json=as_json)


@command.command(name="list")
@of_gateway
def list_devices(config: Path | None, as_json: bool) -> None:
    """Which devices are under maintenance."""
    tell(ask(config, "maintenance.list"), as_json=as_json)
