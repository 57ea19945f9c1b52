"""The parking: what tags remember that have no row, in a file of its own, for when they return.

One thread owns the file. It writes what the engine's evictions give it, in the order of these, and answers what a
tag remembers; an answer waits until as many evictions of the tag's pool have come as had been decided when it was
asked for. Nothing here is worth a sync: what is lost with the power are states, and a tag without one begins anew. A
damaged file is thrown away with an event, and another one begun. Where the disk takes nothing, the file stays as it is:
who leaves meanwhile is forgotten and counted, and it is tried again later. Nobody ever waits for an answer in vain.

States are compressed one by one. Over `bytes_max` those parked longest ago are thrown away and counted; so is, in
memory, what comes faster than it can be written.

    parked   id (of the tag's name), name, layout (what the bytes mean), turn (order of parking), bytes, state
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import zstandard

from gateway.core.events import Emit, Event, Severity
from gateway.core.lending import Parked, tag_id
from gateway.core.limits import PARKING_QUEUE_BYTES_MAX
from gateway.core.ports import Clock
from gateway.core.readings import Reading
from gateway.core.types import NS_PER_S
from gateway.spool.thread import DiskThread

METRICS: Final[tuple[tuple[str, str, str], ...]] = (
    ("fieldgate_parking_parked_total", "counter", "States of tags that were parked."),
    ("fieldgate_parking_found_total", "counter", "States that were found when their tag returned."),
    ("fieldgate_parking_dropped_total", "counter", "States thrown away, by reason: full, queue or error."),
    ("fieldgate_parking_tags", "gauge", "Tags whose state is parked."),
    ("fieldgate_parking_bytes", "gauge", "Bytes of all parked states."),
    ("fieldgate_parking_limit_bytes", "gauge", "Bytes that parked states may take; beyond, the oldest go."),
)

FORMAT: Final = 1
ROW_OVERHEAD_BYTES: Final = 96
ASKED_AT_ONCE: Final = 500
DROPPED_AT_ONCE: Final = 1_000
WAIT_S: Final = 0.5
RETRY_NS: Final = 10 * NS_PER_S
"""How long a disk that takes nothing is left alone."""

TABLE: Final = (
    "CREATE TABLE parked (id INTEGER PRIMARY KEY, name TEXT NOT NULL, layout INTEGER NOT NULL, turn INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, state BLOB NOT NULL)"
)


@dataclass(frozen=True, slots=True)
class Question:
    """What do these tags of a pool remember? `answer` is called on the parking's thread, with None for nothing."""

    pool: int
    names: tuple[str, ...]
    after_evictions: int
    answer: Callable[[list[bytes | None]], None]


Names: TypeAlias = tuple[str, ...]


