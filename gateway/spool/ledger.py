"""The loss ledger: what was dropped is written down in the transaction that drops it, and told upstream.

Lines of one segment that follow on one another are drawn together until they are announced, so that a long outage
over a full spool costs one line a segment. A line leaves the table only when the loss report that carries it was
acknowledged; a report that is itself dropped or refused gives its lines back. Reports that the other end refuses are
made again ever more seldom, until it takes one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
import numpy as np
import zstandard

from gateway.core.backoff import Backoff
from gateway.core.limits import LOSS_TAGS_PER_REPORT, LOSSES_PER_REPORT
from gateway.core.losses import OTHERS, added, bounded, merged
from gateway.core.segments import Loss
from gateway.core.types import NS_PER_S
from gateway.spool.records import Key

REPORT_EVERY_NS: Final = NS_PER_S
REFUSED: Final = Backoff(base_ns=2 * NS_PER_S, cap_ns=600 * NS_PER_S)


class Pace:
    """How long after a report the next one may be made."""

    def __init__(self) -> None:
        self.wait_ns = REPORT_EVERY_NS
        self._refused = 0

    def refused(self, seed: int) -> None:
        """The other end will not have it. `seed` tells gateways apart."""
        self._refused += 1
        self.wait_ns = REFUSED.delay_ns(self._refused, seed)

    def taken(self) -> None:
        """By the other end, or there is reason to believe that it would be."""
        self._refused, self.wait_ns = 0, REPORT_EVERY_NS


class _Body(msgspec.Struct):
    """Of a record's body, what says whose samples are in it (`gateway.core.encode`)."""

    tags: list[str] = []
    tag: list[int] = []


def tags_of(connection: sqlite3.Connection, key: Key, samples: int) -> dict[str, int]:
    """Of which tags a stored record has how many samples, together `samples`; OTHERS for what cannot be read."""
    found = connection.execute(
        "SELECT body FROM records WHERE stream = ? AND segment = ? AND sequence = ?", key
    ).fetchall()
    counts: dict[str, int] = {}
    for (body,) in found:
        with suppress(zstandard.ZstdError, msgspec.DecodeError):
            columns = msgspec.json.decode(zstandard.ZstdDecompressor().decompress(body), type=_Body)
            counted = np.bincount(np.array(columns.tag, np.int64), minlength=len(columns.tags))
            counts = {name: int(count) for name, count in zip(columns.tags, counted, strict=False) if count}
    unknown = samples - sum(counts.values())
    return bounded(added((counts, {OTHERS: unknown} if unknown > 0 else {})))


def write(connection: sqlite3.Connection, loss: Loss) -> None:
    """Add a line, or lengthen the one that it follows on."""
    place: tuple[int, ...] = ()
    if loss.segment is None:
        follows = "segment IS NULL"
    else:
        follows = "segment = ? AND to_sequence = ?"
        place = (loss.segment, (loss.from_sequence or 0) - 1)
    before = connection.execute(
        f"SELECT id, {_COLUMNS} FROM ledger"
        f" WHERE announced_segment IS NULL AND stream = ? AND reason = ? AND {follows} LIMIT 1",
        (loss.stream, loss.reason, *place),
    ).fetchall()
    for line, *columns in before:
        longer = merged(_loss(columns), loss)
        connection.execute(
            "UPDATE ledger SET to_sequence = ?, records = ?, samples = ?, first_ns = ?, last_ns = ?, dropped_ns = ?,"
            " tags = ? WHERE id = ?",
            (
                loss.to_sequence,
                longer.records,
                longer.samples,
                longer.first_ns,
                longer.last_ns,
                longer.dropped_ns,
                msgspec.json.encode(longer.tags).decode(),
                line,
            ),
        )
    if not before:
        columns = [getattr(loss, name) for name in _FIELDS]
        connection.execute(
            f"INSERT INTO ledger ({_COLUMNS}) VALUES ({', '.join('?' * len(_FIELDS))})",
            (*columns[:-1], msgspec.json.encode(loss.tags).decode()),
        )


_FIELDS = (
    *("stream", "reason", "records", "samples", "first_ns", "last_ns", "dropped_ns"),
    *("segment", "from_sequence", "to_sequence", "tags"),
)
"""Of a Loss, and columns of the table."""
_COLUMNS = ", ".join(_FIELDS)


def _loss(columns: Sequence[Any]) -> Loss:
    """`tags` was not written before the fourth schema."""
    *plain, tags = columns
    fields = dict(zip(_FIELDS, plain, strict=False))
    return Loss(**fields, tags=msgspec.json.decode(tags, type=dict[str, int]) if tags else {})


def lines(connection: sqlite3.Connection) -> list[Loss]:
    """Every line that is not yet known to have arrived upstream."""
    return [_loss(row) for row in connection.execute(f"SELECT {_COLUMNS} FROM ledger ORDER BY id")]


def unannounced(connection: sqlite3.Connection) -> tuple[list[int], tuple[Loss, ...]]:
    """The next lines to report: their row ids and what they say."""
    rows = connection.execute(
        f"SELECT id, {_COLUMNS} FROM ledger WHERE announced_segment IS NULL ORDER BY id LIMIT ?",
        (LOSSES_PER_REPORT,),
    )
    ids: list[int] = []
    losses: list[Loss] = []
    names = 0
    for line, *columns in rows:
        loss = _loss(columns)
        names += len(loss.tags)
        if losses and names > LOSS_TAGS_PER_REPORT:
            break
        ids.append(line)
        losses.append(loss)
    return ids, tuple(losses)


def announce(connection: sqlite3.Connection, ids: Iterable[int], segment: int, sequence: int) -> None:
    connection.executemany(
        "UPDATE ledger SET announced_segment = ?, announced_sequence = ? WHERE id = ?",
        [(segment, sequence, line) for line in ids],
    )


def report_arrived(connection: sqlite3.Connection, segment: int, sequence: int) -> bool:
    """Whether it was a report: its lines are told."""
    deleted = connection.execute(
        "DELETE FROM ledger WHERE announced_segment = ? AND announced_sequence = ?",
        (segment, sequence),
    )
    return deleted.rowcount > 0


def report_lost(connection: sqlite3.Connection, segment: int, sequence: int) -> bool:
    """The report will never arrive: its lines are to be announced again."""
    changed = connection.execute(
        "UPDATE ledger SET announced_segment = NULL, announced_sequence = NULL"
        " WHERE announced_segment = ? AND announced_sequence = ?",
        (segment, sequence),
    )
    return changed.rowcount > 0
