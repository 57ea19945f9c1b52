"""The spool's tables, and how an older file becomes a present one.

`PRAGMA user_version` counts the migrations that a file has seen; each runs in one transaction with its number. A
file from a newer fieldgate is refused, never guessed at.

    meta          key/value: engine time, boot id and what else must survive
    streams       next_segment: segments are numbered without a hole; produced: records ever given an identity
    segments      state open, closed, or done: closed and all acknowledged; next_sequence; length once closed
    records       what waits or is kept: identity, priority, times, body (zstd). `id` is the order of storing,
                  `stored_ns` its engine time
    acknowledged  which of the records upstream has acknowledged, and when (engine time); they are kept for a grace
    resends       identities that somebody asked to be sent again
    ledger        what was dropped; announced_* name the loss report that carries a line, null until there is one
    dead_letters  what the other end refused for ever, bounded
    outputs       by stream, the ordinal of the last draft of the engine that was stored
    checkpoint…   the engine's memory (`gateway.spool.checkpoints`): heads, specs, shares with their cycle, blocks
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from gateway.core.record import Stream
from gateway.core.segments import EPOCHS_MAX, first_segment
from gateway.spool.records import StoreRefused

Epoch: TypeAlias = Callable[[], int]
Migration: TypeAlias = Callable[[Any, Epoch], None]


COUNT_PRODUCED: Final = (
    "CREATE TRIGGER IF NOT EXISTS count_produced AFTER INSERT ON records"
    " BEGIN UPDATE streams SET produced = produced + 1 WHERE stream = NEW.stream; END"
)


def draw_epoch() -> int:
    return 1 + secrets.randbelow(EPOCHS_MAX - 1)


def _create(db: Any, epoch: Epoch) -> None:
    db["meta"].create({"key": str, "value": str}, pk="key", not_null={"value"})
    numbers = {"next_segment": int, "produced": int}
    db["streams"].create({"stream": str, **numbers}, pk="stream", not_null=set(numbers))
    first = first_segment(epoch())
    db["streams"].insert_all({"stream": stream.value, "next_segment": first, "produced": 0} for stream in Stream)
    db["segments"].create(
        {"stream": str, "segment": int, "state": str, "next_sequence": int, "length": int},
        pk=("stream", "segment"),
        not_null={"state", "next_sequence"},
    )
    times = {"first_ns": int, "last_ns": int, "samples": int}
    identity = {"stream": str, "segment": int, "sequence": int}
    db["records"].create(
        {"id": int, **identity, "priority": int, **times, "bytes": int, "body": bytes},
        pk="id",
        not_null={*identity, *times, "priority", "bytes", "body"},
    )
    db["records"].create_index(["stream", "segment", "sequence"], unique=True)
    db["records"].create_index(["priority"])
    db.conn.execute(COUNT_PRODUCED)
    db["ledger"].create(
        {
            "id": int,
            "stream": str,
            "segment": int,
            "from_sequence": int,
            "to_sequence": int,
            "records": int,
            **times,
            "reason": str,
            "dropped_ns": int,
            "announced_segment": int,
            "announced_sequence": int,
        },
        pk="id",
        not_null={"stream", "records", *times, "reason", "dropped_ns"},
    )
    db["ledger"].create_index(["announced_segment", "announced_sequence"])
    db["dead_letters"].create(
        {"id": int, **identity, **times, "reason": str, "rejected_ns": int, "body": bytes},
        pk="id",
        not_null={*identity, *times, "reason", "rejected_ns", "body"},
    )


def _keep_acknowledged(db: Any, epoch: Epoch) -> None:
    """Second schema: acknowledged records are kept for a grace, and the lengths of segments that are done."""
    db["acknowledged"].create(
        {"record": int, "acknowledged_ns": int, "bytes": int}, pk="record", not_null={"acknowledged_ns", "bytes"}
    )
    db["acknowledged"].create_index(["acknowledged_ns"])
    db["resends"].create({"stream": str, "segment": int, "sequence": int}, pk=("stream", "segment", "sequence"))
    db["segments"].create_index(["state"])


def _keep_checkpoints(db: Any, epoch: Epoch) -> None:
    """Third schema: the engine's checkpoints, and how far its outputs are stored."""
    db["outputs"].create({"stream": str, "ordinal": int}, pk="stream", not_null={"ordinal"})
    db["checkpoints"].create({"epoch": int, "number": int, "body": bytes}, pk="epoch", not_null={"number", "body"})
    db["checkpoint_specs"].create({"digest": str, "body": bytes}, pk="digest", not_null={"body"})
    shares = {"epoch": int, "share": int}
    db["checkpoint_shares"].create({**shares, "number": int}, pk=tuple(shares), not_null={"number"})
    blocks = {**shares, "block": int}
    db["checkpoint_blocks"].create({**blocks, "body": bytes}, pk=tuple(blocks), not_null={"body"})


def _name_lost_tags(db: Any, epoch: Epoch) -> None:
    """Fourth schema: lines of the ledger say of which tags the samples were."""
    db["ledger"].add_column("tags", str)


def _count_produced(db: Any, epoch: Epoch) -> None:
    """Fifth schema: the very first files did not count what they gave out."""
    if "produced" not in db["streams"].columns_dict:
        db["streams"].add_column("produced", int, not_null_default=0)
        db.conn.execute(
            "UPDATE streams SET produced ="
            " (SELECT coalesce(sum(next_sequence - 1), 0) FROM segments s WHERE s.stream = streams.stream)"
        )
    db.conn.execute(COUNT_PRODUCED)


def _tell_when_stored(db: Any, epoch: Epoch) -> None:
    """Sixth schema: when a record was stored. What there is counts as stored now, and no row is written for it."""
    told = db.conn.execute("SELECT value FROM meta WHERE key = 'engine_time_ns'").fetchall()
    ((latest_ns,),) = db.conn.execute("SELECT coalesce(max(last_ns), 0) FROM records").fetchall()
    db["records"].add_column("stored_ns", int, not_null_default=int(told[0][0]) if told else latest_ns)


MIGRATIONS: tuple[Migration, ...] = (
    *(_create, _keep_acknowledged, _keep_checkpoints, _name_lost_tags, _count_produced, _tell_when_stored),
)


def migrate(connection: sqlite3.Connection, path: Path, epoch: Epoch) -> None:
    """Bring the file to the present schema; raises StoreRefused when it is from the future."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise StoreRefused(
            f"{path}: written by a newer fieldgate (schema {version}, this one knows {len(MIGRATIONS)}); "
            "install that version again, or move the file away to start with an empty spool"
        )
    if version < len(MIGRATIONS):
        # Here and not above: it imports pandas where that is installed, and every start would wait for it.
        from sqlite_utils import Database

        db = Database(connection)
        for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
            with db.atomic():
                migration(db, epoch)
                db.conn.execute(f"PRAGMA user_version = {number}")
    _know_all_streams(connection, epoch)


def _know_all_streams(connection: sqlite3.Connection, epoch: Epoch) -> None:
    """A file knows the streams of the version that made it; those that came later begin in it now."""
    known = {stream for (stream,) in connection.execute("SELECT stream FROM streams")}
    missing = [(stream.value, first_segment(epoch())) for stream in Stream if stream.value not in known]
    if missing:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO streams (stream, next_segment, produced) VALUES (?, ?, 0)", missing)
        connection.execute("COMMIT")
