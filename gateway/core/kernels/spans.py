"""Where in a calculation's accumulators a moment lies, and the value that holds up to it."""

from __future__ import annotations

import math

from gateway.core.calculations import Span
from gateway.core.kernels.accumulate import clear, hold
from gateway.core.kernels.jit import inner
from gateway.core.state import Tables
from gateway.core.types import Samples

ROLLING = int(Span.ROLLING)
TUMBLING = int(Span.TUMBLING)
HOPPING = int(Span.HOPPING)


@inner
def is_timed(span: int) -> bool:
    """Whether accumulators stand for stretches of time."""
    return span in (ROLLING, TUMBLING, HOPPING)


@inner
def is_of_intervals(span: int) -> bool:
    """Whether results are of intervals that are aligned and of one length."""
    return span in (TUMBLING, HOPPING)


@inner
def is_on(rule: Samples, value: float) -> bool:
    return bool(value == rule["state"]) if rule["has_state"] else value != 0.0


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
def keep(tables: Tables, c: int, value: float, time_ns: int) -> None:
    """For quantiles."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    if rule["ring_size"] > 0:
        kept = tables.calculations.kept[rule["ring_first"] + state["samples"] % rule["ring_size"]]
        kept["time_ns"] = time_ns
        kept["value"] = value
    state["samples"] += 1
