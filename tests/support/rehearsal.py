"""A plant for faults: devices, brokers and a server for records, each behind something that can go wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import aiomqtt

from gateway.mqttclient import Client
from hil.devices.instruments import MeterUnit, TankUnit
from hil.devices.modbus import Endpoint, Unit
from hil.ports import free_port
from hil.proxy import Proxy
from tests.support.brokers import mosquitto
from tests.support.daemon import Gateway, Outside, until
from tests.support.http_ends import HttpServer, Keeper, Response

METERED = "\n".join(
    f'tags.p{n} = {{ register = "holding {4 if n % 2 else 2}", type = "float32", scale = 1.{n:02d} }}'
    for n in range(40)
)
"""Factors of their own, so that they are not compressed to next to nothing."""
CONFIG = f"""
[gateway]
id = "plant"
state_dir = "state"

[defaults]
every = "50ms"
windows = ["2s"]

[links.plc]
modbus_tcp = "127.0.0.1:<plc>"
[links.out]
modbus_tcp = "127.0.0.1:<out>"
[links.floor]
mqtt = "mqtt://127.0.0.1:<floor>"

[devices.tank]
link = "plc"
unit = 1
tags.level = {{ register = "holding 0", type = "float32", unit = "%" }}
[devices.meter]
link = "plc"
unit = 2
{METERED}
[devices.valve]
link = "out"
unit = 1
tags.position = {{ register = "holding 10", type = "uint16", scale = 0.1, unit = "%", write = true }}
[devices.sensor]
link = "floor"
topic = "plant/{{device}}/{{tag}}"
tags.heat = {{}}

[control.tank]
pid = {{ input = "tank.level", output = "valve.position", setpoint = 30.0, kp = 8.0, ti = "3s", every = "20ms" }}
limits = {{ min = 0, max = 100 }}
failsafe = {{ output = 0, when_older_than = "500ms" }}

[scada]
modbus_tcp = "127.0.0.1:<scada>"
loops_unit = 9
watchdog = "600s"
watchdog_loops = ["control.tank"]

[http]
listen = "127.0.0.1:<http>"
"""
UPLINKS = """
[uplink.cloud]
mqtt = "mqtt://127.0.0.1:<far>"
streams = ["events", "aggregates", "samples"]
aggregates_every = "200ms"
samples_every = "200ms"
buffer = "1MB"
free_disk = "1MB"

[uplink.archive]
http = "http://127.0.0.1:<archive>/records"
streams = ["events"]
"""


class Plant:
    """What the gateway of CONFIG reads, writes and delivers to."""

    def __init__(self, outside: Outside, broker_port: int) -> None:
        self.outside = outside
        self.meter = Unit(2, MeterUnit(1))
        self._endpoint = Endpoint(Unit(1, TankUnit()), self.meter)
        outside.run(self._endpoint.start())
        self.plc, self.out = Proxy(self._endpoint.port), Proxy(self._endpoint.port)
        self.far = Proxy(broker_port)
        for proxy in (self.plc, self.out, self.far):
            outside.run(proxy.start())
        self._broker_port = broker_port
        self._keeper = Keeper(1 << 20)
        self._archive = HttpServer(self._keeper, free_port())
        self._archive.start()
        self.payload = b"21.5"
        self.every_s = 0.2
        outside.spawn(self._publish())

    def config(self, *, delivers: bool = True) -> str:
        ports = {
            "plc": self.plc.port,
            "out": self.out.port,
            "floor": self._broker_port,
            "far": self.far.port,
            "archive": self._archive.port,
        }
        text = CONFIG + (UPLINKS if delivers else "")
        for name, port in ports.items():
            text = text.replace(f"<{name}>", str(port))
        return text

    def refuse_records(self, *, is_so: bool) -> None:
        self._keeper.says = Response(400, b"not like this") if is_so else None

    def close(self) -> None:
        self._archive.stop()
        for proxy in (self.plc, self.out, self.far):
            self.outside.run(proxy.stop())
        self.outside.run(self._endpoint.stop())

    async def _publish(self) -> None:
        """The sensor: one value after the other, as long as the plant stands."""
        while True:
            with suppress(aiomqtt.MqttError):
                async with Client("127.0.0.1", self._broker_port) as client:
                    while True:
                        await client.publish("plant/sensor/heat", self.payload)
                        await asyncio.sleep(self.every_s)


@contextmanager
def plant(folder: Path) -> Iterator[Plant]:
    with Outside() as outside, mosquitto(folder) as broker:
        built = Plant(outside, broker.port)
        yield built
        built.close()


class Withheld:
    """The machine takes the processor away from the gateway, again and again, as an overbooked host does."""

    def __init__(self, gateway: Gateway, away_s: float = 0.15) -> None:
        self._gateway = gateway
        self._away_s = away_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._away_s):
            os.kill(self._gateway.pid, signal.SIGSTOP)
            time.sleep(self._away_s)
            os.kill(self._gateway.pid, signal.SIGCONT)


def reload(gateway: Gateway, text: str) -> None:
    """Have it read this, and wait until it has said what it thinks of it."""

    def said() -> int:
        return len(gateway.lines("configuration.applied")) + len(gateway.lines("configuration.refused"))

    before = said()
    gateway.write(text)
    gateway.signal(signal.SIGHUP)
    until(lambda: said() > before, "the configuration was read again", 60.0)
