"""Both ends of an uplink: a delivery out of a spool, and a consumer with a persistent session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec

from gateway.core.events import Event
from gateway.core.pacing import Pace
from gateway.mqttclient import Client
from gateway.receiver import Offer, Receiver
from gateway.runtime.delivery import Connect, Delivery
from gateway.settings.schema import BrokerAddress, MqttVersion
from gateway.spool.worker import SpoolWorker
from gateway.upstreams.mqtt import connect
from tests.support.spool import envelope

TOPIC = "plant/records/{stream}"
RETRY_NS = 50_000_000


def address(port: int, *, version: MqttVersion = MqttVersion.V311, **more: Any) -> BrokerAddress:
    return BrokerAddress(host="127.0.0.1", port=port, version=version, client_id="gateway-under-test", **more)


def delivery_to(
    broker: BrokerAddress,
    spool: SpoolWorker,
    events: list[Event],
    *,
    drain_records_per_s: int = 2_000,
    acknowledge_timeout_ns: int = 2_000_000_000,
) -> Delivery:
    connection = partial(connect, broker, topic=TOPIC, acknowledge_timeout_ns=acknowledge_timeout_ns)
    return delivery_by(connection, spool, events, drain_records_per_s=drain_records_per_s)


def delivery_by(
    connection: Connect, spool: SpoolWorker, events: list[Event], *, drain_records_per_s: int = 2_000
) -> Delivery:
    """By whatever makes sessions."""
    return Delivery(
        gateway_id="plant",
        name="cloud",
        spool=spool,
        connect=connection,
        envelope=envelope,
        retry_after_ns=lambda failures: RETRY_NS,
        pace=Pace(drain_records_per_s),
        now_ns=time.time_ns,
        emit=events.append,
    )


@asynccontextmanager
async def running(*coroutines: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def until(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about in time"
        await asyncio.sleep(0.01)


class Consumer:
    """The far end: survives the broker, connects again with its session, and keeps what it got in a file."""

    def __init__(self, port: int, path: Path) -> None:
        self.receiver = Receiver(path)
        self.first_arrivals: list[tuple[str, int, int]] = []
        self.bodies: dict[tuple[str, int, int], set[bytes]] = {}
        self.subscribed = asyncio.Event()
        self._port = port

    async def run(self) -> None:
        while True:
            with suppress(aiomqtt.MqttError):
                async with Client(
                    "127.0.0.1", self._port, identifier="far-end", clean_session=False, timeout=2
                ) as client:
                    await client.subscribe("plant/records/#", qos=1)
                    self.subscribed.set()
                    async for message in client.messages:
                        self.take(bytes(message.payload))  # type: ignore[arg-type]
            # A farewell that fails must not take the place of the cancellation that it came after.
            if (task := asyncio.current_task()) and task.cancelling():
                return
            await asyncio.sleep(0.05)

    def take(self, payload: bytes) -> None:
        head: dict[str, Any] = msgspec.json.decode(payload)
        key = (head["stream"], head["segment"], head["sequence"])
        self.bodies.setdefault(key, set()).add(payload)
        if self.receiver.accept(payload) is not Offer.DUPLICATE:
            self.first_arrivals.append(key)
        self.receiver.commit()
