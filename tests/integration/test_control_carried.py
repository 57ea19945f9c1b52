"""Outputs that the loop thread carries: by a serial line and by MQTT, and where they go when something is lost."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from gateway.mqttclient import Client
from tests.support import brokers
from tests.support.daemon import Gateway, Outside, until
from tests.support.lines import Line, WritableBus, plugged
from tests.support.plc import Plc, plc

CONFIG = """
[gateway]
id = "plant"
state_dir = "state"
[defaults]
every = "100ms"

[links.fast]
modbus_tcp = "127.0.0.1:{plc}"
[links.line]
modbus_rtu = "{path}"
response_timeout = "200ms"
[links.floor]
mqtt = "mqtt://127.0.0.1:{broker}"

[devices.tank]
link = "fast"
tags.level = {{ register = "holding 0", type = "float32" }}
[devices.drive]
link = "line"
unit = 7
tags.speed = {{ register = "holding 10", scale = 0.1, write = true }}
tags.load = {{ register = "holding 11" }}
[devices.valve]
link = "floor"
topic = "plant/valve/state"
[devices.valve.tags]
position = {{ field = "position", write_topic = "plant/valve/set", write_payload = '{{"position": {{value}}}}' }}

[control.drive]
pid = {{ input = "tank.level", output = "drive.speed", setpoint = 0.5, kp = 10, ti = "100s", every = "100ms" }}
limits = {{ min = 0, max = 100 }}
failsafe = {{ output = 12.5, when_older_than = "500ms" }}
[control.valve]
pid = {{ input = "tank.level", output = "valve.position", setpoint = 0.5, kp = 10, ti = "100s", every = "100ms" }}
limits = {{ min = 0, max = 100 }}
failsafe = {{ output = 7, when_older_than = "500ms" }}

[http]
listen = "127.0.0.1:<http>"
"""
SPEED_AT = 10


class Valve:
    """At the broker: hears what is set, and tells what it has."""

    def __init__(self, outside: Outside, port: int) -> None:
        self._outside = outside
        self._port = port
        self.heard: list[float] = []
        self._begun = False
        outside.spawn(self._listen())
        until(lambda: self._begun, "the valve listens")

    async def _listen(self) -> None:
        async with Client(hostname="127.0.0.1", port=self._port, identifier="valve") as client:
            await client.subscribe("plant/valve/set", qos=1)
            self._begun = True
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                self.heard.append(json.loads(message.payload)["position"])

    def tell(self, position: float) -> None:
        async def work() -> None:
            async with aiomqtt.Client(hostname="127.0.0.1", port=self._port) as client:
                await client.publish("plant/valve/state", json.dumps({"position": position}), retain=True)

        self._outside.run(work())


class World:
    def __init__(self, outside: Outside, device: Plc, line: Line, bus: WritableBus, valve: Valve) -> None:
        self.outside, self.device, self.line, self.bus, self.valve = outside, device, line, bus, valve

    @property
    def speed(self) -> float:
        return self.bus.registers[SPEED_AT] / 10

    def unplug(self) -> None:
        self.outside.call(self.bus.stop)
        self.outside.call(self.line.unplug)

    def plug(self) -> None:
        self.outside.call(self.line.plug)
        self.outside.call(self.bus.start)


@contextmanager
def world(folder: Path) -> Iterator[tuple[World, Gateway]]:
    with (
        brokers.mosquitto(folder) as broker,
        Outside() as outside,
        plc() as device,
        plugged(folder / "port") as line,
    ):
        device.set_level(0.5)
        bus = WritableBus(line)
        bus.registers[SPEED_AT] = 300
        outside.call(bus.start)
        text = CONFIG.format(plc=device.port, path=line.path, broker=broker.port)
        try:
            with Gateway(folder, text) as gateway:
                yield World(outside, device, line, bus, Valve(outside, broker.port)), gateway
        finally:
            outside.call(bus.stop)


def mode(gateway: Gateway, loop: str) -> str:
    loops: list[dict[str, Any]] = gateway.get("/api/status")["loops"]
    return next(str(each["mode"]) for each in loops if each["name"] == loop)


def test_loops_drive_a_serial_line_and_a_broker_from_where_the_devices_are_and_leave_their_failsafe(
    tmp_path: Path,
) -> None:
    with world(tmp_path) as (plant, gateway):
        gateway.start()
        until(lambda: mode(gateway, "drive") == "auto", "the line's present output is known")
        assert abs(plant.speed - 30) < 1, "it began where the drive was"
        assert mode(gateway, "valve") == "initialising", "nobody has told where the valve is"
        assert plant.valve.heard == []
        plant.valve.tell(30)
        until(lambda: mode(gateway, "valve") == "auto", "the valve's position is known")

        plant.device.set_level(0.2)
        until(lambda: plant.speed > 32.5, "the drive answers the level")
        until(lambda: plant.valve.heard and plant.valve.heard[-1] > 32.5, "the valve does")
        assert abs(plant.valve.heard[0] - 30) < 4, "from where it was"
        name = "fieldgate_control_input_to_output_seconds_count"
        until(lambda: gateway.metric(name, loop="drive") >= 1, "the drive's confirmation is measured")
        until(lambda: gateway.metric(name, loop="valve") >= 1, "the broker's is")

        plant.device.set_level(float("nan"))
        until(lambda: plant.speed == 12.5, "the drive's fail-safe")
        until(lambda: plant.valve.heard[-1] == 7, "the valve's fail-safe")
        plant.device.set_level(0.5)
        until(lambda: mode(gateway, "drive") == "auto", "control goes on")

        plant.unplug()
        until(lambda: mode(gateway, "drive") == "initialising", "a lost line means an unknown output")
        until(lambda: gateway.lines("control.output_failed", "drive"), "it is told")
        plant.bus.registers[SPEED_AT] = 640
        plant.plug()
        until(lambda: mode(gateway, "drive") == "auto", "the line is back")
        assert abs(plant.speed - 64) < 1, "bumpless from what the drive had meanwhile"
        until(lambda: gateway.lines("control.output_recovered", "drive"), "it is told")

        assert gateway.terminate() == 0
        assert plant.speed == 12.5, "the declared output at a stop"
        until(lambda: plant.valve.heard[-1] == 7, "by MQTT as well")


@pytest.mark.slow
def test_the_broker_publishes_the_failsafe_of_a_gateway_that_was_killed_and_a_reload_publishes_nothing(
    tmp_path: Path,
) -> None:
    with world(tmp_path) as (plant, gateway):
        plant.valve.tell(30)
        gateway.start()
        until(lambda: mode(gateway, "valve") == "auto", "control runs")
        gateway.write(gateway.config.read_text().replace("kp = 10", "kp = 20"))
        heard = len(plant.valve.heard)
        gateway.signal(signal.SIGHUP)
        until(lambda: gateway.lines("configuration.applied"), "the reload")
        until(lambda: mode(gateway, "valve") == "auto", "control goes on")
        assert all(abs(position - 30) < 2 for position in plant.valve.heard[heard:]), "and no last will is heard"
        gateway.kill()
        until(lambda: plant.valve.heard and plant.valve.heard[-1] == 7, "the last will")
