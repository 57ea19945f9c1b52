"""The engine's memory as images: what a checkpoint stores, and what a restart or a reload takes over.

The rows are cut into shares. Each share's image is taken by itself, after some cycle, so that no cycle has to copy
everything. A replay that begins behind the oldest image installs each as it passes the cycle behind which that was
taken; samples of rows that are not installed yet are left out. So what an image holds must follow from samples of its
own rows and from time alone. What looks at other rows (alarms that another tag suppresses, what was told of devices,
virtual tags with all they remember) is `COMMON` and is taken last, together with what the engine remembers beside its
arrays (`Engine.capture`). Behind that one the engine is bit for bit what it was, but for what every grid point computes
anew (`State.rollup` and `State.devices`).

An image comes in blocks: what changes with every sample, and one block for each place in the rings of panes, since
a place changes only once in a window's length. Which blocks changed is found by whoever stores them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.core.calculationtables import CalculationTables
from gateway.core.directory import Directory
from gateway.core.engine import Engine
from gateway.core.kernels.shuffle import Rings
from gateway.core.lending import Lending
from gateway.core.lentalarms import set_rules
from gateway.core.state import TAG_MEMORY, WINDOW_MEMORY, State, Tables
from gateway.core.types import Bytes

LAID_OUT: Final = tuple(
    name
    for name in Tables._fields + CalculationTables._fields
    if name not in ("calculations", "waiting", "merged", "scratch")
)
"""Tables that are part of an image, or that say what is."""
SHAPE_MEMORY: Final = ("shapes", "lags", "prototypes", "used")
"""Tables of what a tag remembers whose event score is also of the course of its values."""
OF_WINDOW: Final = tuple(name for name in WINDOW_MEMORY if name != "ring")
"""`ring` is cut by its places."""
SHARES: Final = 16
"""At least so many, where there are rows enough, so that one is small."""
SHARE_ROWS_MIN: Final = 16
SHARE_ROWS_MAX: Final = 256
COMMON: Final = -1
"""The image of what belongs to no share."""
NO_SHARE: Final = -2
COMMON_BLOCK_BYTES: Final = 65_536

Block: TypeAlias = tuple[Bytes, ...]
"""Byte arrays [owner, bytes]."""


@dataclass(frozen=True, slots=True)
class Image:
    """`lendings` are those of the share's rows that are lent, `expected` go with LENDs of them that are to come."""

    share: int
    blocks: tuple[Block, ...]
    lendings: tuple[Lending, ...] = ()
    expected: tuple[Lending, ...] = ()


