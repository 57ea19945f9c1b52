"""The gateway as an edge node at a real broker: its will, its host, commands, and the broker killed under it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import uvloop

from gateway.core.encode import FORMAT
from gateway.core.events import Event
from gateway.core.ports import LinkDown, Refusal
from gateway.core.record import Identity, RecordDraft
from gateway.core.types import NS_PER_MS
from gateway.mqttclient import Client
from gateway.protocol.sparkplug import wire
from gateway.protocol.sparkplug.datatypes import DataType
from gateway.protocol.sparkplug.edge import Present
from gateway.settings.schema import BrokerAddress, MqttVersion, SparkplugAddress
from gateway.upstreams import sparkplug
from gateway.upstreams.sparkplug import Surroundings, connect
from tests.support.sparkplug_host import HostSide
from tests.support.spool import draft, encode, running_spool
from tests.support.spool_brokers import Broker, mosquitto
from tests.support.uplink import delivery_by, running, until

SECOND_NS = 1_000_000_000
STATE = "spBv1.0/STATE/scada-1"
COMMAND = "spBv1.0/plant/NCMD/boiler-house"


class Node:
    """What an edge node needs of its gateway, and a watcher at the broker."""

    def __init__(self, broker: Broker, version: MqttVersion = MqttVersion.V311) -> None:
        self.broker = broker
        self.version = version
        self.bd_seq = -1
        self.now_ns = 0
        self.present = [Present("press", "press.force", DataType.DOUBLE, 1.0, 192, 0)]
        self.host = HostSide()
        self.verbs: list[str] = []
        self.wills: list[int] = []

    def address(self, **more: Any) -> SparkplugAddress:
        broker = BrokerAddress(host="127.0.0.1", port=self.broker.port, version=self.version, client_id="edge")
        return SparkplugAddress(broker=broker, group="plant", edge="boiler-house", **more)

    async def _next(self) -> int:
        self.bd_seq += 1
        return self.bd_seq

    def session(self, **more: Any) -> Any:
        around = Surroundings(self._next, lambda: self.present, lambda: self.now_ns, lambda: SECOND_NS)
        return connect(self.address(**more), acknowledge_timeout_ns=2 * SECOND_NS, around=around)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """A host subscribed, through ends of the broker."""
        subscribed = asyncio.Event()

        async def watch() -> None:
            while True:
                with suppress(aiomqtt.MqttError):
                    async with Client("127.0.0.1", self.broker.port, identifier="host", timeout=2) as client:
                        await client.subscribe("spBv1.0/plant/#", qos=1)
                        subscribed.set()
                        async for message in client.messages:
                            topic = str(message.topic)
                            if "/NCMD/" not in topic:
                                self.verbs.append(topic.split("/")[2])
                                self.host.take(topic, bytes(message.payload))  # type: ignore[arg-type]
                if (task := asyncio.current_task()) and task.cancelling():
                    return
                await asyncio.sleep(0.05)

        async with running(watch()):
            await asyncio.wait_for(subscribed.wait(), 10)
            yield

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        async with Client("127.0.0.1", self.broker.port) as client:
            await client.publish(topic, payload, qos=1, retain=retain)


def record(sequence: int, *values: float, at_ns: int = 5) -> tuple[Identity, bytes]:
    identity = Identity("plant", "samples", 7, sequence)
    body = {"format": FORMAT, "wall_offset_ns": 10**18, "first_ns": at_ns, "last_ns": at_ns, "tags": ["press.force"]}
    body |= {"tag": [0] * len(values), "value": list(values), "quality": [192] * len(values)}
    body |= {"time_ns": [at_ns + place * NS_PER_MS for place in range(len(values))]}
    names = {"gateway": "plant", "stream": "samples", "segment": 7, "sequence": sequence}
    return identity, json.dumps(names | body).encode()


def play(folder: Path, scenario: Callable[[Node], Awaitable[None]], version: MqttVersion = MqttVersion.V311) -> Node:
    async def whole(broker: Broker) -> Node:
        node = Node(broker, version)
        async with node.watched():
            await scenario(node)
        return node

    with mosquitto(folder, "allow_anonymous true") as broker:
        return uvloop.run(whole(broker))


@pytest.mark.parametrize("version", list(MqttVersion))
def test_a_session_is_births_data_and_a_death_that_is_said(tmp_path: Path, version: MqttVersion) -> None:
    """tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath;
    tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt311, -mqtt50."""

    async def scenario(node: Node) -> None:
        async with node.session() as upstream:
            await upstream.send(*record(1, 1.5, 2.5))
        await until(lambda: "NDEATH" in node.verbs)
        assert node.verbs[:4] == ["NBIRTH", "DBIRTH", "DDATA", "NDEATH"]
        assert [sample.value for sample in node.host.samples] == [1.5, 2.5]

    play(tmp_path, scenario, version)


def test_the_broker_tells_the_death_of_a_node_that_says_nothing_and_the_next_birth_has_the_next_number(
    tmp_path: Path,
) -> None:
    """tck-id-message-flow-edge-node-birth-publish-will-message; tck-id-topics-nbirth-bdseq-increment."""

    async def scenario(node: Node) -> None:
        with pytest.raises(LinkDown, match="connection lost"):
            async with node.session() as upstream:
                await until(lambda: node.verbs == ["NBIRTH", "DBIRTH"])
                # Another client of the same name: the broker ends the first one's session, and publishes its will.
                async with Client("127.0.0.1", node.broker.port, identifier="edge"):
                    await until(lambda: node.verbs == ["NBIRTH", "DBIRTH", "NDEATH"])
                await upstream.send(*record(1, 1.0))
        async with node.session() as upstream:
            await upstream.send(*record(1, 1.0))
        await until(lambda: len(node.host.samples) == 1)
        assert node.host.bd_seqs == [0, 1]

    play(tmp_path, scenario)


def test_births_are_given_again_when_a_host_asks_and_data_goes_on_behind_them(tmp_path: Path) -> None:
    """tck-id-message-flow-edge-node-ncmd-subscribe; tck-id-operational-behavior-data-commands-rebirth-action-1, -2."""

    async def scenario(node: Node) -> None:
        async with node.session() as upstream:
            await upstream.send(*record(1, 1.5))
            await node.publish(COMMAND, wire.encode_rebirth(1))
            await until(lambda: node.verbs.count("NBIRTH") == 2)
            await node.publish(COMMAND, b"nonsense")
            await upstream.send(*record(2, 2.5))
            await until(lambda: len(node.host.samples) == 2)
        assert node.verbs[:6] == ["NBIRTH", "DBIRTH", "DDATA", "NBIRTH", "DBIRTH", "DDATA"]

    play(tmp_path, scenario)


def test_nothing_is_born_before_the_primary_host_is_online_and_its_end_ends_the_session(tmp_path: Path) -> None:
    """tck-id-message-flow-edge-node-birth-publish-phid-wait; tck-id-operational-behavior-edge-node-birth-sequence-wait;
    tck-id-operational-behavior-edge-node-termination-host-offline, -host-offline-timestamp."""

    async def scenario(node: Node) -> None:
        await node.publish(STATE, b'{"online":false,"timestamp":10}', retain=True)
        opened = asyncio.Event()

        async def hold() -> str:
            with pytest.raises(LinkDown) as caught:
                async with node.session(primary_host="scada-1") as upstream:
                    opened.set()
                    await upstream.send(*record(1, 1.5))
                    await upstream._ended
                    await upstream.send(*record(2, 2.5))
            return caught.value.reason

        holding = asyncio.create_task(hold())
        await node.publish(STATE, b'{"online":true,"timestamp":9}')
        await node.publish("spBv1.0/STATE/other", b'{"online":true,"timestamp":99}')
        assert not opened.is_set()
        assert "NBIRTH" not in node.verbs
        await node.publish(STATE, b'{"online":true,"timestamp":11}', retain=True)
        await until(lambda: len(node.host.samples) == 1)
        await node.publish(STATE, b'{"online":false,"timestamp":8}')
        await node.publish(STATE, b'{"online":false,"timestamp":11}')
        assert "the primary host went offline" in await asyncio.wait_for(holding, 10)
        await until(lambda: node.verbs[-1] == "NDEATH")

    play(tmp_path, scenario)


def test_a_primary_host_that_stays_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparkplug, "HOST_WAIT_S", 0.2)

    async def scenario(node: Node) -> None:
        with pytest.raises(LinkDown) as caught:
            async with node.session(primary_host="scada-1"):
                pytest.fail("a session without the host")
        assert "the primary host is not online (spBv1.0/STATE/scada-1)" in caught.value.reason
        assert "NBIRTH" not in node.verbs

    play(tmp_path, scenario)


def test_what_cannot_be_said_in_sparkplug_is_refused_and_blocks_nothing(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        async with node.session() as upstream:
            other = Identity("plant", "aggregates", 7, 1)
            refused = await upstream.send(other, b'{"stream":"aggregates"}')
            assert isinstance(refused, Refusal)
            assert "no place for the stream aggregates" in refused.reason
            await upstream.send(*record(1, 1.5))

    play(tmp_path, scenario)


def columns(record: RecordDraft) -> bytes:
    """The drafts of these tests, as the engine's encoder writes them."""
    found = json.loads(encode(record))
    body = {"format": FORMAT, "wall_offset_ns": 0, "first_ns": found["first_ns"], "last_ns": found["first_ns"]}
    body |= {"tags": ["press.count"], "tag": [0] * len(found["row"]), "time_ns": found["source_ns"]}
    return json.dumps(body | {"value": found["value"], "quality": [192] * len(found["row"])}).encode()


