"""The same scenarios against four brokers that share no code: Mosquitto, the NATS server, amqtt and aedes.

MQTT 5 where the broker speaks it, which is Mosquitto. What a broker does not do (keep sessions over its own restart,
know shared subscriptions) is said in the table, not guessed by the scenario.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import uvloop

from gateway.core.types import Quality
from gateway.protocol.mqtt.codes import FRAME_BYTES_MAX
from gateway.settings.schema import MqttLink, MqttSession, MqttVersion
from tests.support.brokers import Broker, aedes, amqtt, mosquitto, nats
from tests.support.mqtt import WALL_OFFSET_NS, Rig, link, running, tag, until

pytestmark = pytest.mark.slow

V311, V5 = MqttVersion.V311, MqttVersion.V5
Where = Callable[..., MqttLink]
USER, PASSWORD = "gate", "right"


@dataclass(frozen=True)
class Kind:
    start: Callable[..., Broker]
    version: MqttVersion = V311
    survives_restart: bool = False
    """Sessions and retained messages outlive the broker's process."""
    has_shared: bool = False
    has_spaces: bool = True
    """Topics may have spaces in them."""
    logs_in: bool = False
    """Keeps sessions only of clients that log in."""
    repeats: bool = True
    """Sends again what was not acknowledged when the session comes back."""

    def __str__(self) -> str:
        return f"{self.start.__name__}-{self.version.value}"


KINDS = [
    Kind(mosquitto, survives_restart=True, has_shared=True),
    Kind(mosquitto, V5, survives_restart=True, has_shared=True),
    Kind(nats, survives_restart=True, has_spaces=False),
    Kind(amqtt, logs_in=True, repeats=False),
    Kind(aedes),
]


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def broker(kind: Kind, tmp_path: Path) -> Iterator[Broker]:
    log_in = {"username": USER, "password": PASSWORD} if kind.logs_in else {}
    with kind.start(tmp_path, **log_in) as running_broker:
        yield running_broker


@pytest.fixture
def here(kind: Kind, broker: Broker, tmp_path: Path) -> Where:
    """A link to the broker of the test."""
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD, encoding="utf-8")
    log_in = {"username": USER, "password_file": secret} if kind.logs_in else {}
    return lambda **more: link(broker.port, version=kind.version, **log_in, **more)


def client_of(kind: Kind, broker: Broker, **more: Any) -> aiomqtt.Client:
    protocol = aiomqtt.ProtocolVersion.V5 if kind.version is V5 else aiomqtt.ProtocolVersion.V311
    log_in = {"username": USER, "password": PASSWORD} if kind.logs_in else {}
    return aiomqtt.Client("127.0.0.1", broker.port, protocol=protocol, **log_in, **more)


def play(scenario: Awaitable[None]) -> None:
    async def whole() -> None:
        await scenario

    uvloop.run(whole())


def stamped(n: int) -> bytes:
    """A reading with a time that is believed and differs from every other one's."""
    at_us = (time.monotonic_ns() + WALL_OFFSET_NS) // 1_000
    return b'{"v": %d, "at": %d}' % (n, at_us)


KEPT = tag("press.force", "plant/force", ("v",), time_field=("at",), qos=1)


def test_messages_of_every_qos_arrive_once_and_in_order(kind: Kind, broker: Broker, here: Where) -> None:
    tags = [tag(f"press.q{qos}", f"plant/press/q{qos}", ("v",), qos=qos) for qos in (0, 1, 2)]

    async def scenario() -> None:
        async with running(Rig(here(), tags)) as rig:
            await until(lambda: rig.is_connected, "connected")
            async with client_of(kind, broker) as client:
                for n in range(100):
                    for qos in (0, 1, 2):
                        await client.publish(f"plant/press/q{qos}", b'{"v": %d}' % n, qos=qos)
            for row in range(3):
                await until(lambda row=row: len(rig.good(row)) >= 100, f"100 messages of QoS {row}")
                assert rig.good(row) == [float(n) for n in range(100)]
            assert rig.kinds() == ["link.up"]

    play(scenario())


def test_a_retained_value_comes_at_once_and_is_not_shown_as_fresh(kind: Kind, broker: Broker, here: Where) -> None:
    async def scenario() -> None:
        async with client_of(kind, broker) as client:
            await client.publish("force", b"21.5", qos=1, retain=True)
            async with running(Rig(here(), [tag("press.force", "force")])) as rig:
                await until(lambda: len(rig.samples()) == 1, "the retained message")
                assert rig.qualities(0) == [Quality.UNCERTAIN_STALE]
                await client.publish("force", b"22.5", qos=1)
                await until(lambda: rig.good(0) == [22.5], "the fresh message")

    play(scenario())


