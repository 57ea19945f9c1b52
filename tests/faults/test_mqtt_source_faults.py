"""MqttSource when things go wrong: brokers die, publishers babble, the lane is full, the peer is silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from gateway.core.types import NS_PER_MS, Quality
from gateway.protocol.mqtt.codes import FRAME_BYTES_MAX
from gateway.settings.schema import MqttSession, MqttVersion, Priority
from gateway.sources.mqtt import pressure
from tests.support.brokers import Broker, mosquitto, nats
from tests.support.mqtt import Rig, ScriptedBroker, link, message, publisher, running, tag, until

V5 = MqttVersion.V5


@pytest.mark.parametrize("start", [mosquitto, nats])
def test_a_killed_broker_is_found_again_when_it_returns(tmp_path: Path, start: Callable[[Path], Broker]) -> None:
    async def scenario(broker: Broker) -> None:
        async with running(Rig(link(broker.port), [tag("press.force", "force", qos=1)])) as rig:
            await until(lambda: rig.is_connected, "connected")
            broker.kill()
            await until(lambda: not rig.is_connected, "link.down")
            await asyncio.to_thread(broker.start)
            await until(lambda: rig.is_connected, "connected again")
            async with publisher(broker.port) as client:
                await client.publish("force", b"1.5", qos=1)
                await until(lambda: rig.good(0) == [1.5], "the message after the restart")
            assert rig.qualities(0) == [Quality.BAD_NOT_CONNECTED, Quality.GOOD]
            assert rig.reading("reconnects_total") == 1
            assert rig.kinds()[0] == rig.kinds()[-1] == "link.up"
            assert rig.kinds().count("link.up") == 2

    with start(tmp_path) as broker:
        uvloop.run(scenario(broker))


def test_garbage_of_one_client_neither_slows_nor_spoils_the_others(tmp_path: Path) -> None:
    tags = [tag("good.x", "good/x", ("v",)), tag("evil.x", "evil/x", ("v",)), tag("evil.y", "evil/x", ("w",))]
    garbage = [b"", b"\xff\xfe\x00", b'{"v":', b'{"v": "hot"}', b"[" * 5000, b'{"v": 1e999}', b"NaN", b"x" * 200_000]

    async def scenario(port: int) -> None:
        async with running(Rig(link(port), tags)) as rig, publisher(port) as client:
            await until(lambda: rig.is_connected, "connected")
            for n in range(200):
                await client.publish("evil/x", garbage[n % len(garbage)])
                await client.publish("good/x", b'{"v": %d}' % n)
            await until(lambda: len(rig.good(0)) == 200, "all good messages")
            assert rig.good(0) == [float(n) for n in range(200)]
            assert rig.qualities(0) == [Quality.GOOD] * 200
            assert rig.qualities(1) == [Quality.BAD_SENSOR_FAILURE]
            assert rig.qualities(2) == [Quality.BAD_SENSOR_FAILURE]
            assert rig.reading("unusable_messages_total") == 200
            [told] = rig.messages_of("payload.unusable")
            assert "'evil/x'" in told
            assert "empty" in told

            await client.publish("evil/x", b'{"v": 1, "w": 2}')
            await until(lambda: rig.good(2) == [2.0], "the first usable message")
            assert rig.good(1) == [1.0]
            assert rig.kinds() == ["link.up", "payload.unusable", "payload.usable"]
            assert [event.subject for event in rig.events[1:]] == ["evil", "evil"]

    with mosquitto(tmp_path) as broker:
        uvloop.run(scenario(broker.port))


def test_a_full_lane_holds_the_broker_up_and_loses_nothing() -> None:
    count = 20_000

    async def scenario() -> None:
        scripted = ScriptedBroker()
        async with scripted.serving() as broker:
            rig = Rig(link(broker.port), [tag("press.force", "force")], lane_samples=1_000)
            async with running(rig):
                await until(lambda: rig.is_connected, "connected")
                broker.send(b"".join(message("force", b"%d" % n) for n in range(count)))
                await until(lambda: rig.lane.is_past_mark, "the mark")
                await asyncio.sleep(0.2)
                assert len(rig.lane) <= 1_000
                await until(lambda: len(rig.good(0)) == count, "all messages")
                assert rig.good(0) == [float(n) for n in range(count)]
                assert rig.lane.dropped == 0
                assert rig.reading("paused_seconds_total") >= 0.2
                await until(lambda: not rig.source._session.is_paused, "reading again")
                paused_s = rig.reading("paused_seconds_total")
                broker.send(message("force", b"-1"))
                await until(lambda: rig.good(0)[-1] == -1.0, "one more message")
                assert rig.reading("paused_seconds_total") == paused_s

    uvloop.run(scenario())


def test_a_broker_that_falls_silent_is_given_up() -> None:
    async def scenario() -> None:
        scripted = ScriptedBroker()
        async with (
            scripted.serving() as broker,
            running(Rig(link(broker.port, keep_alive_s=1), [tag("press.force", "force")])) as rig,
        ):
            await until(lambda: rig.is_connected, "connected")
            await until(lambda: b"\xc0" in broker.received, "a ping")
            await asyncio.sleep(1.2)
            assert rig.kinds() == ["link.up"]
            broker.is_silent = True
            await until(lambda: "link.down" in rig.kinds(), "given up")
            assert "silent" in rig.messages_of("link.down")[0]
            broker.is_silent = False
            await until(lambda: broker.connections == 2 and rig.is_connected, "connected again")

    uvloop.run(scenario())


def test_a_quiet_session_outlives_its_keep_alive(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        async with running(Rig(link(port, keep_alive_s=1), [tag("press.force", "force")])) as rig:
            await until(lambda: rig.is_connected, "connected")
            await asyncio.sleep(2.5)  # Mosquitto cuts off after one and a half times the keep-alive
            assert rig.kinds() == ["link.up"]

    with mosquitto(tmp_path) as broker:
        uvloop.run(scenario(broker.port))


def test_the_keep_alive_is_the_brokers_where_it_names_one() -> None:
    async def scenario() -> None:
        broker = ScriptedBroker(connack=b"\x20\x06\x00\x00\x03\x13\x00\x01")
        async with (
            broker.serving(),
            running(Rig(link(broker.port, version=MqttVersion.V5, keep_alive_s=60), [tag("a", "t")])),
        ):
            await until(lambda: 0xC0 in [first for first, _ in broker.packets], "a PINGREQ long before a minute")

    uvloop.run(scenario())


def test_a_message_that_is_too_long_is_skipped_and_acknowledged() -> None:
    async def scenario() -> None:
        scripted = ScriptedBroker()
        async with (
            scripted.serving() as broker,
            running(Rig(link(broker.port), [tag("press.force", "force", qos=1)])) as rig,
        ):
            await until(lambda: rig.is_connected, "connected")
            broker.send(message("force", b" " * (3 * FRAME_BYTES_MAX), qos=1, packet_id=0x4142))
            broker.send(message("force", b"2.5", qos=1, packet_id=0x4344))
            await until(lambda: rig.good(0) == [2.5], "the message behind it")
            assert rig.qualities(0) == [Quality.BAD_SENSOR_FAILURE, Quality.GOOD]
            await until(lambda: broker.received.endswith(b"\x40\x41\x42\x40\x43\x44"), "both acknowledgements")

    uvloop.run(scenario())


def test_a_message_of_qos_2_that_comes_twice_counts_once() -> None:
    async def scenario() -> None:
        scripted = ScriptedBroker()
        async with (
            scripted.serving() as broker,
            running(Rig(link(broker.port), [tag("press.force", "force", qos=2)])) as rig,
        ):
            await until(lambda: rig.is_connected, "connected")
            once = message("force", b"1", qos=2, packet_id=7)
            again = message("force", b"1", qos=2, packet_id=7, flags=8)
            release = b"\x62\x02\x00\x07"
            broker.send(once + again + release + message("force", b"2", qos=2, packet_id=7))
            await until(lambda: len(rig.good(0)) == 2, "both messages")
            assert rig.good(0) == [1.0, 2.0]
            assert rig.reading("duplicate_messages_total") == 1
            acks = b"\x50\x00\x07\x50\x00\x07\x70\x00\x07\x50\x00\x07"
            await until(lambda: broker.received.endswith(acks), "acknowledgements in order")

    uvloop.run(scenario())


def test_a_peer_that_speaks_no_mqtt_is_told_from_a_broker() -> None:
    async def scenario() -> None:
        scripted = ScriptedBroker(connack=b"HTTP/1.1 400 Bad Request\r\n\r\n")
        async with scripted.serving() as broker, running(Rig(link(broker.port), [tag("press.force", "force")])) as rig:
            await until(lambda: "link.down" in rig.kinds(), "link.down")
            assert "does not keep to MQTT" in rig.messages_of("link.down")[0]
            await until(lambda: broker.connections >= 2, "another attempt")

    uvloop.run(scenario())


def test_a_session_that_was_to_begin_anew_and_did_not_is_ended() -> None:
    async def scenario() -> None:
        broker = ScriptedBroker(connack=b"\x20\x03\x01\x00\x00")
        async with broker.serving(), running(Rig(link(broker.port, version=MqttVersion.V5), [tag("a", "t")])) as rig:
            await until(lambda: any("begin anew" in told for told in rig.messages_of("link.down")), "the reason")
            assert not [first for first, _ in broker.packets if first == 0x82], "nothing was asked for"

    uvloop.run(scenario())


def test_a_broker_that_has_moved_is_followed_only_where_that_is_allowed() -> None:
    async def scenario() -> None:
        async with ScriptedBroker(connack=b"\x20\x03\x00\x00\x00").serving() as target:
            there = b"localhost:%d" % target.port
            moved = b"\x00\x9d" + bytes((len(there) + 3,)) + b"\x1c" + len(there).to_bytes(2, "big") + there
            async with ScriptedBroker(connack=b"\x20" + bytes((len(moved),)) + moved).serving() as broker:
                tags = [tag("press.force", "force")]
                async with running(Rig(link(broker.port, version=V5), tags)) as rig:
                    await until(lambda: "link.down" in rig.kinds(), "link.down")
                    assert (
                        f"has moved; set the new address, or follow_redirect; it names {there.decode()}"
                        in (rig.messages_of("link.down")[0])
                    )
                    assert target.connections == 0
                allowed = MqttSession(follow_redirect=True)
                async with running(Rig(link(broker.port, version=V5, session=allowed), tags)) as rig:
                    await until(lambda: rig.is_connected, "connected to where it was sent")
                    assert target.connections == 1
                    assert f"connected to {there.decode()}" in rig.messages_of("link.up")[0]
                    target.drop()
                    await until(lambda: broker.connections >= 3, "the configured broker is asked again")

    uvloop.run(scenario())


def test_a_broker_that_wants_more_than_a_password_is_told_goodbye() -> None:
    async def scenario() -> None:
        scripted = ScriptedBroker(connack=b"\xf0\x0a\x18\x08\x15\x00\x05SCRAM")
        async with (
            scripted.serving() as broker,
            running(Rig(link(broker.port, version=V5), [tag("press.force", "force")])) as rig,
        ):
            await until(lambda: "link.down" in rig.kinds(), "link.down")
            assert "does not have (SCRAM); allow it user and password" in rig.messages_of("link.down")[0]

    uvloop.run(scenario())


def test_a_topic_that_gets_less_than_it_asked_for_is_named() -> None:
    async def scenario() -> None:
        async with (
            ScriptedBroker(suback_codes=b"\x00").serving() as broker,
            running(Rig(link(broker.port), [tag("press.force", "force", qos=2)])) as rig,
        ):
            await until(lambda: rig.is_connected, "connected")
            assert rig.messages_of("topic.lowered") == [
                "topic 'force': it gives QoS 0 instead of 2; lower qos, or allow more in the broker"
            ]

    uvloop.run(scenario())


def test_nothing_is_asked_for_that_the_broker_does_not_offer() -> None:
    connack = b"\x20\x0a\x00\x00\x07\x27\x00\x00\x00\x40\x2a\x00"

    async def scenario() -> None:
        group = MqttSession(shared_group="gates")
        async with (
            ScriptedBroker(connack=connack, suback_codes=b"").serving() as broker,
            running(Rig(link(broker.port, version=V5, session=group), [tag("a.x", "x")])) as rig,
        ):
            await until(lambda: rig.is_connected, "connected")
            assert "shared_group" in rig.messages_of("topic.refused")[0]
            assert not broker.subscribes_bytes
        tags = [tag(f"a.x{n}", f"plant/line/{n}/temperature") for n in range(7)] + [tag("a.y", "y" * 80)]
        async with ScriptedBroker(connack=connack, suback_codes=None).serving() as broker:
            broker.answers_all = True
            async with running(Rig(link(broker.port, version=V5), tags)) as rig:
                await until(lambda: rig.is_connected, "connected")
                [told] = rig.messages_of("topic.refused")
                assert "packet size limit" in told and "yyy" in told
                assert broker.subscribes_bytes and max(broker.subscribes_bytes) <= 64
                assert len(broker.subscribes_bytes) == 4

    uvloop.run(scenario())


def test_while_nobody_empties_the_lane_messages_of_qos_0_are_left_out_the_least_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = 4_000

    async def scenario() -> None:
        async with ScriptedBroker().serving() as broker:
            broker.answers_all = True
            tags = [tag("a.low", "low", priority=Priority.LOW), tag("a.high", "high", priority=Priority.HIGH)]
            rig = Rig(link(broker.port), tags, lane_samples=1_000)
            async with running(rig):
                await until(lambda: rig.is_connected, "connected")
                both = [message("low", b"%d" % n) + message("high", b"%d" % n) for n in range(rounds)]
                broker.send(b"".join(both[:400]))
                await until(lambda: rig.lane.is_past_mark, "the mark")
                broker.send(b"".join(both[400:]))
                await until(lambda: rig.reading("shed_messages_total") >= 2 * rounds - 1_000, "the rest is left out")
                low, high = len(rig.good(0)), len(rig.good(1))
                assert low < high
                assert low + high + rig.reading("shed_messages_total") == 2 * rounds
                assert len(rig.messages_of("messages.shed")) == 1
                monkeypatch.setattr(pressure, "CALM_NS", 200 * NS_PER_MS)
                while rig.good(0)[-1:] != [-1.0]:  # as soon as its debt is paid
                    broker.send(message("low", b"-1"))
                    await asyncio.sleep(0.05)
                await until(lambda: len(rig.messages_of("messages.shed")) == 2, "the end is told")
                assert rig.messages_of("messages.shed")[-1].startswith("messages are taken again")

    uvloop.run(scenario())
