"""Delivery through real brokers."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
from pathlib import Path

import pytest
import uvloop

from gateway.core.events import Event
from gateway.core.ports import LinkDown, Verdict
from gateway.core.record import Identity, Stream
from gateway.settings.schema import MqttVersion
from gateway.upstreams.mqtt import connect
from hil.ports import free_port
from tests.support.spool import draft, running_spool, value_of
from tests.support.spool_brokers import Broker, mosquitto, nats
from tests.support.uplink import TOPIC, Consumer, address, delivery_to, running, until

AHEAD_MAX = 300
"""Records made that the far end does not have yet."""
PATIENCE_NS = 20_000_000_000
"""Of who hears of a broken connection at once, and need not guess it from a silence."""


def in_order(keys: list[tuple[str, int, int]]) -> bool:
    """Whether sequences only rise within each segment."""
    latest: dict[tuple[str, int], int] = {}
    for stream, segment, sequence in keys:
        if sequence <= latest.get((stream, segment), 0):
            return False
        latest[stream, segment] = sequence
    return True


@pytest.mark.parametrize("version", list(MqttVersion))
def test_every_record_arrives_in_order_through_mosquitto(tmp_path: Path, version: MqttVersion) -> None:
    async def scenario(broker: Broker) -> None:
        events: list[Event] = []
        consumer = Consumer(broker.port, tmp_path / "far.db")
        with running_spool(tmp_path / "spool.db", events) as spool:
            delivery = delivery_to(address(broker.port, version=version), spool, events)
            async with running(consumer.run(), delivery.run()):
                await consumer.subscribed.wait()
                for number in range(150):
                    spool.put(draft(number))
                    spool.put(draft(number, stream=Stream.EVENTS))
                await until(lambda: consumer.receiver.summary().received >= 300 and spool.depth() == 0)
        assert in_order(consumer.first_arrivals)
        assert consumer.receiver.summary().missing == 0
        assert [event.kind for event in events] == ["uplink.up"]

    with mosquitto(tmp_path, "allow_anonymous true") as broker:
        uvloop.run(scenario(broker))


def test_a_broker_killed_in_mid_stream_costs_neither_a_loss_nor_a_second_copy(tmp_path: Path) -> None:
    # NATS, for its JetStream is on disk when it acknowledges; Mosquitto loses its queue when killed.
    async def scenario(broker: Broker) -> None:
        events: list[Event] = []
        consumer = Consumer(broker.port, tmp_path / "far.db")

        async def produce() -> None:
            # No faster than disk, server and far end together: that the spool sheds, or a redelivery begins
            # because something is slow, is not what happens here.
            for number in itertools.count():
                await until(lambda made=number: made < len(consumer.first_arrivals) + AHEAD_MAX)  # type: ignore[misc]
                spool.put(draft(number))
                await asyncio.sleep(0.001)

        with running_spool(tmp_path / "spool.db", events) as spool:
            delivery = delivery_to(
                address(broker.port),
                spool,
                events,
                drain_records_per_s=1_000,
                acknowledge_timeout_ns=PATIENCE_NS,
            )
            async with running(consumer.run(), delivery.run()):
                await consumer.subscribed.wait()
                async with running(produce()):
                    for kill in (1, 2):
                        await until(lambda least=kill * 150: len(consumer.first_arrivals) > least)  # type: ignore[misc]
                        broker.kill()
                        await until(lambda least=kill: sum(e.kind == "uplink.down" for e in events) == least)  # type: ignore[misc]
                        await asyncio.to_thread(broker.start)
                        await until(lambda most=kill: sum(e.kind == "uplink.up" for e in events) > most)  # type: ignore[misc]
                    await until(lambda: len({segment for _, segment, _ in consumer.first_arrivals}) >= 3)
                await spool.flush()
                await until(lambda: spool.depth() == 0, seconds=30)
                made = int(value_of(spool, "fieldgate_spool_produced_records_total"))
                await until(lambda: consumer.receiver.summary().received == made)
                summary = consumer.receiver.summary()
        assert (summary.missing, summary.segments_unseen, summary.dropped_by_sender) == (0, (), 0)
        # Each outage closed one segment, which was complete at the far end and forgotten; one may be open.
        assert summary.segments_incomplete <= 1
        assert len(consumer.first_arrivals) == len(set(consumer.first_arrivals)) == made
        assert all(len(copies) == 1 for copies in consumer.bodies.values()), "a resend was not byte-identical"
        assert [event.kind for event in events] == ["uplink.up", *["uplink.down", "uplink.up"] * 2]
        readings = {reading.name: reading for reading in delivery.readings()}
        assert readings["fieldgate_uplink_outages_total"].value == 2  # type: ignore[union-attr]
        assert readings["fieldgate_uplink_outage_seconds_total"].value > 0  # type: ignore[union-attr]

    with nats(tmp_path) as broker:
        uvloop.run(scenario(broker))


def test_a_silent_broker_is_left_and_nothing_is_lost(tmp_path: Path) -> None:
    async def scenario(broker: Broker) -> None:
        events: list[Event] = []
        consumer = Consumer(broker.port, tmp_path / "far.db")
        with running_spool(tmp_path / "spool.db", events) as spool:
            delivery = delivery_to(address(broker.port), spool, events, acknowledge_timeout_ns=500_000_000)
            async with running(consumer.run(), delivery.run()):
                await consumer.subscribed.wait()
                spool.put(draft(0))
                await until(lambda: spool.depth() == 0 and len(consumer.first_arrivals) > 0)
                broker.freeze()
                for number in range(1, 40):
                    spool.put(draft(number))
                await until(lambda: any("no acknowledgement for 0.5 s" in event.message for event in events))
                broker.thaw()
                await until(lambda: len(consumer.bodies) >= 40 and spool.depth() == 0)
                made = value_of(spool, "fieldgate_spool_produced_records_total")
                await until(lambda: consumer.receiver.summary().received == made)
                assert consumer.receiver.summary().missing == 0
        assert [event.kind for event in events] == ["uplink.up", "uplink.down", "uplink.up"]

    with mosquitto(tmp_path, "allow_anonymous true") as broker:
        uvloop.run(scenario(broker))


def test_live_records_do_not_wait_for_the_backlog(tmp_path: Path) -> None:
    async def scenario(broker: Broker) -> None:
        consumer = Consumer(broker.port, tmp_path / "far.db")
        with running_spool(tmp_path / "spool.db", []) as spool:
            for number in range(300):
                spool.put(draft(number))
            await spool.flush()
            delivery = delivery_to(address(broker.port), spool, [], drain_records_per_s=50)
            async with running(consumer.run()):
                await consumer.subscribed.wait()
                started = asyncio.get_running_loop().time()
                async with running(delivery.run()):
                    await until(lambda: len(consumer.first_arrivals) >= 10)
                    spool.put(draft(1_000))
                    await until(lambda: len({segment for _, segment, _ in consumer.first_arrivals}) == 2)
                    took = asyncio.get_running_loop().time() - started
                drained = len(consumer.first_arrivals) - 1
        assert drained < 150
        assert drained <= 50 * took + 5, "the backlog went faster than the set pace"

    with mosquitto(tmp_path, "allow_anonymous true") as broker:
        uvloop.run(scenario(broker))


def test_a_mqtt5_broker_that_denies_a_topic_does_not_pass_for_an_acknowledgement(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic write elsewhere/#\n")

    async def scenario(broker: Broker) -> Verdict:
        uplink = address(broker.port, version=MqttVersion.V5)
        async with connect(uplink, topic=TOPIC, acknowledge_timeout_ns=2_000_000_000) as upstream:
            return await upstream.send(Identity("plant", "samples", 0, 1), b"{}")

    with mosquitto(tmp_path, "allow_anonymous true", f"acl_file {acl}") as broker:
        assert uvloop.run(scenario(broker)) is Verdict.RETRY


def test_a_record_above_the_brokers_limit_is_rejected_and_the_others_go_on(tmp_path: Path) -> None:
    async def scenario(broker: Broker) -> None:
        events: list[Event] = []
        consumer = Consumer(broker.port, tmp_path / "far.db")
        with running_spool(tmp_path / "spool.db", events) as spool:
            delivery = delivery_to(address(broker.port, version=MqttVersion.V5), spool, events)
            async with running(consumer.run(), delivery.run()):
                await consumer.subscribed.wait()
                for samples in (3, 3_000, 3):
                    spool.put(draft(samples, samples=samples))
                await until(lambda: consumer.receiver.summary().dropped_by_sender == 1 and spool.depth() == 0)
                summary = consumer.receiver.summary()
        assert (summary.missing, summary.dropped_by_sender) == (0, 1)
        assert [event.kind for event in events] == ["uplink.up", "uplink.rejected"]

    with mosquitto(tmp_path, "allow_anonymous true", "max_packet_size 4000") as broker:
        uvloop.run(scenario(broker))


def test_a_burst_larger_than_the_brokers_receive_maximum_is_held_back(tmp_path: Path) -> None:
    async def scenario(broker: Broker) -> list[Verdict]:
        uplink = address(broker.port, version=MqttVersion.V5)
        async with connect(uplink, topic=TOPIC, acknowledge_timeout_ns=5_000_000_000) as upstream:
            sends = [upstream.send(Identity("plant", "samples", 0, n), b"{}") for n in range(1, 41)]
            return await asyncio.gather(*sends)

    with mosquitto(tmp_path, "allow_anonymous true", "max_inflight_messages 3") as broker:
        assert set(uvloop.run(scenario(broker))) == {Verdict.ACCEPTED}


async def refusal(broker: object, **more: object) -> LinkDown:
    try:
        async with connect(broker, topic=TOPIC, acknowledge_timeout_ns=1_000_000_000):  # type: ignore[arg-type]
            raise AssertionError("it should have been refused")
    except LinkDown as down:
        return down


def test_a_broker_that_is_not_there_is_named_with_a_remedy() -> None:
    port = free_port()
    down = uvloop.run(refusal(address(port)))
    assert f"mqtt://127.0.0.1:{port}" in down.reason
    assert down.remedy == "check that the broker runs and listens on this port"


@pytest.mark.parametrize("version", list(MqttVersion))
def test_the_password_is_read_from_its_file(tmp_path: Path, version: MqttVersion) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "gw", "right"], check=True, capture_output=True)
    secret = tmp_path / "secret"

    async def scenario(broker: Broker) -> None:
        uplink = address(broker.port, version=version, username="gw", password_file=secret)
        assert "cannot use the password file" in (await refusal(uplink)).reason
        secret.write_text("wrong\n")
        down = await refusal(uplink)
        assert "refused us" in down.reason
        assert "password_file" in down.remedy
        secret.write_text("right\n")
        async with connect(uplink, topic=TOPIC, acknowledge_timeout_ns=2_000_000_000) as upstream:
            assert await upstream.send(Identity("plant", "samples", 0, 1), b"{}") is Verdict.ACCEPTED

    with mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}") as broker:
        uvloop.run(scenario(broker))


def test_tls_is_spoken_and_a_stranger_certificate_refused(tmp_path: Path) -> None:
    for name in ("ours", "strangers"):
        subprocess.run(
            f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=broker"
            f" -addext subjectAltName=IP:127.0.0.1 -keyout {name}.key -out {name}.pem".split(),
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )

    async def scenario(broker: Broker) -> None:
        stranger = await refusal(address(broker.port, tls=True, ca_file=tmp_path / "strangers.pem"))
        assert stranger.remedy == "check ca_file, and that the certificate names this host"
        assert (
            "cannot use the CA file" in (await refusal(address(broker.port, tls=True, ca_file=tmp_path / "no"))).reason
        )
        uplink = address(broker.port, tls=True, ca_file=tmp_path / "ours.pem")
        async with connect(uplink, topic=TOPIC, acknowledge_timeout_ns=2_000_000_000) as upstream:
            assert await upstream.send(Identity("plant", "samples", 0, 1), b"{}") is Verdict.ACCEPTED

    lines = [f"certfile {tmp_path / 'ours.pem'}", f"keyfile {tmp_path / 'ours.key'}"]
    with mosquitto(tmp_path, "allow_anonymous true", *lines) as broker:
        uvloop.run(scenario(broker))
