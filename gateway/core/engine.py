"""The engine: the only control flow of the core. It takes the time and a batch, and returns what follows from them.

`step(now_ns, batch)` does two things, in this order:

1. If `now_ns` has passed a point of the grid (a multiple of GRID_NS) since the last step, the time-driven work of the
   latest such point is done with the point's own time: staleness, roll-up, events, flushing of records. Points in
   between, after a pause of the process, are skipped and counted: nothing arrived in them.
2. The batch is folded. Samples handed in with `now_ns` hence belong after every grid point up to `now_ns`. Commands
   among the samples (`gateway.core.lending`) are carried out where they stand.

So two runs with the same sequence of `now_ns` and the same samples in the same order under each give the same outputs
in the same order, however the samples of one `now_ns` are cut into batches. Nothing is done at the edge of a batch:
a record of samples is cut when it is full, or at the grid.

Alarms note their condition with each sample and move on the grid (`gateway.core.kernels.alarms`).
The engine has one writer, the thread that calls `step`; `view` and `readings` may be used from any thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gateway.core.alarmdesk import AlarmDesk
from gateway.core.alarms import AlarmCommand
from gateway.core.announce import contributors, device_event
from gateway.core.calculationdesk import CalculationDesk
from gateway.core.curves import Curves
from gateway.core.directory import Directory
from gateway.core.enginemetrics import COUNTED
from gateway.core.enginemetrics import METRICS as METRICS
from gateway.core.events import Event
from gateway.core.kernels.fold import fold
from gateway.core.kernels.grid import changed_devices, mark_stale, roll_up
from gateway.core.kernels.multivariate import step_multivariate
from gateway.core.kernels.read import take_touched
from gateway.core.lending import Lending, Parked
from gateway.core.limits import EVENTS_PER_GRID_MAX, GRID_NS, RECORD_SAMPLES_MAX
from gateway.core.model import Model
from gateway.core.readings import Reading
from gateway.core.record import DISAGREEMENT, RecordDraft, Stream
from gateway.core.state import State
from gateway.core.stateview import StateView
from gateway.core.teaching import Lesson, Teacher
from gateway.core.tenancy import Leaving, Tenancy
from gateway.core.types import NS_PER_S, SAMPLE, Samples
from gateway.core.virtualdesk import VirtualDesk

BETTER_HOLD_NS = 5 * NS_PER_S
"""How long a device must have been better before that is told."""

NO_SAMPLES: Samples = np.empty(0, SAMPLE)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step gave: drafts for the spool; events that the engine itself made (those noted are not repeated);
    what the tags that left remember."""

    drafts: tuple[RecordDraft, ...]
    events: tuple[Event, ...]
    parked: tuple[Parked, ...] = ()


@dataclass(frozen=True, slots=True)
class Rest:
    """The engine's memory beside its arrays: the last grid point, samples and events that wait for a record, counts."""

    grid: int | None
    now_ns: int
    kept: bytes
    noted: tuple[Event, ...]
    records: dict[str, int]
    counts: tuple[int, int, int]
    leaving: Leaving
    is_waiting: bool = False
    """Whether virtual tags wait to be computed."""


