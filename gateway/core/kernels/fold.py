"""The fold: a batch of samples into the state, one pass, each sample under its row's sequence lock.

What a sample does, by its quality after the checks:

    bad (as it came, or NaN, infinite, or beyond any sensor)   changes the cell's quality; nothing else
    outside the tag's valid range                              becomes the cell, uncertain; no window, no score
    uncertain as it came                                       becomes the cell; windows and score take it
    good                                                       the same

A historical sample (`HISTORICAL`) was taken before the present value and is told later. It enters windows and
calculations by its own time, and is kept for a record; cell, scores and alarms never see it.

An uncertain value is the best there is and counts; one outside its valid range is what the engineer declared not to
believe, and would move a mean for the length of a window. The cell follows the order of arrival, windows follow
source time.

A source time more than an hour older or a second newer than the arrival is replaced by the arrival. The
comparison is made by arithmetic on the arrival, which is our own clock: a source time may be any int64.

What runs for each sample is made part of the loop (`forceinline`): called, it would get all arrays of the tables by
value, some two hundred words a sample.
"""

from __future__ import annotations

import math

from numba import njit

from gateway.core.kernels.alarms import judge_sample
from gateway.core.kernels.atomics import begin_write, end_write
from gateway.core.kernels.novelty import HOUR_OF_DAY_NS
from gateway.core.kernels.number import as_float
from gateway.core.kernels.prefetch import LINE_BYTES, prefetch
from gateway.core.kernels.score import score_value
from gateway.core.kernels.shape import shape_of, with_shape
from gateway.core.kernels.windows import add_to_window
from gateway.core.state import HOURS, NOVELTY, Counter, Tables
from gateway.core.types import HISTORICAL, NS_PER_S, QUALITY_UNCERTAIN_MIN, Kind, Quality, Samples
from gateway.core.view import REASON_OUT_OF_RANGE

SOURCE_OLDER_NS_MAX = 3_600 * NS_PER_S
SOURCE_NEWER_NS_MAX = NS_PER_S

VALUE_MAX = 1e140
"""No sensor measures more, and the squares of what is below can be summed."""

FAR_AHEAD = 16
AHEAD = 8
"""Samples. 100,000 shuffled tags, fastest of five interleaved runs with AHEAD 4, 8, 16, 32: 31, 30, 29, 28 ms, less
than the runs differ among themselves."""

NOVELTY_LINES = NOVELTY.itemsize // LINE_BYTES + 2
"""Its records begin anywhere in a line."""