def test_a_kept_session_brings_what_was_published_while_away(kind: Kind, broker: Broker, here: Where) -> None:
    async def scenario() -> None:
        async with running(Rig(here(), [KEPT])) as rig:
            await until(lambda: rig.is_connected, "connected")
        async with client_of(kind, broker) as client:
            for n in range(20):
                await client.publish("plant/force", stamped(n), qos=1)
        async with running(Rig(here(), [KEPT])) as rig:
            await until(lambda: len(rig.good(0)) >= 20, "the messages of the time between")
            assert sorted(set(rig.good(0))) == [float(n) for n in range(20)]

    play(scenario())


def test_a_client_of_the_same_name_takes_over_and_is_told(kind: Kind, broker: Broker, here: Where) -> None:
    async def scenario() -> None:
        async with running(Rig(here(), [KEPT])) as rig:
            await until(lambda: rig.is_connected, "connected")
            kept = {"clean_start": False} if kind.version is V5 else {"clean_session": False}
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(client_of(kind, broker, identifier="gateway", **kept))
                await until(lambda: "link.down" in rig.kinds(), "link.down")
                assert "client_id" in rig.messages_of("link.down")[0]
                # The gateway comes back in its turn, and the other one has to go.
                await until(lambda: rig.reading("reconnects_total") >= 1, "connected again")
                stack.pop_all()

    play(scenario())


def test_a_big_message_arrives_and_one_too_big_costs_only_itself(kind: Kind, broker: Broker, here: Where) -> None:
    async def scenario() -> None:
        tags = [tag("press.force", "force", ("v",), qos=1)]
        async with running(Rig(here(), tags)) as rig:
            await until(lambda: rig.is_connected, "connected")
            async with client_of(kind, broker) as client:
                await client.publish("force", b'{"v": 1, "pad": "%s"}' % (b"x" * 100_000), qos=1)
                await client.publish("force", b'{"v": 2, "pad": "%s"}' % (b"x" * (FRAME_BYTES_MAX + 1)), qos=1)
                await client.publish("force", b'{"v": 3}', qos=1)
            await until(lambda: rig.good(0) == [1.0, 3.0], "the first and the last")
            assert rig.qualities(0) == [Quality.GOOD, Quality.BAD_SENSOR_FAILURE, Quality.GOOD]
            assert f"longer than {FRAME_BYTES_MAX} bytes" in rig.messages_of("payload.unusable")[0]

    play(scenario())


def test_a_quiet_session_outlives_its_keep_alive(kind: Kind, broker: Broker, here: Where) -> None:
    async def scenario() -> None:
        there = here(keep_alive_s=1)
        async with running(Rig(there, [tag("press.force", "force")])) as rig:
            await until(lambda: rig.is_connected, "connected")
            await asyncio.sleep(3.0)  # brokers cut off after one and a half times the keep-alive
            assert rig.kinds() == ["link.up"]

    play(scenario())


def test_a_killed_broker_is_found_again_when_it_returns(kind: Kind, broker: Broker, here: Where) -> None:
    async def scenario() -> None:
        async with running(Rig(here(), [KEPT])) as rig:
            await until(lambda: rig.is_connected, "connected")
            broker.kill()
            await until(lambda: not rig.is_connected, "link.down")
            await asyncio.to_thread(broker.start)
            await until(lambda: rig.is_connected, "connected again")
            async with client_of(kind, broker) as client:
                await client.publish("plant/force", stamped(7), qos=1)
            await until(lambda: rig.good(0) == [7.0], "the message after the restart")
            assert rig.qualities(0) == [Quality.BAD_NOT_CONNECTED, Quality.GOOD]

    play(scenario())


def test_a_broker_stopped_and_started_brings_what_it_had(kind: Kind, broker: Broker, here: Where) -> None:
    if not kind.survives_restart:
        pytest.skip("this broker keeps everything in memory")

    async def scenario() -> None:
        async with running(Rig(here(), [KEPT])) as rig:
            await until(lambda: rig.is_connected, "connected")
        async with client_of(kind, broker) as client:
            await client.publish("plant/force", stamped(9), qos=1)
        await asyncio.to_thread(broker.stop)
        await asyncio.to_thread(broker.start)
        async with running(Rig(here(), [KEPT])) as rig:
            await until(lambda: rig.good(0) == [9.0], "the message from before the restart")

    play(scenario())


