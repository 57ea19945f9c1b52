"""Sessions: samples that follow each other within a gap; closed, and joined or corrected by late samples.

The accumulators have the present session and, before it, those that were given, in the order of time and numbered so;
the present one has the highest number and is empty while none is open. An accumulator without samples is none.

A session's name is its interval, from its first sample to its last. A late sample within it gives it once more, with a
higher revision. One that makes it longer, or joins it to the next, gives it another name: what was given under the
old ones is taken back, and the new one is given, or, when it is the present one, will be when it is over. A late
sample that touches no session is one by itself, between the others.

Before `start_ns` nothing is known: there was a session that had to make room, and a sample there may be one of its own.
"""

from __future__ import annotations

from gateway.core.kernels.accumulate import add_value, clear, merge
from gateway.core.kernels.jit import inner
from gateway.core.kernels.results import give, take_back
from gateway.core.kernels.spans import keep, opened
from gateway.core.state import Tables


@inner
def place(tables: Tables, c: int, number: int) -> int:
    """Of a session's accumulator."""
    rule = tables.calculations.rules[c]
    return int(rule["first"] + number % rule["accumulators"])


@inner
def give_session(tables: Tables, c: int, number: int) -> None:
    one = tables.calculations.accumulators[place(tables, c, number)]
    give(tables, c, one, one["first_ns"], one["last_ns"] + 1, one["revision"])


@inner
def take_session_back(tables: Tables, c: int, number: int) -> None:
    """Under the name that it has by now; its next revision is the one after this."""
    one = tables.calculations.accumulators[place(tables, c, number)]
    one["revision"] += 1
    take_back(tables, c, one["first_ns"], one["last_ns"] + 1, one["revision"])


@inner
def make_room(tables: Tables, c: int) -> None:
    """The oldest session leaves."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    number = state["pane"] - rule["accumulators"] + 1
    index = place(tables, c, number)
    one = tables.calculations.accumulators[index]
    if one["count"] > 0:
        state["start_ns"] = max(state["start_ns"], one["last_ns"] + rule["gap_ns"] + 1)
    clear(tables.calculations.accumulators, index, number)


@inner
def close_session(tables: Tables, c: int) -> None:
    """From its first sample to its last."""
    state = tables.calculations.states[c]
    give_session(tables, c, state["pane"])
    state["is_open"] = 0
    make_room(tables, c)
    state["pane"] += 1
    opened(tables, c, state["pane"])


@inner
def move(tables: Tables, c: int, source: int, number: int) -> None:
    """Give a session another number."""
    index = place(tables, c, number)
    tables.calculations.accumulators[index] = tables.calculations.accumulators[place(tables, c, source)]
    tables.calculations.accumulators[index]["pane"] = number


@inner
def strike(tables: Tables, c: int, number: int) -> None:
    """Take a session out; older ones move up."""
    oldest = tables.calculations.states[c]["pane"] - tables.calculations.rules[c]["accumulators"] + 1
    for at in range(number, oldest, -1):
        move(tables, c, at - 1, at)
    clear(tables.calculations.accumulators, place(tables, c, oldest), oldest)


@inner
def reopen(tables: Tables, c: int, time_ns: int) -> bool:
    """Whether a sample in time's order goes on with the session that was closed before it."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    before = state["pane"] - 1
    one = tables.calculations.accumulators[place(tables, c, before)]
    if not rule["corrects"] or one["count"] == 0 or time_ns - one["last_ns"] > rule["gap_ns"]:
        return False
    take_session_back(tables, c, before)
    move(tables, c, before, state["pane"])
    strike(tables, c, before)
    state["is_open"] = 1
    return True


@inner
def add_late_to_session(tables: Tables, c: int, value: float, time_ns: int) -> bool:
    """A sample older than the last one; False when it comes too late."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    present = state["pane"]
    accumulators = tables.calculations.accumulators
    if not rule["corrects"]:
        index = place(tables, c, present)
        if not state["is_open"] or time_ns < accumulators[index]["first_ns"] - rule["gap_ns"]:
            return False
        keep(tables, c, value, time_ns)
        add_value(accumulators, index, value, time_ns)
        return True
    if time_ns < state["start_ns"]:
        return False
    oldest = present - rule["accumulators"] + 1
    low = high = oldest - 1
    newer = present + 1
    for number in range(oldest, present + 1):
        one = accumulators[place(tables, c, number)]
        if one["count"] == 0:
            continue
        if one["first_ns"] - rule["gap_ns"] <= time_ns <= one["last_ns"] + rule["gap_ns"]:
            low = low if low >= oldest else number
            high = number
        elif one["first_ns"] > time_ns and newer > present:
            newer = number
    if low >= oldest:
        keep(tables, c, value, time_ns)
        join(tables, c, low, high, value, time_ns)
        return True
    return insert(tables, c, min(newer, present) - 1, value, time_ns)


@inner
def join(tables: Tables, c: int, low: int, high: int, value: float, time_ns: int) -> None:
    """A late sample into the session that it touches, or between two that it makes one."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    accumulators = tables.calculations.accumulators
    index = place(tables, c, high)
    one = accumulators[index]
    is_over = high < state["pane"]
    if low < high:
        take_session_back(tables, c, low)
        if is_over:
            take_session_back(tables, c, high)
        merge(accumulators, rule["first"], rule["accumulators"], low, high, tables.calculations.merged)
        accumulators[index] = tables.calculations.merged[0]
        strike(tables, c, low)
    elif is_over and one["first_ns"] <= time_ns <= one["last_ns"]:
        one["revision"] += 1
    elif is_over:
        take_session_back(tables, c, high)
    add_value(accumulators, index, value, time_ns)
    if is_over:
        give_session(tables, c, high)


@inner
def insert(tables: Tables, c: int, number: int, value: float, time_ns: int) -> bool:
    """A late sample that touches nothing: a session that is over, before the one after `number`."""
    oldest = tables.calculations.states[c]["pane"] - tables.calculations.rules[c]["accumulators"] + 1
    if number < oldest:
        return False
    make_room(tables, c)
    for at in range(oldest, number):
        move(tables, c, at + 1, at)
    index = place(tables, c, number)
    clear(tables.calculations.accumulators, index, number)
    keep(tables, c, value, time_ns)
    add_value(tables.calculations.accumulators, index, value, time_ns)
    give_session(tables, c, number)
    return True