SYMBOL = int(Kind.SYMBOL)
SENSOR_FAILURE = int(Quality.BAD_SENSOR_FAILURE)
OUT_OF_RANGE = int(Quality.UNCERTAIN_OUT_OF_RANGE)
COUNT_SAMPLES = int(Counter.SAMPLES)
COUNT_REJECTED = int(Counter.REJECTED)
COUNT_BAD = int(Counter.BAD)
COUNT_OUT_OF_RANGE = int(Counter.OUT_OF_RANGE)
COUNT_TIME_REPLACED = int(Counter.TIME_REPLACED)
COUNT_LATE = int(Counter.LATE)
COUNT_HISTORICAL = int(Counter.HISTORICAL)
COUNT_ASIDE = int(Counter.CALCULATIONS_WAITING)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def span(tables: Tables, panes: int, row: int, value: float, source_ns: int) -> None:
    """A trusted value into the tag's windows, and aside for its calculations."""
    limit = tables.limits[row]
    windows = tables.windows
    first = limit["window_first"]
    for w in range(first, first + limit["window_count"]):
        alpha = 0.0
        elapsed_ns = source_ns - windows[w]["last_ns"]
        if windows[w]["samples"] > 0 and elapsed_ns > 0:
            alpha = 1.0 - math.exp(-elapsed_ns / windows[w]["window_ns"])
        if not add_to_window(windows, tables.totals, tables.ring, panes, w, value, source_ns, alpha):
            tables.counters[COUNT_LATE] += 1
    if limit["calculation_count"] > 0:
        aside = tables.calculations.waiting[tables.counters[COUNT_ASIDE]]
        aside["row"] = row
        aside["time_ns"] = source_ns
        aside["value"] = value
        tables.counters[COUNT_ASIDE] += 1


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def learn(tables: Tables, panes: int, row: int, value: float, source_ns: int) -> None:
    """A trusted value into the tag's windows and scores."""
    span(tables, panes, row, value, source_ns)
    limit = tables.limits[row]
    cell = tables.cells[row]
    score, persistent, reasons = score_value(
        tables.novelty, tables.hours, row, value, source_ns, limit["scale_ns"], float(cell["score"])
    )
    slot = limit["shape"]
    if slot >= 0:
        shape = shape_of(tables.shapes, tables.lags, tables.prototypes, tables.used, slot, value)
        score, reasons = with_shape(score, reasons, shape, int(cell["reasons"]))
    cell["score"] = score
    cell["persistent"] = persistent
    cell["reasons"] = reasons


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def fold_one(tables: Tables, panes: int, row: int, quality: int, source_ns: int, batch: Samples, i: int) -> int:
    """One sample of a known row; returns its quality after the checks."""
    cells = tables.cells
    limits = tables.limits
    counters = tables.counters
    value = as_float(batch[i]["value"], batch[i]["bits"], limits[row]["kind"])
    cells[row]["samples"] += 1
    cells[row]["touched"] = 1
    if quality >= QUALITY_UNCERTAIN_MIN and not abs(value) <= VALUE_MAX:
        quality = SENSOR_FAILURE
    if quality < QUALITY_UNCERTAIN_MIN:
        counters[COUNT_BAD] += 1
        cells[row]["quality"] = quality
        return quality
    if value < limits[row]["valid_low"] or value > limits[row]["valid_high"]:
        counters[COUNT_OUT_OF_RANGE] += 1
        quality = OUT_OF_RANGE
        cells[row]["reasons"] = int(cells[row]["reasons"]) | REASON_OUT_OF_RANGE
    else:
        if limits[row]["kind"] != SYMBOL:
            learn(tables, panes, row, value, source_ns)
        if source_ns >= cells[row]["newest_ns"]:
            cells[row]["newest_ns"] = source_ns
            cells[row]["lag_ns"] = batch[i]["arrival_ns"] - source_ns
    cells[row]["quality"] = quality
    cells[row]["source_ns"] = source_ns
    cells[row]["arrival_ns"] = batch[i]["arrival_ns"]
    cells[row]["bits"] = batch[i]["bits"]
    judge_sample(tables, row, value)
    return quality


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def fold_historical(tables: Tables, panes: int, row: int, quality: int, source_ns: int, batch: Samples, i: int) -> int:
    """One sample of the past; returns its quality after the checks."""
    limit = tables.limits[row]
    value = as_float(batch[i]["value"], batch[i]["bits"], limit["kind"])
    tables.counters[COUNT_HISTORICAL] += 1
    if quality >= QUALITY_UNCERTAIN_MIN and not abs(value) <= VALUE_MAX:
        quality = SENSOR_FAILURE
    if quality < QUALITY_UNCERTAIN_MIN:
        tables.counters[COUNT_BAD] += 1
    elif value < limit["valid_low"] or value > limit["valid_high"]:
        tables.counters[COUNT_OUT_OF_RANGE] += 1
        quality = OUT_OF_RANGE
    elif limit["kind"] != SYMBOL:
        tables.cells[row]["touched"] = 1
        span(tables, panes, row, value, source_ns)
    return quality


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def ask_ahead(tables: Tables, batch: Samples, i: int) -> None:
    """Ask for the state of the samples to come: first what the row names, later what that leads to."""
    rows = len(tables.cells)
    if i + FAR_AHEAD < len(batch):
        row = int(batch[i + FAR_AHEAD]["row"])
        if 0 <= row < rows:
            prefetch(tables.limits, row, 0)
            prefetch(tables.words, row, 0)
            prefetch(tables.cells, row, 0)
    if i + AHEAD < len(batch):
        row = int(batch[i + AHEAD]["row"])
        if 0 <= row < rows:
            for line in range(NOVELTY_LINES):
                prefetch(tables.novelty, row, line)
            hour = int(batch[i + AHEAD]["source_ns"]) // HOUR_OF_DAY_NS % HOURS
            prefetch(tables.hours, HOURS * row + hour, 0)
            first = int(tables.limits[row]["window_first"])
            prefetch(tables.windows, first, 0)
            prefetch(tables.totals, 2 * first, 0)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def fold(tables: Tables, panes: int, batch: Samples, start: int, kept: Samples) -> tuple[int, int]:
    """Fold `batch[start:]`, copying each known sample as it was judged to `kept`, until that or the room for values put
    aside is full, or a row is negative, which is a command and not a sample (`gateway.core.lending`).

    Returns how far it came in the batch and how many it kept. An empty `kept` keeps nothing and never fills.
    """
    words = tables.words
    counters = tables.counters
    rows = len(tables.cells)
    room = len(kept)
    used = 0
    i = start
    aside_max = len(tables.calculations.waiting)
    while i < len(batch) and (room == 0 or used < room) and counters[COUNT_ASIDE] < aside_max:
        ask_ahead(tables, batch, i)
        sample = batch[i]
        row = int(sample["row"])
        if row < 0:
            break
        if row >= rows or tables.limits[row]["device"] < 0:
            # Of no row, or of one that nobody has: what it remembered would be the next tenant's.
            counters[COUNT_REJECTED] += 1
            i += 1
            continue
        arrival_ns = sample["arrival_ns"]
        source_ns = sample["source_ns"]
        quality = int(sample["quality"])
        is_historical = quality & HISTORICAL != 0
        if is_historical:
            quality &= ~HISTORICAL
            if source_ns < 0 or source_ns > arrival_ns + SOURCE_NEWER_NS_MAX:
                # Whoever calls a sample historical knows its time.
                counters[COUNT_REJECTED] += 1
                i += 1
                continue
        elif source_ns > arrival_ns + SOURCE_NEWER_NS_MAX or source_ns < arrival_ns - SOURCE_OLDER_NS_MAX:
            counters[COUNT_TIME_REPLACED] += 1
            source_ns = arrival_ns
        counters[COUNT_SAMPLES] += 1
        begin_write(words, row)
        if is_historical:
            quality = fold_historical(tables, panes, row, quality, source_ns, batch, i)
        else:
            quality = fold_one(tables, panes, row, quality, source_ns, batch, i)
        end_write(words, row)
        if room > 0:
            kept[used]["row"] = row
            kept[used]["quality"] = quality
            kept[used]["source_ns"] = source_ns
            kept[used]["arrival_ns"] = arrival_ns
            kept[used]["bits"] = sample["bits"]
            used += 1
        i += 1
    return i, used
