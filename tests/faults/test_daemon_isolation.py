"""Three devices at fault beside healthy ones: nobody else notices, and whoever is on call can see what it is.

Healthy, then at fault, then healthy again: a silent Modbus unit with a neighbour on its own connection, a device that
sends what is not Modbus, and an MQTT client whose payloads cannot be read.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.core.types import Quality
from tests.support import brokers
from tests.support.daemon import Gateway, Outside, publish, until
from tests.support.modbus import Answer, Asked, ScriptedServer, good, scripted, silent

CONFIG = """
[gateway]
id = "plant"
state_dir = "state"

[defaults]
every = "50ms"
windows = ["2s"]

[links.shared]
modbus_tcp = "127.0.0.1:{shared}"
response_timeout = "300ms"

[links.broken]
modbus_tcp = "127.0.0.1:{broken}"

[links.sound]
modbus_tcp = "127.0.0.1:{sound}"

[links.floor]
mqtt = "mqtt://127.0.0.1:{broker}"

[devices.mute]
link = "shared"
unit = 1
tags.value = {{ register = "holding 0" }}

[devices.neighbour]
link = "shared"
unit = 2
tags.value = {{ register = "holding 0" }}

[devices.babbler]
link = "broken"
unit = 1
tags.value = {{ register = "holding 0" }}

[devices.sound]
link = "sound"
unit = 1
tags.value = {{ register = "holding 0" }}

[devices.sensor]
link = "floor"
topic = "plant/{{device}}/{{tag}}"
tags.value = {{ field = "value" }}

[devices.scribbler]
link = "floor"
topic = "plant/{{device}}/{{tag}}"
tags.value = {{ field = "value" }}

[http]
listen = "127.0.0.1:<http>"
"""
EVERY_S = 0.05
RATE = 1 / EVERY_S
WATCHED_S = 4.0
RECOVERY_S = 25.0
AT_FAULT = ("mute", "babbler", "scribbler")
HEALTHY = ("neighbour", "sound", "sensor")


async def garbage(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" + bytes(range(256)))


class World:
    """All the peers; `at_fault` and `in_order` switch the three."""

    def __init__(self, shared: ScriptedServer, broken: ScriptedServer, sound: ScriptedServer, broker_port: int) -> None:
        self.shared, self.broken, self.sound = shared, broken, sound
        self.broker_port = broker_port
        self._is_scribbling = False

    def config(self) -> str:
        return CONFIG.format(
            shared=self.shared.port, broken=self.broken.port, sound=self.sound.port, broker=self.broker_port
        )

    def at_fault(self) -> None:
        self._switch(silent, garbage, is_scribbling=True)

    def in_order(self) -> None:
        self._switch(good, good, is_scribbling=False)

    def _switch(self, mute: Answer, babbler: Answer, *, is_scribbling: bool) -> None:
        self.shared.answers[1] = mute
        self.broken.answers[1] = babbler
        self._is_scribbling = is_scribbling

    def reading(self, number: int) -> bytes:
        return json.dumps({"value": number % 100}).encode()

    def scribble(self, number: int) -> bytes:
        return b'{"value": 12, "v\xff' if self._is_scribbling else self.reading(number)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with brokers.mosquitto(tmp_path) as broker, Outside() as outside:
        stack = AsyncExitStack()

        async def open_peers() -> list[ScriptedServer]:
            return [await stack.enter_async_context(scripted({1: good, 2: good})) for _ in range(3)]

        world = World(*outside.run(open_peers()), broker.port)
        for device, payload in (("sensor", world.reading), ("scribbler", world.scribble)):
            outside.spawn(publish(broker.port, f"plant/{device}/value", payload, every_s=EVERY_S))
        yield world
        outside.run(stack.aclose())


def rates(gateway: Gateway) -> dict[str, float]:
    """Samples a second of each device, over WATCHED_S."""
    before, begun_s = gateway.device_samples(), time.monotonic()
    until(lambda: time.monotonic() - begun_s > WATCHED_S, "time passes")
    after, lasted_s = gateway.device_samples(), time.monotonic() - begun_s
    return {device: (after[device] - before[device]) / lasted_s for device in after}


def told(gateway: Gateway) -> Counter[tuple[str, str]]:
    """How often each change was told, by kind and subject."""
    return Counter((line.kind, line.subject) for line in gateway.lines())


def test_faulty_devices_are_seen_and_nobody_else_notices(tmp_path: Path, world: World) -> None:
    with Gateway(tmp_path, world.config()) as gateway:
        gateway.start()
        devices = (*AT_FAULT, *HEALTHY)
        until(lambda: len(gateway.lines("device.good")) == len(devices), "all are read")
        before = told(gateway)

        world.at_fault()
        until(lambda: gateway.quality("mute.value") == Quality.BAD_COMM_FAILURE, "silence shows")
        until(lambda: gateway.quality("babbler.value") == Quality.BAD_NOT_CONNECTED, "garbage shows")
        until(lambda: gateway.quality("scribbler.value") == Quality.BAD_SENSOR_FAILURE, "an unreadable payload shows")
        until(lambda: gateway.lines("unit.silent"), "the silence is told")
        during = rates(gateway)

        for device in HEALTHY:
            assert 0.85 * RATE < during[device] < 1.1 * RATE, during
            assert gateway.quality(f"{device}.value") == Quality.GOOD
        assert gateway.metric("fieldgate_modbus_timeouts_total", link="shared") >= 3
        assert gateway.metric("fieldgate_modbus_device_up", device="mute") == 0
        assert gateway.metric("fieldgate_modbus_device_up", device="neighbour") == 1
        assert gateway.metric("fieldgate_modbus_protocol_errors_total", link="broken") >= 2, "it was tried again"
        assert gateway.metric("fieldgate_modbus_protocol_errors_total", link="sound") == 0
        unreadable = gateway.metric("fieldgate_mqtt_unusable_messages_total", link="floor")
        assert unreadable > 0.85 * RATE * WATCHED_S
        until(lambda: len(gateway.lines("device.bad")) == len(AT_FAULT), "the devices are told")
        assert told(gateway) - before == {
            ("unit.silent", "mute"): 1,
            ("link.down", "broken"): 1,
            ("payload.unusable", "scribbler"): 1,
            **{("device.bad", device): 1 for device in AT_FAULT},
        }

        before, recoveries = told(gateway), len(gateway.lines("device.good"))
        world.in_order()
        until(lambda: len(gateway.lines("device.good")) >= recoveries + len(AT_FAULT), "all recover", RECOVERY_S)
        assert all(gateway.quality(f"{device}.value") == Quality.GOOD for device in devices)
        until(lambda: gateway.lines("link.up", "broken")[1:], "the link is told")
        assert told(gateway) - before == {
            ("unit.answers", "mute"): 1,
            ("link.up", "broken"): 1,
            ("payload.usable", "scribbler"): 1,
            **{("device.good", device): 1 for device in AT_FAULT},
        }
        recovered = rates(gateway)
        assert all(rate > 0.85 * RATE for rate in recovered.values()), recovered
        assert gateway.terminate() == 0
