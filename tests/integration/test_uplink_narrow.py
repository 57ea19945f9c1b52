"""A narrow line to the broker: sessions hold as long as something moves, and no longer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest
import uvloop

from gateway.core.encode import FORMAT, envelope
from gateway.core.ports import LinkDown, Upstream, Verdict
from gateway.core.record import Identity
from gateway.core.types import NS_PER_S
from gateway.settings.schema import NatsAddress
from gateway.upstreams import mqtt, nats
from hil.proxy import Proxy
from tests.support.spool_brokers import mosquitto
from tests.support.uplink import address
from tests.support.upstreams import JetStream

BYTES_PER_S = 25_000
TIMEOUT_S = 2
LARGE = 110_000
"""More than twice what the line carries within the time."""
SMALL, SMALL_COUNT = 4_000, 20
Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[Upstream]]


@asynccontextmanager
async def by_mqtt(folder: Path) -> AsyncIterator[tuple[Proxy, Connect]]:
    with mosquitto(folder, "allow_anonymous true") as broker:
        proxy = Proxy(broker.port, buffer_bytes=4_096)
        await proxy.start()
        yield (
            proxy,
            lambda: mqtt.connect(
                address(proxy.port), topic="plant/{stream}", acknowledge_timeout_ns=TIMEOUT_S * NS_PER_S
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


def record(number: int, size: int) -> tuple[Identity, bytes]:
    identity = Identity("plant", "samples", 1, number)
    return identity, envelope(identity, json.dumps({"format": FORMAT, "note": "x" * size}).encode())


@pytest.mark.parametrize("far_end", [by_mqtt, by_nats])
def test_what_takes_longer_than_an_answer_may_gets_through_in_one_session(
    tmp_path: Path, far_end: Callable[[Path], AbstractAsyncContextManager[tuple[Proxy, Connect]]]
) -> None:
    async def scenario() -> None:
        async with far_end(tmp_path) as (proxy, connect), connect() as upstream:
            proxy.bytes_per_s = BYTES_PER_S
            records = [record(1, LARGE), *(record(number, SMALL) for number in range(2, 2 + SMALL_COUNT))]
            sends = [asyncio.ensure_future(upstream.send(*each)) for each in records]
            assert await asyncio.gather(*sends) == [Verdict.ACCEPTED] * len(records)

    uvloop.run(scenario())


@pytest.mark.parametrize("far_end", [by_mqtt, by_nats])
def test_a_line_that_carries_nothing_any_more_ends_the_session(
    tmp_path: Path, far_end: Callable[[Path], AbstractAsyncContextManager[tuple[Proxy, Connect]]]
) -> None:
    async def scenario() -> None:
        async with far_end(tmp_path) as (proxy, connect), connect() as upstream:
            assert await upstream.send(*record(1, SMALL)) is Verdict.ACCEPTED
            proxy.hold()
            sends = [asyncio.ensure_future(upstream.send(*record(number, LARGE))) for number in (2, 3)]
            ends = await asyncio.gather(*sends, return_exceptions=True)
            assert [type(end) for end in ends] == [LinkDown, LinkDown]
            assert f"no acknowledgement for {TIMEOUT_S} s" in str(ends[0])
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
