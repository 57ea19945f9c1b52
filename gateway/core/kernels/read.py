"""Reading the state from any thread: copies taken under the row's sequence lock, again until nothing moved.

Windows are read as of a time: a tag that has fallen silent would otherwise show its last window for ever. The tag's
own present is its latest source time plus what has passed since that sample arrived, so a device whose clock is
behind keeps its windows. While that present lies in the current pane, which is the rule, a read costs two records;
after it, the panes that are still inside are merged from the ring.
"""

from __future__ import annotations

import math

from numba import njit

from gateway.core.kernels.atomics import fence_acquire, load_acquire
from gateway.core.kernels.score import once_in_ns
from gateway.core.kernels.windows import merge_ring
from gateway.core.state import HOURS, Tables
from gateway.core.types import NS_PER_S, QUALITY_GOOD_MIN, Float32s, Int64s, Quality, Samples
from gateway.core.view import REASON_SHAPE

HOUR_NS = 3_600.0 * NS_PER_S
GOOD = int(Quality.GOOD)
UNCERTAIN = int(Quality.UNCERTAIN)
NOT_INITIALISED = int(Quality.BAD_NOT_INITIALISED)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_scores(tables: Tables, row: int, into: Samples) -> None:
    """Scores, what they mean and how far they can be trusted, into a LIVE or AGGREGATE record."""
    cell = tables.cells[row]
    score = cell["score"]
    persistent = cell["persistent"]
    score_once_ns, persistent_once_ns = once_in_ns(
        tables.novelty, row, tables.limits[row]["scale_ns"], float(score), float(persistent)
    )
    into["score"] = score
    into["persistent"] = persistent
    into["reasons"] = cell["reasons"]
    into["score_once_h"] = score_once_ns / HOUR_NS
    into["persistent_once_h"] = persistent_once_ns / HOUR_NS
    if math.isnan(score):
        into["score_quality"] = NOT_INITIALISED
    elif cell["quality"] < QUALITY_GOOD_MIN:
        into["score_quality"] = cell["quality"]
    elif math.isnan(persistent) or math.isnan(score_once_ns) or math.isnan(persistent_once_ns):
        into["score_quality"] = UNCERTAIN
    else:
        into["score_quality"] = GOOD
    if cell["reasons"] & REASON_SHAPE:
        into["score_once_h"] = math.nan  # the event score's past says nothing of shapes


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_live(tables: Tables, rows: Samples, out: Samples) -> None:
    """LIVE records of `rows`."""
    words = tables.words
    cells = tables.cells
    for i in range(len(rows)):
        row = int(rows[i])
        into = out[i]
        into["row"] = row
        while True:
            word = load_acquire(words, row)
            cell = cells[row]
            into["quality"] = cell["quality"]
            into["source_ns"] = cell["source_ns"]
            into["arrival_ns"] = cell["arrival_ns"]
            into["bits"] = cell["bits"]
            into["alarms"] = cell["alarms"]
            into["flags"] = tables.novelty[row]["flags"]
            read_scores(tables, row, into)
            fence_acquire()
            if word & 1 == 0 and load_acquire(words, row) == word:
                break


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_memory(tables: Tables, row: int, memory: Samples, hours: Float32s) -> None:
    """A row's NOVELTY record, and its hours, from one moment."""
    while True:
        word = load_acquire(tables.words, row)
        memory[0] = tables.novelty[row]
        for hour in range(HOURS):
            hours[hour] = tables.hours[HOURS * row + hour]
        fence_acquire()
        if word & 1 == 0 and load_acquire(tables.words, row) == word:
            break


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_devices(device_words: Int64s, devices: Samples, out: Samples) -> None:
    """DEVICE records of all devices."""
    for d in range(len(devices)):
        into = out[d]
        while True:
            word = load_acquire(device_words, d)
            device = devices[d]
            into["quality"] = device["quality"]
            into["tags_good"] = device["tags_good"]
            into["tags"] = device["tags"]
            into["samples"] = device["samples"]
            into["score"] = device["score"]
            into["score_row"] = device["score_row"]
            into["alarms"] = device["alarms"]
            into["persistent"] = device["persistent"]
            into["reasons"] = device["reasons"]
            into["flags"] = device["flags"]
            fence_acquire()
            if word & 1 == 0 and load_acquire(device_words, d) == word:
                break


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_multivariate(device_words: Int64s, records: Samples, out: Samples) -> None:
    """MULTIVARIATE records of all devices that have one."""
    for m in range(len(records)):
        while True:
            word = load_acquire(device_words, records[m]["device"])
            out[m] = records[m]
            fence_acquire()
            if word & 1 == 0 and load_acquire(device_words, records[m]["device"]) == word:
                break


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_window(tables: Tables, panes: int, row: int, w: int, now_ns: int, scratch: Samples, into: Samples) -> None:
    """One window as it stands at `now_ns`, into one AGGREGATE record. What it reads may move: the caller checks."""
    cell = tables.cells[row]
    window = tables.windows[w]
    current = tables.totals[2 * w]
    into["quality"] = cell["quality"]
    into["window_ns"] = window["window_ns"]
    read_scores(tables, row, into)
    pane = window["pane"]
    present = (max(now_ns - cell["lag_ns"], window["last_ns"]) + window["phase_ns"]) // window["pane_ns"]
    closed_index = 2 * w + 1
    source = tables.totals
    if present > pane:
        merge_ring(tables.ring, w * panes, panes, present - panes + 1, pane - 1, scratch, 0)
        closed_index = 0
        source = scratch
    count = source[closed_index]["count"]
    mean = source[closed_index]["mean"]
    m2 = source[closed_index]["m2"]
    low = source[closed_index]["min"]
    high = source[closed_index]["max"]
    first = source[closed_index]["first"]
    first_ns = source[closed_index]["first_ns"]
    add = current["count"]
    if add > 0 and pane > present - panes:
        if count == 0:
            mean = current["mean"]
            m2 = current["m2"]
            low = current["min"]
            high = current["max"]
            first = current["first"]
            first_ns = current["first_ns"]
        else:
            distance = current["mean"] - mean
            share = add / (count + add)
            m2 += current["m2"] + distance * distance * count * share
            mean += distance * share
            low = min(low, current["min"])
            high = max(high, current["max"])
        count += add
    into["count"] = count
    into["mean"] = mean if count > 0 else math.nan
    into["sd"] = math.sqrt(m2 / (count - 1)) if count > 1 else math.nan
    into["min"] = low if count > 0 else math.nan
    into["max"] = high if count > 0 else math.nan
    into["ewma"] = window["ewma"] if count > 0 else math.nan
    elapsed_ns = window["last_ns"] - first_ns
    into["rate"] = (window["last"] - first) / (elapsed_ns * 1e-9) if count > 1 and elapsed_ns > 0 else math.nan


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_row(tables: Tables, panes: int, row: int, now_ns: int, scratch: Samples, out: Samples, at: int) -> int:
    """AGGREGATE records of all windows of one row from `out[at]`, from one moment; returns the place after them."""
    words = tables.words
    first = int(tables.limits[row]["window_first"])
    count = int(tables.limits[row]["window_count"])
    while True:
        word = load_acquire(words, row)
        if word & 1 == 0:
            for k in range(count):
                out[at + k]["row"] = row
                read_window(tables, panes, row, first + k, now_ns, scratch, out[at + k])
            fence_acquire()
            if load_acquire(words, row) == word:
                return at + count


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def count_windows(tables: Tables, rows: Samples) -> int:
    """Windows of all `rows` together."""
    limits = tables.limits
    windows = 0
    for i in range(len(rows)):
        windows += limits[rows[i]]["window_count"]
    return windows


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_aggregates(tables: Tables, panes: int, rows: Samples, now_ns: int, scratch: Samples, out: Samples) -> None:
    """AGGREGATE records of `rows`, all windows of each. `scratch` is one PANE of the caller's own."""
    at = 0
    for i in range(len(rows)):
        at = read_row(tables, panes, int(rows[i]), now_ns, scratch, out, at)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def take_touched(tables: Tables, start: int, stop: int, rows: Samples) -> int:
    """List which rows of [start, stop) got samples since the last call; returns how many. The engine's thread only."""
    cells = tables.cells
    listed = 0
    for row in range(start, stop):
        if cells[row]["touched"] != 0:
            cells[row]["touched"] = 0
            if tables.limits[row]["window_count"] > 0:
                rows[listed] = row
                listed += 1
    return listed
