"""Accumulators of calculations: one value in, the time it holds, two merged, a function read out.

Value statistics are those of `windows`: Welford in an accumulator, pairwise when they are merged. The line of least
squares needs two sums more, kept the same way, with times in seconds after the accumulator's first sample.
"""

from __future__ import annotations

import math

from gateway.core.calculations import Function
from gateway.core.kernels.jit import inner
from gateway.core.kernels.windows import add_to_pane
from gateway.core.types import Samples

COUNT = int(Function.COUNT)
SUM = int(Function.SUM)
MEAN = int(Function.MEAN)
SD = int(Function.SD)
VARIANCE = int(Function.VARIANCE)
MIN = int(Function.MIN)
MAX = int(Function.MAX)
RANGE = int(Function.RANGE)
FIRST = int(Function.FIRST)
LAST = int(Function.LAST)
DELTA = int(Function.DELTA)
RATE = int(Function.RATE)
TIME_MEAN = int(Function.TIME_MEAN)
INTEGRAL = int(Function.INTEGRAL)
INCREASE = int(Function.INCREASE)
RMS = int(Function.RMS)
CREST = int(Function.CREST)
SLOPE = int(Function.SLOPE)
ON_TIME = int(Function.ON_TIME)
EDGES = int(Function.EDGES)


@inner
def clear(accumulators: Samples, index: int, pane: int) -> None:
    """Make it the empty accumulator of `pane`."""
    one = accumulators[index]
    one["pane"] = pane
    one["count"] = 0
    one["integral"] = 0.0
    one["covered_ns"] = 0
    one["on_ns"] = 0
    one["edges"] = 0
    one["increase"] = 0.0
    one["time_m2"] = 0.0
    one["co_m2"] = 0.0
    one["revision"] = 0


@inner
def add_value(accumulators: Samples, index: int, value: float, time_ns: int) -> None:
    """One sample's value, without what depends on the one before it."""
    one = accumulators[index]
    is_first = one["count"] == 0
    if is_first:
        one["base_ns"] = time_ns
        one["time_mean"] = 0.0
        one["time_m2"] = 0.0
        one["co_m2"] = 0.0
    add_to_pane(accumulators, index, value, time_ns)
    elapsed_s = (time_ns - one["base_ns"]) * 1e-9
    from_mean = elapsed_s - one["time_mean"]
    one["time_mean"] += from_mean / one["count"]
    one["time_m2"] += from_mean * (elapsed_s - one["time_mean"])
    one["co_m2"] += from_mean * (value - one["mean"])
    if is_first or time_ns >= one["last_ns"]:
        one["last_ns"] = time_ns
        one["last"] = value


@inner
def hold(accumulators: Samples, index: int, value: float, duration_ns: int, is_on: bool) -> None:
    """A value that held for so long."""
    one = accumulators[index]
    one["integral"] += value * (duration_ns * 1e-9)
    one["covered_ns"] += duration_ns
    if is_on:
        one["on_ns"] += duration_ns


@inner
def merge(accumulators: Samples, start: int, size: int, oldest: int, newest: int, out: Samples) -> None:
    """All of `[start, start + size)` with oldest <= pane <= newest, into `out[0]`."""
    clear(out, 0, newest)
    total = out[0]
    pivot = 0.0
    shifted = 0.0
    time_shifted = 0.0
    first_pane = 0
    last_pane = 0
    for index in range(start, start + size):
        one = accumulators[index]
        if one["pane"] < oldest or one["pane"] > newest:
            continue
        total["integral"] += one["integral"]
        total["covered_ns"] += one["covered_ns"]
        total["on_ns"] += one["on_ns"]
        total["edges"] += one["edges"]
        total["increase"] += one["increase"]
        total["revision"] = max(total["revision"], one["revision"])
        if one["count"] == 0:
            continue
        if total["count"] == 0:
            pivot = one["mean"]
            total["base_ns"] = one["base_ns"]
            total["min"] = one["min"]
            total["max"] = one["max"]
            total["first_ns"] = one["first_ns"]
            total["first"] = one["first"]
            total["last_ns"] = one["last_ns"]
            total["last"] = one["last"]
            first_pane = one["pane"]
            last_pane = one["pane"]
        total["count"] += one["count"]
        shifted += one["count"] * (one["mean"] - pivot)
        time_shifted += one["count"] * (one["time_mean"] + (one["base_ns"] - total["base_ns"]) * 1e-9)
        total["min"] = min(total["min"], one["min"])
        total["max"] = max(total["max"], one["max"])
        if one["first_ns"] < total["first_ns"] or (one["first_ns"] == total["first_ns"] and one["pane"] < first_pane):
            first_pane = one["pane"]
            total["first_ns"] = one["first_ns"]
            total["first"] = one["first"]
        if one["last_ns"] > total["last_ns"] or (one["last_ns"] == total["last_ns"] and one["pane"] > last_pane):
            last_pane = one["pane"]
            total["last_ns"] = one["last_ns"]
            total["last"] = one["last"]
    if total["count"] == 0:
        return
    mean = pivot + shifted / total["count"]
    time_mean = time_shifted / total["count"]
    total["mean"] = mean
    total["time_mean"] = time_mean
    merge_spread(accumulators, start, size, oldest, newest, total)


