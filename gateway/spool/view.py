"""The store seen from beside: for commands that look at a spool while the daemon works in it, or after it.

The file is opened read-only and read in one transaction, so that everything a view tells is of one moment. It never
holds the daemon up: readers of a WAL do not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

import msgspec
import zstandard

from gateway.core.record import Stream
from gateway.core.segments import KIND_LEDGER, Loss, LossReport
from gateway.spool import grace, ledger
from gateway.spool.records import Key, StoreDamaged, StoreRefused, translated
from gateway.spool.schema import MIGRATIONS

TIMEOUT_S: Final = 5.0


class State(Enum):
    WAITING = "waiting"
    KEPT = "kept"
    """Acknowledged, and in its grace."""
    DEAD = "dead"
    """Refused by the upstream for ever."""


_FROM: Final = {
    State.WAITING: f"records WHERE {grace.WAITS}",
    State.KEPT: f"records WHERE NOT {grace.WAITS}",
    State.DEAD: "dead_letters WHERE 1",
}


class Row(NamedTuple):
    """A record without its body. `bytes` is what the body takes in the file."""

    state: str
    stream: str
    segment: int
    sequence: int
    samples: int
    bytes: int
    first_ns: int
    last_ns: int


class DeadLetter(NamedTuple):
    key: Key
    samples: int
    bytes: int
    rejected_ns: int
    reason: str


class Segment(NamedTuple):
    stream: str
    segment: int
    state: str
    given: int
    """Sequences 1 to this were given out."""


class Produced(NamedTuple):
    """What a stream ever gave out in this file: records, and the number the next segment will have."""

    stream: str
    records: int
    next_segment: int


class View:
    """Of one moment. Made by `view`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    def tally(self, state: State, stream: Stream) -> tuple[int, int, int]:
        """Records, samples and bytes of bodies."""
        found: tuple[int, int, int] = self._connection.execute(
            "SELECT count(*), coalesce(sum(samples), 0), coalesce(sum(length(body)), 0)"
            f" FROM {_FROM[state]} AND stream = ?",
            (stream.value,),
        ).fetchone()
        return found

    def rows(self, state: State, streams: Sequence[str], limit: int = -1) -> list[Row]:
        """The oldest first; all with a negative limit."""
        marks = ", ".join("?" * len(streams))
        found = self._connection.execute(
            "SELECT stream, segment, sequence, samples, length(body), first_ns, last_ns"
            f" FROM {_FROM[state]} AND stream IN ({marks}) ORDER BY stream, segment, sequence LIMIT ?",
            (*streams, limit),
        )
        return [Row(state.value, *row) for row in found]

    def body(self, state: State, key: Key) -> bytes:
        """As it was encoded; raises StoreDamaged when that is not what stands on the disk."""
        (body,) = self._connection.execute(
            f"SELECT body FROM {_FROM[state]} AND stream = ? AND segment = ? AND sequence = ?", key
        ).fetchone()
        try:
            return zstandard.ZstdDecompressor().decompress(body)
        except zstandard.ZstdError as error:
            raise StoreDamaged(f"{key.stream} {key.segment}/{key.sequence}: {error}") from error

    def dead_letters(self) -> list[DeadLetter]:
        """What the upstream refused for ever, the oldest first."""
        rows = self._connection.execute(
            "SELECT stream, segment, sequence, samples, length(body), rejected_ns, reason FROM dead_letters ORDER BY id"
        )
        return [DeadLetter(Key(*row[:3]), *row[3:]) for row in rows]

    def segments(self) -> list[Segment]:
        return [
            Segment(stream, segment, state, next_sequence - 1 if length is None else length)
            for stream, segment, state, next_sequence, length in self._connection.execute(
                "SELECT stream, segment, state, next_sequence, length FROM segments ORDER BY stream, segment"
            )
        ]

    def produced(self) -> list[Produced]:
        rows = self._connection.execute("SELECT stream, produced, next_segment FROM streams ORDER BY stream")
        return [Produced(*row) for row in rows]

    def losses(self) -> list[Loss]:
        """The ledger's lines that upstream has not acknowledged."""
        return ledger.lines(self._connection)

    def told_losses(self) -> Iterator[Loss]:
        """What the loss reports say that are still here, waiting or kept."""
        for state in (State.WAITING, State.KEPT):
            for row in self.rows(state, [Stream.EVENTS.value]):
                if row.samples == 0:
                    body = self.body(state, Key(row.stream, row.segment, row.sequence))
                    if KIND_LEDGER.encode() in body[:64]:
                        yield from msgspec.json.decode(body, type=LossReport).dropped

    def resends(self) -> int:
        """Records that somebody asked for again and that are still under way."""
        (count,) = self._connection.execute("SELECT count(*) FROM resends").fetchone()
        return int(count)

    def pages(self) -> tuple[int, int, int]:
        """Page size in bytes, pages of the file, and how many of them are free."""
        size, count, free = (
            int(self._connection.execute(f"PRAGMA {what}").fetchone()[0])
            for what in ("page_size", "page_count", "freelist_count")
        )
        return size, count, free

    def faults(self) -> Iterator[str]:
        """Everything that is wrong: pages, references between tables, and bodies that are not what was stored."""
        for (line,) in self._connection.execute("PRAGMA integrity_check(20)"):
            if line != "ok":
                yield str(line)
        (astray,) = self._connection.execute(
            "SELECT count(*) FROM acknowledged WHERE record NOT IN (SELECT id FROM records)"
        ).fetchone()
        if astray:
            yield f"{astray} acknowledgements of records that are not there"
        (homeless,) = self._connection.execute(
            "SELECT count(*) FROM records WHERE NOT EXISTS (SELECT 1 FROM segments s WHERE s.stream = records.stream"
            f" AND s.segment = records.segment AND records.sequence <= s.next_sequence) AND {grace.WAITS}"
        ).fetchone()
        if homeless:
            yield f"{homeless} waiting records beyond the end of their segment"
        for state in State:
            for row in self.rows(state, [stream.value for stream in Stream]):
                try:
                    self.body(state, Key(row.stream, row.segment, row.sequence))
                except StoreDamaged as error:
                    yield str(error)


@contextmanager
def view(path: Path) -> Iterator[View]:
    """Raises StoreRefused when the file is not of this version, StoreUnavailable when it cannot be opened."""
    with translated(path), closing(_opened(path)) as connection:
        connection.execute("BEGIN")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != len(MIGRATIONS):
            how = "newer" if version > len(MIGRATIONS) else "older"
            raise StoreRefused(
                f"{path}: written by an {how} fieldgate (schema {version}, this one knows {len(MIGRATIONS)});"
                " use the version that runs the gateway" + ("" if how == "newer" else ", or start this one once")
            )
        yield View(connection, path)


def ask_again(path: Path, keys: Sequence[Key]) -> int:
    """Have the daemon send these again under their identities; returns how many of them are still there."""
    with translated(path), closing(sqlite3.connect(path, timeout=TIMEOUT_S)) as connection, connection:
        return grace.ask_again(connection, keys)


def compact(path: Path) -> tuple[int, int]:
    """Give free pages back to the disk; bytes of the file before and after. Only while no gateway works in it."""
    before = path.stat().st_size
    with translated(path), closing(sqlite3.connect(path, timeout=TIMEOUT_S, isolation_level=None)) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return before, path.stat().st_size


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, timeout=TIMEOUT_S)
