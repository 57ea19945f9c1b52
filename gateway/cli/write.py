"""`fieldgate write`: write a value to a tag, through the gateway that runs on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.operate import ask, tell


@click.command(name="write")
@click.option(
    "--config", metavar="FILE", type=click.Path(path_type=Path), help="The configuration of the gateway that is meant."
)
@click.option("--verify/--no-verify", default=None, help="Read back what was written.  [default: as the tag says]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("tag", metavar="DEVICE.TAG")
@click.argument("value")
def command(config: Path | None, verify: bool | None, as_json: bool, tag: str, value: str) -> None:
    """Write VALUE to DEVICE.TAG.

    VALUE is a number in the tag's own unit, one of its labels, or on and off. The tag needs write = true, and no loop
    may drive it. Exit code 1: it was refused, or is not surely written.

    A loop takes a setpoint, a mode and in manual an output: fieldgate write control.boiler.setpoint 78, fieldgate write
    control.boiler.mode manual (auto, manual, cascade), fieldgate write control.boiler.output 40. Where commands hold a
    loop, fieldgate write control.boiler.hold take has it, and release gives it up.

    A negative VALUE needs -- before it: fieldgate write boiler.offset -- -3
    """
    tell(ask(config, "tag.write", tag=tag, value=value, verify=verify), as_json=as_json)
