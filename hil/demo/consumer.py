"""The far end of the demo's uplink: a receiver behind a persistent MQTT session, and what the sender gave out.

Two books are compared at the end: the identities that arrived (the receiver's), and those that the gateway gave out:
the highest sequence of each segment that was seen in its spool's file. A segment is closed and soon forgotten by the
spool when the link comes back; its length then stands in its last record.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import aiomqtt

from gateway.core.segments import KIND_SEGMENT_END
from gateway.receiver import Receiver
from gateway.upstreams.mqtt import Client

COMMIT_EVERY_S = 0.2


class Consumer:
    """Subscribes to everything of one gateway and keeps it in a file of its own."""

    def __init__(self, path: Path, *, broker_port: int, topic: str) -> None:
        self.receiver = Receiver(path)
        self._path = path
        self._broker_port = broker_port
        self._topic = topic

    async def run(self, subscribed: asyncio.Event) -> None:
        """Until cancelled; the broker keeps what comes while this side is away."""
        while True:
            try:
                async with Client(
                    "127.0.0.1", self._broker_port, identifier="demo-consumer", clean_session=False
                ) as client:
                    await client.subscribe(self._topic, qos=1)
                    subscribed.set()
                    await self._take(client)
            except aiomqtt.MqttError:
                await asyncio.sleep(0.5)

    def stated_lengths(self) -> dict[tuple[str, int], int]:
        """By stream and segment, what the sender said of those that it closed."""
        self.receiver.commit()
        with closing(sqlite3.connect(self._path, timeout=5)) as connection:
            rows = connection.execute(
                "SELECT stream, segment, json_extract(CAST(payload AS TEXT), '$.length') FROM records"
                " WHERE json_extract(CAST(payload AS TEXT), '$.record') = ?",
                (KIND_SEGMENT_END,),
            ).fetchall()
        return {(stream, segment): length for stream, segment, length in rows}

    def stored_twice(self) -> int:
        """Identities that stand in the receiver's table more than once."""
        self.receiver.commit()
        with closing(sqlite3.connect(self._path, timeout=5)) as connection:
            (twice,) = connection.execute(
                "SELECT count(*) FROM (SELECT 1 FROM records GROUP BY gateway, stream, segment, sequence"
                " HAVING count(*) > 1)"
            ).fetchone()
        return int(twice)

    async def _take(self, client: Client) -> None:
        loop = asyncio.get_running_loop()
        committed_s = loop.time()
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            self.receiver.accept(message.payload)
            if loop.time() - committed_s > COMMIT_EVERY_S:
                self.receiver.commit()
                committed_s = loop.time()


@dataclass(frozen=True, slots=True)
class Given:
    """What the gateway gave out, what of it waits still, and how many segments the spool knows."""

    records: int
    waiting: int
    segments: int


class GivenOut:
    """The highest sequence of every segment that was ever seen in the spool's file, or stated by its end."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._highest: dict[tuple[str, int], int] = {}

    def look(self, stated: Mapping[tuple[str, int], int] | None = None) -> Given:
        with closing(sqlite3.connect(f"file:{self._spool}?mode=ro", uri=True, timeout=5)) as connection:
            rows = connection.execute("SELECT stream, segment, next_sequence - 1 FROM segments").fetchall()
            (waiting,) = connection.execute("SELECT count(*) FROM records").fetchone()
        seen = {(stream, segment): sequence for stream, segment, sequence in rows}
        for key, sequence in (*seen.items(), *(stated or {}).items()):
            self._highest[key] = max(self._highest.get(key, 0), sequence)
        return Given(records=sum(self._highest.values()), waiting=waiting, segments=len(seen))
