"""Reloads under load: devices that a change is not about lose no sample and no connection, also where rows move."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.core.types import Quality
from gateway.mqttclient import Client
from hil.ports import free_port
from tests.support import brokers
from tests.support.daemon import FarEnd, Gateway, Outside, publish, until
from tests.support.modbus import Asked, ScriptedServer, good, scripted

EVERY_S = 0.01
PLANT = """
[gateway]
id = "plant"
state_dir = "state"

[defaults]
every = "20ms"
windows = ["2s"]

[http]
listen = "127.0.0.1:<http>"

[uplink.cloud]
mqtt = "mqtt://127.0.0.1:<broker>"
streams = ["events", "samples"]
samples_every = "100ms"

[links.changing]
modbus_tcp = "127.0.0.1:<changing>"

[links.steady]
modbus_tcp = "127.0.0.1:<steady>"

[links.line]
modbus_tcp = "127.0.0.1:<line>"
keep_open = false

[links.floor]
mqtt = "mqtt://127.0.0.1:<broker>"

[devices.changing]
link = "changing"
unit = 1
<changing tags>

[devices.steady]
link = "steady"
unit = 1
tags.count = { register = "holding 0" }

[devices.line]
link = "line"
unit = 1
tags.count = { register = "holding 0" }

[devices.mixer]
link = "floor"
topic = "plant/{device}/{tag}"
<mixer tags>

[devices.machine]
link = "floor"
topic = "plant/{device}/{tag}"
tags.count = { field = "value" }
"""
APPEARING = """
[links.hall]
mqtt = "mqtt://127.0.0.1:<broker>"
client_id = "hall"

[topics.hall]
link = "hall"
match = ["hall/{device}/{tag}"]
limit = 10
type = "int64"
"""
STEADY = ("steady.count", "line.count", "machine.count")
TAGS = {
    "one": 'tags.speed = { register = "holding 0" }',
    "three": "\n".join(f'tags.{name} = {{ register = "holding {at}" }}' for at, name in enumerate("abc")),
    "other": 'tags.speed = { register = "holding 1", scale = 0.1 }',
}
MIXERS = {
    "one": 'tags.speed = { field = "value" }',
    "two": 'tags.speed = { field = "value" }\ntags.load = { field = "value" }',
    "other": 'tags.load = { field = "value", scale = 2.0 }',
}
ROUND = ("three", "other", "one", "three", "one", "other")


@dataclass
class Counting:
    """Answers each read with the number of reads before it."""

    reads: int = 0
    server: ScriptedServer = field(default_factory=lambda: ScriptedServer({}))

    async def answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(asked.reply(data=self.reads.to_bytes(2, "big")))
        self.reads += 1


@dataclass
class World:
    outside: Outside
    broker_port: int
    changing: ScriptedServer
    steady: Counting
    line: Counting

    def text(self, tags: str, mixer: str = "one") -> str:
        ports = {
            "broker": self.broker_port,
            "changing": self.changing.port,
            "steady": self.steady.server.port,
            "line": self.line.server.port,
        }
        text = PLANT.replace("<changing tags>", TAGS[tags]).replace("<mixer tags>", MIXERS[mixer])
        for name, port in ports.items():
            text = text.replace(f"<{name}>", str(port))
        return text


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with brokers.mosquitto(tmp_path) as broker, Outside() as outside:
        stack = AsyncExitStack()
        steady, line = Counting(), Counting()

        async def begin() -> ScriptedServer:
            for each in (steady, line):
                each.server = await stack.enter_async_context(scripted({1: each.answer}))
            return await stack.enter_async_context(scripted({1: good}))

        changing = outside.run(begin())
        outside.spawn(publish(broker.port, "plant/machine/count", numbered, every_s=EVERY_S))
        yield World(outside, broker.port, changing, steady, line)
        outside.run(stack.aclose())


def numbered(number: int) -> bytes:
    return json.dumps({"value": number}).encode()


def values_of(records: list[dict[str, object]], name: str) -> list[float]:
    """A tag's good values in these records, in their order."""
    found = []
    for record in records:
        tags, places, values = record.get("tags"), record.get("tag"), record.get("value")
        if isinstance(tags, list) and isinstance(places, list) and isinstance(values, list):
            found += [value for place, value in zip(places, values, strict=True) if tags[place] == name]
    return [value for value in found if value is not None]


