"""The other end of an uplink, in this process: it can be away, refuse for good, and keeps what it got in a file.

What it acknowledges is committed, a few milliseconds' worth at once. Bodies are looked at as they come and let go when
a day was checked; identities stay for the reconciliation, and so do events, among which are the sender's losses.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec

from gateway.core.ports import Answer, LinkDown, Refusal, Upstream, Verdict
from gateway.core.record import Identity, Stream
from gateway.receiver import Offer, Receiver

COMMIT_EVERY_S = 0.005


class FarEnd:
    """Of `name`. Made, and used, on the loop's thread."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.is_up = True
        self.refuses: frozenset[str] = frozenset()
        """Streams that it does not take, now."""
        self.refused: set[Identity] = set()
        self.receiver = Receiver(path)
        self.events: Counter[str] = Counter()
        self.results: dict[tuple[str, str, int], float] = {}
        """By tag, calculation and end, what came of those that end."""
        self.twice: list[tuple[str, str, int]] = []
        """Results that came once more, under another record."""
        self._waiting: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Upstream]:
        if not self.is_up:
            raise LinkDown(f"{self.name}: no route", "mend it")
        yield self

    async def send(self, identity: Identity, payload: bytes) -> Answer:
        if not self.is_up:
            raise LinkDown(f"{self.name}: cut", "mend it")
        if identity.stream in self.refuses or identity in self.refused:
            self.refused.add(identity)
            return Refusal("not by this scheme")
        if self.receiver.accept(payload) is not Offer.DUPLICATE:
            self._read(msgspec.json.decode(payload))
        if not self._waiting:
            asyncio.get_running_loop().call_later(COMMIT_EVERY_S, self._commit)
        self._waiting.append(done := asyncio.get_running_loop().create_future())
        await done
        return Verdict.ACCEPTED

    def forget_bodies(self) -> None:
        with closing(sqlite3.connect(self.path, timeout=20)) as connection, connection:
            connection.execute("UPDATE records SET payload = x'' WHERE stream != 'events' AND payload != x''")

    def _read(self, record: dict[str, Any]) -> None:
        if record["stream"] == Stream.EVENTS and "kind" in record:
            self.events.update(record["kind"])
        if record["stream"] == Stream.CALCULATIONS and "tag" in record:
            names = (record["tags"][place] for place in record["tag"])
            words = (record["calculations"][place] for place in record["calculation"])
            for name, word, end_ns, value in zip(names, words, record["end_ns"], record["value"], strict=True):
                if (name, word, end_ns) in self.results:
                    self.twice.append((name, word, end_ns))
                self.results[name, word, end_ns] = value

    def _commit(self) -> None:
        waiting, self._waiting = self._waiting, []
        self.receiver.commit()
        for one in waiting:
            if not one.done():
                one.set_result(None)
