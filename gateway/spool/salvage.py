"""A damaged file: found at the start, put aside, and what is sound in it taken over into a new one.

`damage` looks: the header, `PRAGMA quick_check` for files up to QUICK_CHECK_BYTES_MAX (it reads every page, so a
larger file would hold up the start), and the mark that a run leaves when it met damage. What no check of pages sees,
a record's checksum does, when it is read.

`salvage` never writes to the damaged file, and keeps it beside the new one. Records are looked up one by one by the
ids that the index and both ends of the table still tell, so one bad page costs the records on it only; those whose
identity is known are written into the loss ledger. Identities go on in a new, higher epoch: pages that went back in
time may not know the last ones that were given.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from gateway.core.segments import EPOCHS_MAX, SEGMENTS_PER_EPOCH, Loss, first_segment
from gateway.spool import ledger
from gateway.spool.records import Key, damage_mark, translated
from gateway.spool.schema import draw_epoch, migrate

QUICK_CHECK_BYTES_MAX: Final = 256 * 1024 * 1024
EPOCHS_SKIPPED_MAX: Final = 1_000
DAMAGED: Final = "damaged on the disk"
_WHOLE_TABLES: Final = ("meta", "segments", "acknowledged", "resends", "ledger", "dead_letters", "outputs")
_BESIDE: Final = ("", "-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What came out of a damaged file; `lost` are records whose identity is known, all in the loss ledger."""

    reason: str
    put_aside: Path
    records: int
    lost: int
    is_certain: bool
    """False when the index was damaged too: then there may have been more than `lost`."""

    def __str__(self) -> str:
        more = "" if self.is_certain else " and maybe more"
        return (
            f"the spool was damaged ({self.reason}): {self.records} records salvaged, {self.lost}{more} lost;"
            f" the damaged file is kept as {self.put_aside}, look at the disk"
        )