def reload(gateway: Gateway, text: str) -> None:
    """Until the steady devices bring samples to the new plant."""
    before, turns = gateway.device_samples(), len(gateway.lines("configuration.applied"))
    gateway.write(text)
    gateway.signal(signal.SIGHUP)
    until(lambda: len(gateway.lines("configuration.applied")) > turns, "it is applied")
    steady = [name.partition(".")[0] for name in STEADY]
    until(lambda: all(gateway.device_samples()[name] != before[name] for name in steady), "they bring samples")


def test_devices_that_did_not_change_lose_no_sample_and_no_connection(tmp_path: Path, world: World) -> None:
    far_end = FarEnd(world.outside, tmp_path, broker_port=world.broker_port)
    with Gateway(tmp_path, world.text("one")) as gateway:
        gateway.start()
        until(lambda: all(gateway.quality(name) == Quality.GOOD for name in STEADY), "all are read")
        for tags in ROUND:
            reload(gateway, world.text(tags))
        assert not gateway.lines("configuration.refused")
        assert world.steady.server.connections == 1
        assert len(gateway.lines("link.up", "floor")) == 1
        assert not gateway.lines("link.down")
        assert gateway.terminate() == 0
    far_end.expect_everything()
    records = far_end.records()
    for name, last in (("steady.count", world.steady.reads - 1), ("machine.count", None)):
        values = values_of(records, name)
        assert values == list(range(int(values[0]), int(values[-1]) + 1)), f"{name}: each once, in order"
        assert last is None or last - values[-1] <= 1, "one read may be under way at the end"
    assert "Traceback" not in gateway.text()


def test_a_link_that_is_made_anew_after_rows_have_moved_fills_its_own_tags(tmp_path: Path, world: World) -> None:
    """First tags come in before those of two links, then nothing but these links changes."""
    with Gateway(tmp_path, world.text("one")) as gateway:
        gateway.start()
        until(lambda: all(gateway.quality(name) == Quality.GOOD for name in STEADY), "all are read")
        reload(gateway, world.text("three"))
        text = world.text("three").replace("[links.floor]", '[links.floor]\nclient_id = "another"')
        for link in ("steady", "line"):
            text = text.replace(f"[links.{link}]", f'[links.{link}]\nresponse_timeout = "2s"')
        reload(gateway, text)
        assert gateway.lines("configuration.applied")[-1].message == "restarted: link floor, link line, link steady"
        assert world.steady.server.connections == 2
        before = {name: value_of(gateway, name) for name in STEADY}
        until(lambda: all(value_of(gateway, name) > before[name] for name in STEADY), "each counts on")
        still = {f"changing.{name}": 1000 + at for at, name in enumerate("abc")}
        assert {name: value_of(gateway, name) for name in still} == still, "nobody else's values"


def value_of(gateway: Gateway, name: str) -> float:
    [tag] = [tag for tag in gateway.get("/api/tags")["tags"] if tag["name"] == name]
    return float(tag["value"])


def test_other_devices_of_a_broker_miss_no_message_when_one_changes(tmp_path: Path, world: World) -> None:
    """QoS 0, and no session that the broker would keep: whatever comes while nobody is connected is lost."""
    far_end = FarEnd(world.outside, tmp_path, broker_port=world.broker_port)
    for name in ("speed", "load"):
        world.outside.run(retain(world.broker_port, f"plant/mixer/{name}", numbered(7)))
    with Gateway(tmp_path, world.text("one")) as gateway:
        gateway.start()
        until(lambda: all(gateway.quality(name) == Quality.GOOD for name in STEADY), "all are read")
        for mixer, known in (("two", ("speed", "load")), ("other", ("load",)), ("one", ("speed",)), ("two", ("load",))):
            reload(gateway, world.text("one", mixer))
            until(lambda known=known: all(is_known(gateway, name) for name in known), "retained values are there")
        told = [line.message.partition(" ")[0] for line in gateway.lines("link.up", "floor")]
        assert told == ["connected", *4 * ["still"]]
        assert not gateway.lines("link.down")
        assert gateway.metric("fieldgate_mqtt_reconnects_total", link="floor") == 0
        assert gateway.metric("fieldgate_mqtt_unknown_topic_messages_total", link="floor") == 0
        assert gateway.terminate() == 0
    far_end.expect_everything()
    values = values_of(far_end.records(), "machine.count")
    assert values == list(range(int(values[0]), int(values[-1]) + 1)), "each once, in order"
    assert "Traceback" not in gateway.text()


