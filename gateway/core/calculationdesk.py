"""The calculations of one engine: what of them is recorded when, and what they say now.

The desk belongs to the engine and to its thread, but for `view`, which any thread may call. In a plant without
calculations it does nothing, and compiles nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from gateway.core.calculations import ACCUMULATOR, FOR_EVER, RESULT, Span
from gateway.core.calendar import Calendar
from gateway.core.kernels.calculations import calculate, close_silent, read_running
from gateway.core.limits import RESULTS_WAITING_MAX
from gateway.core.model import Model
from gateway.core.readings import Reading
from gateway.core.record import RecordDraft, Stream
from gateway.core.state import Counter, State
from gateway.core.types import NS_PER_S, Samples

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_calculations_late_samples_total", "counter", "Samples that came too late for their interval."),
    (
        "fieldgate_calculations_lost_results_total",
        "counter",
        "Results dropped because too many came between two points.",
    ),
    ("fieldgate_calculations_values_waiting", "gauge", "Values put aside for calculations in the cycle under way."),
)

CLOCK_STEP_NS = NS_PER_S
"""Intervals are aligned again when the wall clock was moved by more."""
ON_READ = (Span.ROLLING, Span.COUNT, Span.TOTAL)


def latest(results: Samples) -> Samples:
    """A copy, with the last revision only of each interval: the ones before it were told to nobody."""
    if not results["revision"].any():
        return results.copy()
    order = np.lexsort((results["end_ns"], results["start_ns"], results["output"]))
    names = results[["output", "start_ns", "end_ns"]][order]
    is_last = np.append(names[1:] != names[:-1], True)
    kept: Samples = results[np.sort(order[is_last])]
    return kept


class CalculationDesk:
    """The calculations of `model`, whose records lie in `state`."""

    def __init__(self, model: Model, state: State, *, is_recorded: bool) -> None:
        self._state = state
        self._is_recorded = is_recorded
        self._calendar = Calendar(model.zone)
        self._all = [(row, one) for row, tag in enumerate(model.tags) for one in tag.calculations]
        spans = np.array([one.span for _, one in self._all], np.int64)
        self._calendars = np.flatnonzero(spans == int(Span.CALENDAR))
        self._on_read = np.flatnonzero(np.isin(spans, [int(span) for span in ON_READ])).astype(np.int32)

    # The engine's thread

    def align(self, wall_offset_ns: int, now_ns: int) -> None:
        """Have intervals begin and end where the wall clock says, at the start and after the clock was moved."""
        is_known, known_ns = self._state.wall.tolist()
        if not self._all or (is_known and abs(wall_offset_ns - known_ns) < CLOCK_STEP_NS):
            return
        self._state.wall[:] = (1, wall_offset_ns)
        for place, (_, one) in enumerate(self._all):
            if one.span in (Span.TUMBLING, Span.HOPPING):
                self._align(place, wall_offset_ns % (one.hop_ns or one.length_ns))
            elif one.span is Span.CALENDAR:
                self._align_calendar(place, one.calendar, now_ns, known_ns, wall_offset_ns)

    def _align(self, place: int, phase_ns: int) -> None:
        """Intervals that were given have their names by the old alignment: late samples cannot reach them any more."""
        tables = self._state.tables
        state, rule = tables.calculations.states[place], tables.calculations.rules[place]
        first = int(rule["first"])
        revisions = tables.calculations.accumulators["revision"][first : first + int(rule["accumulators"])]
        tables.counters[Counter.RESULTS_LOST] += np.count_nonzero(revisions < 0) * int(rule["output_count"])
        revisions[revisions < 0] = ~revisions[revisions < 0]
        state["phase_ns"] = phase_ns
        state["end_ns"] = FOR_EVER
        if state["begun"]:
            state["start_ns"] = (int(state["pane"]) + 1) * int(rule["pane_ns"]) - phase_ns

    def _align_calendar(self, place: int, calendar: str, now_ns: int, before_ns: int, after_ns: int) -> None:
        """The present interval ends where the clock says now. One whose end the clock has jumped over is over at once,
        unless it began in what now is the same: a machine that starts in 1970 and is set an hour later has one day."""
        state = self._state.tables.calculations.states[place]
        end_ns = int(state["end_ns"])
        if end_ns == FOR_EVER:
            return
        wall_ns = now_ns + after_ns
        is_jumped_over = wall_ns >= end_ns + before_ns
        is_another = self._calendar(calendar, int(state["start_ns"]) + after_ns) <= wall_ns
        ahead_ns = self._calendar(calendar, wall_ns) - after_ns
        state["end_ns"], state["next_end_ns"] = ahead_ns, FOR_EVER
        if is_jumped_over and is_another:
            state["end_ns"], state["next_end_ns"] = now_ns, ahead_ns

    def fold(self) -> None:
        """What the fold put aside."""
        if self._all and self._state.tables.counters[Counter.CALCULATIONS_WAITING]:
            calculate(self._state.tables)

    def step(self, point_ns: int, seen_ns: int) -> None:
        """Spans that ended in silence; then where the next intervals of local time end. All that came by `seen_ns` was
        folded: what came since waits for its turn, and is not late for a span that it lies in."""
        if not self._all:
            return
        is_known, offset_ns = self._state.wall.tolist()
        if is_known:
            self._keep_calendars(point_ns, offset_ns)
        close_silent(self._state.tables, seen_ns)

    def _keep_calendars(self, point_ns: int, offset_ns: int) -> None:
        states = self._state.tables.calculations.states
        is_unknown = (states["end_ns"] == FOR_EVER) | (states["next_end_ns"] == FOR_EVER)
        for place in self._calendars[is_unknown[self._calendars]].tolist():
            one, state = self._all[place][1], states[place]
            if int(state["end_ns"]) == FOR_EVER:
                state["start_ns"] = point_ns
                state["end_ns"] = self._calendar(one.calendar, point_ns + offset_ns) - offset_ns
            if int(state["next_end_ns"]) == FOR_EVER:
                state["next_end_ns"] = self._calendar(one.calendar, int(state["end_ns"]) + offset_ns) - offset_ns

    def take(self, point_ns: int) -> Samples:
        """RESULT records since the last call: of all that ended, and of the others what they say now if it is new."""
        if not self._all:
            return np.zeros(0, RESULT)
        tables = self._state.tables
        used = int(tables.counters[Counter.RESULTS])
        ended = latest(tables.calculations.results[:used])
        tables.counters[Counter.RESULTS] = 0
        states = tables.calculations.states
        changed = self._on_read[(states["samples"] != states["recorded"])[self._on_read]]
        states["recorded"] = states["samples"]
        return np.concatenate([ended, self._running(changed, point_ns)])

    def drafts(self, point_ns: int, *, is_due: bool) -> list[RecordDraft]:
        """What there is to record, when it is due or takes half of the room."""
        waiting = int(self._state.tables.counters[Counter.RESULTS])
        if not self._all or not (is_due or 2 * waiting > RESULTS_WAITING_MAX):
            return []
        rows = self.take(point_ns)
        if not (len(rows) and self._is_recorded):
            return []
        return [RecordDraft(Stream.CALCULATIONS, int(rows["start_ns"].min()), int(rows["end_ns"].max()), rows)]

    # Any thread

    def view(self, row: int, now_ns: int) -> Samples:
        """RESULT records of all outputs of a row as of now, an interval that is not over as far as it has come."""
        limit = self._state.tables.limits[row]
        first, count = int(limit["calculation_first"]), int(limit["calculation_count"])
        return self._running(np.arange(first, first + count, dtype=np.int32), now_ns)

    def readings(self) -> Iterator[Reading]:
        counters = self._state.tables.counters
        yield Reading("fieldgate_calculations_late_samples_total", int(counters[Counter.CALCULATIONS_LATE]))
        yield Reading("fieldgate_calculations_lost_results_total", int(counters[Counter.RESULTS_LOST]))
        yield Reading("fieldgate_calculations_values_waiting", int(counters[Counter.CALCULATIONS_WAITING]))

    def _running(self, which: npt.NDArray[np.int32], now_ns: int) -> Samples:
        tables = self._state.tables
        out: Samples = np.zeros(int(tables.calculations.rules["output_count"][which].sum()), RESULT)
        if len(out):
            merged = np.zeros(1, ACCUMULATOR)
            scratch = np.zeros(len(tables.calculations.scratch))
            read_running(tables, which, now_ns, merged, scratch, out)
        return out
