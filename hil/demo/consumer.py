"""The far end of the demo's uplink: a receiver behind a persistent MQTT session, and what the sender gave out.

Two independent books are compared at the end: the identities that arrived (the receiver's), and those that the gateway
gave out (its spool's file counts them).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from zlib import crc32

import aiomqtt

from gateway.mqttclient import Client
from gateway.receiver import Receiver

COMMIT_EVERY_S = 0.2

IdentityTriple: TypeAlias = tuple[str, int, int]
"""Stream, segment, sequence."""


class Consumer:
    """Subscribes to everything of one gateway and keeps it in a file of its own."""

    def __init__(
        self, path: Path, *, broker_port: int, topic: str, make: Callable[[Path], Receiver] = Receiver
    ) -> None:
        self.receiver = make(path)
        self._path = path
        self._broker_port = broker_port
        self._topic = topic
        # The broker keeps a session for each name, and a second client of one puts out the first.
        self._identifier = f"consumer-{crc32(str(path.absolute()).encode()):08x}"

    async def run(self, subscribed: asyncio.Event) -> None:
        """Until cancelled; the broker keeps what comes while this side is away."""
        while True:
            try:
                async with Client(
                    "127.0.0.1", self._broker_port, identifier=self._identifier, clean_session=False
                ) as client:
                    await client.subscribe(self._topic, qos=1)
                    subscribed.set()
                    await self._take(client)
            except aiomqtt.MqttError:
                await again_in(0.5)

    def stored_twice(self) -> int:
        """Identities that stand in the receiver's table more than once."""
        self.receiver.commit()
        with closing(sqlite3.connect(self._path, timeout=5)) as connection:
            (twice,) = connection.execute(
                "SELECT count(*) FROM (SELECT 1 FROM records GROUP BY gateway, stream, segment, sequence"
                " HAVING count(*) > 1)"
            ).fetchone()
        return int(twice)

    def identities(self) -> frozenset[IdentityTriple]:
        """All that arrived."""
        self.receiver.commit()
        with closing(sqlite3.connect(self._path, timeout=5)) as connection:
            return frozenset(connection.execute("SELECT stream, segment, sequence FROM records").fetchall())

    async def _take(self, client: Client) -> None:
        loop = asyncio.get_running_loop()
        committed_s = loop.time()
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            self.receiver.accept(message.payload)
            if loop.time() - committed_s > COMMIT_EVERY_S:
                self.receiver.commit()
                committed_s = loop.time()


async def again_in(seconds: float) -> None:
    """Pause before another attempt, or leave: a farewell that failed may stand in the place of a cancellation."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Given:
    """What the gateway's spool says it gave out, and the identities of what waits still."""

    records: int
    waiting: frozenset[IdentityTriple]


class GivenOut:
    """The sender's book: its spool's file, read beside the gateway that works in it, or after it."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool

    def look(self) -> Given:
        with closing(sqlite3.connect(f"file:{self._spool}?mode=ro", uri=True, timeout=5)) as connection:
            connection.execute("BEGIN")
            (records,) = connection.execute("SELECT sum(produced) FROM streams").fetchone()
            waiting = connection.execute(
                "SELECT stream, segment, sequence FROM records WHERE id NOT IN (SELECT record FROM acknowledged)"
            ).fetchall()
        return Given(records=records, waiting=frozenset(waiting))


def missing(given: Given, received: frozenset[IdentityTriple]) -> int:
    """Records that were given out and neither arrived nor wait. What waits may have arrived as well: unacknowledged."""
    return given.records - len(received | given.waiting)