def test_tags_that_appeared_miss_no_message_when_others_change(tmp_path: Path, world: World) -> None:
    far_end = FarEnd(world.outside, tmp_path, broker_port=world.broker_port)
    hall = APPEARING.replace("<broker>", str(world.broker_port))
    with Gateway(tmp_path, world.text("one") + hall) as gateway:
        gateway.start()
        until(lambda: gateway.lines("link.up", "hall"), "it is connected")
        world.outside.spawn(
            publish(world.broker_port, "hall/door/count", lambda number: b"%d" % number, every_s=EVERY_S)
        )
        until(lambda: gateway.get("/api/tags?search=door.count")["tags"], "it appears")
        for tags in ROUND:
            reload(gateway, world.text(tags) + hall)
        assert [line.message.partition(" ")[0] for line in gateway.lines("link.up", "hall")] == [
            "connected",
            *6 * ["still"],
        ]
        assert gateway.terminate() == 0
    far_end.expect_everything()
    values = values_of(far_end.records(), "door.count")
    assert values == list(range(int(values[-1]) + 1)), "each once, in order, from the first one on"
    assert "Traceback" not in gateway.text()


async def retain(port: int, topic: str, payload: bytes) -> None:
    async with Client("127.0.0.1", port) as client:
        await client.publish(topic, payload, retain=True)


def is_known(gateway: Gateway, name: str) -> bool:
    """A value is there; that nobody says when it was measured makes it an uncertain one."""
    return gateway.quality(f"mixer.{name}") >= Quality.UNCERTAIN


def test_a_reload_that_cannot_start_leaves_sources_as_they_are(tmp_path: Path, world: World) -> None:
    """The new plant finds its register server's address taken; the one that is put back has the same sources."""
    far_end = FarEnd(world.outside, tmp_path, broker_port=world.broker_port)
    with Gateway(tmp_path, world.text("one")) as gateway:
        gateway.start()
        until(lambda: all(gateway.quality(name) == Quality.GOOD for name in STEADY), "all are read")
        taken = f'\n[scada]\nmodbus_tcp = "127.0.0.1:{world.broker_port}"\n'
        gateway.write(world.text("three") + taken)
        gateway.signal(signal.SIGHUP)
        until(lambda: gateway.lines("configuration.refused"), "it is refused")
        gateway.write(world.text("other") + taken.replace(str(world.broker_port), str(free_port())))
        gateway.signal(signal.SIGHUP)
        until(lambda: gateway.lines("configuration.applied"), "it is applied")
        until(lambda: gateway.quality("changing.speed") == Quality.GOOD, "it is read")
        assert world.steady.server.connections == 1
        assert len(gateway.lines("link.up", "floor")) == 1
        assert gateway.terminate() == 0
    far_end.expect_everything()
    for name in ("steady.count", "machine.count"):
        values = values_of(far_end.records(), name)
        assert values == list(range(int(values[0]), int(values[-1]) + 1)), f"{name}: each once, in order"


def test_told_to_leave_in_the_midst_of_a_reload_it_ends_the_reload_first(tmp_path: Path, world: World) -> None:
    far_end = FarEnd(world.outside, tmp_path, broker_port=world.broker_port)
    with Gateway(tmp_path, world.text("one")) as gateway:
        gateway.start()
        until(lambda: all(gateway.quality(name) == Quality.GOOD for name in STEADY), "all are read")
        gateway.write(world.text("three"))
        gateway.signal(signal.SIGHUP)
        until(lambda: "gateway.adopted" in gateway.text(), "it is in the midst of it")
        assert gateway.terminate() == 0
        assert gateway.lines("configuration.applied")
        assert "Traceback" not in gateway.text()
    far_end.expect_everything()
    values = values_of(far_end.records(), "machine.count")
    assert values == list(range(int(values[0]), int(values[-1]) + 1)), "each once, in order"
