"""A peer that takes the connection and does not become a broker: what a proxy before a broker that is down does."""

from __future__ import annotations

import asyncio
import gc
import logging
from pathlib import Path

import pytest
import uvloop

from gateway.core.ports import LinkDown
from gateway.core.types import NS_PER_MS
from gateway.settings.schema import BrokerAddress, NatsAddress
from gateway.upstreams import nats
from gateway.upstreams.mqtt import connect
from hil.proxy import Proxy
from tests.contract.test_upstreams import record
from tests.support.spool_brokers import mosquitto
from tests.support.upstreams import JetStream

ANSWER_WITHIN_S = 5.0
LONG_MS = 60_000


async def attempt(port: int, timeout_ms: int) -> None:
    broker = BrokerAddress(host="127.0.0.1", port=port, client_id="gateway")
    async with connect(broker, topic="fieldgate", acknowledge_timeout_ns=timeout_ms * NS_PER_MS):
        raise AssertionError("that is no broker")


@pytest.mark.parametrize("how", ["closes", "resets", "reads and closes"])
def test_a_peer_that_hangs_up_before_it_answers_is_not_waited_for(how: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if how == "reads and closes":
            await reader.read(1_024)
        if how == "resets":
            writer.transport.abort()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server, asyncio.timeout(ANSWER_WITHIN_S):
            await attempt(server.sockets[0].getsockname()[1], LONG_MS)

    with pytest.raises(LinkDown, match="closed before the broker answered"):
        uvloop.run(scenario())


def test_a_peer_that_says_nothing_is_named_with_what_happened() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def scenario() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server, asyncio.timeout(ANSWER_WITHIN_S):
            await attempt(server.sockets[0].getsockname()[1], 300)

    with pytest.raises(LinkDown, match="timed out"):
        uvloop.run(scenario())


@pytest.mark.parametrize("how", ["resets", "closes"])
def test_a_connection_that_ends_is_told_once_and_in_our_own_words(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(port: int) -> str:
        proxy = Proxy(port)
        await proxy.start()
        broker = BrokerAddress(host="127.0.0.1", port=proxy.port, client_id="gateway")
        with pytest.raises(LinkDown) as end:
            async with connect(broker, topic="fieldgate", acknowledge_timeout_ns=LONG_MS * NS_PER_MS) as upstream:
                await upstream.send(*record(1))
                proxy.hold()
                sending = asyncio.ensure_future(upstream.send(*record(2)))
                await asyncio.sleep(0.05)
                if how == "resets":
                    proxy.reset()
                else:
                    await proxy.cut()
                await sending
        proxy.release()
        await proxy.stop()
        return end.value.reason

    with caplog.at_level(logging.DEBUG), mosquitto(tmp_path, "allow_anonymous true") as running:
        reason = uvloop.run(scenario(running.port))
    why = "Connection reset by peer" if how == "resets" else "closed by the other side"
    assert reason.endswith(f"connection lost ({why})")
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.INFO] == []


def test_a_jetstream_that_resets_under_load_is_told_once_and_in_our_own_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the client was about to do at that moment."""

    async def session(proxy: Proxy) -> str:
        there = NatsAddress(host="127.0.0.1", port=proxy.port, client_name="gateway")
        with pytest.raises(LinkDown) as end:
            async with nats.connect(
                there, subject="contract.{stream}", acknowledge_timeout_ns=LONG_MS * NS_PER_MS
            ) as upstream:
                proxy.hold()
                sends = [asyncio.ensure_future(upstream.send(*record(1)))]
                await asyncio.sleep(0.05)
                proxy.reset()
                sends += [asyncio.ensure_future(upstream.send(*record(number, size=3_000))) for number in range(2, 100)]
                for ended in await asyncio.gather(*sends, return_exceptions=True):
                    assert isinstance(ended, LinkDown)
                    raise ended
        proxy.release()
        return end.value.reason

    async def scenario() -> None:
        async with JetStream(tmp_path).running() as far_end:
            assert isinstance(far_end, JetStream)
            proxy = Proxy(far_end.port)
            await proxy.start()
            for _ in range(8):
                assert "connection lost (" in await session(proxy)
                gc.collect()
            await proxy.stop()

    with caplog.at_level(logging.DEBUG):
        uvloop.run(scenario())
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.INFO] == []
