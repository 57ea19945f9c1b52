"""The alarm engine: conditions with each sample, states on the grid.

A sample only notes whether it is beyond an alarm's limit. The grid moves the states: delays are counted there (to
100 ms), and an alarm without an on-delay is also raised by a condition that came and went between two points.
"""

from __future__ import annotations

import math

from numba import njit

from gateway.core.alarms import UNSHELVED, AlarmState, Form, From, Statistic
from gateway.core.kernels.atomics import begin_write, end_write, fence_acquire, load_acquire
from gateway.core.kernels.number import as_float
from gateway.core.kernels.read import read_window
from gateway.core.state import FLAG_MAINTENANCE, Tables
from gateway.core.types import QUALITY_UNCERTAIN_MIN, Samples
from gateway.core.view import ALARM_UNACKNOWLEDGED

NORMAL = int(AlarmState.NORMAL)
ACTIVE = int(AlarmState.ACTIVE)
ACKNOWLEDGED = int(AlarmState.ACKNOWLEDGED)
RETURNED = int(AlarmState.RETURNED)
BELOW = int(Form.BELOW)
ABOVE = int(Form.ABOVE)
AT_LEAST = int(Form.AT_LEAST)
APART = int(Form.APART)
SCORE = int(From.SCORE)
PERSISTENT = int(From.PERSISTENT)
WINDOW = int(From.WINDOW)
QUALITY = int(From.QUALITY)
MULTIVARIATE = int(From.MULTIVARIATE)
MEAN = int(Statistic.MEAN)
SD = int(Statistic.SD)
MIN = int(Statistic.MIN)
MAX = int(Statistic.MAX)
RATE = int(Statistic.RATE)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def is_beyond(form: int, x: float, limit: float, clear: float, reference: float, before: bool) -> bool:
    """The condition for `x`: begins beyond the limit, ends within `clear`. NaN neither begins nor ends it."""
    if form == BELOW:
        return x < limit or (before and not x >= clear)
    if form == ABOVE:
        return x > limit or (before and not x <= clear)
    if form == AT_LEAST:
        return x >= limit or (before and not x < clear)
    if form == APART:
        distance = abs(x - reference)
        return distance > limit or (before and not distance <= clear)
    return x == limit or (before and math.isnan(x))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def note(tables: Tables, a: int, x: float, reference: float) -> None:
    """Judge alarm `a` by `x`, and remember what it was."""
    rule = tables.alarm_rules[a]
    alarm = tables.alarms[a]
    beyond = is_beyond(rule["form"], x, rule["limit"], rule["clear"], reference, alarm["is_beyond"] != 0)
    alarm["is_beyond"] = beyond
    if beyond:
        if not alarm["was_beyond"]:
            alarm["value"] = x
        alarm["was_beyond"] = 1
    else:
        alarm["was_within"] = 1


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def judge_sample(tables: Tables, row: int, value: float) -> None:
    """All alarms of a row that a sample decides. Under maintenance there are none of scores; declared limits hold."""
    first = tables.limits[row]["alarm_first"]
    cell = tables.cells[row]
    is_maintained = tables.novelty[row]["flags"] & FLAG_MAINTENANCE != 0
    for a in range(first, first + tables.limits[row]["alarm_count"]):
        rule = tables.alarm_rules[a]
        if rule["is_on_grid"]:
            continue
        x = value
        if rule["source"] == SCORE:
            x = -math.inf if is_maintained else float(cell["score"])
        elif rule["source"] == PERSISTENT:
            x = -math.inf if is_maintained else float(cell["persistent"])
        note(tables, a, x, rule["reference"])


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def live_value(tables: Tables, row: int) -> float:
    """The row's number; NaN while its quality is bad."""
    cell = tables.cells[row]
    if cell["quality"] < QUALITY_UNCERTAIN_MIN:
        return math.nan
    return as_float(cell["value"], cell["bits"], tables.limits[row]["kind"])


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def statistic_of(tables: Tables, panes: int, rule: Samples, now_ns: int, pane: Samples, window: Samples) -> float:
    """What a rule's window says at `now_ns`; `pane` and `window` are one scratch record each."""
    read_window(tables, panes, rule["row"], rule["window"], now_ns, pane, window[0])
    statistic = rule["statistic"]
    if statistic == MEAN:
        return window[0]["mean"]
    if statistic == SD:
        return window[0]["sd"]
    if statistic == MIN:
        return window[0]["min"]
    if statistic == MAX:
        return window[0]["max"]
    if statistic == RATE:
        return window[0]["rate"]
    return window[0]["ewma"]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def judge_on_grid(
    tables: Tables, multi: Samples, panes: int, a: int, now_ns: int, pane: Samples, window: Samples
) -> None:
    """An alarm that no sample of its row decides alone. `multi` are the MULTIVARIATE records."""
    rule = tables.alarm_rules[a]
    reference = rule["reference"]
    if rule["reference_row"] >= 0:
        reference = live_value(tables, rule["reference_row"])
    if rule["source"] == QUALITY:
        quality = float(tables.cells[rule["row"]]["quality"])
        x = quality if tables.cells[rule["row"]]["samples"] > 0 else math.nan
    elif rule["source"] == MULTIVARIATE:
        score = multi[rule["window"]]
        x = -math.inf if score["flags"] & FLAG_MAINTENANCE != 0 else score["score"]
    elif rule["source"] == WINDOW:
        x = statistic_of(tables, panes, rule, now_ns, pane, window)
    else:
        x = live_value(tables, rule["row"])
    note(tables, a, x, reference)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def held_for(alarm: Samples, holds: bool, began_anew: bool, now_ns: int, delay_ns: int) -> bool:
    """Whether a condition that `holds` has held for the delay; `began_anew`: it was interrupted meanwhile."""
    if not holds:
        alarm["since_ns"] = -1
        return False
    if alarm["since_ns"] < 0 or began_anew:
        alarm["since_ns"] = now_ns
    return bool(now_ns - alarm["since_ns"] >= delay_ns)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def move(rule: Samples, alarm: Samples, now_ns: int) -> None:
    """One alarm's state after what was noted since the last grid point."""
    beyond = alarm["is_beyond"] != 0
    state = alarm["state"]
    if state in (NORMAL, RETURNED):
        if rule["on_delay_ns"] == 0:
            rises = alarm["was_beyond"] != 0
        else:
            rises = held_for(alarm, beyond, alarm["was_within"] != 0, now_ns, rule["on_delay_ns"])
        if rises:
            alarm["state"] = ACTIVE
            alarm["since_ns"] = -1
            alarm["raised_ns"] = now_ns
            alarm["raises"] += 1
    elif held_for(alarm, not beyond, alarm["was_beyond"] != 0, now_ns, rule["off_delay_ns"]):
        alarm["state"] = RETURNED if rule["latches"] and state == ACTIVE else NORMAL
        alarm["since_ns"] = -1
    alarm["was_beyond"] = beyond
    alarm["was_within"] = 0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def step_alarms(
    tables: Tables, multi: Samples, panes: int, now_ns: int, pane: Samples, window: Samples, changes: Samples
) -> int:
    """All alarms at a grid point. Lists ALARM_CHANGE records in `changes`, returns how many.

    What does not fit stays as announced before, and is found again at the next point.
    """
    rules = tables.alarm_rules
    alarms = tables.alarms
    listed = 0
    a = 0
    while a < len(rules):
        row = rules[a]["row"]
        bits = 0
        begin_write(tables.words, row)
        while a < len(rules) and rules[a]["row"] == row:
            if rules[a]["is_on_grid"]:
                judge_on_grid(tables, multi, panes, a, now_ns, pane, window)
            move(rules[a], alarms[a], now_ns)
            listed = list_changes(tables, a, now_ns, changes, listed)
            shown = alarms[a]["announced"]
            if shown in (ACTIVE, ACKNOWLEDGED):
                bits |= rules[a]["bit"]
            if shown in (ACTIVE, RETURNED):
                bits |= ALARM_UNACKNOWLEDGED
            a += 1
        tables.cells[row]["alarms"] = bits
        end_write(tables.words, row)
    return listed


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def list_changes(tables: Tables, a: int, now_ns: int, changes: Samples, listed: int) -> int:
    """What is to be told of alarm `a`, appended to `changes`; returns how many are listed now."""
    rule = tables.alarm_rules[a]
    alarm = tables.alarms[a]
    alarm["is_suppressed"] = 0
    if rule["unless_row"] >= 0:
        other = live_value(tables, rule["unless_row"])
        alarm["is_suppressed"] = other != 0.0 and not math.isnan(other)
    if 0 < alarm["shelved_until_ns"] <= now_ns and listed < len(changes):
        alarm["shelved_until_ns"] = 0
        listed = list_change(changes, listed, a, alarm["announced"], UNSHELVED, alarm["value"])
    shown = alarm["state"]
    if alarm["shelved_until_ns"] > 0 or alarm["is_suppressed"]:
        shown = NORMAL
    if shown != alarm["announced"] and listed < len(changes):
        listed = list_change(changes, listed, a, alarm["announced"], shown, alarm["value"])
        alarm["announced"] = shown
    return listed


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def list_change(changes: Samples, listed: int, a: int, before: int, after: int, value: float) -> int:
    change = changes[listed]
    change["alarm"] = a
    change["before"] = before
    change["after"] = after
    change["value"] = value
    return listed + 1


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_alarms(tables: Tables, out: Samples) -> None:
    """Copies of all ALARM records, those of a row from one moment. Any thread."""
    rules = tables.alarm_rules
    a = 0
    while a < len(rules):
        row = rules[a]["row"]
        word = load_acquire(tables.words, row)
        last = a
        while last < len(rules) and rules[last]["row"] == row:
            out[last] = tables.alarms[last]
            last += 1
        fence_acquire()
        if word & 1 == 0 and load_acquire(tables.words, row) == word:
            a = last