def test_sessions_that_end_in_mid_stream_cost_a_host_that_keeps_identities_nothing(tmp_path: Path) -> None:
    """Every sample once, those recorded before a birth historical; the host's assertions hold over all sessions."""
    events: list[Event] = []

    async def scenario(node: Node) -> None:
        with running_spool(tmp_path / "spool.db", events, encode=columns) as spool:
            delivery = delivery_by(node.session, spool, events)
            async with running(delivery.run()):
                for number in range(1, 121):
                    node.now_ns = number
                    spool.put(draft(number))
                    await asyncio.sleep(0)
                    if number % 40 == 0:
                        await until(lambda: delivery.is_up and len(node.host.bd_seqs) == node.bd_seq + 1)
                        births = len(node.host.bd_seqs)
                        async with Client("127.0.0.1", node.broker.port, identifier="edge"):
                            for more in range(10):
                                spool.put(draft(1_000 + number * 10 + more))
                        await until(lambda least=births + 1: len(node.host.bd_seqs) >= least)  # type: ignore[misc]
                await until(lambda: spool.depth() == 0)
                await until(lambda: len(node.host.once()) >= 150 * 3)

    node = play(tmp_path, scenario)
    wanted = [*range(1, 121), *(1_000 + number * 10 + more for number in (40, 80, 120) for more in range(10))]
    kept = node.host.once()
    assert sorted(s.value for s in kept) == sorted(float(n + place) for n in wanted for place in range(3))
    assert len(node.host.bd_seqs) >= 4
    assert node.host.bd_seqs == sorted(set(node.host.bd_seqs)), "each session has a number of its own"
    assert any(sample.is_historical for sample in kept)
    assert not all(sample.is_historical for sample in kept)
