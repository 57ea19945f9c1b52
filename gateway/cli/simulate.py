"""`fieldgate simulate`: a Modbus device to try a configuration on, for whoever has none at hand."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

import click

from gateway.cli.app import EXIT_FAILED
from gateway.cli.common import write_or_exit
from gateway.settings.migrations import PRESENT

PORT = 5502
HOST = "127.0.0.1"
CONFIGURATION = """\
# Simulated devices, by fieldgate simulate: a tank with a valve, an energy meter, a fan.

version = {version}

[gateway]
id = "trial"
state_dir = "state"

[devices.tank]
link = {{ modbus_tcp = "{place}" }}
unit = 1
tags.level = {{ register = "holding 0", type = "float32", unit = "%" }}
tags.outflow = {{ register = "holding 2", type = "float32", unit = "l/s" }}
tags.valve = {{ register = "holding 10", type = "uint16", scale = 0.1, unit = "%", write = true }}

[devices.meter]
link = {{ modbus_tcp = "{place}" }}
unit = 2
tags.voltage = {{ register = "holding 0", type = "float32", unit = "V" }}
tags.power = {{ register = "holding 4", type = "float32", unit = "W" }}

[devices.fan]
link = {{ modbus_tcp = "{place}" }}
unit = 3
tags.velocity = {{ register = "holding 0", type = "float32", unit = "mm/s" }}
tags.temperature = {{ register = "holding 4", type = "float32", unit = "°C" }}

[history]

[http]
listen = "127.0.0.1:9464"
"""


@click.command(name="simulate")
@click.option("--port", type=click.IntRange(1, 65_535), default=PORT, show_default=True, help=f"Where, on {HOST}.")
@click.option(
    "--write", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write a configuration that reads them."
)
def command(port: int, file: Path | None) -> None:
    """Serve simulated Modbus TCP devices on this machine, until Ctrl-C.

    Unit 1 is a tank with a valve, unit 2 an energy meter, unit 3 a fan. The valve (holding 10, in tenths of a per cent)
    may be written: a loop can hold the tank's level.
    """
    if file is not None and file.exists():
        raise click.UsageError(f"{file} is there already; name another file, or move it away")
    asyncio.run(_serve(port, file))


async def _serve(port: int, file: Path | None) -> None:
    from hil.devices.instruments import MeterUnit, RotorUnit, TankUnit
    from hil.devices.modbus import Endpoint, Unit

    tank = TankUnit()
    tank.write("valve", 500)
    devices = Endpoint(Unit(1, tank), Unit(2, MeterUnit(1)), Unit(3, RotorUnit()))
    devices.port = port
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # a register that is not there is no fault of ours
    try:
        await devices.start()
    except RuntimeError:  # pymodbus' own, for any reason; its words name none
        click.echo(f"cannot listen on {HOST}:{port}; is it taken (ss -ltnp)? --port says another one", err=True)
        sys.exit(EXIT_FAILED)
    if file is not None:
        write_or_exit(file, CONFIGURATION.format(version=PRESENT, place=f"{HOST}:{port}"))
    click.echo(f"a tank, a meter and a fan are units 1, 2 and 3 at {HOST}:{port}, until Ctrl-C")
    if file is not None:
        click.echo(f"beside it:\n  fieldgate run --config {file}")
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await devices.stop()
