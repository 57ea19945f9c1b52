"""The engine's memory as images: what a checkpoint stores, and what a restart or a reload takes over.

The rows are cut into shares. Each share's image is taken by itself, after some cycle, so that no cycle has to copy
everything; the rest of the engine (`Engine.capture`) is small. A replay that begins behind the oldest image installs
each image as it passes the cycle behind which that was taken; samples of rows that are not installed yet are left out.
After the last one the engine is bit for bit what it was.

An image comes in blocks: what changes with every sample, and one block for each place in the rings of panes, since
a place changes only once in a window's length. Which blocks changed is found by whoever stores them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gateway.core.engine import Engine
from gateway.core.state import State
from gateway.core.types import Bytes

TAG_MEMORY = ("cells", "novelty", "hours")
"""Arrays of what a tag remembers, by row; the rest of `Tables` follows from the model."""
WINDOW_MEMORY = ("windows", "totals")
"""The same by window. `ring` is cut by its places."""
SHARES = 16
"""At least so many, where there are rows enough, so that one is small."""
SHARE_ROWS_MIN = 16
SHARE_ROWS_MAX = 256


@dataclass(frozen=True, slots=True)
class Image:
    """One share's rows. A block is a list of byte arrays [owner, bytes], copied or to be copied to."""

    share: int
    blocks: tuple[tuple[Bytes, ...], ...]


class Shares:
    """The cut of one engine's state."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.rows = len(state.tables.cells)
        self.rows_per_share = max(SHARE_ROWS_MIN, min(SHARE_ROWS_MAX, -(-self.rows // SHARES)))
        self.count = -(-self.rows // self.rows_per_share)
        self._first_window = np.append(state.tables.limits["window_first"], len(state.tables.windows)).astype(np.int64)

    @property
    def layout(self) -> str:
        """Names the meaning of the bytes: images of another layout cannot be installed."""
        tables = self._state.tables._asdict()
        described = [(name, str(tables[name].dtype.descr)) for name in (*TAG_MEMORY, *WINDOW_MEMORY, "ring")]
        return hashlib.blake2b(repr((described, self._state.panes, self.rows_per_share)).encode()).hexdigest()[:16]

    def range_of(self, share: int) -> tuple[int, int]:
        """Rows [start, stop)."""
        start = share * self.rows_per_share
        return start, min(self.rows, start + self.rows_per_share)

    def capture(self, share: int) -> Image:
        """A copy. The engine's thread only."""
        return Image(share, tuple(tuple(part.copy() for part in block) for block in self.blocks_of(share)))

    def blocks_of(self, share: int) -> Iterator[tuple[Bytes, ...]]:
        """The blocks as they lie in the state, to be copied or written over."""
        start, stop = self.range_of(share)
        first, last = int(self._first_window[start]), int(self._first_window[stop])
        tables = self._state.tables._asdict()
        yield (
            *(_bytes_of(tables[name], self.rows)[start:stop] for name in TAG_MEMORY),
            *(_bytes_of(tables[name], len(tables["windows"]))[first:last] for name in WINDOW_MEMORY),
        )
        panes = self._state.panes
        ring = _bytes_of(tables["ring"], len(tables["windows"]) * panes)
        by_place = ring.reshape(-1, panes, ring.shape[1] if len(ring) else 0)
        for place in range(panes):
            yield (by_place[first:last, place],)

    def install(self, image: Image) -> None:
        """Write an image over the state. Nobody may read the state meanwhile."""
        for into, block in zip(self.blocks_of(image.share), image.blocks, strict=True):
            for part, saved in zip(into, block, strict=True):
                part[:] = saved


def adopt(new: Engine, old: Engine) -> int:
    """Have `new`, built of another model, go on where `old` ends; returns how many tags keep what they remember.

    A tag keeps it when it has the same name, kind, unit, windows and panes. Records go on being counted, and a device
    of the same name keeps the quality that was told of it.
    """
    new.go_on_after(old)
    kept = 0
    of_old, of_new = old.state.tables._asdict(), new.state.tables._asdict()
    panes = old.state.panes
    if panes == new.state.panes:
        rows = old.model.row_of
        for row, tag in enumerate(new.model.tags):
            was = rows.get(tag.name)
            if was is None:
                continue
            before = old.model.tags[was]
            if (tag.kind, tag.unit, tag.windows_ns) != (before.kind, before.unit, before.windows_ns):
                continue
            kept += 1
            for name in TAG_MEMORY:
                _move(of_old[name], was, len(old.model.tags), of_new[name], row, len(new.model.tags), 1)
            first, there = (int(of["limits"][at]["window_first"]) for of, at in ((of_old, was), (of_new, row)))
            for name in (*WINDOW_MEMORY, "ring"):
                counts = len(of_old["windows"]), len(of_new["windows"])
                _move(of_old[name], first, counts[0], of_new[name], there, counts[1], len(tag.windows_ns))
    return kept


def _move(source, start, owners, target, place, target_owners, count):  # type: ignore[no-untyped-def]
    if count:
        _bytes_of(target, target_owners)[place : place + count] = _bytes_of(source, owners)[start : start + count]


def _bytes_of(table: np.ndarray, owners: int) -> Bytes:  # type: ignore[type-arg]
    """The same memory as [owner, bytes]; the owners share the table evenly, in order."""
    raw: Bytes = table.view(np.uint8).reshape(owners, -1) if owners else np.zeros((0, 0), np.uint8)
    return raw
