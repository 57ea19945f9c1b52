"""Calculations: samples into accumulators, and results out of them when a span is over.

The fold puts values of rows with calculations aside, so that plants without any compile none of this.

Results of spans that end (TUMBLING, HOPPING, SESSION, CALENDAR) are appended to `results`; the engine takes them away
at the grid and looks for spans that ended in silence, and for corrections that wait. A sample that passes an end closes
the span before it enters the next one, so nothing depends on how a batch was cut.
"""

from __future__ import annotations

from numba import njit

from gateway.core.calculations import FOR_EVER, Span
from gateway.core.kernels.accumulate import add_value, hold, merge
from gateway.core.kernels.atomics import begin_write, end_write, fence_acquire, load_acquire
from gateway.core.kernels.hops import add_late, close_hops, correct_hops, is_closed, reach
from gateway.core.kernels.jit import inner
from gateway.core.kernels.results import give, write_outputs
from gateway.core.kernels.sessions import add_late_to_session, close_session, reopen
from gateway.core.kernels.spans import extend, is_of_intervals, is_on, is_timed, keep, opened, risen
from gateway.core.state import Counter, Tables
from gateway.core.types import Float64s, Int32s, Samples

ROLLING = int(Span.ROLLING)
COUNT = int(Span.COUNT)
SESSION = int(Span.SESSION)
CALENDAR = int(Span.CALENDAR)
LATE = int(Counter.CALCULATIONS_LATE)
WAITING = int(Counter.CALCULATIONS_WAITING)


@inner
def close_calendar(tables: Tables, c: int, present_ns: int) -> None:
    """The present interval of local time, if it is over. Where the one after the next ends says the engine."""
    late_ns = tables.calculations.rules[c]["late_ns"]
    state = tables.calculations.states[c]
    while present_ns - late_ns >= state["end_ns"]:
        extend(tables, c, state["end_ns"])
        index = opened(tables, c, state["pane"])
        give(tables, c, tables.calculations.accumulators[index], state["start_ns"], state["end_ns"], 0)
        state["pane"] += 1
        opened(tables, c, state["pane"])
        state["start_ns"] = state["end_ns"]
        state["end_ns"] = state["next_end_ns"]
        state["next_end_ns"] = FOR_EVER


