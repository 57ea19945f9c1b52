"""Calculations: samples into accumulators, and results out of them when a span is over.

The fold puts values of rows with calculations aside, so that plants without any compile none of this.

Results of spans that end (TUMBLING, HOPPING, SESSION, CALENDAR) are appended to `results`, whose fill is a counter; the
engine takes them away at the grid and looks for spans that ended in silence. A sample that passes an end closes the
span before it enters the next one, so nothing depends on how a batch was cut.
"""

from __future__ import annotations

import math

from numba import njit

from gateway.core.calculations import FOR_EVER, Function, Span
from gateway.core.kernels.accumulate import add_value, clear, hold, merge, read_out
from gateway.core.kernels.atomics import begin_write, end_write, fence_acquire, load_acquire
from gateway.core.kernels.jit import inner
from gateway.core.kernels.quantile import has_whole_ring, quantile
from gateway.core.state import Counter, Tables
from gateway.core.types import Float64s, Int32s, Quality, Samples

ROLLING = int(Span.ROLLING)
COUNT = int(Span.COUNT)
TUMBLING = int(Span.TUMBLING)
HOPPING = int(Span.HOPPING)
SESSION = int(Span.SESSION)
CALENDAR = int(Span.CALENDAR)
COVERAGE = int(Function.COVERAGE)
QUANTILE = int(Function.QUANTILE)
USED = int(Counter.RESULTS)
LOST = int(Counter.RESULTS_LOST)
LATE = int(Counter.CALCULATIONS_LATE)
WAITING = int(Counter.CALCULATIONS_WAITING)
GOOD = int(Quality.GOOD)
UNCERTAIN = int(Quality.UNCERTAIN)


@inner
def is_timed(span: int) -> bool:
    """Whether accumulators stand for stretches of time."""
    return span in (ROLLING, TUMBLING, HOPPING)


@inner
def is_on(rule: Samples, value: float) -> bool:
    return bool(value == rule["state"]) if rule["has_state"] else value != 0.0


@inner
def opened(tables: Tables, c: int, pane: int) -> int:
    """The place of a pane's accumulator, cleared if it was an older one's; -1 when a newer one has it."""
    rule = tables.calculations.rules[c]
    index = rule["first"] + pane % rule["accumulators"]
    if tables.calculations.accumulators[index]["pane"] > pane:
        return -1
    if tables.calculations.accumulators[index]["pane"] < pane:
        clear(tables.calculations.accumulators, index, pane)
    return index


