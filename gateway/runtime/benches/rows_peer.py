"""The peers of the spool's benchmark: the same samples as rows of a table, and as messages of litequeue.

Rows are what a gateway without batches does: one row a sample, `executemany` in one transaction a batch. litequeue is
a queue in SQLite from the package index; a batch is one message of JSON, as its own interface wants it (text).
Both write to files in WAL mode that sync at each commit, as the spool does. litequeue gets its text ready-made, while
the spool's time includes encoding and compression.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from gateway.core.types import Samples


def write_rows(path: Path, batches: list[Samples], seconds: float) -> tuple[int, float]:
    """Samples written, and how long that took."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(
            "CREATE TABLE samples (id INTEGER PRIMARY KEY, row INT, time_ns INT, value REAL, quality INT)"
        )
        written = 0
        started_s = time.perf_counter()
        while (elapsed_s := time.perf_counter() - started_s) < seconds:
            batch = batches[written // len(batches[0]) % len(batches)]
            columns = [batch[name].tolist() for name in ("row", "source_ns", "value", "quality")]
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO samples (row, time_ns, value, quality) VALUES (?, ?, ?, ?)", zip(*columns, strict=True)
            )
            connection.execute("COMMIT")
            written += len(batch)
    return written, elapsed_s


def write_litequeue(path: Path, bodies: list[str], samples_each: int, seconds: float) -> tuple[int, float]:
    """Samples written, and how long that took. Raises ImportError when litequeue is not installed."""
    from litequeue import LiteQueue

    queue: Any = LiteQueue(str(path))
    queue.conn.execute("PRAGMA synchronous = FULL")
    written = 0
    started_s = time.perf_counter()
    while (elapsed_s := time.perf_counter() - started_s) < seconds:
        queue.put(bodies[written // samples_each % len(bodies)])
        written += samples_each
    queue.close()
    return written, elapsed_s


def drain_litequeue(path: Path, samples_each: int, seconds: float) -> tuple[int, float]:
    """Samples taken out and marked as done, and how long that took."""
    from litequeue import LiteQueue

    queue: Any = LiteQueue(str(path))
    queue.conn.execute("PRAGMA synchronous = FULL")
    taken = 0
    started_s = time.perf_counter()
    while (elapsed_s := time.perf_counter() - started_s) < seconds:
        message = queue.pop()
        if message is None:
            break
        queue.done(message.message_id)
        taken += samples_each
    queue.close()
    return taken, elapsed_s
