"""The anomaly score: how far a value leaves what the tag has ever done, in the widths of what it has done.

Three signals are drawn from each tag: its value; its trend (fast EWMA minus slow EWMA); and the residual of an
AR(1) prediction around the slow EWMA. Each keeps an interval [low, high] of where it has been, which shrinks very
slowly. A signal outside its interval is a record; its novelty is the distance outside divided by the interval's
width. The score is the largest of the three, x, mapped to x / (x + 1), so it saturates at 1 and is 0.5 at one width.

After a record the tag is quiet for `QUIET_SCALES`: only a higher record is told. All horizons are multiples of the
tag's time scale, its first window, hence wall time, whatever the sampling rate: fast 1, slow 10, quiet 0.8, warm-up
10 scales. While the tag warms up there is no score (NaN), though the intervals learn.

What it cannot see: a fault that persists (the interval has learned it), a shape that stays within the interval.
"""

from __future__ import annotations

import math

from numba import njit

from gateway.core.types import Samples

SLOW_SCALES = 10.0
QUIET_SCALES = 0.8
WARM_UP_SCALES = 10.0
SHRINK_SCALES = 1.0e6
"""An interval loses 1/e of its width, on each side, in this many time scales without records."""

EPSILON = 1e-9
"""Relative: a width below this part of the value is rounding, and a score this near the last peak is no higher."""


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def outside(x: float, low: float, high: float, floor: float) -> float:
    """How far x is outside [low, high], in widths of it (at least `floor`)."""
    width = high - low
    if width < floor:
        width = floor
    if x > high:
        return (x - high) / width
    if x < low:
        return (low - x) / width
    return 0.0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def novelty_of(novelty: Samples, row: int, value: float, time_ns: int, scale_ns: float, alpha_fast: float) -> float:
    """Learn one value and score it: 0 to 1, NaN while the tag warms up. A value that is not newer teaches nothing."""
    memory = novelty[row]
    if memory["samples"] == 0:
        memory["samples"] = 1
        memory["last_ns"] = time_ns
        memory["warm_until_ns"] = time_ns + int(WARM_UP_SCALES * scale_ns)
        memory["quiet_until_ns"] = time_ns
        memory["value"] = value
        memory["fast"] = value
        memory["slow"] = value
        memory["low_value"] = value
        memory["high_value"] = value
        return math.nan
    elapsed_ns = time_ns - memory["last_ns"]
    if elapsed_ns <= 0:
        return math.nan if memory["last_ns"] < memory["warm_until_ns"] else 0.0
    memory["samples"] += 1
    memory["last_ns"] = time_ns
    alpha_slow = 1.0 - math.exp(-elapsed_ns / (SLOW_SCALES * scale_ns))
    shrink = min(elapsed_ns / (SHRINK_SCALES * scale_ns), 0.25)

    slow = memory["slow"]
    before = memory["value"] - slow
    now = value - slow
    slope = 0.0
    if memory["var"] > 0.0:
        slope = min(max(memory["cov"] / memory["var"], -1.0), 1.0)
    residual = now - slope * before
    memory["var"] += alpha_slow * (before * before - memory["var"])
    memory["cov"] += alpha_slow * (before * now - memory["cov"])
    memory["value"] = value
    memory["fast"] += alpha_fast * (value - memory["fast"])
    memory["slow"] += alpha_slow * now
    trend = memory["fast"] - memory["slow"]

    floor = EPSILON * max(abs(value), 1e-300)
    x = outside(value, memory["low_value"], memory["high_value"], floor)
    x = max(x, outside(trend, memory["low_trend"], memory["high_trend"], floor))
    x = max(x, outside(residual, memory["low_residual"], memory["high_residual"], floor))

    width = shrink * (memory["high_value"] - memory["low_value"])
    memory["low_value"] = min(memory["low_value"] + width, value)
    memory["high_value"] = max(memory["high_value"] - width, value)
    width = shrink * (memory["high_trend"] - memory["low_trend"])
    memory["low_trend"] = min(memory["low_trend"] + width, trend)
    memory["high_trend"] = max(memory["high_trend"] - width, trend)
    width = shrink * (memory["high_residual"] - memory["low_residual"])
    memory["low_residual"] = min(memory["low_residual"] + width, residual)
    memory["high_residual"] = max(memory["high_residual"] - width, residual)

    if time_ns < memory["warm_until_ns"]:
        return math.nan
    score = float(x / (x + 1.0))
    if time_ns < memory["quiet_until_ns"] and score <= memory["peak"] * (1.0 + EPSILON):
        return 0.0
    if score > 0.0:
        memory["peak"] = score
        memory["quiet_until_ns"] = time_ns + int(QUIET_SCALES * scale_ns)
    return score