@inner
def extend(tables: Tables, c: int, until_ns: int) -> None:
    """Account for the last value up to `until_ns`, or as long as it may be believed."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    until_ns = min(until_ns, state["last_ns"] + rule["hold_ns"])
    at_ns = state["held_ns"]
    if until_ns <= at_ns:
        return
    on = state["is_on"] != 0
    if not is_timed(rule["span"]):
        hold(tables.calculations.accumulators, opened(tables, c, state["pane"]), state["last"], until_ns - at_ns, on)
        state["held_ns"] = until_ns
        return
    pane_ns = rule["pane_ns"]
    phase_ns = state["phase_ns"]
    at_ns = max(at_ns, until_ns - pane_ns * rule["accumulators"])
    while at_ns < until_ns:
        pane = (at_ns + phase_ns) // pane_ns
        to_ns = min(until_ns, (pane + 1) * pane_ns - phase_ns)
        index = opened(tables, c, pane)
        if index >= 0:
            hold(tables.calculations.accumulators, index, state["last"], to_ns - at_ns, on)
            state["pane"] = max(state["pane"], pane)
        at_ns = to_ns
    state["held_ns"] = until_ns


@inner
def write_outputs(
    tables: Tables, c: int, one: Samples, start_ns: int, end_ns: int, revision: int, scratch: Float64s,
    out: Samples, at: int,
) -> None:  # fmt: skip
    """All outputs of a calculation over one interval, from `out[at]`."""
    rule = tables.calculations.rules[c]
    length_ns = end_ns - start_ns
    coverage = min(1.0, one["covered_ns"] / length_ns) if length_ns > 0 else 1.0
    for k in range(rule["output_count"]):
        output = tables.calculations.outputs[rule["output_first"] + k]
        function = output["function"]
        result = out[at + k]
        result["row"] = rule["row"]
        result["output"] = rule["output_first"] + k
        result["start_ns"] = start_ns
        result["end_ns"] = end_ns
        result["count"] = one["count"]
        result["coverage"] = coverage
        result["revision"] = revision
        result["quality"] = GOOD
        if function == COVERAGE:
            result["value"] = coverage
        elif function == QUANTILE:
            most = one["count"] if rule["span"] == COUNT else rule["ring_size"]
            result["value"] = quantile(tables, c, most, start_ns, end_ns, output["quantile"], scratch)
            if one["count"] > rule["ring_size"] or not (rule["span"] == COUNT or has_whole_ring(tables, c, start_ns)):
                result["quality"] = UNCERTAIN
        else:
            result["value"] = read_out(one, function)


@inner
def give(tables: Tables, c: int, one: Samples, start_ns: int, end_ns: int, revision: int) -> None:
    """Append a result; count it as lost when there is no room."""
    if one["count"] == 0 and one["covered_ns"] == 0:
        return
    outputs = tables.calculations.rules[c]["output_count"]
    used = tables.counters[USED]
    if used + outputs > len(tables.calculations.results):
        tables.counters[LOST] += outputs
        return
    write_outputs(
        tables, c, one, start_ns, end_ns, revision, tables.calculations.scratch, tables.calculations.results, used
    )
    tables.counters[USED] = used + outputs


@inner
def close_hops(tables: Tables, c: int, present_ns: int) -> None:
    """All hops whose end lies `late` before the tag's present."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    hop_ns = rule["hop_ns"]
    pane_ns = rule["pane_ns"]
    phase_ns = state["phase_ns"]
    over = (present_ns - rule["late_ns"] + phase_ns) // hop_ns
    # Where nothing is known any more there is nothing to give.
    known_ns = state["last_ns"] + rule["hold_ns"] + rule["length_ns"] + phase_ns
    while state["closed"] < over and state["closed"] * hop_ns < known_ns:
        end_ns = (state["closed"] + 1) * hop_ns - phase_ns
        extend(tables, c, end_ns)
        state["closed"] += 1
        start_ns = end_ns - rule["length_ns"]
        newest = (end_ns + phase_ns) // pane_ns - 1
        oldest = newest - rule["length_ns"] // pane_ns + 1
        merged = tables.calculations.merged
        merge(tables.calculations.accumulators, rule["first"], rule["accumulators"], oldest, newest, merged)
        give(tables, c, merged[0], start_ns, end_ns, 0)
    state["closed"] = max(state["closed"], over)


@inner
def close_open(tables: Tables, c: int, start_ns: int, end_ns: int) -> None:
    """End the present SESSION or CALENDAR interval."""
    state = tables.calculations.states[c]
    index = opened(tables, c, state["pane"])
    give(tables, c, tables.calculations.accumulators[index], start_ns, end_ns, 0)
    state["is_open"] = 0
    state["pane"] += 1
    opened(tables, c, state["pane"])


@inner
def close_session(tables: Tables, c: int) -> None:
    """From its first sample to its last."""
    state = tables.calculations.states[c]
    index = opened(tables, c, state["pane"])
    close_open(tables, c, tables.calculations.accumulators[index]["first_ns"], state["last_ns"] + 1)


@inner
def close_calendar(tables: Tables, c: int, present_ns: int) -> None:
    """The present interval of local time, if it is over. Where the one after the next ends says the engine."""
    late_ns = tables.calculations.rules[c]["late_ns"]
    state = tables.calculations.states[c]
    while present_ns - late_ns >= state["end_ns"]:
        extend(tables, c, state["end_ns"])
        close_open(tables, c, state["start_ns"], state["end_ns"])
        state["start_ns"] = state["end_ns"]
        state["end_ns"] = state["next_end_ns"]
        state["next_end_ns"] = FOR_EVER


