"""The age limit: what waited for too long is dropped, the oldest first, whatever its stream.

The age counts from when a record was stored: the times of its samples are the devices', and may lie a year back or
ahead. Records have ids in the order of storing, so the oldest is the first that waits.

Segment ends are not dropped, as they are not for room. The age is engine time: while the gateway is off nothing ages
where the wall clock does not tell how long that was.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from itertools import takewhile
from typing import Final, TypeAlias

from gateway.settings.units import show_duration
from gateway.spool import grace as kept

EXPIRED: Final = "expired"
DROPPED_AT_ONCE: Final = 64
"""By one transaction, so that a limit that is set on a full spool holds up no commit."""

_WAITS: Final = f"id >= ? AND priority >= 0 AND {kept.WAITS}"

Row: TypeAlias = tuple[str, int, int, int, int, int, int]
"""Of a record: stream, segment, sequence, samples, bytes, first_ns, last_ns."""


class Ageing:
    """Of one store. `limit_ns` 0: nothing is too old."""

    def __init__(self) -> None:
        self.limit_ns = 0
        self._first_id = 0
        self._dropped = 0
        self._is_told = False

    def oldest_ns(self, connection: sqlite3.Connection) -> tuple[int, ...]:
        """When the oldest record that waits was stored; empty when none waits."""
        query = f"SELECT id, stored_ns FROM records WHERE {_WAITS} ORDER BY id LIMIT 1"
        # What waited once and is acknowledged never waits again, so the search goes on where it ended.
        rows = connection.execute(query, (self._first_id,)).fetchall()
        if not rows:
            rows = connection.execute(query, (0,)).fetchall()
        self._first_id = rows[0][0] if rows else 0
        return tuple(stored_ns for _, stored_ns in rows)

    def too_old(self, connection: sqlite3.Connection, now_ns: int) -> list[Row]:
        """The next to be dropped. Asked inside of a transaction that may be undone, so the search is where it was."""
        if not self.limit_ns:
            return []
        rows = connection.execute(
            "SELECT stored_ns, stream, segment, sequence, samples, bytes, first_ns, last_ns FROM records"
            f" WHERE {_WAITS} ORDER BY id LIMIT ?",
            (self._first_id, DROPPED_AT_ONCE),
        )
        before_ns = now_ns - self.limit_ns
        return [tuple(row[1:]) for row in takewhile(lambda row: row[0] < before_ns, rows)]

    def news(self, counts: Mapping[tuple[str, ...], int], oldest_ns: tuple[int, ...], now_ns: int) -> str:
        """What is to be told: that records are too old, once until what waits is young again."""
        dropped = sum(count for what, count in counts.items() if what[0] == "dropped_records" and what[-1] == EXPIRED)
        more, self._dropped = dropped > self._dropped, dropped
        if not more:
            is_young = not self.limit_ns or all(2 * (now_ns - stored_ns) < self.limit_ns for stored_ns in oldest_ns)
            self._is_told = self._is_told and not is_young
            return ""
        news = "" if self._is_told else f"records that waited for more than {show_duration(self.limit_ns)} are dropped"
        self._is_told = True
        return news
