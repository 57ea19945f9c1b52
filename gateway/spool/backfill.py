"""What the write-ahead log holds goes into the file itself beside the writer, not in its commits.

SQLite does this by itself, in the commit that makes the log long enough: it writes the pages into the file and syncs
it, and whoever waits for that commit waits for all of it, on a slow disk for half a second. A second connection does
the same while commits go on in the log. What was committed meanwhile is left to the writer, few pages, after which the
log begins anew. SQLite leaves the sync to whoever finishes, so the thread syncs the file by itself: by then there is
little left to sync. Durability is the log's: a commit is synced before it returns, whatever the file has.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from gateway.spool.thread import DiskThread

EVERY_BYTES: Final = 4 * 1024 * 1024
"""Of the log, before it is worth a sync of the file."""
COMMIT_BYTES: Final = 4 * 4096
"""What a commit adds to the log beside the bodies: pages of tables and indexes."""
LOG_PAGES_MAX: Final = 16_384
"""At 64 MB the writer does it all by itself, should the thread not get round to it."""
BUSY_TIMEOUT_S: Final = 2.0
STOP_S: Final = 1.0


class Backfill(DiskThread):
    """Of the file at `path`. The writer calls `committed` and, where that says so, finishes what was begun."""

    def __init__(self, path: Path) -> None:
        super().__init__("spool log")
        self.failures = 0
        self._failure = ""
        self._is_told = False
        self._path = path
        self._file = -1
        self._bytes = 0
        self._is_wanted = False
        self._is_done = False

    def committed(self, body_bytes: int) -> None:
        """The writer's thread, after each commit."""
        self._bytes += COMMIT_BYTES + body_bytes
        if self._bytes >= EVERY_BYTES:
            self.want()

    def want(self) -> None:
        with self._changed:
            self._is_wanted = True
            self._changed.notify()

    def take_done(self) -> bool:
        """Whether the writer is to do what little is left, at once. Any earlier and it would do the most of it."""
        if not self._is_done:
            return False
        self._is_done = False
        self._bytes = 0
        return True

    def news(self) -> str:
        """What is wrong, once; else empty. The writer asks while its own commits work."""
        news = "" if self._is_told else self._failure
        self._is_told = bool(self._failure)
        return news

    def forgive(self) -> None:
        """Commits failed too, which was said, and work again."""
        self._failure = ""

    def _run(self) -> None:
        # Closed after everybody else has closed the file: closing any descriptor of it ends this process's locks on it.
        with suppress(FileNotFoundError):
            self._file = os.open(self._path, os.O_RDONLY)
        while self._turn():
            pass

    def close(self) -> None:
        """Once nobody has the file open any more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _turn(self) -> bool:
        with self._changed:
            while not self._is_wanted and not self._stopping:
                self._changed.wait()
            if self._stopping:
                return False
            self._is_wanted = False
        if not self._is_done:
            try:
                with closing(sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection:
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                os.fdatasync(self._file)
            except (sqlite3.DatabaseError, OSError) as error:
                # Commits go on in the log, which grows; it is tried again once that has got so much more.
                self.failures += 1
                self._failure = f"its log cannot be written into it ({error}) and grows meanwhile; look at the disk"
                self._bytes = 0
            else:
                self._failure = ""
                self._is_done = True
        return True
