"""Kafka as an upstream against a server of its protocol: transactions, fencing, refusals, outages.

The servers (`tests.support.kafka_ends`) are no Apache Kafka: replication and elections are not seen here.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from gateway.core.ports import Answer, LinkDown, Refusal, Upstream, Verdict
from gateway.core.record import Identity
from gateway.core.types import NS_PER_S
from gateway.protocol.records.form import Compression, Encoding, Form, read
from gateway.settings.schema_uplink import Sasl
from tests.support.kafka_ends import POSITION, READY_S, Cluster, ThreeBrokers, session

OWN = "contract-uplink-u"
SAMPLES = "contract.samples"
BYTES_MAX = 200_000


def record(number: int, *, segment: int = 70, size: int = 20) -> tuple[Identity, bytes]:
    return Identity("plant", "samples", segment, number), b'{"number": %d, "text": "%s"}' % (number, b"x" * size)


def play(folder: Path, scenario: Callable[[Cluster], Awaitable[None]]) -> None:
    cluster = Cluster(folder, BYTES_MAX)
    cluster.start()
    try:
        uvloop.run(scenario(cluster))  # type: ignore[arg-type]
    finally:
        cluster.server.kill()


async def send(upstream: Upstream, *numbers: int, **more: int) -> list[Answer]:
    return await asyncio.gather(*(upstream.send(*record(number, **more)) for number in numbers))


async def numbers(cluster: Cluster) -> list[int]:
    seen = await asyncio.to_thread(cluster.committed, SAMPLES)
    return [msgspec.json.decode(each.value)["number"] for each in seen]


async def end_offset(cluster: Cluster) -> int:
    """How far the partition has grown, committed or not."""

    def ask() -> int:
        admin = AdminClient(cluster.client)
        asked = admin.list_offsets(
            {TopicPartition(SAMPLES, 0): OffsetSpec.latest()}, isolation_level=IsolationLevel.READ_UNCOMMITTED
        )
        return int(next(iter(asked.values())).result(READY_S).offset)

    return await asyncio.to_thread(ask)


def test_a_record_says_who_it_is_and_what_it_is(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        form = Form(Encoding.MSGPACK, Compression.ZSTD)
        async with session(cluster.port, form=form) as upstream:
            assert await send(upstream, 1) == [Verdict.ACCEPTED]
        (seen,) = await asyncio.to_thread(cluster.committed, SAMPLES)
        assert seen.key == b"plant/samples"
        assert seen.headers == {
            "fieldgate-identity": b"plant/samples/70/1",
            "content-type": b"application/vnd.msgpack",
            "content-encoding": b"zstd",
        }
        assert read(seen.value, "application/vnd.msgpack", "zstd")["number"] == 1

    play(tmp_path, scenario)


def test_what_the_cluster_holds_is_not_sent_again_and_what_is_new_is(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        async with session(cluster.port) as upstream:
            await send(upstream, 1, 2, 3)
            await send(upstream, 1, segment=71)
        position = (await asyncio.to_thread(cluster.committed, POSITION))[-1]
        assert position.key == OWN.encode()
        assert msgspec.json.decode(position.value) == {
            "format": "fieldgate-position-1",
            "held": [
                {"stream": "samples", "segment": 70, "sequence": 3},
                {"stream": "samples", "segment": 71, "sequence": 1},
            ],
        }
        before = await end_offset(cluster)
        async with session(cluster.port) as upstream:
            assert await send(upstream, 2, 3) == [Verdict.ACCEPTED] * 2
            assert await end_offset(cluster) == before
            assert await send(upstream, 4) == [Verdict.ACCEPTED]
        assert await numbers(cluster) == [1, 2, 3, 1, 4]

    play(tmp_path, scenario)


def test_what_somebody_asked_for_is_sent_though_the_position_covers_it_and_does_not_move_it(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        async with session(cluster.port) as upstream:
            await send(upstream, 1, 2, 3)
        async with session(cluster.port) as upstream:
            identity, payload = record(2)
            assert await upstream.send(replace(identity, is_asked=True), payload) is Verdict.ACCEPTED
        async with session(cluster.port) as upstream:
            assert await send(upstream, 3, 4) == [Verdict.ACCEPTED] * 2
        assert await numbers(cluster) == [1, 2, 3, 2, 4]

    play(tmp_path, scenario)


def test_what_a_predecessor_left_open_is_aborted_with_its_position(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        async with session(cluster.port) as upstream:
            await send(upstream, 1)
        killed = await asyncio.to_thread(cluster.producer, OWN)
        killed.begin_transaction()
        killed.produce(SAMPLES, record(2)[1], key="plant/samples")
        far = b'{"format":"fieldgate-position-1","held":[{"stream":"samples","segment":70,"sequence":2}]}'
        killed.produce(POSITION, far, key=OWN, partition=0)
        assert killed.flush(READY_S) == 0
        async with session(cluster.port) as upstream:
            assert await send(upstream, 1, 2, 3) == [Verdict.ACCEPTED] * 3
        assert await numbers(cluster) == [1, 2, 3]

    play(tmp_path, scenario)


def test_a_second_gateway_of_the_name_shuts_the_first_out_which_says_so(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        async with session(cluster.port) as first:
            await send(first, 1)
            async with session(cluster.port) as second:
                with pytest.raises(LinkDown, match=f"another producer took the name {OWN}") as caught:
                    await first.send(*record(2))
                assert "no second gateway" in caught.value.remedy
                assert caught.value.retry_after_ns > NS_PER_S
                with pytest.raises(LinkDown):
                    await first.send(*record(3))
                assert await send(second, 2, 3) == [Verdict.ACCEPTED] * 2
        assert await numbers(cluster) == [1, 2, 3]

    play(tmp_path, scenario)


def test_what_a_broker_refuses_goes_alone_and_the_others_are_held_once_and_in_order(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        async with session(cluster.port) as upstream:
            assert await send(upstream, 1) == [Verdict.ACCEPTED]
            await asyncio.to_thread(lower_limit, cluster, 2_000)  # behind the back of the session
            answers = await asyncio.gather(
                *(upstream.send(*record(number, size=5_000 if number == 4 else 20)) for number in range(2, 8))
            )
            assert [answer is Verdict.ACCEPTED for answer in answers] == [True, True, False, True, True, True]
            assert isinstance(answers[2], Refusal)
            assert "MSG_SIZE_TOO_LARGE" in answers[2].reason
            assert await send(upstream, 8) == [Verdict.ACCEPTED]
        assert await numbers(cluster) == [1, 2, 3, 5, 6, 7, 8]

    play(tmp_path, scenario)


def lower_limit(cluster: Cluster, bytes_max: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(bytes_max), incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, SAMPLES, incremental_configs=[entry])
    admin = AdminClient(cluster.client)
    admin.incremental_alter_configs([topic])[topic].result(READY_S)


def test_a_transaction_in_doubt_is_held_once_wherever_the_broker_fell_silent(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        chance = random.Random(7)
        accepted: set[int] = set()
        next_number, rounds_lost = 1, 0

        async def take(upstream: Upstream, number: int) -> None:
            if await upstream.send(*record(number)) is Verdict.ACCEPTED:
                accepted.add(number)

        for _ in range(4):
            begun = next_number
            try:
                async with session(cluster.port, timeout_ns=NS_PER_S) as upstream, asyncio.TaskGroup() as tasks:
                    freezing = asyncio.get_running_loop().call_later(chance.uniform(0.0, 0.01), cluster.server.freeze)
                    for number in range(max(1, begun - 30), begun + 200):
                        tasks.create_task(take(upstream, number))
                        next_number = number + 1
                        await asyncio.sleep(0.0002)
            except* LinkDown:
                rounds_lost += 1
                next_number = max(accepted, default=0) + 1
            freezing.cancel()
            cluster.server.thaw()
        assert rounds_lost
        async with session(cluster.port) as upstream:
            await send(upstream, *range(max(1, next_number - 30), next_number + 300))
        assert await numbers(cluster) == list(range(1, next_number + 300))

    play(tmp_path, scenario)


def test_the_loop_goes_on_while_the_cluster_is_silent(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        turns = 0
        with pytest.raises(LinkDown, match=r"127\.0\.0\.1"):
            async with session(cluster.port, timeout_ns=NS_PER_S) as upstream:
                cluster.server.freeze()
                sending = asyncio.ensure_future(upstream.send(*record(1)))
                while not sending.done():
                    await asyncio.sleep(0.01)
                    turns += 1
                await sending
        cluster.server.thaw()
        assert turns > 20

    play(tmp_path, scenario)


@pytest.mark.parametrize("gone", [SAMPLES, POSITION])
def test_a_topic_that_is_missing_is_named_with_the_command_that_makes_it(tmp_path: Path, gone: str) -> None:
    async def scenario(cluster: Cluster) -> None:
        await asyncio.to_thread(cluster.delete_topic, gone)
        with pytest.raises(LinkDown, match=f"there is no topic {gone}") as caught:
            async with session(cluster.port):
                pytest.fail("a session without its topics")
        assert "--partitions 1 --config cleanup.policy=compact" in caught.value.remedy

    play(tmp_path, scenario)


def test_a_topic_that_forgets_positions_is_refused(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await asyncio.to_thread(cluster.make_topic, "forgetful", **{"cleanup.policy": "delete"})
        with pytest.raises(LinkDown, match="topic forgetful forgets the position") as caught:
            async with session(cluster.port, position_topic="forgetful"):
                pytest.fail("a session that would forget")
        assert "--topic forgetful --add-config cleanup.policy=compact" in caught.value.remedy

    play(tmp_path, scenario)


def test_a_position_is_found_behind_thousands_of_others_and_of_aborted_ones(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        async with session(cluster.port) as upstream:
            await send(upstream, 1, 2)
        other = await asyncio.to_thread(cluster.producer, "another")
        for commits in (True, False):
            other.begin_transaction()
            for number in range(1_500):
                other.produce(POSITION, b"%d" % number, key="another" if commits else OWN, partition=0)
            assert other.flush(READY_S) == 0
            await asyncio.to_thread(other.commit_transaction if commits else other.abort_transaction, READY_S)
        async with session(cluster.port) as upstream:
            assert await send(upstream, 2, 3) == [Verdict.ACCEPTED] * 2
        assert await numbers(cluster) == [1, 2, 3]

    play(tmp_path, scenario)


def test_a_record_under_our_key_that_is_no_position_ends_the_session_before_anything_is_sent(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        other = await asyncio.to_thread(cluster.producer, "another")
        other.begin_transaction()
        other.produce(POSITION, b"what is this", key=OWN, partition=0)
        await asyncio.to_thread(other.commit_transaction, READY_S)
        with pytest.raises(LinkDown, match="the last record under contract-uplink-u is no position"):
            async with session(cluster.port):
                pytest.fail("a session that does not know what is held")

    play(tmp_path, scenario)


def test_in_a_cluster_each_record_goes_to_the_leader_of_its_partition_and_the_position_is_read_back() -> None:
    def records(last: int, stream: str) -> dict[Identity, bytes]:
        return {replace(record(number)[0], stream=stream): b"%d" % number for number in range(1, last + 1)}

    async def scenario(servers: tuple[str, ...]) -> None:
        for last in (30, 40):
            async with session(0, servers=servers[:1]) as upstream:
                both = (records(last, "samples") | records(last, "events")).items()
                answers = await asyncio.gather(*(upstream.send(*each) for each in both))
                assert set(answers) == {Verdict.ACCEPTED}

    cluster = ThreeBrokers()
    uvloop.run(scenario(cluster.servers))
    held = [cluster.held(topic) for topic in (SAMPLES, "contract.events", POSITION)]
    assert [len(partitions) for partitions in held] == [1, 1, 1], "a stream stays in one partition"
    assert len({leader for ((leader, _),) in held}) > 1, "one broker had everything"
    for ((_, values),), stream in zip(held, ("samples", "events"), strict=False):
        assert values == list(records(40, stream).values())


def test_without_the_client_it_is_said_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        with pytest.raises(LinkDown, match="the Kafka client is not installed") as caught:
            async with session(0):
                pytest.fail("a session without a client")
        assert "fieldgate[kafka]" in caught.value.remedy
        assert "Debian package" in caught.value.remedy

    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    uvloop.run(scenario())


def test_nobody_at_the_address_is_told_by_what_the_network_says(tmp_path: Path) -> None:
    async def scenario() -> None:
        for servers, said in (("127.0.0.1:9", "Connection refused"), ("no-such-host.invalid:9092", "resolve")):
            with pytest.raises(LinkDown, match=said) as caught:
                async with session(0, servers=(servers,)):
                    pytest.fail("a session with nobody")
            assert caught.value.remedy

    uvloop.run(scenario())


def test_secrets_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        more: dict[str, Any] = {"username": "u", "password_file": tmp_path / "none", "sasl": Sasl.PLAIN}
        with pytest.raises(LinkDown, match="cannot use the password file"):
            async with session(0, **more):
                pytest.fail("a session without its password")

    uvloop.run(scenario())
