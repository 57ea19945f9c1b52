"""Dead letters of the way in, kept beside the spool: payloads that could not be used, with topic, reason and time.

What the upstream refused for ever lies in the spool itself, because it has an identity there; this file may be deleted
at any time. It has the same bounds: `DEAD_LETTERS_MAX` in all, and of one topic no more than `LETTERS_PER_TOPIC`, so
that one babbling device does not push out the others'. The oldest go, counted.

A thread of its own writes, a group a second at the most, from a queue that overflows by dropping the newest, counted.
It also looks for letters that `fieldgate dead-letters requeue` marked, and hands them back to their session. A file
that is damaged is deleted and told: what it held had been counted, and told when it came.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from gateway.core.events import Emit, Event, Severity
from gateway.core.letters import Letter
from gateway.core.limits import DEAD_LETTERS_MAX, LETTERS_PER_TOPIC, LETTERS_QUEUED_MAX
from gateway.core.ports import Clock
from gateway.core.readings import Reading
from gateway.spool.records import StoreDamaged, StoreUnavailable, translated

LETTERS_FILE: Final = "dead-letters.db"
TURN_S: Final = 1.0
TIMEOUT_S: Final = 5.0

METRICS: Final[tuple[tuple[str, str, str], ...]] = (
    ("fieldgate_dead_letters_total", "counter", "Payloads kept because they could not be used."),
    ("fieldgate_dead_letters_dropped_total", "counter", "Payloads not kept: too many at once, or no room on the disk."),
    ("fieldgate_dead_letters_deleted_total", "counter", "Dead letters deleted to keep within their limits."),
    ("fieldgate_dead_letters_requeued_total", "counter", "Dead letters handed back to their session."),
)

HandBack: TypeAlias = Callable[[Letter], None]


class Kept(NamedTuple):
    """A letter in the file. `wall_ns` is when it arrived, by the wall clock."""

    id: int
    link: str
    topic: str
    size: int
    reason: str
    arrival_ns: int
    wall_ns: int
    requeued: int


class DeadLetters:
    """The file and its thread. `hand_back` is called on the thread with each letter that is to be tried again."""

    def __init__(
        self, path: Path, *, now_ns: Clock, wall_offset_ns: Callable[[], int], emit: Emit, hand_back: HandBack
    ) -> None:
        self._path = path
        self._now_ns = now_ns
        self._wall_offset_ns = wall_offset_ns
        self._emit = emit
        self._hand_back = hand_back
        self._queue: deque[Letter] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dead letters", daemon=True)
        self._is_available = True
        self._kept = self._dropped = self._deleted = self._requeued = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        self._stopping.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def put(self, letter: Letter) -> None:
        """Any thread."""
        if len(self._queue) >= LETTERS_QUEUED_MAX:
            self._dropped += 1
        else:
            self._queue.append(letter)

    def readings(self) -> Iterator[Reading]:
        values = (self._kept, self._dropped, self._deleted, self._requeued)
        for (name, _, _), value in zip(METRICS, values, strict=True):
            yield Reading(name, value)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stopping.wait(TURN_S)
            letters = [self._queue.popleft() for _ in range(len(self._queue))]
            try:
                self._turn(letters)
            except StoreDamaged as error:
                self._dropped += len(letters)
                self._path.unlink(missing_ok=True)
                self._note(False, f"{error}; the file is deleted, and another one begun")
            except StoreUnavailable as error:
                self._dropped += len(letters)
                self._note(False, f"{error}; payloads that cannot be used are not kept, only counted")
            else:
                self._note(True, f"{self._path}: payloads that cannot be used are kept again")

    def _turn(self, letters: Sequence[Letter]) -> None:
        if not letters and not self._path.exists():
            return
        with translated(self._path), closing(_opened(self._path)) as connection, connection:
            offset_ns = self._wall_offset_ns()
            connection.executemany(
                "INSERT INTO dead_letters (link, topic, size, reason, arrival_ns, wall_ns, requeued, body)"
                " VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
                [
                    (
                        each.link,
                        each.topic,
                        each.size,
                        each.reason,
                        each.arrival_ns,
                        each.arrival_ns + offset_ns,
                        each.payload,
                    )
                    for each in letters
                ],
            )
            self._deleted += _keep_within(connection)
            wanted = connection.execute(
                "DELETE FROM dead_letters WHERE requeued = 1 RETURNING link, topic, body, size, reason, arrival_ns"
            ).fetchall()
        self._kept += len(letters)
        self._requeued += len(wanted)
        for row in wanted:
            self._hand_back(Letter(*row))

    def _note(self, is_available: bool, message: str) -> None:
        if is_available != self._is_available:
            self._is_available = is_available
            kind = "dead_letters.available" if is_available else "dead_letters.unavailable"
            severity = Severity.NOTICE if is_available else Severity.WARNING
            self._emit(Event(self._now_ns(), severity, kind, "gateway", message))


def _opened(path: Path) -> sqlite3.Connection:
    """For the gateway, which makes the table."""
    connection = sqlite3.connect(path, timeout=TIMEOUT_S)
    connection.execute("PRAGMA journal_mode = WAL")
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'dead_letters'").fetchone():
        # Here and not above: it imports pandas where that is installed, and every start would wait for it.
        from sqlite_utils import Database

        table = Database(connection)["dead_letters"]
        numbers = {"size": int, "arrival_ns": int, "wall_ns": int, "requeued": int}
        texts = {"link": str, "topic": str, "reason": str}
        columns = {"id": int, **texts, **numbers, "body": bytes}
        table.create(columns, pk="id", not_null={*texts, *numbers, "body"})
        table.create_index(["link", "topic"])
    return connection


def _keep_within(connection: sqlite3.Connection) -> int:
    """Delete what is beyond the limits, the oldest first; returns how many."""
    per_topic = connection.execute(
        "DELETE FROM dead_letters WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER"
        " (PARTITION BY link, topic ORDER BY id DESC) AS place FROM dead_letters) WHERE place > ?)",
        (LETTERS_PER_TOPIC,),
    )
    in_all = connection.execute(
        "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters ORDER BY id DESC LIMIT -1 OFFSET ?)",
        (DEAD_LETTERS_MAX,),
    )
    return per_topic.rowcount + in_all.rowcount


# -- beside a running gateway -------------------------------------------------------------------------------------


@contextmanager
def _beside(path: Path) -> Iterator[sqlite3.Connection | None]:
    """For a command; None when nothing was ever kept. Raises StoreUnavailable."""
    if not path.exists():
        yield None
        return
    with translated(path), closing(sqlite3.connect(path, timeout=TIMEOUT_S)) as connection, connection:
        has_table = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'dead_letters'").fetchone()
        yield connection if has_table else None


def listed(path: Path) -> list[Kept]:
    """The newest last."""
    columns = ", ".join(Kept._fields)
    with _beside(path) as connection:
        if connection is None:
            return []
        return [Kept(*row) for row in connection.execute(f"SELECT {columns} FROM dead_letters ORDER BY id")]


def payload_of(path: Path, letter: int) -> bytes | None:
    """None when there is no letter of this number."""
    with _beside(path) as connection:
        if connection is None:
            return None
        row = connection.execute("SELECT body FROM dead_letters WHERE id = ?", (letter,)).fetchone()
    return None if row is None else bytes(row[0])


def ask_again(path: Path, letters: Sequence[int]) -> int:
    """Have the gateway try these again, now or when it runs; returns how many there are that can be."""
    with _beside(path) as connection:
        if connection is None:
            return 0
        marks = ", ".join("?" * len(letters))
        done = connection.execute(
            f"UPDATE dead_letters SET requeued = 1 WHERE id IN ({marks}) AND length(body) = size", tuple(letters)
        )
        return done.rowcount