def test_a_wrong_password_is_told_in_plain_words_and_once(kind: Kind, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong\n", encoding="utf-8")

    async def scenario(port: int) -> None:
        there = link(port, version=kind.version, username="gate", password_file=secret)
        async with running(Rig(there, [tag("press.force", "force")])) as rig:
            await until(lambda: "link.down" in rig.kinds(), "link.down")
            await asyncio.sleep(0.5)
            [message] = rig.messages_of("link.down")
            assert "refused" in message and "password_file" in message
            secret.write_text("right\n", encoding="utf-8")
            await until(lambda: rig.is_connected, "connected with the right password")

    with kind.start(tmp_path, username="gate", password="right") as locked:
        play(scenario(locked.port))


def test_topics_with_spaces_work_or_are_refused_by_name(kind: Kind, broker: Broker, here: Where) -> None:
    async def scenario() -> None:
        tags = [tag("press.force", "force"), tag("press.odd", "with space")]
        async with running(Rig(here(), tags)) as rig:
            await until(lambda: rig.is_connected, "connected")
            async with client_of(kind, broker) as client:
                await client.publish("force", b"1")
                if kind.has_spaces:
                    await client.publish("with space", b"2")
            await until(lambda: rig.good(0) == [1.0], "the plain topic")
            if kind.has_spaces:
                await until(lambda: rig.good(1) == [2.0], "the odd topic")
            else:
                assert "'with space'" in rig.messages_of("topic.refused")[0]
                assert rig.qualities(1) == [Quality.BAD_CONFIG]

    play(scenario())


def test_gateways_of_one_group_share_the_messages(kind: Kind, broker: Broker, here: Where) -> None:
    if not kind.has_shared:
        pytest.skip("this broker knows no shared subscriptions")
    group = MqttSession(shared_group="gates")

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            rigs = []
            for name in ("one", "two"):
                there = here(client_id=name, session=group)
                rigs.append(await stack.enter_async_context(running(Rig(there, [tag("press.force", "force", qos=1)]))))
            for rig in rigs:
                await until(lambda rig=rig: rig.is_connected, "connected")
            async with client_of(kind, broker) as client:
                for n in range(60):
                    await client.publish("force", b"%d" % n, qos=1)
            await until(lambda: sum(len(rig.good(0)) for rig in rigs) == 60, "every message at one of the two")
            assert sorted(rigs[0].good(0) + rigs[1].good(0)) == [float(n) for n in range(60)]
            assert all(rig.good(0) for rig in rigs)

    play(scenario())


@pytest.mark.parametrize("qos", [1, 2])
def test_a_durable_session_killed_between_disk_and_acknowledgement_counts_each_message_once(
    kind: Kind, broker: Broker, here: Where, tmp_path: Path, qos: int
) -> None:
    """The first run keeps the messages and dies before it acknowledges; the broker repeats them to the second one."""
    tags = [tag("press.force", "plant/durable", ("v",), time_field=("at",), qos=qos, durable=True)]
    folder = tmp_path / "intake"

    async def scenario() -> None:
        there = here(client_id="durable")
        async with running(Rig(there, tags, intake=folder)) as rig:
            await until(lambda: rig.is_connected, "connected")
            sink = rig.source._sink
            assert rig.intake is not None
            put = rig.intake.put
            # From here on the disk keeps, and nobody hears of it.
            rig.intake.put = lambda frame, kept: put(frame, lambda: None)  # type: ignore[method-assign]
            async with client_of(kind, broker) as client:
                for n in range(10):
                    await client.publish("plant/durable", stamped(n), qos=qos)
            await until(lambda: sink._next >= 11, "all of them on their way to the disk")
            assert rig.intake.stop(5.0)
            assert rig.good(0) == []
        async with running(Rig(there, tags, intake=folder)) as rig:
            await until(lambda: rig.is_connected, "connected")
            async with client_of(kind, broker) as client:
                await client.publish("plant/durable", stamped(99), qos=qos)
            await until(lambda: 99.0 in rig.good(0), "the message after the crash")
            # In their order, each once: kept ones from the disk, though the broker sent them again.
            assert rig.good(0) == [*(float(n) for n in range(10)), 99.0]

            def again() -> float:
                return rig.reading("repeated_messages_total") + rig.reading("duplicate_messages_total")

            if kind.repeats:
                await until(lambda: again() >= 10, "the broker's repetitions")
            assert rig.good(0) == [*(float(n) for n in range(10)), 99.0]

    play(scenario())
