"""A narrow line to the broker: sessions hold as long as something moves, and no longer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest
import uvloop

from gateway.core.ports import LinkDown, Upstream, Verdict
from gateway.core.types import NS_PER_S
from gateway.settings.schema import HttpAddress, NatsAddress, SparkplugAddress
from gateway.upstreams import http, mqtt, nats, sparkplug
from hil.ports import free_port
from hil.proxy import Proxy
from tests.contract.test_upstreams import record
from tests.support import kafka_ends
from tests.support.http_ends import HttpServer, Keeper
from tests.support.kafka_door import Door
from tests.support.kafka_ends import Cluster
from tests.support.spool_brokers import mosquitto
from tests.support.uplink import address
from tests.support.upstreams import JetStream

BYTES_PER_S = 25_000
TIMEOUT_S = 2
KEEP_ALIVE_S = 1
"""Shorter than the large record is under way."""
LARGE = 75_000
"""More than the line carries within the time, by half."""
SMALL, SMALL_COUNT = 4_000, 14
Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[Upstream]]


@asynccontextmanager
async def by_mqtt(folder: Path) -> AsyncIterator[tuple[Proxy, Connect]]:
    with mosquitto(folder, "allow_anonymous true") as broker:
        proxy = Proxy(broker.port, buffer_bytes=4_096)
        await proxy.start()
        yield (
            proxy,
            lambda: mqtt.connect(
                address(proxy.port, keep_alive_s=KEEP_ALIVE_S),
                topic="plant/{stream}",
                acknowledge_timeout_ns=TIMEOUT_S * NS_PER_S,
            ),
        )
        await proxy.stop()


@asynccontextmanager
async def by_nats(folder: Path) -> AsyncIterator[tuple[Proxy, Connect]]:
    async with JetStream(folder).running() as far_end:
        assert isinstance(far_end, JetStream)
        proxy = Proxy(far_end.port, buffer_bytes=4_096)
        await proxy.start()
        there = NatsAddress(host="127.0.0.1", port=proxy.port, client_name="narrow")
        yield (
            proxy,
            lambda: nats.connect(there, subject="contract.{stream}", acknowledge_timeout_ns=TIMEOUT_S * NS_PER_S),
        )
        await proxy.stop()


@asynccontextmanager
async def by_http(folder: Path) -> AsyncIterator[tuple[Proxy, Connect]]:
    server = HttpServer(Keeper(1 << 20), free_port())
    server.start()
    proxy = Proxy(server.port, buffer_bytes=4_096)
    await proxy.start()
    there = HttpAddress(host="127.0.0.1", port=proxy.port, target="/records/{stream}")
    try:
        yield (
            proxy,
            lambda: http.connect(there, acknowledge_timeout_ns=TIMEOUT_S * NS_PER_S, wall_offset_ns=lambda: 0),
        )
        await proxy.stop()
    finally:
        server.stop()


@asynccontextmanager
async def by_sparkplug(folder: Path) -> AsyncIterator[tuple[Proxy, Connect]]:
    async def bd_seq() -> int:
        return 0

    with mosquitto(folder, "allow_anonymous true") as broker:
        proxy = Proxy(broker.port, buffer_bytes=4_096)
        await proxy.start()
        there = SparkplugAddress(broker=address(proxy.port, keep_alive_s=KEEP_ALIVE_S), group="plant", edge="narrow")
        around = sparkplug.Surroundings(bd_seq, lambda: (), lambda: 0, lambda: NS_PER_S)
        yield (
            proxy,
            lambda: sparkplug.connect(there, acknowledge_timeout_ns=TIMEOUT_S * NS_PER_S, around=around),
        )
        await proxy.stop()


@asynccontextmanager
async def by_kafka(folder: Path) -> AsyncIterator[tuple[Proxy, Connect]]:
    cluster = Cluster(folder, 1 << 20)
    door = Door(cluster.port)
    try:
        await asyncio.to_thread(cluster.start)
        await door.start()
        proxy = Proxy(door.port, buffer_bytes=4_096)
        await proxy.start()
        door.spoken_port = proxy.port
        yield proxy, lambda: kafka_ends.session(proxy.port, timeout_ns=TIMEOUT_S * NS_PER_S)
        await proxy.stop()
        await door.stop()
    finally:
        cluster.server.kill()


FAR_ENDS = [by_kafka, by_mqtt, by_sparkplug, by_nats, by_http]


@pytest.mark.parametrize("far_end", FAR_ENDS)
def test_what_takes_longer_than_an_answer_may_gets_through_in_one_session(
    tmp_path: Path, far_end: Callable[[Path], AbstractAsyncContextManager[tuple[Proxy, Connect]]]
) -> None:
    async def scenario() -> None:
        async with far_end(tmp_path) as (proxy, connect), connect() as upstream:
            proxy.bytes_per_s = BYTES_PER_S
            records = [record(1, size=LARGE), *(record(number, size=SMALL) for number in range(2, 2 + SMALL_COUNT))]
            sends = [asyncio.ensure_future(upstream.send(*each)) for each in records]
            assert await asyncio.gather(*sends) == [Verdict.ACCEPTED] * len(records)

    uvloop.run(scenario())


@pytest.mark.parametrize("far_end", FAR_ENDS)
def test_a_line_that_carries_nothing_any_more_ends_the_session(
    tmp_path: Path, far_end: Callable[[Path], AbstractAsyncContextManager[tuple[Proxy, Connect]]]
) -> None:
    async def scenario() -> None:
        async with far_end(tmp_path) as (proxy, connect), connect() as upstream:
            assert await upstream.send(*record(1, size=SMALL)) is Verdict.ACCEPTED
            proxy.hold()
            sends = [asyncio.ensure_future(upstream.send(*record(number, size=LARGE))) for number in (2, 3)]
            ends = await asyncio.gather(*sends, return_exceptions=True)
            assert [type(end) for end in ends] == [LinkDown, LinkDown]
            assert re.search(f"no (acknowledgement|answer|answer to SUBSCRIBE) for {TIMEOUT_S} s", str(ends[0]))
            proxy.release()

    uvloop.run(scenario())


def test_a_silent_nats_server_is_noticed_without_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats, "PING_EVERY_S", 0.2)

    async def scenario() -> None:
        async with by_nats(tmp_path) as (proxy, connect), connect() as upstream:
            assert isinstance(upstream, nats.NatsUpstream)
            await asyncio.sleep(1.0)
            assert not upstream.lost.done(), "it answers"
            proxy.hold()
            assert "no acknowledgement" in str(await asyncio.wait_for(upstream.lost, 60))
            proxy.release()

    uvloop.run(scenario())
