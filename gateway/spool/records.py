"""What passes in and out of the store: identities, encoded and stored records, and how the file's errors are told.

A body is compressed with a checksum of its content in the frame, so that one that was damaged on the disk is noticed
where it is read, and never sent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

import zstandard

from gateway.core.record import Stream

ZSTD_LEVEL: Final = 3

_UNAVAILABLE: Final[dict[int, tuple[str, str]]] = {
    sqlite3.SQLITE_FULL: ("the disk is full", "free some space or lower the uplink's buffer"),
    sqlite3.SQLITE_IOERR: ("the disk does not read or write", "look into the kernel's log"),
    sqlite3.SQLITE_CANTOPEN: (
        "the file cannot be opened",
        "check that the state directory exists, is ours and not mounted read-only",
    ),
    sqlite3.SQLITE_READONLY: ("the file is read-only", "check the mount and the owner of the state directory"),
    sqlite3.SQLITE_BUSY: ("another process holds the file", "stop the other process"),
    sqlite3.SQLITE_NOMEM: ("out of memory", "give the service more memory"),
}
_RUINED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class StoreRefused(Exception):
    """The file cannot be used as it is; somebody must look at it."""


class StoreDamaged(StoreRefused):
    """The file's pages contradict one another. The next start salvages what is sound."""


class StoreUnavailable(Exception):
    """The transaction did not happen, and may be tried again."""


class Key(NamedTuple):
    """A record's identity within this gateway."""

    stream: str
    segment: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """A record that has no identity yet; `body` is compressed."""

    stream: Stream
    first_ns: int
    last_ns: int
    samples: int
    body: bytes
    ordinal: int = 0
    """The draft's (`gateway.core.record`); 0 when no engine made it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it waits; `body` is what was encoded, byte for byte."""

    key: Key
    body: bytes
    is_asked: bool = field(default=False, compare=False)
    """Acknowledged before, and somebody asked for it again."""


class Lane(Enum):
    """Which records wait: those of open segments, those of closed ones, or those that somebody asked for again."""

    LIVE = "live"
    BACKLOG = "backlog"
    AGAIN = "again"


@dataclass(slots=True)
class Totals:
    """What is in the file now: records that wait, and acknowledged ones in their grace."""

    records: int = 0
    bytes: int = 0
    kept_records: int = 0
    kept_bytes: int = 0

    def fill(self, bytes_max: int) -> float:
        """How full of what waits, from 0 to 1."""
        return min(1.0, self.bytes / max(1, bytes_max))


@dataclass(frozen=True, slots=True)
class Grace:
    """How long, and up to how many bytes, acknowledged records are kept; 0 of either keeps none."""

    ns: int = 0
    bytes_max: int = 0


def damage_mark(path: Path) -> Path:
    """A file beside the store that says that damage was met in it."""
    return path.with_name(f"{path.name}.damage-met")


def compressor() -> zstandard.ZstdCompressor:
    """One thread's own."""
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)


def compress(body: bytes) -> bytes:
    return compressor().compress(body)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours: StoreUnavailable when it may be tried again, StoreDamaged when not."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = error.sqlite_errorcode & 0xFF
        if code in _RUINED:
            raise StoreDamaged(f"{path}: {error}; start again to salvage what is sound") from error
        if code not in _UNAVAILABLE:
            raise
        reason, remedy = _UNAVAILABLE[code]
        raise StoreUnavailable(f"{path}: {reason} ({error}); {remedy}") from error
