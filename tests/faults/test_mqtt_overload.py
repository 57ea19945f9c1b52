"""More comes by MQTT than the engine takes, behind real brokers: the least important is left out, the rest waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from gateway.protocol.mqtt.codec import encode_connect
from gateway.protocol.mqtt.codes import V311
from gateway.settings.schema import MqttSession, MqttVersion, Priority
from tests.support.brokers import Broker, mosquitto, nats
from tests.support.mqtt import Rig, ScriptedBroker, link, message, publisher, running, tag, until

V5 = MqttVersion.V5
TICK_S = 0.01
TAKEN = 200
"""Samples that the engine takes in a tick: 20,000 a second."""


async def flood(port: int, ticks: int, chunk: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(encode_connect(version=V311, client_id="flood", clean_start=True, keep_alive_s=0))
    await reader.readexactly(4)
    due_s = asyncio.get_running_loop().time()
    for _ in range(ticks):
        writer.write(chunk)
        await writer.drain()
        due_s += TICK_S
        await asyncio.sleep(due_s - asyncio.get_running_loop().time())
    writer.close()


@pytest.mark.parametrize("start", [nats, pytest.param(mosquitto, marks=pytest.mark.slow)])
def test_an_engine_that_takes_half_of_what_comes_gets_the_important_half(
    tmp_path: Path, start: Callable[[Path], Broker]
) -> None:
    ticks = 200
    names = [*["low"] * 2, *["normal"] * 2, "high"]
    chunk = b"".join(message(name, b"%d" % n) for n in range(100) for name in names)
    sent = {name: names.count(name) * 100 * ticks for name in dict.fromkeys(names)}

    async def scenario(port: int) -> None:
        tags = [tag(f"a.{priority}", str(priority), priority=priority) for priority in Priority]
        rig = Rig(link(port), tags, lane_samples=2_000)
        async with running(rig):
            await until(lambda: rig.is_connected, "connected")
            flooding = asyncio.create_task(flood(port, ticks, chunk))
            while not flooding.done() or len(rig.lane):
                rig.take(TAKEN)
                await asyncio.sleep(TICK_S)
            await flooding
            shed = rig.reading("shed_messages_total")
            got = {str(priority): len(rig.good(row)) for row, priority in enumerate(Priority)}
            print(f"sent {sent}, got {got}, shed {shed}")
            assert rig.source._ingest.shed_of == [sent[name] - got[name] for name in got] or start is mosquitto
            share = {name: got[name] / sent[name] for name in sent}
            # How much of each is left over depends on how often the machine lets the taker run; the order does not.
            assert share["high"] > share["normal"]
            assert 0.95 * sent["low"] > got["low"]
            assert share["low"] <= share["normal"] + 0.05
            if start is nats:  # Mosquitto leaves out what it likes by itself
                assert sum(got.values()) + shed == sum(sent.values())
            assert rig.lane.dropped == 0
            assert rig.kinds() == ["link.up", "messages.shed"], "told once, and nobody was cut off"

    with start(tmp_path) as broker:
        uvloop.run(scenario(broker.port))


@pytest.mark.parametrize(
    ("start", "version", "qos"),
    [
        (mosquitto, V5, 1),
        (nats, MqttVersion.V311, 2),
        pytest.param(mosquitto, V5, 2, marks=pytest.mark.slow),
        pytest.param(nats, MqttVersion.V311, 1, marks=pytest.mark.slow),
    ],
)
def test_messages_of_qos_1_and_2_wait_at_the_broker_and_none_is_lost(
    tmp_path: Path, start: Callable[..., Broker], version: MqttVersion, qos: int
) -> None:
    count, receive_maximum, lane_samples = 1_200, 20, 100
    extra = {"extra": "max_queued_messages 0"} if start is mosquitto else {}
    session = MqttSession(receive_maximum=receive_maximum)

    async def scenario(port: int) -> None:
        rig = Rig(link(port, version=version, session=session), [tag("a.x", "x", qos=qos)], lane_samples)
        async with running(rig), publisher(port) as client:
            await until(lambda: rig.is_connected, "connected")
            await asyncio.gather(*(client.publish("x", b"%d" % n, qos=qos) for n in range(count)))
            await until(lambda: rig.lane.is_past_mark, "the mark")
            await asyncio.sleep(0.7)  # longer than QoS 0 would wait
            assert rig.reading("shed_messages_total") == 0
            assert rig.reading("messages_total") <= lane_samples
            await until(lambda: len(set(rig.good(0))) == count, "all messages", 30.0)
            assert rig.lane.dropped == 0
            assert rig.kinds() == ["link.up"]
            if start is mosquitto:  # the NATS server repeats what is not acknowledged within its ack_wait
                assert rig.good(0) == [float(n) for n in range(count)]

    with start(tmp_path, **extra) as broker:
        uvloop.run(scenario(broker.port))


def test_what_the_engine_has_no_room_for_is_not_acknowledged_whatever_the_broker_sends() -> None:
    count, lane_samples = 400, 100

    async def scenario() -> None:
        async with ScriptedBroker().serving() as broker:
            rig = Rig(link(broker.port), [tag("a.x", "x", qos=1)], lane_samples)
            async with running(rig):
                await until(lambda: rig.is_connected, "connected")
                before = len(broker.received)
                broker.send(b"".join(message("x", b"%d" % n, qos=1, packet_id=n + 1) for n in range(count)))
                await until(lambda: rig.lane.is_past_mark, "the mark")
                await asyncio.sleep(0.2)
                sent = bytes(broker.received[before:])  # a PUBACK is its type and two bytes of its identifier
                assert set(sent[::3]) == {0x40}
                acknowledged = len(sent) // 3
                assert 0 < acknowledged == rig.reading("messages_total") <= lane_samples
                await until(lambda: len(rig.good(0)) == count, "all messages")
                assert rig.lane.dropped == 0

    uvloop.run(scenario())