def damage(path: Path) -> str:
    """What is wrong with the file, as far as can be seen in bounded time; empty when nothing is."""
    if not path.exists():
        return ""
    if damage_mark(path).exists():
        return "a run before met damage in it"
    try:
        with closing(_opened(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if path.stat().st_size > QUICK_CHECK_BYTES_MAX:
                return ""
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return str(error)
        # Not about the pages: whoever opens the file next says it.
        return ""
    return "" if found == "ok" else str(found).splitlines()[-1]


def salvage(path: Path, reason: str) -> Salvaged:
    """Put the file aside and set a new one of what is sound in its place. Raises StoreUnavailable."""
    fresh = path.with_name(f"{path.name}.salvaging")
    for beside in _BESIDE:
        fresh.with_name(fresh.name + beside).unlink(missing_ok=True)
    with translated(path), closing(_opened(path)) as old, closing(sqlite3.connect(fresh, isolation_level=None)) as new:
        new.execute("PRAGMA journal_mode = WAL")
        migrate(new, fresh, draw_epoch)
        new.execute("BEGIN IMMEDIATE")
        for table in _WHOLE_TABLES:
            _copy(old, new, table)
        records, lost, is_certain = _copy_records(old, new)
        _make_consistent(old, new)
        new.execute("COMMIT")
    aside = _put_aside(path)
    fresh.rename(path)
    damage_mark(path).unlink(missing_ok=True)
    return Salvaged(reason, aside, records, lost, is_certain)


def _opened(path: Path) -> sqlite3.Connection:
    """To be read only: nothing is to change in a file that may be damaged."""
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, timeout=2.0)


def _put_aside(path: Path) -> Path:
    number = 1
    while path.with_name(f"{path.name}.damaged-{number}").exists():
        number += 1
    aside = path.with_name(f"{path.name}.damaged-{number}")
    for beside in _BESIDE:
        with suppress(FileNotFoundError):
            path.with_name(path.name + beside).rename(aside.with_name(aside.name + beside))
    return aside


def _readable(connection: sqlite3.Connection, query: str, *parameters: Any) -> Iterator[tuple[Any, ...]]:
    """Rows up to the first that cannot be read."""
    with suppress(sqlite3.DatabaseError):
        yield from connection.execute(query, parameters)


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> None:
    """The columns that both have: the damaged file may be of an earlier schema."""
    there = {row[1] for row in _readable(old, f"PRAGMA table_info({table})")}
    columns = [row[1] for row in new.execute(f"PRAGMA table_info({table})") if row[1] in there]
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    for order in ("ASC", "DESC") if columns else ():
        for row in _readable(old, f"SELECT {names} FROM {table} NOT INDEXED ORDER BY rowid {order}"):
            with suppress(sqlite3.IntegrityError):
                new.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", row)


def _copy_records(old: sqlite3.Connection, new: sqlite3.Connection) -> tuple[int, int, bool]:
    """How many were copied, how many are lost for certain, and whether the index could be read whole."""
    known: dict[int, Key] = {}
    counted = 0
    for order in ("ASC", "DESC"):
        places = f"stream {order}, segment {order}, sequence {order}"
        for row in _readable(old, f"SELECT id, stream, segment, sequence FROM records ORDER BY {places}"):
            known[row[0]] = Key(*row[1:])
            counted += 1
    is_certain = bool(known) and counted == 2 * len(known)
    ids = set(known)
    for order in ("ASC", "DESC"):
        ids |= {row[0] for row in _readable(old, f"SELECT id FROM records NOT INDEXED ORDER BY id {order}")}
    columns = "id, stream, segment, sequence, priority, first_ns, last_ns, samples, bytes, body, stored_ns"
    there = {row[1] for row in _readable(old, "PRAGMA table_info(records)")}
    readable = columns if "stored_ns" in there else columns.replace("stored_ns", "last_ns")
    marks = ", ".join("?" * len(columns.split()))
    copied = 0
    for record in sorted(ids):
        found = list(_readable(old, f"SELECT {readable} FROM records NOT INDEXED WHERE id = ?", record))
        with suppress(sqlite3.IntegrityError):
            for row in found:
                new.execute(f"INSERT INTO records ({columns}) VALUES ({marks})", row)
                known.pop(record, None)
                copied += 1
    acknowledged = {row[0] for row in new.execute("SELECT record FROM acknowledged")}
    lost = [key for record, key in sorted(known.items()) if record not in acknowledged]
    for key in lost:
        loss = Loss(
            stream=key.stream,
            reason=DAMAGED,
            records=1,
            samples=0,
            first_ns=0,
            last_ns=0,
            dropped_ns=0,
            segment=key.segment,
            from_sequence=key.sequence,
            to_sequence=key.sequence,
        )
        ledger.write(new, loss)
    return copied, len(lost), is_certain


def _make_consistent(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    """What one table says of another holds again, and no identity is given a second time."""
    new.execute("DELETE FROM acknowledged WHERE record NOT IN (SELECT id FROM records)")
    new.execute(
        "DELETE FROM resends WHERE (stream, segment, sequence) NOT IN (SELECT stream, segment, sequence FROM records)"
    )
    new.execute(
        "UPDATE ledger SET announced_segment = NULL, announced_sequence = NULL WHERE announced_segment IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM records r WHERE r.stream = 'events' AND r.segment = announced_segment"
        " AND r.sequence = announced_sequence)"
    )
    new.execute(
        "INSERT OR IGNORE INTO segments (stream, segment, state, next_sequence)"
        " SELECT stream, segment, 'closed', max(sequence) + 1 FROM records GROUP BY stream, segment"
    )
    produced = dict(_readable(old, "SELECT stream, produced FROM streams"))
    known = "FROM segments WHERE stream = ?"
    for stream, first in new.execute("SELECT stream, next_segment FROM streams").fetchall():
        highest, counted = new.execute(
            f"SELECT coalesce(max(segment), 0), coalesce(sum(next_sequence - 1), 0) {known}", (stream,)
        ).fetchone()
        following = highest // SEGMENTS_PER_EPOCH + 1 + secrets.randbelow(EPOCHS_SKIPPED_MAX)
        begin = max(first_segment(min(following, EPOCHS_MAX)), highest + 1) if highest else first
        new.execute(
            "UPDATE streams SET next_segment = ?, produced = ? WHERE stream = ?",
            (begin, produced.get(stream, counted), stream),
        )