class Engine:
    """One model's state and what is done to it.

    `aggregates_every_ns` and `samples_every_ns` are rounded up to whole grid steps; `streams` are those to record.
    """

    def __init__(
        self, model: Model, *, aggregates_every_ns: int, samples_every_ns: int, streams: frozenset[Stream]
    ) -> None:
        self.model = model
        self.state = State(model)
        self.view = StateView(self.state)
        self.teacher = Teacher(model, self.state)
        self.directory = Directory(model, self.state.generations)
        self.tenancy = Tenancy(
            model, self.state, self.directory, self.view, tells_aggregates=Stream.AGGREGATES in streams
        )
        self.is_catching_up = False
        """Set by a replay while images are still to come: what those bring is not worked out before."""
        self._streams = streams
        self._aggregates_every = max(1, -(-aggregates_every_ns // GRID_NS))
        self._samples_every = max(1, -(-samples_every_ns // GRID_NS))
        self._grid: int | None = None
        self._kept = self._fresh_buffer()
        self._kept_used = 0
        self._noted: deque[Event] = deque()
        self._touched_rows = np.zeros(model.rows, np.int32)
        self._shares = shares_of(model)
        self._changed = np.zeros(EVENTS_PER_GRID_MAX, np.int64)
        self.alarms = AlarmDesk(model, self.state, self.directory)
        self.calculations = CalculationDesk(model, self.state, is_recorded=Stream.CALCULATIONS in streams)
        self.virtual = VirtualDesk(model, self.state)
        self.curves = Curves(model)
        self._records = dict.fromkeys(Stream, 0)
        self._events = self._events_dropped = self._grid_skipped = 0

    def note(self, event: Event) -> None:
        """Hand in an event from outside for the next record of events. Any thread."""
        if Stream.EVENTS not in self._streams:
            return
        if len(self._noted) >= EVENTS_PER_GRID_MAX:
            self._events_dropped += 1
            return
        self._noted.append(event)

    def command(self, command: AlarmCommand, now_ns: int) -> tuple[Event, ...]:
        """What an operator does to an alarm, between two steps."""
        events = self.alarms.command(command, now_ns)
        for event in events:
            self.note(event)
        self._events += len(events)
        return tuple(events)

    def teach(self, lessons: Iterable[Lesson], now_ns: int, *, afresh: bool) -> tuple[Event, ...]:
        """What operators teach the scores (`gateway.core.teaching`)."""
        events = tuple(self.teacher.teach(lessons, now_ns, afresh=afresh))
        self._events += len(events)
        for event in events:
            self.note(event)
        return events

    def expect(self, lendings: Sequence[Lending]) -> None:
        """What goes with LENDs of the next batch or of later ones."""
        self.tenancy.expect(lendings)

    def is_due(self, now_ns: int) -> bool:
        """Whether a step at this time does the work of a grid point, sets the grid going, or computes virtual tags."""
        return self._grid is None or now_ns // GRID_NS > self._grid or self.virtual.is_waiting

    def step(self, now_ns: int, batch: Samples) -> StepResult:
        """The grid's work up to `now_ns`, then the batch. `now_ns` never goes back."""
        drafts: list[RecordDraft] = []
        events: list[Event] = []
        grid = now_ns // GRID_NS
        if self._grid is None:
            self._grid = grid
        if self.virtual.is_waiting and now_ns > self.view.now_ns:
            self._compute_virtual(self.view.now_ns, self._grid, drafts)
        if grid > self._grid:
            self._grid_skipped += grid - self._grid - 1
            mark_stale(self.state.tables, self.state.stale_after_ns, grid * GRID_NS)
            self._compute_virtual(grid * GRID_NS, grid, drafts)
            events = self._work_grid(grid * GRID_NS)
            self._flush(self._grid, grid, events, drafts)
            self._grid = grid
        self._fold(self.curves.calibrated(np.ascontiguousarray(batch)), now_ns, drafts)
        events += self._leaving()
        self.virtual.is_waiting |= len(batch) > 0 and bool(self.virtual.levels)
        self.view.now_ns = now_ns
        return StepResult(self._numbered(drafts), tuple(events), self.tenancy.take_parked())

    def finish(self, now_ns: int) -> StepResult:
        """Record what is left: the last call before the engine is given up."""
        drafts: list[RecordDraft] = []
        if self.virtual.is_waiting and self._grid is not None:
            self._compute_virtual(now_ns, self._grid, drafts)
        self._flush_events([], drafts)
        self._flush_farewell(now_ns, drafts)
        if Stream.AGGREGATES in self._streams:
            for start, stop in self._shares:
                self._flush_aggregates(start, stop, now_ns, drafts)
        drafts += self.calculations.drafts(now_ns, is_due=True)
        self._cut_samples(drafts)
        return StepResult(self._numbered(drafts), ())

    def capture(self) -> Rest:
        """What the engine remembers beside its arrays."""
        return Rest(
            grid=self._grid,
            now_ns=self.view.now_ns,
            kept=self._kept[: self._kept_used].tobytes(),
            noted=tuple(self._noted),
            records={stream.value: count for stream, count in self._records.items()},
            counts=(self._events, self._events_dropped, self._grid_skipped),
            leaving=self.tenancy.capture(),
            is_waiting=self.virtual.is_waiting,
        )

    def restore(self, rest: Rest) -> None:
        """Remember what `capture` gave."""
        self._grid = rest.grid
        self.view.now_ns = rest.now_ns
        self._kept = self._fresh_buffer()
        kept = np.frombuffer(rest.kept, SAMPLE)
        self._kept_used = len(kept)
        self._kept[: len(kept)] = kept
        self._noted = deque(rest.noted)
        self._records = {stream: rest.records.get(stream.value, 0) for stream in Stream}
        self._events, self._events_dropped, self._grid_skipped = rest.counts
        self.tenancy.restore(rest.leaving)
        self.virtual.is_waiting = rest.is_waiting

    def forget(self, stored: Mapping[str, int]) -> None:
        """Drop what waits for a record of a stream of which later ones were stored already: it is in those."""
        if stored.get(Stream.SAMPLES, 0) > self._records[Stream.SAMPLES]:
            self._kept_used = 0
        if stored.get(Stream.EVENTS, 0) > self._records[Stream.EVENTS]:
            self._noted.clear()

    def go_on_after(self, old: Engine) -> None:
        """Take over, from an engine that has finished, what does not hang on its rows."""
        before = old.capture()
        noted = before.noted if Stream.EVENTS in self._streams else ()
        self.restore(replace(before, kept=b"", noted=noted, leaving=Leaving()))

    def readings(self) -> Iterator[Reading]:
        counters = self.state.tables.counters
        for name, place in COUNTED:
            yield Reading(name, int(counters[place]))
        for stream in Stream:
            yield Reading("fieldgate_engine_records_total", self._records[stream], (("stream", stream.value),))
        yield Reading("fieldgate_engine_events_total", self._events)
        yield Reading("fieldgate_engine_dropped_events_total", self._events_dropped)
        yield Reading("fieldgate_engine_skipped_grid_points_total", self._grid_skipped)
        multivariate = self.state.multivariate.records
        yield Reading("fieldgate_multivariate_steps_total", int(multivariate["steps"].sum()))
        yield Reading("fieldgate_multivariate_skipped_total", int(multivariate["skipped"].sum()))
        yield Reading("fieldgate_engine_state_bytes", self.state.memory_bytes())
        yield Reading("fieldgate_engine_tags", len(self.directory))
        yield from self.tenancy.readings()
        yield from self.alarms.readings()
        yield from self.calculations.readings()
        yield from self.virtual.readings()

    def _numbered(self, drafts: list[RecordDraft]) -> tuple[RecordDraft, ...]:
        numbered = []
        for draft in drafts:
            self._records[draft.stream] += 1
            numbered.append(replace(draft, ordinal=self._records[draft.stream]))
        return tuple(numbered)

    def _fresh_buffer(self) -> Samples:
        return np.empty(RECORD_SAMPLES_MAX if Stream.SAMPLES in self._streams else 0, SAMPLE)

    def _fold(self, batch: Samples, now_ns: int, drafts: list[RecordDraft]) -> None:
        state = self.state
        start = 0
        while start < len(batch):
            start, kept = fold(state.tables, state.panes, batch, start, self._kept[self._kept_used :])
            self.calculations.fold()
            self._kept_used += kept
            if self._kept_used == len(self._kept) > 0:
                self._cut_samples(drafts)
            if start < len(batch) and batch[start]["row"] < 0:
                start = self._obey(batch, start, now_ns, drafts)

    def _leaving(self) -> list[Event]:
        """What is told of alarms whose tags left, for the next record of events."""
        told = self.tenancy.take_events()
        events, dropped = told[:EVENTS_PER_GRID_MAX], told[EVENTS_PER_GRID_MAX:]
        for event in events:
            self.note(event)
        self._events += len(events)
        self._events_dropped += len(dropped)
        return events

    def _compute_virtual(self, now_ns: int, grid: int, drafts: list[RecordDraft]) -> None:
        """Virtual tags, each level's samples folded before the next one looks at them."""
        assert self._grid is not None
        self.virtual.is_waiting = False
        for level in self.virtual.levels:
            made = self.virtual.compute(level, now_ns, self._grid, grid)
            if len(made):
                self._fold(made, now_ns, drafts)

    def _obey(self, batch: Samples, start: int, now_ns: int, drafts: list[RecordDraft]) -> int:
        """Carry out the run of commands at `start`; returns where it ends."""
        samples_from = np.flatnonzero(batch["row"][start:] >= 0)
        stop = start + int(samples_from[0]) if len(samples_from) else len(batch)
        run = batch[start:stop]
        if self._kept_used and np.isin(-1 - run["row"], self._kept["row"][: self._kept_used]).any():
            # What is kept of these rows belongs to the tags that they have now.
            self._cut_samples(drafts)
        self.tenancy.obey(run, now_ns)
        return stop

    def _cut_samples(self, drafts: list[RecordDraft]) -> None:
        if self._kept_used == 0:
            return
        rows = self._kept[: self._kept_used].copy() if self._kept_used < len(self._kept) else self._kept
        times = rows["source_ns"]
        drafts.append(RecordDraft(Stream.SAMPLES, int(times.min()), int(times.max()), rows, *self.directory.columns()))
        if rows is self._kept:
            self._kept = self._fresh_buffer()
        self._kept_used = 0

    def _work_grid(self, point_ns: int) -> list[Event]:
        """Roll-up, and what of it and of staleness is to be told."""
        state = self.state
        step_multivariate(state.tables, state.multivariate, state.device_words, point_ns)
        self.calculations.step(point_ns, self.view.now_ns)
        if self.is_catching_up:
            return []
        told = self.alarms.step(point_ns)
        roll_up(state.tables, state.multivariate, state.rollup, state.device_words, state.devices)
        listed = self._changed
        found = changed_devices(
            state.rollup, state.announced_class, state.not_better_ns, point_ns, BETTER_HOLD_NS, listed
        )
        events = [device_event(self.directory, state, int(d), point_ns) for d in listed[:found]]
        events += told + self.virtual.events(point_ns)
        self._events += len(events)
        return events

    def _flush(self, last: int, grid: int, events: list[Event], drafts: list[RecordDraft]) -> None:
        """Drafts of all that is due at grid point number `grid`, `last` being the one worked before."""
        self._flush_events(events, drafts)
        self._flush_farewell(grid * GRID_NS, drafts)
        if Stream.AGGREGATES in self._streams:
            every = self._aggregates_every
            for place, (start, stop) in enumerate(self._shares):
                phase = place * every // len(self._shares)
                if (grid - phase) // every > (last - phase) // every:
                    self._flush_aggregates(start, stop, grid * GRID_NS, drafts)
        is_due = grid // self._aggregates_every > last // self._aggregates_every
        drafts += self.calculations.drafts(grid * GRID_NS, is_due=is_due)
        if Stream.MULTIVARIATE in self._streams and is_due:
            self._flush_multivariate(grid * GRID_NS, drafts)
        if Stream.SAMPLES in self._streams and grid // self._samples_every > last // self._samples_every:
            self._cut_samples(drafts)

    def _flush_multivariate(self, point_ns: int, drafts: list[RecordDraft]) -> None:
        records = self.view.multivariate()
        told = [
            (row, rank, share, float(record["score"]), float(record["once_h"]))
            for record in records[~np.isnan(records["score"])]
            for rank, (row, share) in enumerate(contributors(record), start=1)
        ]
        if told:
            drafts.append(RecordDraft(Stream.MULTIVARIATE, point_ns, point_ns, np.array(told, DISAGREEMENT)))

    def _flush_events(self, events: list[Event], drafts: list[RecordDraft]) -> None:
        told = tuple(self._noted.popleft() for _ in range(len(self._noted))) + tuple(events)
        if told and Stream.EVENTS in self._streams:
            times = [event.time_ns for event in told]
            drafts.append(RecordDraft(Stream.EVENTS, min(times), max(times), told))

    def _flush_aggregates(self, start: int, stop: int, point_ns: int, drafts: list[RecordDraft]) -> None:
        found = take_touched(self.state.tables, start, stop, self._touched_rows)
        if found and not self.is_catching_up:
            rows = self.view.aggregates_at(self._touched_rows[:found], point_ns)
            drafts.append(RecordDraft(Stream.AGGREGATES, point_ns, point_ns, rows, *self.directory.columns()))

    def _flush_farewell(self, point_ns: int, drafts: list[RecordDraft]) -> None:
        """The last aggregates of tags that left since the grid point before."""
        for rows, names, kinds in self.tenancy.take_farewell(RECORD_SAMPLES_MAX):
            drafts.append(RecordDraft(Stream.AGGREGATES, point_ns, point_ns, rows, names, kinds))


def shares_of(model: Model) -> tuple[tuple[int, int], ...]:
    """Row ranges [start, stop) of at most a record's worth of windows each.

    A large plant's aggregates are recorded share by share, spread over their period: all at once they would hold up a
    cycle for longer than a sample may wait.
    """
    ends = np.cumsum([len(windows_ns) for windows_ns in model.windows_of_rows()])
    shares = []
    start = windows = 0
    while (stop := int(np.searchsorted(ends, windows + RECORD_SAMPLES_MAX, "right"))) < model.rows:
        shares.append((start, stop))
        start, windows = stop, int(ends[stop - 1])
    return (*shares, (start, model.rows))