@inner
def close_due(tables: Tables, c: int, present_ns: int) -> None:
    """All that is over as of the tag's own present."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    span = rule["span"]
    if span in (TUMBLING, HOPPING):
        close_hops(tables, c, present_ns)
    elif span == CALENDAR:
        close_calendar(tables, c, present_ns)
    elif span == SESSION and state["is_open"] and present_ns - state["last_ns"] > rule["gap_ns"] + rule["late_ns"]:
        close_session(tables, c)


@inner
def risen(rule: Samples, before: float, value: float) -> float:
    """What a counter rose by: over its rollover, or from nothing after a reset."""
    difference = value - before
    if difference >= 0.0:
        return float(difference)
    if not math.isnan(rule["rollover"]):
        return float(difference + rule["rollover"])
    return max(value, 0.0)


@inner
def add_behind(tables: Tables, c: int, value: float, time_ns: int) -> bool:
    """A sample older than the last one: into its interval's values, not into what depends on their order."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    pane = state["pane"]
    if is_timed(rule["span"]):
        pane = (time_ns + state["phase_ns"]) // rule["pane_ns"]
    index = rule["first"] + pane % rule["accumulators"]
    one = tables.calculations.accumulators[index]
    if one["pane"] != pane:
        return False
    if rule["span"] == TUMBLING and pane < state["closed"]:
        if not rule["corrects"]:
            return False
        add_value(tables.calculations.accumulators, index, value, time_ns)
        one["revision"] += 1
        start_ns = pane * rule["pane_ns"] - state["phase_ns"]
        give(tables, c, one, start_ns, start_ns + rule["pane_ns"], one["revision"])
        return True
    if rule["span"] == HOPPING and pane * rule["pane_ns"] < state["closed"] * rule["hop_ns"]:
        return False
    if rule["span"] == SESSION and (not state["is_open"] or time_ns < one["first_ns"] - rule["gap_ns"]):
        return False
    add_value(tables.calculations.accumulators, index, value, time_ns)
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
    state["is_on"] = is_on(rule, value)
    state["last"] = value
    state["last_ns"] = time_ns
    state["held_ns"] = time_ns


@inner
def add(tables: Tables, c: int, value: float, time_ns: int) -> None:
    """One trusted value."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    if not state["begun"]:
        begin(tables, c, value, time_ns)
    elif time_ns < state["last_ns"]:
        if add_behind(tables, c, value, time_ns):
            keep(tables, c, value, time_ns)
        else:
            tables.counters[LATE] += 1
            state["late"] += 1
        return
    else:
        span = rule["span"]
        if span == SESSION and state["is_open"] and time_ns - state["last_ns"] > rule["gap_ns"]:
            close_session(tables, c)
            state["held_ns"] = time_ns
        elif span == SESSION and not state["is_open"]:
            state["held_ns"] = time_ns
        else:
            close_due(tables, c, time_ns)
        extend(tables, c, time_ns)
        state["held_ns"] = time_ns
        if span == COUNT:
            state["pane"] = state["samples"] // rule["pane_ns"]
        elif is_timed(span):
            state["pane"] = max(state["pane"], (time_ns + state["phase_ns"]) // rule["pane_ns"])
    index = opened(tables, c, state["pane"])
    on = is_on(rule, value)
    one = tables.calculations.accumulators[index]
    if rule["span"] != SESSION or one["count"] > 0:
        one["increase"] += risen(rule, state["last"], value)
    one["edges"] += on and not state["is_on"]
    add_value(tables.calculations.accumulators, index, value, time_ns)
    state["is_open"] = 1
    state["is_on"] = on
    state["last"] = value
    state["last_ns"] = time_ns
    keep(tables, c, value, time_ns)


@inner
def keep(tables: Tables, c: int, value: float, time_ns: int) -> None:
    """For quantiles."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    if rule["ring_size"] > 0:
        kept = tables.calculations.kept[rule["ring_first"] + state["samples"] % rule["ring_size"]]
        kept["time_ns"] = time_ns
        kept["value"] = value
    state["samples"] += 1


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
    """At a grid point: spans that ended without a sample to say so."""
    rules = tables.calculations.rules
    for c in range(len(rules)):
        state = tables.calculations.states[c]
        if not state["begun"]:
            continue
        row = rules[c]["row"]
        begin_write(tables.words, row)
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
    write_outputs(tables, c, merged[0], start_ns, present_ns + 1, merged[0]["revision"], scratch, out, at)


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
