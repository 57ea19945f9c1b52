"""What becomes of rows by the commands in a batch (`gateway.core.lending`).

A tag that leaves is told complete: its windows' last state goes into the aggregates as a farewell, should it have got
samples since they were last recorded, and what it remembers is handed out to be parked. A tag that comes remembers
nothing, or what came with its lending. Commands that contradict the directory (a generation of before, a row of no
pool) are counted and change nothing.

Where a journal begins in the middle, commands are missing. Generations only rise, so a LEND is believed whatever
is missing before it: who had the row leaves at once, and where its own lending never came, nobody has the
row from there on (counted). So no sample ever reaches a stranger's state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from gateway.core.announce import CLASS_GOOD
from gateway.core.directory import Directory
from gateway.core.events import Event
from gateway.core.lending import Command, Lending, Parked
from gateway.core.lentalarms import mark_of, set_rules, take_leave
from gateway.core.memory import Memory
from gateway.core.model import Model
from gateway.core.readings import Reading
from gateway.core.record import AGGREGATE
from gateway.core.state import NOT_LENT, Counter, State, limit_of
from gateway.core.stateview import StateView
from gateway.core.types import Int64s, Kind, Samples

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_pool_rows", "gauge", "Rows that a pool lends to tags as they appear."),
    ("fieldgate_pool_lent_rows", "gauge", "Rows of a pool that a tag has at the moment."),
    ("fieldgate_pool_lent_total", "counter", "Tags that were given a row."),
    ("fieldgate_pool_restored_total", "counter", "Tags that were given a row and what they had remembered before."),
    ("fieldgate_pool_evicted_total", "counter", "Tags whose row was taken from them."),
)

NO_POOL = -1
PARKED_AT_ONCE = 256
"""Rows of one chunk when all of them leave."""


@dataclass(slots=True)
class Farewell:
    """Aggregates of tags that left since the last grid point; their `row` is a place in `names`."""

    names: list[str] = field(default_factory=list)
    parts: list[Samples] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Leaving:
    """What waits of tags that left, for the next grid point, and of those to come, for their command."""

    names: tuple[str, ...] = ()
    rows: bytes = b""
    expected: tuple[Lending, ...] = ()


class Tenancy:
    """All pools of one model. Only the engine's thread calls this, but for `readings`."""

    def __init__(
        self, model: Model, state: State, directory: Directory, view: StateView, *, tells_aggregates: bool
    ) -> None:
        self._model = model
        self._state = state
        self._directory = directory
        self._view = view
        self._tells_aggregates = tells_aggregates
        self._starts = np.array([rows.start for rows in model.pool_rows], np.int64)
        self._memories = [
            Memory(state, rows, pool.shapes[0].windows_ns, pool.alarms)
            for pool, rows in zip(model.pools, model.pool_rows, strict=True)
        ]
        self._expected: dict[tuple[int, int], Lending] = {}
        self._marks = [np.array([mark_of(shape) for shape in pool.shapes], np.uint32) for pool in model.pools]
        self._parked: list[Parked] = []
        self._told: list[Event] = []
        self._commands = [0] * len(model.pools)
        """EVICTs seen, in order or not: who waits for so many must not wait for ever."""
        self._evicted = [0] * len(model.pools)
        self._lent = [0] * len(model.pools)
        self._restored = [0] * len(model.pools)
        self._counters = state.tables.counters
        self._farewell = Farewell()

    @property
    def layouts(self) -> tuple[int, ...]:
        """What the bytes of each pool's states must mean."""
        return tuple(memory.layout for memory in self._memories)

    @property
    def evictions(self) -> tuple[int, ...]:
        """EVICTs seen so far, by pool."""
        return tuple(self._commands)

    def expect(self, lendings: Sequence[Lending]) -> None:
        """What goes with LENDs that are to come."""
        for lending in lendings:
            self._expected[lending.row, lending.generation] = lending

    def expect_of(self, rows: range, lendings: Sequence[Lending]) -> None:
        """Have exactly these go with LENDs to come of these rows."""
        if rows:
            self._expected = {key: each for key, each in self._expected.items() if key[0] not in rows}
        self.expect(lendings)

    def expected_of(self, rows: range) -> tuple[Lending, ...]:
        """What goes with LENDs of these rows that are to come."""
        return tuple(each for (row, _), each in self._expected.items() if row in rows)

    def obey(self, run: Samples, now_ns: int) -> None:
        """Commands, in their order; those of one kind and pool that follow each other are carried out together."""
        rows = -1 - run["row"].astype(np.int64)
        pools = np.where(rows < self._model.rows, np.searchsorted(self._starts, rows, side="right") - 1, NO_POOL)
        codes = run["quality"].astype(np.int64)
        changes = np.flatnonzero((pools[1:] != pools[:-1]) | (codes[1:] != codes[:-1])) + 1
        generations = run["source_ns"].tolist()
        for start, stop in pairwise((0, *changes.tolist(), len(run))):
            pool, code = int(pools[start]), int(codes[start])
            if pool == NO_POOL or code not in (Command.LEND, Command.EVICT):
                self._counters[Counter.REJECTED] += stop - start
            elif code == Command.LEND:
                self._lend(pool, rows[start:stop].tolist(), generations[start:stop], now_ns)
            else:
                self._evict(pool, rows[start:stop].tolist(), generations[start:stop], now_ns)

    def capture(self) -> Leaving:
        rows = b"".join(part.tobytes() for part in self._farewell.parts)
        return Leaving(tuple(self._farewell.names), rows, tuple(self._expected.values()))

    def restore(self, leaving: Leaving) -> None:
        """Remember what `capture` gave. What was counted before stays with the run that counted it."""
        parts = [np.frombuffer(leaving.rows, AGGREGATE).copy()] if leaving.rows else []
        self._farewell = Farewell(list(leaving.names), parts)
        self._expected.clear()
        self.expect(leaving.expected)

    def take_parked(self) -> tuple[Parked, ...]:
        """What left since the last call."""
        parked, self._parked = tuple(self._parked), []
        return parked

    def take_events(self) -> list[Event]:
        """What is to be told of alarms of tags that left since the last call."""
        told, self._told = self._told, []
        return told

    def take_farewell(self, windows_max: int) -> Iterator[tuple[Samples, tuple[str, ...], tuple[Kind, ...]]]:
        """Aggregates of who left since the last call, at most so many at once, with names and kinds by `row`."""
        said, self._farewell = self._farewell, Farewell()
        if said.parts:
            windows = np.concatenate(said.parts)
            columns = (tuple(said.names), (Kind.F64,) * len(said.names))
            for first in range(0, len(windows), windows_max):
                yield windows[first : first + windows_max], *columns

    def park_all(self) -> Iterator[Parked]:
        """What everybody remembers, in chunks, oldest arrival last; rows stay lent. For the end of an engine."""
        cells = self._state.tables.cells
        for pool, of_pool in enumerate(self._model.pool_rows):
            lent = np.array([row for row in of_pool if row in self._directory.lendings], np.int64)
            lent = lent[np.argsort(cells["arrival_ns"][lent], kind="stable")[::-1]]
            for first in range(0, len(lent), PARKED_AT_ONCE):
                yield self._parked_of(pool, lent[first : first + PARKED_AT_ONCE])

    def readings(self) -> Iterator[Reading]:
        for number, pool in enumerate(self._model.pools):
            labels = (("link", pool.link), ("pool", pool.name))
            yield Reading("fieldgate_pool_rows", pool.rows, labels)
            of_pool = self._model.pool_rows[number]
            lent = self._state.tables.limits["device"][of_pool.start : of_pool.stop] != NOT_LENT
            yield Reading("fieldgate_pool_lent_rows", int(np.count_nonzero(lent)), labels)
            yield Reading("fieldgate_pool_lent_total", self._lent[number], labels)
            yield Reading("fieldgate_pool_restored_total", self._restored[number], labels)
            yield Reading("fieldgate_pool_evicted_total", self._evicted[number], labels)

    def _lend(self, pool: int, rows: list[int], generations: list[int], now_ns: int) -> None:
        state = self._state
        for row, generation in zip(rows, generations, strict=True):
            lending = self._expected.pop((row, generation), None)
            if generation <= int(state.generations[row]):
                self._counters[Counter.REJECTED] += 1
                continue
            if row in self._directory.lendings:
                self._evicted[pool] += 1
                self._clear(pool, np.array([row], np.int64), now_ns)
            if lending is None:
                state.generations[row] = generation + 1
                self._counters[Counter.REJECTED] += 1
                continue
            is_new_device = self._directory.devices[lending.device_number] is None
            tag = self._directory.lend(lending, pool)
            before = state.tables.limits[row]
            firsts = int(before["window_first"]), int(before["alarm_first"])
            state.tables.limits[row] = limit_of(tag, tag.device, *firsts, 0)
            set_rules(self._model, state, pool, row, tag)
            state.stale_after_ns[row] = tag.stale_after_ns
            state.generations[row] = generation
            self._lent[pool] += 1
            if is_new_device:
                # A device is taken for good when it appears, so that only what becomes of it is told.
                state.announced_class[tag.device] = CLASS_GOOD
                state.not_better_ns[tag.device] = 0
            # The number of a text is of one run, so a tag of texts begins anew.
            if lending.state is not None and tag.kind is not Kind.SYMBOL:
                self._remember(pool, row, lending.shape, lending.state)

    def _remember(self, pool: int, row: int, shape: int, memory: bytes) -> None:
        raw = np.frombuffer(memory, np.uint8)
        assert len(raw) == self._memories[pool].bytes_per_row
        of_tag, of_alarms = self._marks[pool][shape].tolist()
        self._restored[pool] += self._memories[pool].put(row, raw, (of_tag, of_alarms))

    def _evict(self, pool: int, rows: list[int], generations: list[int], now_ns: int) -> None:
        state = self._state
        # A dict keeps the order, and each row once.
        leaving = {
            row: None
            for row, generation in zip(rows, generations, strict=True)
            if generation == int(state.generations[row]) and row in self._directory.lendings
        }
        self._commands[pool] += len(rows)
        self._evicted[pool] += len(leaving)
        self._counters[Counter.REJECTED] += len(rows) - len(leaving)
        gone = np.array(list(leaving), np.int64)
        self._clear(pool, gone, now_ns)
        state.generations[gone] += 1

    def _clear(self, pool: int, gone: Int64s, now_ns: int) -> None:
        self._say_farewell(gone, now_ns)
        for row in gone.tolist() if self._model.pools[pool].alarms else ():
            tag = self._directory.tags[row]
            assert tag is not None
            self._told += take_leave(self._state, row, tag, now_ns)
            set_rules(self._model, self._state, pool, row, None)
        self._parked.append(self._parked_of(pool, gone))
        self._memories[pool].clear(gone)
        self._state.tables.limits["device"][gone] = NOT_LENT
        for row in gone.tolist():
            self._directory.strike(row)

    def _parked_of(self, pool: int, rows: Int64s) -> Parked:
        memory = self._memories[pool]
        tenants = [self._directory.lendings[row] for row in rows.tolist()]
        marks = self._marks[pool][[tenant.shape for tenant in tenants]]
        names = tuple(tenant.name for tenant in tenants)
        return Parked(pool, self._commands[pool], memory.layout, names, memory.take(rows, marks))

    def _say_farewell(self, rows: Int64s, now_ns: int) -> None:
        cells = self._state.tables.cells
        touched = rows[cells["touched"][rows] != 0].astype(np.int32)
        if self._tells_aggregates and len(touched):
            told = self._view.aggregates_at(touched, now_ns)
            first = len(self._farewell.names)
            told["row"] = np.repeat(np.arange(first, first + len(touched)), len(told) // len(touched))
            self._farewell.names += [self._directory.lendings[row].name for row in touched.tolist()]
            self._farewell.parts.append(told)
