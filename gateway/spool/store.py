"""The store: records wait here, under the identity they were given in the transaction that stored them.

Owned by one thread. Every change is one SQLite transaction (WAL, synchronous=FULL): what a call returned survives a
power cut, what it did not return never had an identity. Nothing about identities is kept in memory, so memory and
file cannot disagree.

A segment is open from its first record until it is closed. A closed one ends with a record that states its length
and is done when its last record is acknowledged. Opening a store closes what an earlier run left open, as a new run
speaks in new segments, unless it `goes_on`: makes again what was under way, by a journal. With `segments_max` segments
of a stream waiting, a segment stays open instead.

Acknowledged records are kept for a grace (`gateway.spool.grace`) and make room first. Over `bytes_max` the oldest
waiting records of the lowest priority present are dropped and written into the loss ledger in the same transaction;
so are records that have waited for too long (`gateway.spool.ageing`), and those whose bodies were damaged on the disk,
which is found when they are read. Segment ends are never dropped for either: they are small and few, and say how long
what was dropped had been.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Final

import zstandard

from gateway.core.limits import DEAD_LETTERS_MAX, SEGMENTS_MAX
from gateway.core.pressure import LOWEST_SHARE
from gateway.core.record import PRIORITIES, Stream
from gateway.core.segments import Loss, LossReport, SegmentEnd, encode_body
from gateway.spool import grace as kept
from gateway.spool import ledger
from gateway.spool.ageing import EXPIRED, Ageing
from gateway.spool.backfill import LOG_PAGES_MAX
from gateway.spool.checkpoints import note_outputs
from gateway.spool.records import Encoded, Grace, Key, Lane, Stored, Totals, compress, damage_mark, translated
from gateway.spool.schema import draw_epoch, migrate

RECORD_OVERHEAD_BYTES: Final = 128
"""What a record costs in the file beside its body: row, two indexes, its share of the page."""
PRIORITY_SEGMENT_END: Final = -1
BUSY_TIMEOUT_MS: Final = 2_000
WAL_BYTES_KEPT: Final = 16 * 1024 * 1024
DROPPED_AT_ONCE: Final = 64
SEGMENT_AFTER_ALL: Final = 2**62


class Store:
    """`counts` has what happened since the start, by (what, stream) and, for drops, (what, stream, reason).

    `salvaged` says what was saved from a damaged file before this one was opened, for whoever can tell it.
    `connection` is for what else goes into a transaction of this store.
    """

    def __init__(
        self,
        path: Path,
        *,
        bytes_max: int,
        grace: Grace = Grace(),  # noqa: B008 - immutable
        segments_max: int = SEGMENTS_MAX,
        epoch: Callable[[], int] = draw_epoch,
        salvaged: str = "",
        goes_on: bool = False,
    ):
        self.path = path
        self.bytes_max = bytes_max
        self.grace = grace
        self.salvaged = salvaged
        self.segments_max = segments_max
        self.counts: Counter[tuple[str, ...]] = Counter()
        self._damaged: set[Key] = set()
        self.ageing = Ageing()
        self.reporting = ledger.Pace()
        with translated(path), ExitStack() as undo:
            self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            undo.callback(self.connection.close)
            self.connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = FULL")
            self.connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
            self.connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES_MAX}")
            migrate(self.connection, path, epoch)
            size = "SELECT count(*), coalesce(sum(bytes), 0) FROM"
            waiting = self.connection.execute(f"{size} records WHERE {kept.WAITS}").fetchone()
            acknowledged = self.connection.execute(f"{size} acknowledged").fetchone()
            undo.pop_all()
        self.totals = Totals(*waiting, *acknowledged)
        if not goes_on:
            self.close_open_segments()

    def close_open_segments(self) -> None:
        """What comes does not go on from what was before: speak in new segments."""
        with self.transaction():
            for stream in self._open_segments():
                self._close_segment(stream)

    def mark_damaged(self) -> None:
        """Have the next start salvage this file, whatever it sees of the damage itself."""
        damage_mark(self.path).touch()

    def finish_backfill(self) -> None:
        """What the log has got since `Backfill` was through with it."""
        with translated(self.path):
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        with translated(self.path):
            self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is done inside, or nothing. Calls of this store may be put together in one."""
        if self.connection.in_transaction:
            yield
            return
        totals, counts = astuple(self.totals), self.counts.copy()
        with translated(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            committed = False
            try:
                yield
                self.connection.execute("COMMIT")
                committed = True
            finally:
                if not committed:
                    # Some errors have rolled back already, and then this does nothing; memory goes back with the file.
                    self.connection.rollback()
                    self.totals, self.counts = Totals(*totals), counts

    # -- storing ------------------------------------------------------------------------------------------------

    def append(self, records: Sequence[Encoded], now_ns: int) -> list[Key]:
        """Store records, each under a new identity, in their order; makes room when they do not fit."""
        with self.transaction():
            keys = [self._insert(record, PRIORITIES[record.stream], now_ns) for record in records]
            note_outputs(self.connection, {each.stream.value: each.ordinal for each in records if each.ordinal})
            self._make_room(now_ns)
        return keys

    def _insert(self, record: Encoded, priority: int, now_ns: int) -> Key:
        key = self._next_identity(record.stream.value)
        size = len(record.body) + RECORD_OVERHEAD_BYTES
        self.connection.execute(
            "INSERT INTO records"
            " (stream, segment, sequence, priority, first_ns, last_ns, stored_ns, samples, bytes, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*key, priority, record.first_ns, record.last_ns, now_ns, record.samples, size, record.body),
        )
        self.totals.records += 1
        self.totals.bytes += size
        self.counts["produced_records", key.stream] += 1
        return key

    def _next_identity(self, stream: str) -> Key:
        row = self.connection.execute(
            "UPDATE segments SET next_sequence = next_sequence + 1 WHERE stream = ? AND state = 'open'"
            " RETURNING segment, next_sequence - 1",
            (stream,),
        ).fetchall()
        if row:
            ((segment, sequence),) = row
            return Key(stream, segment, sequence)
        ((segment,),) = self.connection.execute(
            "UPDATE streams SET next_segment = next_segment + 1 WHERE stream = ? RETURNING next_segment - 1", (stream,)
        ).fetchall()
        self.connection.execute(
            "INSERT INTO segments (stream, segment, state, next_sequence) VALUES (?, ?, 'open', 2)", (stream, segment)
        )
        return Key(stream, segment, 1)

    # -- segments -----------------------------------------------------------------------------------------------

    def _open_segments(self) -> dict[str, int]:
        return dict(self.connection.execute("SELECT stream, segment FROM segments WHERE state = 'open'"))

    def segments(self) -> tuple[int, int]:
        """How many are open, how many closed and waiting."""
        with translated(self.path):
            states = dict(self.connection.execute("SELECT state, count(*) FROM segments GROUP BY state"))
        return states.get("open", 0), states.get("closed", 0)

    def close_waiting_segments(self) -> int:
        """Close the open segments that have unacknowledged records, as far as `segments_max` permits."""
        closed = 0
        with self.transaction():
            for stream, segment in self._open_segments().items():
                waits = self.connection.execute(
                    f"SELECT 1 FROM records WHERE stream = ? AND segment = ? AND {kept.WAITS} LIMIT 1",
                    (stream, segment),
                ).fetchone()
                if waits:
                    closed += self._close_segment(stream)
        return closed

    def _close_segment(self, stream: str) -> bool:
        (waiting,) = self.connection.execute(
            "SELECT count(*) FROM segments WHERE stream = ? AND state = 'closed'", (stream,)
        ).fetchone()
        if waiting >= self.segments_max:
            self.counts["segments_kept_open", stream] += 1
            return False
        ((segment, length, last_ns),) = self.connection.execute(
            "SELECT segment, next_sequence,"
            " coalesce((SELECT max(last_ns) FROM records r WHERE r.stream = s.stream AND r.segment = s.segment), 0)"
            " FROM segments s WHERE stream = ? AND state = 'open'",
            (stream,),
        ).fetchall()
        end = Encoded(Stream(stream), last_ns, last_ns, 0, compress(encode_body(SegmentEnd(length))))
        self._insert(end, PRIORITY_SEGMENT_END, last_ns)
        self.connection.execute(
            "UPDATE segments SET state = 'closed', length = ? WHERE stream = ? AND segment = ?",
            (length, stream, segment),
        )
        return True

    # -- sending ------------------------------------------------------------------------------------------------

    def next_records(self, lane: Lane, after: dict[str, tuple[int, int]], limit: int) -> list[Stored]:
        """The next to send behind `after`, which has (segment, sequence) by stream; urgent streams first."""
        found: list[Stored] = []
        with translated(self.path):
            open_segments = self._open_segments()
            for stream in sorted(PRIORITIES, key=PRIORITIES.__getitem__):
                position = after.get(stream, (0, 0))
                present = open_segments.get(stream, SEGMENT_AFTER_ALL)
                if lane is Lane.AGAIN:
                    rows = kept.asked(self.connection, stream, position, limit - len(found))
                else:
                    live = lane is Lane.LIVE
                    lower = max(position, (present, 0)) if live else position
                    rows = self.connection.execute(
                        "SELECT segment, sequence, body FROM records WHERE stream = ? AND (segment, sequence) > (?, ?)"
                        f" AND segment < ? AND {kept.WAITS} ORDER BY segment, sequence LIMIT ?",
                        (stream, *lower, present + live, limit - len(found)),
                    ).fetchall()
                found += self._sound(stream, rows, is_asked=lane is Lane.AGAIN)
        return found

    def _sound(self, stream: str, rows: Iterable[tuple[int, int, bytes]], *, is_asked: bool) -> Iterator[Stored]:
        """Those that are as they were stored; the others are noted for `drop_damaged`."""
        decompressor = zstandard.ZstdDecompressor()
        for segment, sequence, body in rows:
            key = Key(stream, segment, sequence)
            try:
                yield Stored(key, decompressor.decompress(body), is_asked)
            except zstandard.ZstdError:
                self._damaged.add(key)

    def drop_damaged(self, now_ns: int) -> list[Key]:
        """Ledger the records whose bodies were found damaged since the last call; returns which."""
        damaged = sorted(self._damaged)
        if damaged:
            with self.transaction():
                for key in damaged:
                    self._drop(kept.row(self.connection, key), "damaged on the disk", now_ns)
        self._damaged.clear()
        return damaged

    def acknowledge(self, keys: Iterable[Key], now_ns: int) -> None:
        """They arrived: keep them for their grace, and be done with segments that are closed and all acknowledged."""
        with self.transaction():
            gone = []
            for key in keys:
                kept.answered(self.connection, key)
                for size in kept.keep(self.connection, key, now_ns):
                    gone.append(key)
                    self.totals.records -= 1
                    self.totals.bytes -= size
                    self.totals.kept_records += 1
                    self.totals.kept_bytes += size
            for key in gone:
                self.counts["acknowledged_records", key.stream] += 1
                if key.stream == Stream.EVENTS and ledger.report_arrived(self.connection, key.segment, key.sequence):
                    self.reporting.taken()
            kept.note_done(self.connection, [(key.stream, key.segment) for key in gone])
            self.expire(now_ns)

    def expire(self, now_ns: int) -> None:
        """Let go of acknowledged records whose grace is over, and drop what has waited for too long."""
        with self.transaction():
            kept.expire(self.connection, self.totals, self.grace, now_ns)
            self._drop(self.ageing.too_old(self.connection, now_ns), EXPIRED, now_ns)

    def reject(self, key: Key, reason: str, now_ns: int) -> None:
        """The other end will never take it: to the dead letters, and into the ledger, for the receiver sees a gap.

        A loss report is made again of lines that the ledger has still: kept, it would push others out."""
        with self.transaction():
            is_report = key.stream == Stream.EVENTS and ledger.report_lost(self.connection, key.segment, key.sequence)
            if is_report:
                self.reporting.refused(key.segment)
            self.connection.execute(
                "INSERT INTO dead_letters (stream, segment, sequence, first_ns, last_ns, samples, reason, rejected_ns,"
                " body) SELECT stream, segment, sequence, first_ns, last_ns, samples, ?, ?, body FROM records"
                " WHERE stream = ? AND segment = ? AND sequence = ? AND NOT ?",
                (reason, now_ns, *key, is_report),
            )
            deleted = self.connection.execute(
                "DELETE FROM dead_letters WHERE id <= (SELECT max(id) FROM dead_letters) - ?", (DEAD_LETTERS_MAX,)
            )
            self.counts["dead_letters_deleted", key.stream] += deleted.rowcount
            rows = kept.row(self.connection, key)
            self.counts["rejected_records", key.stream] += len(rows)
            self._drop(rows, "rejected", now_ns)

    # -- losing, never silently ---------------------------------------------------------------------------------

    def _make_room(self, now_ns: int) -> None:
        """The lowest priority leaves the last part of the room to the others, and goes first."""
        self._shrink(int(LOWEST_SHARE * self.bytes_max), max(PRIORITIES.values()), now_ns)
        kept.make_room(self.connection, self.totals, self.totals.bytes + self.totals.kept_bytes - self.bytes_max)
        self._shrink(self.bytes_max, 0, now_ns)

    def _shrink(self, bytes_max: int, priority: int, now_ns: int) -> None:
        """Drop what waits, the lowest priority first, the oldest first, none that is more urgent than `priority`."""
        while self.totals.bytes > bytes_max:
            kept.make_room(self.connection, self.totals, self.totals.kept_bytes)
            # What is left now waits, all of it.
            victims = self.connection.execute(
                "SELECT stream, segment, sequence, samples, bytes, first_ns, last_ns FROM records"
                " WHERE priority = (SELECT max(priority) FROM records) AND priority >= ? ORDER BY id LIMIT ?",
                (priority, DROPPED_AT_ONCE),
            ).fetchall()
            if not victims:
                return
            excess = self.totals.bytes - bytes_max
            wanted = 0
            while excess > 0 and wanted < len(victims):
                excess -= victims[wanted][4]
                wanted += 1
            self._drop(victims[:wanted], "spool full", now_ns)

    def _drop(self, rows: Sequence[tuple[str, int, int, int, int, int, int]], reason: str, now_ns: int) -> None:
        for stream, segment, sequence, samples, _, first_ns, last_ns in rows:
            key = Key(stream, segment, sequence)
            tags = ledger.tags_of(self.connection, key, samples)
            kept.delete(self.connection, self.totals, key)
            if stream == Stream.EVENTS:
                ledger.report_lost(self.connection, segment, sequence)
            self.record_loss(
                Loss(
                    stream=stream,
                    reason=reason,
                    records=1,
                    samples=samples,
                    first_ns=first_ns,
                    last_ns=last_ns,
                    dropped_ns=now_ns,
                    segment=segment,
                    from_sequence=sequence,
                    to_sequence=sequence,
                    tags=tags,
                )
            )
        kept.note_done(self.connection, [(row[0], row[1]) for row in rows])

    def record_loss(self, loss: Loss) -> None:
        """Write down what was dropped, here or before it came here."""
        with self.transaction():
            ledger.write(self.connection, loss)
            if loss.records:
                self.counts["dropped_records", loss.stream, loss.reason] += loss.records
            self.counts["dropped_samples", loss.stream, loss.reason] += loss.samples

    def losses(self) -> list[Loss]:
        """The ledger: what was dropped and is not yet known upstream."""
        with translated(self.path):
            return ledger.lines(self.connection)

    def report_losses(self, now_ns: int) -> int:
        """Put the ledger's new lines into a record of the events stream; returns how many."""
        with self.transaction():
            ids, losses = ledger.unannounced(self.connection)
            if not ids:
                return 0
            body = compress(encode_body(LossReport(losses)))
            key = self._insert(Encoded(Stream.EVENTS, now_ns, now_ns, 0, body), PRIORITIES[Stream.EVENTS], now_ns)
            ledger.announce(self.connection, ids, key.segment, key.sequence)
        return len(ids)

    # -- the rest -----------------------------------------------------------------------------------------------

    def oldest_ns(self) -> tuple[int, ...]:
        """Engine time at which the oldest record that waits was stored; empty when none does."""
        with translated(self.path):
            return self.ageing.oldest_ns(self.connection) if self.totals.records else ()

    def read_meta(self, key: str, default: str) -> str:
        with translated(self.path):
            row = self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else default

    def write_meta(self, key: str, value: str) -> None:
        with self.transaction():
            self.connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))
