"""Intervals of one length that begin every hop (TUMBLING: as long as a hop): closed, and corrected by late samples.

Time is cut into panes, an interval is a row of them, and it has the name of its newest pane, whose accumulator also
has its revision. A late sample goes into its pane, and all intervals over that pane which were given are to be
corrected: their revision becomes its own complement. The correction is given at the next grid point, or before a pane
begins and the oldest leaves. So many late samples at once cost one correction of an interval, not one each.

Late samples are taken as long as each interval over their pane has all its panes. Of HOPPING a calculation with
corrections has twice as many accumulators as one without, so these are the samples of the last `length` and `late`.
"""

from __future__ import annotations

from gateway.core.calculations import FOR_EVER
from gateway.core.kernels.accumulate import add_value, merge
from gateway.core.kernels.jit import inner
from gateway.core.kernels.results import give
from gateway.core.kernels.spans import extend, keep, opened
from gateway.core.state import Tables


@inner
def give_interval(tables: Tables, c: int, newest: int, revision: int) -> None:
    """The interval whose newest pane that is."""
    rule = tables.calculations.rules[c]
    merged = tables.calculations.merged
    oldest = newest - rule["length_ns"] // rule["pane_ns"] + 1
    merge(tables.calculations.accumulators, rule["first"], rule["accumulators"], oldest, newest, merged)
    end_ns = (newest + 1) * rule["pane_ns"] - tables.calculations.states[c]["phase_ns"]
    give(tables, c, merged[0], end_ns - rule["length_ns"], end_ns, revision)


@inner
def close_hops(tables: Tables, c: int, present_ns: int) -> None:
    """All hops whose end lies `late` before the tag's present."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    hop_ns = rule["hop_ns"]
    phase_ns = state["phase_ns"]
    over = (present_ns - rule["late_ns"] + phase_ns) // hop_ns
    # Where nothing is known any more there is nothing to give.
    known_ns = state["last_ns"] + rule["hold_ns"] + rule["length_ns"] + phase_ns
    if state["closed"] < over:
        correct_hops(tables, c)
    while state["closed"] < over and state["closed"] * hop_ns < known_ns:
        extend(tables, c, (state["closed"] + 1) * hop_ns - phase_ns)
        state["closed"] += 1
        give_interval(tables, c, state["closed"] * (hop_ns // rule["pane_ns"]) - 1, 0)
    state["closed"] = max(state["closed"], over)


@inner
def is_closed(tables: Tables, c: int, pane: int) -> bool:
    """Whether an interval over this pane was given."""
    rule = tables.calculations.rules[c]
    return bool(pane * rule["pane_ns"] < tables.calculations.states[c]["closed"] * rule["hop_ns"])


@inner
def reach(tables: Tables, c: int, pane: int) -> None:
    """Have `pane` be the newest one, if none newer is. What leaves for it is corrected before."""
    state = tables.calculations.states[c]
    if pane > state["pane"]:
        correct_hops(tables, c)
        opened(tables, c, pane)
        state["pane"] = pane


@inner
def add_late(tables: Tables, c: int, pane: int, value: float, time_ns: int) -> bool:
    """A sample whose pane may lie in intervals that were given; False when one of them goes without it."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    corrects = rule["corrects"] != 0
    length = rule["length_ns"] // rule["pane_ns"]
    per_hop = rule["hop_ns"] // rule["pane_ns"]
    kept = rule["accumulators"] - (length - 1 if corrects else 0)
    last_over = (pane + length) // per_hop * per_hop - 1
    last_closed = state["closed"] * per_hop - 1
    if pane <= state["pane"] - kept or time_ns < state["start_ns"] or (not corrects and last_over <= last_closed):
        return False
    reach(tables, c, max(pane, min(last_over, last_closed)) if corrects else pane)
    add_value(tables.calculations.accumulators, opened(tables, c, pane), value, time_ns)
    keep(tables, c, value, time_ns)
    if not corrects:
        return not is_closed(tables, c, pane)
    for newest in range(pane + (-1 - pane) % per_hop, min(last_over, last_closed) + 1, per_hop):
        one = tables.calculations.accumulators[opened(tables, c, newest)]
        if one["revision"] >= 0:
            one["revision"] = ~one["revision"]
        state["end_ns"] = min(state["end_ns"], (newest + 1) * rule["pane_ns"] - state["phase_ns"])
    return True


@inner
def correct_hops(tables: Tables, c: int) -> None:
    """Give the corrections that wait."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    if state["end_ns"] == FOR_EVER:
        return
    oldest = (state["end_ns"] + state["phase_ns"]) // rule["pane_ns"] - 1
    for newest in range(oldest, state["pane"] + 1, rule["hop_ns"] // rule["pane_ns"]):
        one = tables.calculations.accumulators[rule["first"] + newest % rule["accumulators"]]
        if one["pane"] == newest and one["revision"] < 0:
            one["revision"] = ~one["revision"] + 1
            give_interval(tables, c, newest, one["revision"])
    state["end_ns"] = FOR_EVER
