"""MqttSource against real brokers: what is published arrives, by every QoS and version."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import aiomqtt
import numpy as np
import pytest
import uvloop

from gateway.core.types import NS_PER_S, Kind, Quality
from gateway.settings.schema import MqttVersion, Report, Tag
from hil.ports import free_port
from tests.support.brokers import Broker, mosquitto, nats
from tests.support.mqtt import WALL_OFFSET_NS, Rig, ScriptedBroker, link, publisher, running, tag, until

V311, V5 = MqttVersion.V311, MqttVersion.V5
BROKERS = [
    pytest.param(mosquitto, V311, id="mosquitto-3.1.1"),
    pytest.param(mosquitto, V5, id="mosquitto-5"),
    pytest.param(nats, V311, id="nats-3.1.1"),
]


@pytest.mark.parametrize(("start", "version"), BROKERS)
def test_messages_of_every_qos_arrive_once_and_in_order(
    tmp_path: Path, start: Callable[[Path], Broker], version: MqttVersion
) -> None:
    tags = [tag(f"press.q{qos}", f"plant/press/q{qos}", ("v",), qos=qos) for qos in (0, 1, 2)]
    wanted = [float(n) for n in range(100)]

    async def scenario(port: int) -> None:
        async with running(Rig(link(port, version=version), tags)) as rig:
            await until(lambda: rig.is_connected, "connected")
            async with publisher(port, version) as client:
                for n in range(100):
                    for qos in (0, 1, 2):
                        await client.publish(f"plant/press/q{qos}", b'{"v": %d}' % n, qos=qos)
            for row in range(3):
                await until(lambda row=row: len(rig.good(row)) >= 100, f"100 messages of QoS {row}")
                assert rig.good(row) == wanted
            assert rig.kinds() == ["link.up"]
            assert rig.reading("messages_total") == 300
            assert rig.reading("fast_messages_total") == 300
            assert rig.reading("samples_total") == 300

    with start(tmp_path) as broker:
        uvloop.run(scenario(broker.port))


def test_it_runs_on_the_plain_event_loop_too(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        async with running(Rig(link(port), [tag("press.force", "force")])) as rig, publisher(port) as client:
            await until(lambda: rig.is_connected, "connected")
            await client.publish("force", b"21.5")
            await until(lambda: rig.good(0) == [21.5], "the message")

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


def test_one_topic_feeds_several_tags_and_brings_their_time(tmp_path: Path) -> None:
    topic, stamp = "line/1", ("at",)
    tags = [
        tag("line.speed", topic, ("speed",), time_field=stamp),
        tag("line.count", topic, ("count",), time_field=stamp, kind=Kind.I64),
        tag("line.deep", "line/2", ("a", "b"), time_field=stamp),
    ]

    async def scenario(port: int) -> None:
        async with running(Rig(link(port), tags)) as rig, publisher(port) as client:
            await until(lambda: rig.is_connected, "connected")
            at_ms = (time.monotonic_ns() + WALL_OFFSET_NS) // 1_000_000 - 5_000
            await client.publish(topic, b'{"speed": 1.25, "count": 9007199254740993, "at": %d}' % at_ms)
            seconds = at_ms // 1000
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode()
            await client.publish("line/2", b'{"a": {"b": 3}, "at": "%s.%03dZ"}' % (text, at_ms % 1000))
            await until(lambda: len(rig.samples()) == 3, "three samples")
            samples = rig.samples()
            assert samples["value"][0] == 1.25
            assert samples["bits"][1] == 9007199254740993
            assert samples["value"][2] == 3.0
            assert list(samples["source_ns"]) == [at_ms * 1_000_000 - WALL_OFFSET_NS] * 3
            assert rig.reading("times_refused_total") == 0

    with mosquitto(tmp_path) as broker:
        uvloop.run(scenario(broker.port))


@pytest.mark.parametrize(("start", "version"), BROKERS)
def test_a_wrong_password_is_told_in_plain_words_and_once(
    tmp_path: Path, start: Callable[..., Broker], version: MqttVersion
) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong\n")

    async def scenario(port: int) -> None:
        here = link(port, version=version, username="gate", password_file=secret)
        async with running(Rig(here, [tag("press.force", "force")])) as rig:
            await until(lambda: "link.down" in rig.kinds(), "link.down")
            await asyncio.sleep(0.5)  # several more attempts
            assert rig.kinds() == ["link.down"]
            [message] = rig.messages_of("link.down")
            assert "refused" in message
            assert "password_file" in message
            assert rig.qualities(0) == [Quality.BAD_NOT_CONNECTED]
            secret.write_text("right\n")
            await until(lambda: rig.is_connected, "connected with the right password")

    with start(tmp_path, username="gate", password="right") as broker:
        uvloop.run(scenario(broker.port))


def test_a_topic_that_the_broker_refuses_is_named() -> None:
    async def scenario() -> None:
        scripted = ScriptedBroker(connack=b"\x20\x03\x00\x00\x00", suback_codes=b"\x00\x87")
        async with scripted.serving() as broker:
            here = link(broker.port, version=V5)
            async with running(Rig(here, [tag("a.x", "open"), tag("b.x", "secret")])) as rig:
                await until(lambda: rig.is_connected, "connected")
                [message] = rig.messages_of("topic.refused")
                assert "'secret'" in message
                assert "not authorised" in message
                assert rig.qualities(1) == [Quality.BAD_CONFIG]

    uvloop.run(scenario())


@pytest.mark.parametrize(("start", "version"), BROKERS)
def test_only_news_is_passed_on_and_the_rest_is_counted(
    tmp_path: Path, start: Callable[..., Broker], version: MqttVersion
) -> None:
    hour = 3_600 * NS_PER_S
    tags = [
        tag("d.count", "count", report=Report(change=9.5, heartbeat_ns=hour)),
        tag("d.share", "both", ("share",), report=Report(percent=10, heartbeat_ns=hour), clamp=(0.0, 100.0)),
        tag("d.rest", "both", ("rest",)),
        tag("d.held", "held", ("v",), time_field=("t",), report=Report(hold_ns=NS_PER_S, heartbeat_ns=5 * NS_PER_S)),
    ]

    async def scenario(port: int) -> None:
        async with running(Rig(link(port, version=version), tags)) as rig, publisher(port) as client:
            await until(lambda: rig.is_connected, "connected")
            for count in range(21):
                await client.publish("count", b"%d" % count)
            for share in (50, 54, 56, 99, 150, 98, -3):
                await client.publish("both", b'{"share": %d, "rest": 1}' % share)
            began_ms = (time.monotonic_ns() + WALL_OFFSET_NS) // 1_000_000 - 60_000
            for second, value in ((0, 1), (0.5, 2), (1, 2), (2, 2), (5, 2), (6, 2), (3, 7)):
                await client.publish("held", b'{"v": %d, "t": %d}' % (value, began_ms + 1000 * second))
            await until(lambda: len(rig.of(2)) == 7 and len(rig.of(3)) == 4, "all messages")
            assert list(rig.of(0)["value"]) == [0, 10, 20]
            assert list(rig.of(1)["value"]) == [50, 56, 99, 0]
            assert list(rig.of(2)["value"]) == [1] * 7
            assert list(rig.of(3)["value"]) == [1, 2, 2, 7]
            assert list(np.diff(rig.of(3)["source_ns"]) // NS_PER_S) == [1, 5, -3]
            assert rig.reading("unchanged_samples_total") == 21 - 3 + 7 - 4 + 7 - 4
            rig.drop()
            await until(lambda: "link.down" in rig.kinds(), "the connection is lost")
            await until(lambda: rig.is_connected, "connected again")
            await client.publish("count", b"20")
            await until(lambda: len(rig.of(0)) == 5, "a value is passed on again after a lost connection")
            assert rig.qualities(0)[2:] == [Quality.GOOD, Quality.BAD_NOT_CONNECTED, Quality.GOOD]

    with start(tmp_path) as broker:
        uvloop.run(scenario(broker.port))


def test_retained_values_without_a_time_are_not_shown_as_fresh(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        async with publisher(port) as client:
            await client.publish("force", b"21.5", qos=1, retain=True)
            async with running(Rig(link(port), [tag("press.force", "force")])) as rig:
                await until(lambda: len(rig.samples()) == 1, "the retained message")
                assert rig.qualities(0) == [Quality.UNCERTAIN_STALE]
                await client.publish("force", b"22.5", qos=1)
                await until(lambda: rig.good(0) == [22.5], "the fresh message")

    with mosquitto(tmp_path) as broker:
        uvloop.run(scenario(broker.port))


def test_a_password_file_that_is_missing_is_named(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        here = link(port, username="gate", password_file=tmp_path / "absent")
        async with running(Rig(here, [tag("press.force", "force")])) as rig:
            await until(lambda: "link.down" in rig.kinds(), "link.down")
            assert str(tmp_path / "absent") in rig.messages_of("link.down")[0]

    with mosquitto(tmp_path) as broker:
        uvloop.run(scenario(broker.port))


def test_a_port_where_nothing_listens_is_named() -> None:
    port = free_port()

    async def scenario() -> None:
        async with running(Rig(link(port), [tag("press.force", "force")])) as rig:
            await until(lambda: "link.down" in rig.kinds(), "link.down")
            assert f"nothing listens on 127.0.0.1:{port}" in rig.messages_of("link.down")[0]

    uvloop.run(scenario())


def test_a_kept_session_brings_what_was_published_while_away(tmp_path: Path) -> None:
    tags = [tag("press.force", "force", ("v",), time_field=("at",), qos=1)]

    async def scenario(port: int) -> None:
        async with running(Rig(link(port), tags)) as rig:
            await until(lambda: rig.is_connected, "connected")
        async with publisher(port) as client:
            at_s = (time.monotonic_ns() + WALL_OFFSET_NS) // 1_000_000_000 - 60
            await client.publish("force", b'{"v": 7, "at": %d}' % at_s, qos=1)
        async with running(Rig(link(port), tags)) as rig:
            await until(lambda: rig.good(0) == [7.0], "the message of the time between")
            sample = rig.samples()[0]
            assert sample["source_ns"] == at_s * 1_000_000_000 - WALL_OFFSET_NS

    with mosquitto(tmp_path) as broker:
        uvloop.run(scenario(broker.port))


def test_what_an_earlier_configuration_subscribed_to_is_given_back(tmp_path: Path) -> None:
    def tags(topic: str) -> list[Tag]:
        return [tag("press.force", topic, ("v",), time_field=("at",), qos=1)]

    async def scenario(port: int) -> None:
        async with running(Rig(link(port), tags("old"))) as rig:
            await until(lambda: rig.is_connected, "connected")
        async with running(Rig(link(port), tags("new"))) as rig, publisher(port) as client:
            await until(lambda: rig.is_connected, "connected")
            await client.publish("old", b'{"v": 1}', qos=1)
            await until(lambda: rig.reading("unknown_topic_messages_total") == 1, "the leftover")
            for n in range(100):  # a message may overtake the broker's taking it back
                leftover = rig.reading("unknown_topic_messages_total")
                await client.publish("old", b'{"v": 2}', qos=1)
                await client.publish("new", b'{"v": %d}' % n, qos=1)
                await until(lambda n=n: rig.good(0)[-1:] == [n], "the message of the new topic")
                if rig.reading("unknown_topic_messages_total") == leftover:
                    return
            pytest.fail("the broker goes on sending what nobody wants")

    with mosquitto(tmp_path) as broker:
        uvloop.run(scenario(broker.port))


def test_tls_trusts_the_given_authority_and_no_other(tmp_path: Path) -> None:
    ours, others = certificate(tmp_path, "ours"), certificate(tmp_path, "others")

    async def scenario(port: int) -> None:
        async with running(Rig(link(port, ca_file=others), [tag("press.force", "force")])) as rig:
            await until(lambda: "link.down" in rig.kinds(), "link.down")
            assert "is not trusted" in rig.messages_of("link.down")[0]
        async with running(Rig(link(port, ca_file=ours), [tag("press.force", "force")])) as rig:
            await until(lambda: rig.is_connected, "connected")
            async with aiomqtt.Client("127.0.0.1", port, tls_context=ssl.create_default_context(cafile=ours)) as client:
                for n in range(100):
                    await client.publish("force", b"%d" % n)
            await until(lambda: len(rig.good(0)) == 100, "all messages")

    with mosquitto(tmp_path, extra=f"certfile {ours}\nkeyfile {ours.with_suffix('.key')}") as broker:
        uvloop.run(scenario(broker.port))


def test_a_client_certificate_logs_in_and_its_absence_is_named(tmp_path: Path) -> None:
    ours, client = certificate(tmp_path, "ours"), certificate(tmp_path, "client")
    key = client.with_suffix(".key")
    listener = f"certfile {ours}\nkeyfile {ours.with_suffix('.key')}\ncafile {client}\nrequire_certificate true"

    async def scenario(port: int) -> None:
        tags = [tag("press.force", "force")]
        async with running(Rig(link(port, ca_file=ours), tags)) as rig:
            await until(lambda: "link.down" in rig.kinds(), "link.down")
            assert "cert_file" in rig.messages_of("link.down")[0]
        async with running(Rig(link(port, ca_file=ours, cert_file=client, key_file=tmp_path / "no"), tags)) as rig:
            await until(lambda: "link.down" in rig.kinds(), "link.down")
            assert "cannot use the certificate file" in rig.messages_of("link.down")[0]
        async with running(Rig(link(port, ca_file=ours, cert_file=client, key_file=key), tags)) as rig:
            await until(lambda: rig.is_connected, "connected")

    with mosquitto(tmp_path, extra=listener) as broker:
        uvloop.run(scenario(broker.port))


def certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate for 127.0.0.1, its key beside it."""
    path = folder / f"{name}.pem"
    options = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(path.with_suffix(".key")), "-out", str(path)]
    subprocess.run(["openssl", *options.split(), *files], check=True, capture_output=True)
    return path
