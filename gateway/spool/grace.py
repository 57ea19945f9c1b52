"""Acknowledged records in their grace: an upstream may acknowledge and lose all the same.

An acknowledged record stays where it is, and a line in `acknowledged` says since when; so keeping it writes no body a
second time. It goes when its grace is over, when the kept ones are more than their bytes or SPOOL_KEPT_RECORDS_MAX,
or when room is needed for what waits, the longest acknowledged first: none of that is a loss.

`resends` holds what somebody asked to be sent again (`fieldgate reconcile --repair` writes there, beside the
running daemon). A line goes when the record was acknowledged again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.core.limits import SEGMENTS_DONE_MAX, SPOOL_KEPT_RECORDS_MAX
from gateway.spool.records import Grace, Key, Totals

DELETED_AT_ONCE: Final = 256
"""Kept records deleted by one transaction, so that the end of many graces holds up no commit."""
WAITS: Final = "NOT EXISTS (SELECT 1 FROM acknowledged a WHERE a.record = records.id)"
"""The condition on `records` for what upstream has not acknowledged."""


def keep(connection: sqlite3.Connection, key: Key, now_ns: int) -> Sequence[int]:
    """Note a waiting record as acknowledged; its bytes, or nothing when it does not wait."""
    found = connection.execute(
        f"SELECT id, bytes FROM records WHERE stream = ? AND segment = ? AND sequence = ? AND {WAITS}", key
    ).fetchall()
    for record, size in found:
        connection.execute("INSERT INTO acknowledged VALUES (?, ?, ?)", (record, now_ns, size))
    return [size for _, size in found]


def expire(connection: sqlite3.Connection, totals: Totals, grace: Grace, now_ns: int) -> None:
    """Delete what was kept long enough, and what is too much."""
    old = connection.execute(
        "SELECT record, bytes FROM acknowledged WHERE acknowledged_ns <= ? ORDER BY acknowledged_ns, record LIMIT ?",
        (now_ns - grace.ns, DELETED_AT_ONCE),
    ).fetchall()
    _forget(connection, totals, old)
    make_room(connection, totals, totals.kept_bytes - grace.bytes_max)
    excess = totals.kept_records - SPOOL_KEPT_RECORDS_MAX
    if excess > 0:
        _forget(connection, totals, _longest_kept(connection, excess))


def make_room(connection: sqlite3.Connection, totals: Totals, excess_bytes: int) -> None:
    """Delete kept records, the longest acknowledged first, until so many bytes are free or none is left."""
    while excess_bytes > 0 and totals.kept_records:
        oldest = _longest_kept(connection, DELETED_AT_ONCE)
        wanted = 0
        while excess_bytes > 0 and wanted < len(oldest):
            excess_bytes -= oldest[wanted][1]
            wanted += 1
        _forget(connection, totals, oldest[:wanted])


def _longest_kept(connection: sqlite3.Connection, limit: int) -> list[tuple[int, int]]:
    return connection.execute(
        "SELECT record, bytes FROM acknowledged ORDER BY acknowledged_ns, record LIMIT ?", (limit,)
    ).fetchall()


def _forget(connection: sqlite3.Connection, totals: Totals, kept: Sequence[tuple[int, int]]) -> None:
    ids = [(record,) for record, _ in kept]
    connection.executemany(
        "DELETE FROM resends WHERE (stream, segment, sequence) IN"
        " (SELECT stream, segment, sequence FROM records WHERE id = ?)",
        ids,
    )
    connection.executemany("DELETE FROM acknowledged WHERE record = ?", ids)
    connection.executemany("DELETE FROM records WHERE id = ?", ids)
    totals.kept_records -= len(kept)
    totals.kept_bytes -= sum(size for _, size in kept)


def ask_again(connection: sqlite3.Connection, keys: Sequence[Key]) -> int:
    """Have records sent again under their identity; returns how many of them are still there."""
    before = connection.total_changes
    connection.executemany(
        "INSERT OR IGNORE INTO resends (stream, segment, sequence)"
        " SELECT stream, segment, sequence FROM records WHERE stream = ? AND segment = ? AND sequence = ?",
        keys,
    )
    return connection.total_changes - before


def asked(
    connection: sqlite3.Connection, stream: str, after: tuple[int, int], limit: int
) -> list[tuple[int, int, bytes]]:
    """The next records of a stream to send again, behind `after`."""
    return connection.execute(
        "SELECT segment, sequence, body FROM resends JOIN records USING (stream, segment, sequence)"
        " WHERE stream = ? AND (segment, sequence) > (?, ?) ORDER BY segment, sequence LIMIT ?",
        (stream, *after, limit),
    ).fetchall()


def answered(connection: sqlite3.Connection, key: Key) -> bool:
    """It was acknowledged again, or refused; False when nobody had asked."""
    deleted = connection.execute("DELETE FROM resends WHERE stream = ? AND segment = ? AND sequence = ?", key)
    return deleted.rowcount > 0


def note_done(connection: sqlite3.Connection, places: Iterable[tuple[str, int]]) -> None:
    """Segments that are closed and all acknowledged are done. Their lengths are kept for `fieldgate reconcile`."""
    done = 0
    for place in sorted(set(places)):
        here = "stream = ? AND segment = ?"
        # From the end, which waits the longest: in front there may be many that are kept.
        waiting = f"SELECT 1 FROM records WHERE {here} AND {WAITS} ORDER BY sequence DESC LIMIT 1"
        closed = connection.execute(f"SELECT 1 FROM segments WHERE {here} AND state = 'closed'", place).fetchone()
        if closed and not connection.execute(waiting, place).fetchone():
            done += connection.execute(f"UPDATE segments SET state = 'done' WHERE {here}", place).rowcount
    if done:
        connection.execute(
            "DELETE FROM segments WHERE state = 'done' AND (stream, segment) NOT IN (SELECT stream, segment"
            " FROM segments WHERE state = 'done' ORDER BY segment DESC LIMIT ?)",
            (SEGMENTS_DONE_MAX,),
        )


def delete(connection: sqlite3.Connection, totals: Totals, key: Key) -> None:
    """A record, whether it waits or is kept, and what was asked for it."""
    answered(connection, key)
    deleted = connection.execute(
        "DELETE FROM records WHERE stream = ? AND segment = ? AND sequence = ? RETURNING id, bytes", key
    ).fetchall()
    for record, size in deleted:
        was_kept = connection.execute("DELETE FROM acknowledged WHERE record = ?", (record,)).rowcount
        totals.kept_records -= was_kept
        totals.kept_bytes -= size * was_kept
        totals.records -= 1 - was_kept
        totals.bytes -= size * (1 - was_kept)


def row(connection: sqlite3.Connection, key: Key) -> list[tuple[str, int, int, int, int, int, int]]:
    """A record without its body; nothing when there is none."""
    return connection.execute(
        "SELECT stream, segment, sequence, samples, bytes, first_ns, last_ns FROM records"
        " WHERE stream = ? AND segment = ? AND sequence = ?",
        key,
    ).fetchall()