class Shares:
    """The cut of one engine's state."""

    def __init__(self, engine: Engine) -> None:
        self._directory = engine.directory
        self._tenancy = engine.tenancy
        self._first_lent = len(engine.model.tags)
        state = self._state = engine.state
        self.rows = len(state.tables.cells)
        together = [engine.model.devices[number].together for number in engine.model.multivariate_devices]
        virtual = engine.model.virtual_rows
        self._stops = cut(self.rows, together) or [0]  # without a tag, as just installed: one share, of no rows
        if virtual:
            lent = [virtual.stop + stop for stop in cut(self.rows - virtual.stop, [])]
            self._stops = [*cut(virtual.start, together), virtual.stop, *lent]
        self._virtual = self._stops.index(virtual.stop) if virtual else NO_SHARE
        """The share of virtual tags. Its image is part of COMMON, and its own empty but for what follows from the
        model."""
        self.count = len(self._stops)
        first_rows = sorted(min(of_device) for of_device in together)
        self._first_seen_together: list[int] = [0, *np.searchsorted(first_rows, self._stops).tolist()]
        self._first_shape: list[int] = [0, *np.searchsorted(engine.model.shape_rows, self._stops).tolist()]
        firsts = state.tables.limits["window_first"]
        self._first_window: list[int] = [*firsts.tolist(), len(state.tables.windows)]

    @property
    def layout(self) -> str:
        """Names the meaning of the bytes: images of another layout cannot be installed."""
        tables = self._state.tables._asdict() | self._state.tables.calculations._asdict()
        described: list[object] = [(name, str(tables[name].dtype), len(tables[name])) for name in LAID_OUT]
        described += [self._state.panes, self._stops, TAG_MEMORY, OF_WINDOW]
        described += [array.nbytes for array in self._common()]
        return hashlib.blake2b(repr(described).encode()).hexdigest()[:16]

    def range_of(self, share: int) -> tuple[int, int]:
        """Rows [start, stop)."""
        return (self._stops[share - 1] if share else 0), self._stops[share]

    def capture(self, share: int) -> Image:
        """A copy. The engine's thread only."""
        blocks = tuple(tuple(part.copy() for part in block) for block in self.blocks_of(share))
        lendings, rows = self._directory.lendings, self._rows_to_lend(share)
        lent = tuple(lendings[row] for row in rows if row in lendings)
        return Image(share, blocks, lent, self._tenancy.expected_of(rows))

    def install(self, image: Image, *, has_rings: bool = False) -> None:
        """Write an image over the state, but for what is in `rings_of` already. Nobody may read the state
        meanwhile."""
        for into, block in zip(self.blocks_of(image.share), image.blocks, strict=not has_rings):
            for part, saved in zip(into, block, strict=True):
                part[:] = saved
        rows = self._rows_to_lend(image.share)
        lend_anew(self._directory, self._state, rows, image.lendings)
        self._tenancy.expect_of(rows, image.expected)

    def rings_of(self, share: int) -> Rings | None:
        """The rings of panes that are the share's alone: its last blocks, one for each place, and most of it. Any
        thread may write them while the engine works: it looks into the ring of a tag with the tag's samples only, and
        is given none before the rest is installed."""
        if share in (COMMON, self._virtual) or not len(self._state.tables.windows):
            return None
        start, stop = self.range_of(share)
        return self._places()[self._first_window[start] : self._first_window[stop]].view(np.uint64)

    def _rows_to_lend(self, share: int) -> range:
        start, stop = (0, 0) if share == COMMON else self.range_of(share)
        return range(max(start, self._first_lent), stop)

    def blocks_of(self, share: int) -> Iterator[Block]:
        """The blocks as they lie in the state, to be copied or written over."""
        if share == COMMON:
            for array in self._common():
                raw = array.view(np.uint8).reshape(-1, array.itemsize)
                for start in range(0, len(raw), COMMON_BLOCK_BYTES // array.itemsize):
                    yield (raw[start : start + COMMON_BLOCK_BYTES // array.itemsize],)
            # A column: the bytes lie apart.
            yield (self._state.tables.cells["alarms"].reshape(-1, 1),)
            if self._virtual != NO_SHARE:
                yield from self._blocks_of_share(self._virtual)
            return
        if share == self._virtual:
            yield self._lent(share)
            return
        yield from self._blocks_of_share(share)

    def _lent(self, share: int) -> Block:
        """What follows from the model, until a row is lent: written once."""
        start, stop = self.range_of(share)
        of_row = (self._state.tables.limits, self._state.generations, self._state.stale_after_ns)
        return tuple(bytes_of(array, self.rows)[start:stop] for array in of_row)

    def _blocks_of_share(self, share: int) -> Iterator[Block]:
        start, stop = self.range_of(share)
        first, last = self._first_window[start], self._first_window[stop]
        tables = self._state.tables._asdict()
        windows = len(tables["windows"])
        yield (
            *(bytes_of(tables[name], self.rows)[start:stop] for name in TAG_MEMORY),
            *(bytes_of(tables[name], windows)[first:last] for name in OF_WINDOW),
        )
        yield self._lent(share)
        first_device, last_device = self._first_seen_together[share : share + 2]
        yield tuple(
            table[first_device:last_device].reshape(-1).view(np.uint8).reshape(-1, min(8, table.itemsize))
            for table in self._state.multivariate
        )
        first_shape, last_shape = self._first_shape[share : share + 2]
        slots = len(tables["shapes"])
        yield tuple(bytes_of(tables[name], slots)[first_shape:last_shape] for name in SHAPE_MEMORY)
        calculations = calculated(self._state, *calculation_range(self._state, start, stop))
        yield tuple(part.reshape(-1).view(np.uint8).reshape(-1, 8) for part in calculations)
        yield from self._ring_blocks(share)

    def _ring_blocks(self, share: int) -> Iterator[Block]:
        start, stop = self.range_of(share)
        rings = self._places()[self._first_window[start] : self._first_window[stop]]
        for place in range(rings.shape[1] if len(self._state.tables.windows) else 0):
            yield (rings[:, place],)

    def _places(self) -> npt.NDArray[np.uint8]:
        """The rings of all windows, as [window, place, byte]."""
        panes, windows = self._state.panes, len(self._state.tables.windows)
        ring = bytes_of(self._state.tables.ring, windows * panes)
        return ring.reshape(windows, panes, ring.shape[1] if windows else 1)

    def _common(self) -> tuple[npt.NDArray[Any], ...]:
        state = self._state
        return (
            *(state.tables.alarms, state.tables.counters, state.tables.calculations.results),
            *(state.announced_class, state.not_better_ns, state.flood, state.wall),
            *(state.virtual.states, state.virtual.seen),
        )


def calculation_range(state: State, start: int, stop: int) -> tuple[int, int]:
    """The calculations of rows [start, stop), as [first, last)."""
    rows = state.tables.calculations.rules["row"]
    first, last = np.searchsorted(rows, [start, stop]).tolist()
    return first, last


def calculated(state: State, first: int, last: int) -> tuple[npt.NDArray[Any], ...]:
    """What calculations [first, last) remember: views of the state."""
    calculations = state.tables.calculations
    bounds = []
    for start, size, table in (
        ("first", "accumulators", calculations.accumulators),
        ("ring_first", "ring_size", calculations.kept),
    ):
        rules = calculations.rules[first:last]
        begin = int(rules[start][0]) if len(rules) else 0
        bounds.append(table[begin : begin + int(rules[size].sum())])
    return (calculations.states[first:last], *bounds)


def cut(rows: int, together: Sequence[Sequence[int]]) -> list[int]:
    """Where each share ends. Rows that are scored together are in one share: their device's memory goes with them."""
    wanted = max(SHARE_ROWS_MIN, min(SHARE_ROWS_MAX, -(-rows // SHARES)))
    spans = [(min(of_device), max(of_device)) for of_device in together]
    if spans != sorted(spans):
        # Not in the order of their rows, in which a share has its part of them: all into one.
        spans = [(min(first for first, _ in spans), max(last for _, last in spans))]
    stops: list[int] = []
    while (stops[-1] if stops else 0) < rows:
        stop = min(rows, (stops[-1] if stops else 0) + wanted)
        for first, last in spans:
            if first < stop <= last:
                stop = last + 1
        stops.append(stop)
    return stops


def take_over(new: Engine, old: Engine) -> None:
    """Have `new`, fresh and of the same spec, be as `old` is."""
    for into, saved in zip(new.state.arrays(), old.state.arrays(), strict=True):
        into.view(np.uint8)[:] = saved.view(np.uint8)
    lend_anew(new.directory, new.state, range(0), tuple(old.directory.lendings.values()))
    new.restore(old.capture())


def lend_anew(directory: Directory, state: State, rows: Iterable[int], lendings: Iterable[Lending]) -> None:
    """Have the directory, and the rules of alarms, say of these rows that they are lent so, and not otherwise."""
    model = directory.model

    def pool_of(row: int) -> int:
        return next(place for place, of_pool in enumerate(model.pool_rows) if row in of_pool)

    for row in rows:
        if row in directory.lendings:
            directory.strike(row)
            set_rules(model, state, pool_of(row), row, None)
    for lending in lendings:
        pool = pool_of(lending.row)
        set_rules(model, state, pool, lending.row, directory.lend(lending, pool))


def bytes_of(table: npt.NDArray[Any], owners: int) -> Bytes:
    """The same memory as [owner, bytes]; the owners share the table evenly, in order."""
    if not owners:
        return np.zeros((0, 0), np.uint8)
    raw: Bytes = table.view(np.uint8).reshape(owners, -1)
    return raw