@inner
def close_due(tables: Tables, c: int, present_ns: int) -> None:
    """All that is over as of the tag's own present."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    span = rule["span"]
    if is_of_intervals(span):
        close_hops(tables, c, present_ns)
    elif span == CALENDAR:
        close_calendar(tables, c, present_ns)
    elif span == SESSION and state["is_open"] and present_ns - state["last_ns"] > rule["gap_ns"] + rule["late_ns"]:
        close_session(tables, c)


@inner
def add_behind(tables: Tables, c: int, value: float, time_ns: int) -> bool:
    """A sample older than the last one: into its interval's values, not into what depends on their order. False when
    it came too late for one."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    span = rule["span"]
    if is_of_intervals(span):
        return bool(add_late(tables, c, (time_ns + state["phase_ns"]) // rule["pane_ns"], value, time_ns))
    if span == SESSION:
        return bool(add_late_to_session(tables, c, value, time_ns))
    pane = state["pane"]
    if span == ROLLING:
        pane = (time_ns + state["phase_ns"]) // rule["pane_ns"]
    index = rule["first"] + pane % rule["accumulators"]
    if tables.calculations.accumulators[index]["pane"] != pane or (span == CALENDAR and time_ns < state["start_ns"]):
        return False
    add_value(tables.calculations.accumulators, index, value, time_ns)
    keep(tables, c, value, time_ns)
    return True


@inner
def begin(tables: Tables, c: int, value: float, time_ns: int) -> None:
    """The first sample of all."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    state["begun"] = 1
    state["pane"] = (time_ns + state["phase_ns"]) // rule["pane_ns"] if is_timed(rule["span"]) else 0
    if rule["hop_ns"] > 0:
        state["closed"] = (time_ns + state["phase_ns"]) // rule["hop_ns"]
        state["start_ns"] = state["pane"] * rule["pane_ns"] - state["phase_ns"]
    state["is_on"] = is_on(rule, value)
    state["last"] = value
    state["last_ns"] = time_ns
    state["held_ns"] = time_ns


@inner
def turn(tables: Tables, c: int, time_ns: int) -> None:
    """Close what ends before a sample in time's order, and have its accumulator be the present one."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    span = rule["span"]
    pane = (time_ns + state["phase_ns"]) // rule["pane_ns"] if is_timed(span) else 0
    if span != SESSION:
        if is_of_intervals(span) and pane > state["pane"]:
            correct_hops(tables, c)
        close_due(tables, c, time_ns)
    elif state["is_open"] and time_ns - state["last_ns"] > rule["gap_ns"]:
        close_session(tables, c)
        state["held_ns"] = time_ns
    elif not state["is_open"] and not reopen(tables, c, time_ns):
        state["held_ns"] = time_ns
    extend(tables, c, time_ns)
    state["held_ns"] = max(state["held_ns"], time_ns)
    if span == COUNT:
        state["pane"] = state["samples"] // rule["pane_ns"]
    elif is_timed(span):
        state["pane"] = max(state["pane"], pane)


@inner
def add_over(tables: Tables, c: int, value: float, time_ns: int) -> int:
    """A sample in time's order whose interval is over all the same: the tag's samples took longer than before. The
    accumulator for what follows from the sample before it: an interval that is open."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    pane = (time_ns + state["phase_ns"]) // rule["pane_ns"]
    if not add_late(tables, c, pane, value, time_ns):
        tables.counters[LATE] += 1
        state["late"] += 1
    elif rule["corrects"]:
        return int(opened(tables, c, pane))
    reach(tables, c, state["closed"] * rule["hop_ns"] // rule["pane_ns"])
    return int(opened(tables, c, state["pane"]))


@inner
def add(tables: Tables, c: int, value: float, time_ns: int) -> None:
    """One trusted value."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    if not state["begun"]:
        begin(tables, c, value, time_ns)
    elif time_ns < state["last_ns"]:
        if not add_behind(tables, c, value, time_ns):
            tables.counters[LATE] += 1
            state["late"] += 1
        return
    else:
        turn(tables, c, time_ns)
    on = is_on(rule, value)
    is_over = is_of_intervals(rule["span"]) and is_closed(tables, c, (time_ns + state["phase_ns"]) // rule["pane_ns"])
    index = add_over(tables, c, value, time_ns) if is_over else opened(tables, c, state["pane"])
    one = tables.calculations.accumulators[index]
    if rule["span"] != SESSION or one["count"] > 0:
        one["increase"] += risen(rule, state["last"], value)
    one["edges"] += on and not state["is_on"]
    if not is_over:
        add_value(tables.calculations.accumulators, index, value, time_ns)
        keep(tables, c, value, time_ns)
    state["is_open"] = 1
    state["is_on"] = on
    state["last"] = value
    state["last_ns"] = time_ns


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def calculate(tables: Tables) -> None:
    """The trusted values that the fold put aside, into all calculations of their rows."""
    waiting = tables.calculations.waiting
    for i in range(tables.counters[WAITING]):
        row = waiting[i]["row"]
        first = tables.limits[row]["calculation_first"]
        begin_write(tables.words, row)
        for c in range(first, first + tables.limits[row]["calculation_count"]):
            add(tables, c, waiting[i]["value"], waiting[i]["time_ns"])
        end_write(tables.words, row)
    tables.counters[WAITING] = 0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def close_silent(tables: Tables, now_ns: int) -> None:
    """At a grid point: corrections that wait, and spans that ended without a sample to say so."""
    rules = tables.calculations.rules
    for c in range(len(rules)):
        state = tables.calculations.states[c]
        if not state["begun"]:
            continue
        row = rules[c]["row"]
        begin_write(tables.words, row)
        if is_of_intervals(rules[c]["span"]):
            correct_hops(tables, c)
        close_due(tables, c, max(now_ns - tables.cells[row]["lag_ns"], state["last_ns"]))
        end_write(tables.words, row)


@inner
def running(tables: Tables, c: int, present_ns: int, merged: Samples, scratch: Float64s, out: Samples, at: int) -> None:
    """What a calculation gives as of now, its present interval not being over; changes nothing of the state."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    span = rule["span"]
    newest = state["pane"]
    oldest = newest
    start_ns = 0
    if is_timed(span):
        newest = max(newest, (present_ns + state["phase_ns"]) // rule["pane_ns"])
        panes = rule["length_ns"] // rule["pane_ns"] if span != ROLLING else rule["accumulators"] - 1
        oldest = newest - panes + 1
        start_ns = oldest * rule["pane_ns"] - state["phase_ns"]
    elif span == COUNT:
        oldest = newest - rule["accumulators"] + 2
    elif span == CALENDAR:
        start_ns = state["start_ns"]
    merge(tables.calculations.accumulators, rule["first"], rule["accumulators"], oldest, newest, merged)
    until_ns = min(present_ns, state["last_ns"] + rule["hold_ns"])
    begin_ns = max(state["held_ns"], start_ns)
    if state["begun"] and until_ns > begin_ns and (span != SESSION or state["is_open"]):
        hold(merged, 0, state["last"], until_ns - begin_ns, state["is_on"] != 0)
    if not is_timed(span) and span != CALENDAR:
        start_ns = merged[0]["first_ns"] if merged[0]["count"] > 0 else present_ns
    revision = merged[0]["revision"] if span == SESSION else 0
    write_outputs(tables, c, merged[0], start_ns, present_ns + 1, revision, scratch, out, at)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_running(tables: Tables, which: Int32s, now_ns: int, merged: Samples, scratch: Float64s, out: Samples) -> None:
    """RESULT records of the calculations in `which`, each from one moment. Any thread; the last are the caller's."""
    at = 0
    for i in range(len(which)):
        c = int(which[i])
        row = int(tables.calculations.rules[c]["row"])
        while True:
            word = load_acquire(tables.words, row)
            if word & 1 == 0:
                present_ns = max(now_ns - tables.cells[row]["lag_ns"], tables.calculations.states[c]["last_ns"])
                running(tables, c, present_ns, merged, scratch, out, at)
                fence_acquire()
                if load_acquire(tables.words, row) == word:
                    break
        at += tables.calculations.rules[c]["output_count"]
