"""The gateway as a Sparkplug host behind real brokers, and an edge node that answers it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import pytest
import uvloop

from gateway.core.types import NS_PER_MS, NS_PER_S, Kind, Quality
from gateway.settings.schema import MqttPoint, MqttSession, MqttVersion, Report, SparkplugHost, Tag
from tests.support.brokers import Broker, mosquitto, nats
from tests.support.mqtt import WALL_OFFSET_NS, Rig, ScriptedBroker, link, publisher, running, until
from tests.support.sparkplug import EdgeNode, Payload

V311, V5 = MqttVersion.V311, MqttVersion.V5
FORCE = {"name": "Force", "alias": 10, "value": 1_500.0, "timestamp": None}
HOST = MqttSession(sparkplug=SparkplugHost(host_id="scada-1", reorder_ns=NS_PER_S // 5))
STATE = "spBv1.0/STATE/scada-1"
TAG = Tag(
    name="press.force",
    device="press",
    point=MqttPoint(sparkplug=("plant", "edge", "press"), metric="Force"),
    kind=Kind.F64,
    windows_ns=(),
    stale_after_ns=NS_PER_S,
)


def test_metrics_are_reported_by_exception_and_clamped_like_other_tags(tmp_path: Path) -> None:
    point = MqttPoint(
        sparkplug=("plant", "edge", "press"),
        metric="Force",
        clamp_high=1_800.0,
        report=Report(change=99.0, heartbeat_ns=3_600 * NS_PER_S),
    )
    edge = EdgeNode()

    async def scenario(port: int) -> None:
        async with (
            publisher(port) as client,
            running(Rig(link(port), [msgspec.structs.replace(TAG, point=point)])) as rig,
        ):
            await until(lambda: rig.is_connected, "connected")
            for topic, payload in (edge.nbirth(), edge.dbirth("press", FORCE)):
                await client.publish(topic.decode(), payload)
            for value in (1_501.0, 1_650.0, 1_660.0, 2_000.0, 3_000.0):
                topic, payload = edge.data("press", {"alias": 10, "value": value, "timestamp": None})
                await client.publish(topic.decode(), payload)
            topic, payload = edge.ndeath()
            await client.publish(topic.decode(), payload, qos=1)
            await until(lambda: rig.qualities(0)[-1] == int(Quality.BAD_NOT_CONNECTED), "its death")
            assert rig.good(0) == [1_500.0, 1_650.0, 1_800.0]
            assert rig.reading("unchanged_samples_total") == 3
            assert rig.reading("fast_messages_total") == 5

    with mosquitto(tmp_path) as broker:
        uvloop.run(scenario(broker.port))


@pytest.mark.parametrize(
    ("start", "version"),
    [
        pytest.param(mosquitto, V311, id="mosquitto-3.1.1"),
        pytest.param(mosquitto, V5, id="mosquitto-5"),
        pytest.param(nats, V311, id="nats-3.1.1"),
    ],
)
def test_an_edge_node_is_asked_for_its_births_and_followed_until_its_death(
    tmp_path: Path, start: Callable[[Path], Broker], version: MqttVersion
) -> None:
    edge = EdgeNode()
    states: list[dict[str, Any]] = []

    async def answer(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            if str(message.topic) == STATE:
                states.append(json.loads(message.payload))  # type: ignore[arg-type]
            elif Payload.FromString(message.payload).metrics[0].boolean_value:
                for topic, payload in (edge.nbirth(), edge.dbirth("press", FORCE)):
                    await client.publish(topic.decode(), payload)

    async def scenario(port: int) -> None:
        async with publisher(port, version) as client:
            await client.subscribe(STATE, qos=1)
            await client.subscribe("spBv1.0/plant/NCMD/edge", qos=0)
            answering = asyncio.create_task(answer(client))
            async with running(Rig(link(port, version=version, session=HOST), [TAG])) as rig:
                await until(lambda: rig.is_connected, "connected")
                await until(lambda: bool(states), "its STATE")
                assert states[-1]["online"] is True
                assert abs(states[-1]["timestamp"] * NS_PER_MS - WALL_OFFSET_NS - rig.source._now_ns()) < 60 * NS_PER_S
                await until(lambda: rig.good(0) == [1_500.0], "the births that it asks for")
                topic, payload = edge.data("press", {"alias": 10, "value": 2_000.0, "timestamp": None})
                await client.publish(topic.decode(), payload)
                await until(lambda: rig.good(0) == [1_500.0, 2_000.0], "its data")
                assert rig.reading("fast_messages_total") >= 1
                topic, payload = edge.ndeath()
                await client.publish(topic.decode(), payload, qos=1)
                await until(lambda: rig.qualities(0)[-1] == int(Quality.BAD_NOT_CONNECTED), "its death")
                await client.publish(STATE, json.dumps({"online": False, "timestamp": 1}), qos=1, retain=True)
                await until(lambda: len(states) >= 3 and states[-1]["online"] is True, "its objection")
            await until(lambda: states[-1]["online"] is False, "its goodbye")
            answering.cancel()

    with start(tmp_path) as broker:
        uvloop.run(scenario(broker.port))


@pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])
def test_each_session_is_clean_subscribes_first_and_then_publishes_its_state(version: MqttVersion) -> None:
    """tck-id-message-flow-phid-sparkplug-clean-session-311, -clean-session-50, -subscription;
    tck-id-host-topic-phid-birth-sub-required; tck-id-payloads-state-subscribe;
    tck-id-operational-behavior-primary-application-state-with-multiple-servers-state."""
    is_v5 = version is V5
    connack = b"\x20\x03\x00\x00\x00" if is_v5 else b"\x20\x02\x00\x00"

    async def scenario() -> None:
        broker = ScriptedBroker(connack=connack)
        broker.answers_all = True
        async with broker.serving(), running(Rig(link(broker.port, version=version, session=HOST), [TAG])):
            for _ in range(2):
                await until(lambda: any(first & 0xF0 == 0x30 for first, _ in broker.packets), "its STATE")
                (connect, body), *others = broker.packets
                assert connect == 0x10
                assert body[7] & 0x02, "clean session, or clean start"
                # Version, flags and keep-alive are followed by the properties.
                assert not is_v5 or b"\x11\x00\x00\x00\x00" in body[11 : 11 + body[10]], "expiry 0"
                published = next(place for place, (first, _) in enumerate(others) if first & 0xF0 == 0x30)
                before = [first for first, _ in others[:published]]
                assert set(before) == {0x82}
                asked = b"".join(body for _, body in others[:published])
                assert STATE.encode() in asked
                assert b"spBv1.0/plant/DDATA/edge/+" in asked
                first, body = others[published]
                assert (first & 0x06, first & 0x01) == (0x02, 0x01), "QoS 1, retained"
                assert body[2 : 2 + len(STATE)].decode() == STATE
                assert 0x82 not in [first for first, _ in others[published:]]
                broker.packets.clear()
                broker.drop()

    uvloop.run(asyncio.wait_for(scenario(), 20.0))


def test_a_host_that_is_killed_is_told_offline_by_the_broker(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        async with publisher(port) as client:
            await client.subscribe(STATE, qos=1)
            async with running(Rig(link(port, session=HOST), [TAG])) as rig:
                await until(lambda: rig.is_connected, "connected")
                session = rig.source._session
                assert session is not None
                assert session._transport is not None
                session._transport.abort()
                seen = []
                async for message in client.messages:
                    seen.append(json.loads(message.payload)["online"])  # type: ignore[arg-type]
                    if seen == [True, False, True]:
                        return

    with mosquitto(tmp_path) as broker:
        uvloop.run(asyncio.wait_for(scenario(broker.port), 15.0))