@inner
def merge_spread(accumulators: Samples, start: int, size: int, oldest: int, newest: int, total: Samples) -> None:
    """The second pass: what lies within each, and between each and the means of all."""
    m2 = 0.0
    time_m2 = 0.0
    co_m2 = 0.0
    for index in range(start, start + size):
        one = accumulators[index]
        if one["count"] == 0 or one["pane"] < oldest or one["pane"] > newest:
            continue
        distance = one["mean"] - total["mean"]
        time_distance = one["time_mean"] + (one["base_ns"] - total["base_ns"]) * 1e-9 - total["time_mean"]
        m2 += one["m2"] + one["count"] * distance * distance
        time_m2 += one["time_m2"] + one["count"] * time_distance * time_distance
        co_m2 += one["co_m2"] + one["count"] * distance * time_distance
    total["m2"] = m2
    total["time_m2"] = time_m2
    total["co_m2"] = co_m2


@inner
def read_out(one: Samples, function: int) -> float:
    """A function of an accumulator; NaN where there are too few samples for it."""
    if function == COUNT:
        return float(one["count"])
    if function == INTEGRAL:
        return float(one["integral"]) if one["covered_ns"] > 0 else math.nan
    if function == TIME_MEAN:
        return float(one["integral"] / (one["covered_ns"] * 1e-9)) if one["covered_ns"] > 0 else math.nan
    if function == INCREASE:
        return float(one["increase"]) if one["count"] > 0 or one["covered_ns"] > 0 else math.nan
    if function == ON_TIME:
        return float(one["on_ns"] * 1e-9) if one["covered_ns"] > 0 else math.nan
    if function == EDGES:
        return float(one["edges"])
    if one["count"] == 0:
        return math.nan
    return of_values(one, function)


@inner
def of_values(one: Samples, function: int) -> float:
    """A function of the values of at least one sample."""
    count = one["count"]
    if function == SUM:
        return float(one["mean"] * count)
    if function == MEAN:
        return float(one["mean"])
    if function == SD:
        return math.sqrt(one["m2"] / (count - 1)) if count > 1 else math.nan
    if function == VARIANCE:
        return float(one["m2"] / (count - 1)) if count > 1 else math.nan
    if function == MIN:
        return float(one["min"])
    if function == MAX:
        return float(one["max"])
    if function == RANGE:
        return float(one["max"] - one["min"])
    if function == FIRST:
        return float(one["first"])
    if function == LAST:
        return float(one["last"])
    if function == DELTA:
        return float(one["last"] - one["first"])
    if function == RATE:
        elapsed_ns = one["last_ns"] - one["first_ns"]
        return float((one["last"] - one["first"]) / (elapsed_ns * 1e-9)) if elapsed_ns > 0 else math.nan
    if function == SLOPE:
        return float(one["co_m2"] / one["time_m2"]) if one["time_m2"] > 0.0 else math.nan
    rms = math.sqrt(one["mean"] * one["mean"] + one["m2"] / count)
    if function == RMS:
        return rms
    if function == CREST:
        return float(max(abs(one["min"]), abs(one["max"])) / rms) if rms > 0.0 else math.nan
    return math.nan
