"""The loss ledger: what was dropped is written down in the transaction that drops it, and told upstream.

Lines of one segment that follow on one another are drawn together until they are announced, so that a long outage
over a full spool costs one line a segment. A line leaves the table only when the loss report that carries it was
acknowledged; a report that is itself dropped or refused gives its lines back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from gateway.core.limits import LOSSES_PER_REPORT
from gateway.core.segments import Loss


def write(connection: sqlite3.Connection, loss: Loss) -> None:
    """Add a line, or lengthen the one that it follows on."""
    place: tuple[int, ...] = ()
    if loss.segment is None:
        follows = "segment IS NULL"
    else:
        follows = "segment = ? AND to_sequence = ?"
        place = (loss.segment, (loss.from_sequence or 0) - 1)
    lengthened = connection.execute(
        "UPDATE ledger SET to_sequence = ?, records = records + ?, samples = samples + ?,"
        " first_ns = min(first_ns, ?), last_ns = max(last_ns, ?), dropped_ns = ?"
        f" WHERE announced_segment IS NULL AND stream = ? AND reason = ? AND {follows}",
        (
            loss.to_sequence,
            loss.records,
            loss.samples,
            loss.first_ns,
            loss.last_ns,
            loss.dropped_ns,
            loss.stream,
            loss.reason,
            *place,
        ),
    )
    if lengthened.rowcount:
        return
    connection.execute(
        "INSERT INTO ledger (stream, segment, from_sequence, to_sequence, records, samples, first_ns, last_ns, reason,"
        " dropped_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            loss.stream,
            loss.segment,
            loss.from_sequence,
            loss.to_sequence,
            loss.records,
            loss.samples,
            loss.first_ns,
            loss.last_ns,
            loss.reason,
            loss.dropped_ns,
        ),
    )


_COLUMNS = (
    "stream, reason, records, samples, first_ns, last_ns, dropped_ns, segment, from_sequence, to_sequence"  # as in Loss
)


def _loss(row: tuple[str, str, int, int, int, int, int, int | None, int | None, int | None]) -> Loss:
    stream, reason, records, samples, first_ns, last_ns, dropped_ns, segment, from_sequence, to_sequence = row
    return Loss(
        stream=stream,
        reason=reason,
        records=records,
        samples=samples,
        first_ns=first_ns,
        last_ns=last_ns,
        dropped_ns=dropped_ns,
        segment=segment,
        from_sequence=from_sequence,
        to_sequence=to_sequence,
    )


def lines(connection: sqlite3.Connection) -> list[Loss]:
    """Every line that is not yet known to have arrived upstream."""
    return [_loss(row) for row in connection.execute(f"SELECT {_COLUMNS} FROM ledger ORDER BY id")]


def unannounced(connection: sqlite3.Connection) -> tuple[list[int], tuple[Loss, ...]]:
    """The next lines to report: their row ids and what they say."""
    rows = connection.execute(
        f"SELECT id, {_COLUMNS} FROM ledger WHERE announced_segment IS NULL ORDER BY id LIMIT ?",
        (LOSSES_PER_REPORT,),
    ).fetchall()
    return [row[0] for row in rows], tuple(_loss(row[1:]) for row in rows)


def announce(connection: sqlite3.Connection, ids: Iterable[int], segment: int, sequence: int) -> None:
    connection.executemany(
        "UPDATE ledger SET announced_segment = ?, announced_sequence = ? WHERE id = ?",
        [(segment, sequence, line) for line in ids],
    )


def report_arrived(connection: sqlite3.Connection, segment: int, sequence: int) -> None:
    connection.execute(
        "DELETE FROM ledger WHERE announced_segment = ? AND announced_sequence = ?",
        (segment, sequence),
    )


def report_lost(connection: sqlite3.Connection, segment: int, sequence: int) -> bool:
    """The report will never arrive: its lines are to be announced again."""
    changed = connection.execute(
        "UPDATE ledger SET announced_segment = NULL, announced_sequence = NULL"
        " WHERE announced_segment = ? AND announced_sequence = ?",
        (segment, sequence),
    )
    return changed.rowcount > 0