class ParkingFile:
    """The file, open. Every method may raise sqlite3.Error."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
        self._decompressor = zstandard.ZstdDecompressor()
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version != FORMAT:
            self._connection.execute("DROP TABLE IF EXISTS parked")
            self._connection.execute(TABLE)
            self._connection.execute("CREATE INDEX parked_turn ON parked (turn)")
            self._connection.execute(f"PRAGMA user_version = {FORMAT}")
        size = self._connection.execute("SELECT count(*), coalesce(sum(bytes), 0), coalesce(max(turn), 0) FROM parked")
        self.tags, self.bytes, self._turn = size.fetchone()

    def close(self) -> None:
        self._connection.close()

    def park(self, leaving: Sequence[Parked]) -> int:
        """Write down what these remember; returns how many others had to go for them."""
        rows = []
        for parked in leaving:
            for name, state in zip(parked.names, parked.states, strict=True):
                body = self._compressor.compress(state.data)
                self._turn += 1
                rows.append((tag_id(name), name, parked.layout, self._turn, len(body) + ROW_OVERHEAD_BYTES, body))
        self._connection.execute("BEGIN")
        done = False
        try:
            self._forget([row[0] for row in rows])
            self._connection.executemany("INSERT OR REPLACE INTO parked VALUES (?, ?, ?, ?, ?, ?)", rows)
            # A tag may leave twice in one go; what counts is what is there.
            unique = {row[0]: row[4] for row in rows}
            self.tags += len(unique)
            self.bytes += sum(unique.values())
            dropped = self._make_room()
            self._connection.execute("COMMIT")
            done = True
        finally:
            if not done:
                self._connection.rollback()
        return dropped

    def find(self, names: Sequence[str], layout: int) -> list[bytes | None]:
        """What each of these remembers; None for nothing that this layout can read."""
        found: dict[str, bytes] = {}
        for first in range(0, len(names), ASKED_AT_ONCE):
            ids = [tag_id(name) for name in names[first : first + ASKED_AT_ONCE]]
            marks = ",".join("?" * len(ids))
            query = f"SELECT name, state FROM parked WHERE id IN ({marks}) AND layout = ?"
            found.update(self._connection.execute(query, (*ids, layout)).fetchall())
        return [None if name not in found else self._decompressor.decompress(found[name]) for name in names]

    def _forget(self, ids: Sequence[int]) -> None:
        """Count off what is about to be replaced."""
        for first in range(0, len(ids), ASKED_AT_ONCE):
            part = ids[first : first + ASKED_AT_ONCE]
            marks = ",".join("?" * len(part))
            query = f"SELECT count(*), coalesce(sum(bytes), 0) FROM parked WHERE id IN ({marks})"
            tags, size = self._connection.execute(query, part).fetchone()
            self.tags -= tags
            self.bytes -= size

    def _make_room(self) -> int:
        dropped = 0
        while self.bytes > self._bytes_max and self.tags > 0:
            query = "SELECT turn, bytes FROM parked ORDER BY turn LIMIT ?"
            oldest = self._connection.execute(query, (DROPPED_AT_ONCE,)).fetchall()
            last = 0
            for turn, size in oldest:
                if self.bytes <= self._bytes_max:
                    break
                last = turn
                self.bytes -= size
                self.tags -= 1
                dropped += 1
            self._connection.execute("DELETE FROM parked WHERE turn <= ?", (last,))
        return dropped


class Parking(DiskThread):
    """The thread. `layouts` are those that the engine's pools can read, by pool."""

    def __init__(self, path: Path, *, bytes_max: int, layouts: Sequence[int], now_ns: Clock, emit: Emit) -> None:
        super().__init__("parking")
        self._path = path
        self._bytes_max = bytes_max
        self._layouts = tuple(layouts)
        self._now_ns = now_ns
        self._emit = emit
        self._leaving: deque[Parked] = deque()
        self._leaving_bytes = 0
        self._evictions = [0] * len(self._layouts)
        self._questions: deque[Question] = deque()
        self._file: ParkingFile | None = None
        self._retry_ns = 0
        self._is_told = False
        self._parked = 0
        self._found = 0
        self._dropped = dict.fromkeys(("full", "queue", "error"), 0)

    # Any thread

    def go_on_from(self, evictions: Sequence[int]) -> None:
        """Before the start: so many have been dealt with by earlier runs, by pool."""
        self._evictions = list(evictions)

    def put(self, parked: Parked) -> None:
        """What left. Over the limit of what may wait, the states are dropped and counted, the eviction is not."""
        with self._changed:
            size = parked.states.nbytes
            if self._leaving_bytes + size > PARKING_QUEUE_BYTES_MAX:
                self._dropped["queue"] += len(parked.names)
                parked = Parked(parked.pool, parked.evictions, parked.layout, (), parked.states[:0])
                size = 0
            self._leaving.append(parked)
            self._leaving_bytes += size
            self._changed.notify()

    def ask(self, question: Question) -> None:
        with self._changed:
            self._questions.append(question)
            self._changed.notify()

    def readings(self) -> Iterator[Reading]:
        file = self._file
        yield Reading("fieldgate_parking_parked_total", self._parked)
        yield Reading("fieldgate_parking_found_total", self._found)
        for reason, count in self._dropped.items():
            yield Reading("fieldgate_parking_dropped_total", count, (("reason", reason),))
        yield Reading("fieldgate_parking_tags", file.tags if file is not None else 0)
        yield Reading("fieldgate_parking_bytes", file.bytes if file is not None else 0)
        yield Reading("fieldgate_parking_limit_bytes", self._bytes_max)

    # The parking's thread

    def _turn(self) -> bool:
        with self._changed:
            if not (self._leaving or self._ready() or self._stopping):
                self._changed.wait(WAIT_S)
            leaving, self._leaving = list(self._leaving), deque()
            self._leaving_bytes = 0
            stopping = self._stopping
        self._park(leaving)
        for parked in leaving:
            self._evictions[parked.pool] = max(self._evictions[parked.pool], parked.evictions)
        with self._changed:
            questions = [question for question in self._questions if stopping or self._is_ready(question)]
            self._questions = deque(question for question in self._questions if question not in questions)
        for question in questions:
            self._answer(question)
        return not stopping

    def _ready(self) -> bool:
        return any(self._is_ready(question) for question in self._questions)

    def _is_ready(self, question: Question) -> bool:
        return self._evictions[question.pool] >= question.after_evictions

    def _park(self, leaving: Sequence[Parked]) -> None:
        count = sum(len(parked.names) for parked in leaving)
        if not count:
            return
        file = self._opened()
        if file is None:
            self._dropped["error"] += count
            return
        try:
            self._dropped["full"] += file.park(leaving)
            self._parked += count
            self._tell_usable()
        except sqlite3.Error as error:
            self._dropped["error"] += count
            self._failed(error)

    def _answer(self, question: Question) -> None:
        found: list[bytes | None] = [None] * len(question.names)
        file = self._opened()
        try:
            if file is not None:
                found = file.find(question.names, self._layouts[question.pool])
                self._found += sum(state is not None for state in found)
        except (sqlite3.Error, zstandard.ZstdError) as error:
            self._failed(error)
        question.answer(found)

    def _opened(self) -> ParkingFile | None:
        """None while it cannot be used."""
        if self._file is None and self._now_ns() >= self._retry_ns:
            try:
                self._file = ParkingFile(self._path, self._bytes_max)
            except sqlite3.Error as error:
                self._failed(error)
        return self._file

    def _failed(self, error: Exception) -> None:
        """A damaged file is disposable: another one is begun at once. Else the disk is left alone for a while."""
        self._close()
        is_damaged = isinstance(error, zstandard.ZstdError) or (
            isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        )
        says = f"{error}; until the disk takes it again, tags that leave are forgotten and begin anew when they return"
        if is_damaged:
            try:
                for suffix in ("", "-wal", "-shm"):
                    Path(f"{self._path}{suffix}").unlink(missing_ok=True)
                message = f"{self._path}: {error}; thrown away and begun anew, tags that return begin anew too"
                self._emit(Event(self._now_ns(), Severity.WARNING, "parking.dropped", "parking", message))
                return
            except OSError as cannot:
                says = f"{error}, and it cannot be thrown away: {cannot}; tags that return begin anew"
        self._retry_ns = self._now_ns() + RETRY_NS
        if not self._is_told:
            self._is_told = True
            message = f"{self._path}: {says}"
            self._emit(Event(self._now_ns(), Severity.WARNING, "parking.unavailable", "parking", message))

    def _tell_usable(self) -> None:
        if self._is_told:
            self._is_told = False
            message = f"{self._path}: what tags remember is kept again"
            self._emit(Event(self._now_ns(), Severity.NOTICE, "parking.available", "parking", message))

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
