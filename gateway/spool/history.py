"""History: what tags were, kept at falling resolution in a file of its own, which may be deleted at any time.

A block is all tags over one step of one resolution: their mean, least and greatest value, and the share of it for which
they were good; columns, byte-shuffled and compressed. Every step of a coarser resolution is merged of the finer blocks
inside it when the first finer block behind it comes, so also after a pause. Where the file becomes larger than it may,
the oldest blocks go, the finest resolution first. Times are wall time.

A file that is damaged is put aside under another name, and a new one is begun.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import zstandard

from gateway.core.limits import HISTORY_POINTS_MAX
from gateway.core.types import NS_PER_S
from gateway.spool.records import StoreDamaged, StoreUnavailable, translated

RESOLUTIONS_NS: Final = (10 * NS_PER_S, 60 * NS_PER_S, 900 * NS_PER_S, 86_400 * NS_PER_S)
HISTORY_FILE: Final = "history.db"
RAW_BYTES_MAX: Final = 64 * 1024 * 1024
PAGES_KEPT: Final = 0.95
"""Share of its bytes down to which a file that is too large is emptied, so that it is not done with every block."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS tags (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS blocks (
    resolution INTEGER NOT NULL, start_ns INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (resolution, start_ns)
) WITHOUT ROWID;
"""

Columns = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Block:
    """`tags` are ids, rising; `values` is [mean, min, max, good share] by tag: [4, tags]."""

    tags: npt.NDArray[np.int64]
    values: Columns


class Point(NamedTuple):
    """One step of one tag. NaN where it had no value."""

    start_ns: int
    mean: float
    low: float
    high: float
    good: float


class HistoryStore:
    """The writer. `put_aside` is the damaged file's new name, when there was one."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        """Raises StoreUnavailable."""
        self._path = path
        self._bytes_max = bytes_max
        self.put_aside: Path | None = None
        self.dropped_blocks = 0
        self._compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
        try:
            self._connection = self._open()
        except StoreDamaged:
            self.put_aside = aside(path)
            self._connection = self._open()
        self._ids: dict[str, int] = dict(self._connection.execute("SELECT name, id FROM tags"))
        page = self._connection.execute("PRAGMA page_size").fetchone()
        self._page_bytes = int(page[0])

    def _open(self) -> sqlite3.Connection:
        with translated(self._path):
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.executescript(_SCHEMA)
                (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            except sqlite3.DatabaseError:
                connection.close()
                raise
        if sound != "ok":
            connection.close()
            raise StoreDamaged(f"{self._path}: {sound}")
        return connection

    def close(self) -> None:
        self._connection.close()

    def write(self, start_ns: int, names: Sequence[str], values: Columns) -> None:
        """One step of the finest resolution. Raises StoreUnavailable or StoreDamaged, and nothing is written then."""
        with translated(self._path), ExitStack() as unless_written:
            unless_written.callback(self._read_ids)
            with self._connection:  # commits, or rolls back
                self._connection.execute("BEGIN IMMEDIATE")
                block = sorted_block([self._id(name) for name in names], values)
                for finer, coarser in pairwise(RESOLUTIONS_NS):
                    self._merge_before(finer, coarser, start_ns)
                self._put(RESOLUTIONS_NS[0], start_ns, block)
                self._keep_within()
            unless_written.pop_all()

    def _read_ids(self) -> None:
        self._ids = dict(self._connection.execute("SELECT name, id FROM tags"))

    def _id(self, name: str) -> int:
        found = self._ids.get(name)
        if found is None:
            cursor = self._connection.execute("INSERT INTO tags (name) VALUES (?)", (name,))
            found = self._ids[name] = int(cursor.lastrowid or 0)
        return found

    def _put(self, resolution_ns: int, start_ns: int, block: Block) -> None:
        body = self._compressor.compress(encode(block))
        self._connection.execute("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?)", (resolution_ns, start_ns, body))

    def _merge_before(self, finer_ns: int, coarser_ns: int, now_ns: int) -> None:
        """The step that the newest finer block is in, when it is over and was not merged yet."""
        (newest,) = self._connection.execute(
            "SELECT max(start_ns) FROM blocks WHERE resolution = ?", (finer_ns,)
        ).fetchone()
        if newest is None:
            return
        start_ns = newest - newest % coarser_ns
        if now_ns < start_ns + coarser_ns:
            return
        if self._connection.execute(
            "SELECT 1 FROM blocks WHERE resolution = ? AND start_ns = ?", (coarser_ns, start_ns)
        ).fetchone():
            return
        parts = [block for _, block in blocks_of(self._connection, finer_ns, start_ns, start_ns + coarser_ns)]
        self._put(coarser_ns, start_ns, merged(parts))

    def _keep_within(self) -> None:
        if self.bytes_used() <= self._bytes_max:
            return
        while self.bytes_used() > PAGES_KEPT * self._bytes_max:
            cursor = self._connection.execute(
                "DELETE FROM blocks WHERE (resolution, start_ns) IN"
                " (SELECT resolution, start_ns FROM blocks ORDER BY resolution, start_ns LIMIT 16)"
            )
            if cursor.rowcount <= 0:
                return
            self.dropped_blocks += cursor.rowcount

    def bytes_used(self) -> int:
        """Of the file's pages, without those that are free to be used again."""
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        return int(pages - free) * self._page_bytes


class HistoryReader:
    """Reads beside the writer, on a connection of its own."""

    def __init__(self, path: Path) -> None:
        """Raises StoreUnavailable or StoreDamaged."""
        self._path = path
        with translated(path):
            self._connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)
            self._connection.execute("SELECT 1 FROM blocks LIMIT 1").fetchone()

    def close(self) -> None:
        self._connection.close()

    def names(self) -> list[str]:
        with translated(self._path):
            return [name for (name,) in self._connection.execute("SELECT name FROM tags ORDER BY name")]

    def points(self, name: str, from_ns: int, to_ns: int, resolution_ns: int = 0) -> tuple[int, list[Point]]:
        """The resolution and the points of [from, to). Without a resolution it is the finest that gives at most
        HISTORY_POINTS_MAX points and reaches back that far, as far as any does."""
        chosen = resolution_ns or self.suited(from_ns, to_ns)
        return chosen, list(self.each(name, from_ns, to_ns, chosen))

    def knows(self, name: str) -> bool:
        with translated(self._path):
            return bool(self._connection.execute("SELECT 1 FROM tags WHERE name = ?", (name,)).fetchone())

    def each(self, name: str, from_ns: int, to_ns: int, resolution_ns: int) -> Iterator[Point]:
        """The points one by one: each costs a block, which is as large as there are tags."""
        with translated(self._path):
            found = self._connection.execute("SELECT id FROM tags WHERE name = ?", (name,)).fetchone()
            if found is None:
                return
            for start_ns, body in bodies_of(self._connection, resolution_ns, from_ns - from_ns % resolution_ns, to_ns):
                values = values_of(body, found[0])
                if values is not None:
                    yield Point(start_ns, *values)

    def suited(self, from_ns: int, to_ns: int, points_max: int = HISTORY_POINTS_MAX) -> int:
        """The finest resolution that gives at most so many points and reaches back that far, as far as any does."""
        firsts = self._firsts(from_ns, to_ns)
        fitting = [one for one in RESOLUTIONS_NS if (to_ns - from_ns) // one <= points_max]
        known = [one for one in fitting or RESOLUTIONS_NS[-1:] if one in firsts]
        if not known:
            return min(firsts, default=RESOLUTIONS_NS[0])

        def reaches(one: int) -> bool:
            """A coarser one that begins earlier only because its steps are longer knows no more."""
            coarser = (step for step in known if step > one)
            return firsts[one] <= from_ns or all(firsts[one] < firsts[step] + step for step in coarser)

        return next(one for one in known if reaches(one))

    def _firsts(self, from_ns: int, to_ns: int) -> dict[int, int]:
        """By resolution that has a step in the time, its first one in it."""
        found = {}
        query = "SELECT min(start_ns) FROM blocks WHERE resolution = ? AND start_ns >= ? AND start_ns < ?"
        with translated(self._path):
            for one in RESOLUTIONS_NS:
                (first,) = self._connection.execute(query, (one, from_ns - from_ns % one, to_ns)).fetchone()
                if first is not None:
                    found[one] = int(first)
        return found


def bodies_of(
    connection: sqlite3.Connection, resolution_ns: int, from_ns: int, to_ns: int
) -> Iterator[tuple[int, bytes]]:
    yield from connection.execute(
        "SELECT start_ns, body FROM blocks WHERE resolution = ? AND start_ns >= ? AND start_ns < ? ORDER BY start_ns",
        (resolution_ns, from_ns, to_ns),
    )


def blocks_of(
    connection: sqlite3.Connection, resolution_ns: int, from_ns: int, to_ns: int
) -> Iterator[tuple[int, Block]]:
    for start_ns, body in bodies_of(connection, resolution_ns, from_ns, to_ns):
        yield start_ns, decode(body)


def sorted_block(ids: Sequence[int], values: Columns) -> Block:
    tags = np.array(ids, np.int64)
    order = np.argsort(tags)
    return Block(tags[order], np.ascontiguousarray(values[:, order]))


def encode(block: Block) -> bytes:
    """Count, ids, then the columns, each byte place of all their values together."""
    count = len(block.tags)
    planes = block.values.astype("<f8").view(np.uint8).reshape(4, count, 8).transpose(0, 2, 1)
    return count.to_bytes(4, "little") + block.tags.astype("<i4").tobytes() + planes.tobytes()


def raw_of(body: bytes) -> tuple[int, bytes]:
    """The count, and the whole unpacked. Raises StoreDamaged."""
    try:
        raw = zstandard.ZstdDecompressor().decompress(body, max_output_size=RAW_BYTES_MAX)
    except zstandard.ZstdError as error:
        raise StoreDamaged(f"a block of the history is damaged: {error}") from error
    count = int.from_bytes(raw[:4], "little")
    if len(raw) != 4 + 36 * count:
        raise StoreDamaged(f"a block of the history has {len(raw)} bytes instead of {4 + 36 * count}")
    return count, raw


def decode(body: bytes) -> Block:
    """Raises StoreDamaged."""
    count, raw = raw_of(body)
    tags = np.frombuffer(raw, "<i4", count, 4).astype(np.int64)
    planes = np.frombuffer(raw, np.uint8, 32 * count, 4 + 4 * count).reshape(4, 8, count)
    return Block(tags, np.ascontiguousarray(planes.transpose(0, 2, 1)).view("<f8").reshape(4, count))


def values_of(body: bytes, tag: int) -> list[float] | None:
    """Mean, least, greatest and good share of one tag, None where it is not in. Raises StoreDamaged."""
    count, raw = raw_of(body)
    tags = np.frombuffer(raw, "<i4", count, 4)
    place = int(np.searchsorted(tags, tag))
    if place == count or tags[place] != tag:
        return None
    planes = np.frombuffer(raw, np.uint8, 32 * count, 4 + 4 * count).reshape(4, 8, count)
    found: list[float] = np.ascontiguousarray(planes[:, :, place]).view("<f8")[:, 0].tolist()
    return found


def merged(blocks: Sequence[Block]) -> Block:
    """Means of means, least of the least, greatest of the greatest; a tag without a value in all of them has none."""
    tags = np.unique(np.concatenate([block.tags for block in blocks]))
    total, known, good = np.zeros(len(tags)), np.zeros(len(tags)), np.zeros(len(tags))
    low, high = np.full(len(tags), math.inf), np.full(len(tags), -math.inf)
    for block in blocks:
        places = np.searchsorted(tags, block.tags)
        has = ~np.isnan(block.values[0])
        total[places[has]] += block.values[0][has]
        known[places[has]] += 1
        low[places[has]] = np.minimum(low[places[has]], block.values[1][has])
        high[places[has]] = np.maximum(high[places[has]], block.values[2][has])
        good[places] += block.values[3]
    missing = known == 0
    low[missing] = high[missing] = math.nan
    mean = np.divide(total, known, out=np.full(len(tags), math.nan), where=~missing)
    return Block(tags, np.stack([mean, low, high, good / len(blocks)]))


def aside(path: Path) -> Path:
    """Give a damaged file a name that is free, with what belongs to it; returns the name. Raises StoreUnavailable."""
    number = 1
    while (target := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    try:
        path.rename(target)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"{path}: is damaged and cannot be put aside: {error}") from error
    return target


@contextmanager
def opened(path: Path) -> Iterator[HistoryReader]:
    """Raises StoreUnavailable or StoreDamaged."""
    with closing(HistoryReader(path)) as reader:
        yield reader


def as_json(point: Point) -> dict[str, Any]:
    """NaN is null."""
    return {
        "start_ms": point.start_ns // 1_000_000,
        **{
            name: None if math.isnan(value) else value for name, value in zip(point._fields[1:], point[1:], strict=True)
        },
    }
