"""The event score: how far a value leaves what the tag has ever done, in the widths of what it has done.

Four signals are drawn from each tag: its value; the residual to its own mean at this hour of the day; its trend (fast
EWMA minus slow EWMA); and the residual of an AR(1) prediction around the slow EWMA. Each keeps an interval
[low, high] of where it has been, which shrinks slowly. A signal outside its interval is a record; its novelty x is
the distance outside in widths of the interval, the largest of the four. A tag that often breaks its records is believed
less: x is held against the tag's own recent records, which fade (`heat`). A shift of the short mean of the hourly
residual against its spread adds a little, most where there is a record as well.

The score is scaled so that 0.5 is the threshold fitted on recorded series (the benchmark prints what it costs); it
tends to 1 and never gets there. After a record the tag is quiet: only one clearly higher is told.

**Time.** All horizons are multiples of the tag's scale: its first window or 30 of its own sample intervals, whichever
is longer. The interval is a running median of what the tag does, so the same settings serve 10 Hz and one sample an
hour. Silence teaches nothing: a gap counts as two intervals at most. Weights are e / (e + horizon), which needs no
exponential. While the tag warms up there is no score (NaN), though everything learns.

Record novelty is this project's own. Its parts are not: the EWMA of Roberts (1959), the AR(1) residual chart of Alwan
and Roberts (1988), and the short mean held against a long one of the anomaly likelihood of Lavin and Ahmad (2015).

What it cannot see: a fault that persists (`gateway.core.kernels.persistence`), a shape that stays within the interval.
"""

from __future__ import annotations

import math

from numba import njit

from gateway.core.state import BEGUN, BEGUN_EVENT, FLAG_BASELINE, HOURS
from gateway.core.types import NS_PER_S, Float32s, Samples

SCALE_INTERVALS = 30.0
"""A scale is at least so many sample intervals: fewer have no statistics."""

GAP_INTERVALS_MAX = 2.0
INTERVAL_GAIN = 1.02
"""The running median of the sample interval moves by this factor a sample."""

FAST_SCALES = 0.5
SLOW_SCALES = 20.0
NEAR_SCALES = 0.5
FAR_SCALES = 7.0
QUIET_SCALES = 2.0
WARM_UP_SCALES = 5.0
HEAT_SCALES = 160.0
SHRINK_SCALES = 3_333.0
"""An interval loses 1/e of its width, on each side, in this many scales without records."""

HOUR_NS = 3_600.0 * NS_PER_S
HOUR_OF_DAY_NS = 3_600 * NS_PER_S
HOUR_MEMORY_NS = 4.0 * HOUR_NS
HOUR_MEMORY_INTERVALS = 50.0
"""An hour's mean has seen this much of that hour, or so many samples, whichever is longer, before it forgets."""

HOUR_PRIOR_NS = HOUR_NS
HOUR_PRIOR_INTERVALS = 12.0

HOUR_MEAN_MAX = 3e38
"""The hours are float32, counted from the tag's first value: what they resolve is 1e-7 of the distance from it."""

NOVELTY_MAX = 1e9

WEIGHT_TREND = 0.3
WEIGHT_PREDICTION = 1.0
HEAT_WEIGHT = 0.8
SHIFT_SHARE = 0.2
SHIFT_SDS = 1.5
SHIFT_ALONE = 0.25
"""The share of the score that the shift can give, where it is half of that, and the part it gives without a record."""

QUIET_RATIO = 1.5
"""During the quiet time a record is told when it scores this many times the last one."""

HALF = 0.03
"""The raw score that is told as 0.5."""

EPSILON = 1e-9
"""Relative: a width below this part of the value is rounding."""


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def outside(x: float, low: float, high: float, floor: float) -> float:
    """How far x is outside [low, high], in widths of it (at least `floor`)."""
    if x > high:
        return (x - high) / max(high - low, floor)
    if x < low:
        return (low - x) / max(high - low, floor)
    return 0.0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def first_of(novelty: Samples, hours: Float32s, row: int, value: float, time_ns: int) -> None:
    """Begin with a first value: it is all that the tag has ever done. Each hour of the day is unknown (NaN), unless
    a baseline says what it is."""
    memory = novelty[row]
    memory["begun"] = BEGUN
    memory["last_ns"] = time_ns
    memory["value"] = value
    memory["fast"] = value
    memory["slow"] = value
    memory["low_value"] = value
    memory["high_value"] = value
    if memory["flags"] & FLAG_BASELINE:
        return
    memory["anchor"] = value
    for hour in range(HOURS * row, HOURS * (row + 1)):
        hours[hour] = math.nan


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def advance(novelty: Samples, row: int, time_ns: int) -> float:
    """Move the tag's clock to a later sample; returns how much of the gap counts, in ns."""
    memory = novelty[row]
    elapsed_ns = float(time_ns - memory["last_ns"])
    interval_ns = memory["interval_ns"]
    if interval_ns == 0.0:
        interval_ns = elapsed_ns
    elif elapsed_ns > interval_ns:
        interval_ns *= INTERVAL_GAIN
    else:
        interval_ns *= 1.0 / INTERVAL_GAIN
    memory["interval_ns"] = interval_ns
    memory["last_ns"] = time_ns
    step_ns = min(elapsed_ns, GAP_INTERVALS_MAX * interval_ns)
    memory["age_ns"] += step_ns
    return float(step_ns)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def hour_residual(novelty: Samples, hours: Float32s, row: int, value: float, step_ns: float) -> float:
    """The value less its mean at this hour of the day, which then learns it, but for a baseline. An hour
    that is new begins where the trend is, less what the residual has been of late."""
    memory = novelty[row]
    hour = HOURS * row + memory["last_ns"] // HOUR_OF_DAY_NS % HOURS
    distance = value - memory["anchor"]
    mean = float(hours[hour])
    if math.isnan(mean):
        mean = memory["fast"] - memory["near"] - memory["anchor"]
    residual = distance - mean
    if memory["flags"] & FLAG_BASELINE:
        return float(residual)
    interval_ns = memory["interval_ns"]
    seen_ns = max(HOUR_PRIOR_NS, HOUR_PRIOR_INTERVALS * interval_ns) + memory["age_ns"] / HOURS
    horizon_ns = min(seen_ns, max(HOUR_MEMORY_NS, HOUR_MEMORY_INTERVALS * interval_ns))
    mean += step_ns / (step_ns + horizon_ns) * residual
    hours[hour] = min(max(mean, -HOUR_MEAN_MAX), HOUR_MEAN_MAX)
    return float(residual)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def prediction_residual(novelty: Samples, row: int, value: float, u: float) -> float:
    """The value less its AR(1) prediction around the slow mean; then the prediction, fast and slow mean learn it."""
    memory = novelty[row]
    before = memory["value"] - memory["slow"]
    now = value - memory["slow"]
    slope = 0.0
    if memory["var"] > 0.0:
        slope = min(max(memory["cov"] / memory["var"], -1.0), 1.0)
    slow = u / (u + SLOW_SCALES)
    memory["var"] += slow * (before * before - memory["var"])
    memory["cov"] += slow * (before * now - memory["cov"])
    memory["slow"] += slow * now
    memory["fast"] += u / (u + FAST_SCALES) * (value - memory["fast"])
    memory["value"] = value
    return float(now - slope * before)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def record_of(novelty: Samples, row: int, residual: float, error: float, u: float, floor: float) -> float:
    """The largest novelty of the four signals; then their intervals shrink and take the signals in."""
    memory = novelty[row]
    value = memory["value"]
    trend = memory["fast"] - memory["slow"]
    x = outside(value, memory["low_value"], memory["high_value"], floor)
    x = max(x, outside(residual, memory["low_residual"], memory["high_residual"], floor))
    x = max(x, WEIGHT_TREND * outside(trend, memory["low_trend"], memory["high_trend"], floor))
    x = max(x, WEIGHT_PREDICTION * outside(error, memory["low_error"], memory["high_error"], floor))
    shrink = min(u / SHRINK_SCALES, 0.25)
    width = shrink * (memory["high_value"] - memory["low_value"])
    memory["low_value"] = min(memory["low_value"] + width, value)
    memory["high_value"] = max(memory["high_value"] - width, value)
    width = shrink * (memory["high_residual"] - memory["low_residual"])
    memory["low_residual"] = min(memory["low_residual"] + width, residual)
    memory["high_residual"] = max(memory["high_residual"] - width, residual)
    width = shrink * (memory["high_trend"] - memory["low_trend"])
    memory["low_trend"] = min(memory["low_trend"] + width, trend)
    memory["high_trend"] = max(memory["high_trend"] - width, trend)
    width = shrink * (memory["high_error"] - memory["low_error"])
    memory["low_error"] = min(memory["low_error"] + width, error)
    memory["high_error"] = max(memory["high_error"] - width, error)
    return float(min(x, NOVELTY_MAX))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def shift_of(novelty: Samples, row: int, residual: float, u: float, scale_ns: float, floor: float) -> float:
    """How far the near mean of the residual is from its far one, in its spread, as a share below 1."""
    memory = novelty[row]
    memory["near"] += u / (u + NEAR_SCALES) * (residual - memory["near"])
    sds = abs(memory["near"] - memory["far"]) / (SHIFT_SDS * max(math.sqrt(memory["far_var"]), floor))
    far = u / (u + min(FAR_SCALES, memory["age_ns"] / scale_ns))
    distance = residual - memory["far"]
    memory["far"] += far * distance
    memory["far_var"] += far * ((1.0 - far) * distance * distance - memory["far_var"])
    square = min(sds * sds, 1e9)
    return float(square * square / (1.0 + square * square))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def event_of(novelty: Samples, row: int, x: float, shift: float, u: float, scale_ns: float) -> float:
    """The event score of a novelty and a shift, before any slack: 0 to 1, NaN while the tag warms up, 0 in the
    quiet time."""
    memory = novelty[row]
    heat = float(memory["heat"]) * (HEAT_SCALES / (HEAT_SCALES + u))
    memory["heat"] = heat
    if memory["begun"] & BEGUN_EVENT == 0:
        if memory["age_ns"] < WARM_UP_SCALES * scale_ns:
            return math.nan
        memory["begun"] = int(memory["begun"]) | BEGUN_EVENT
    record = x / (x + 1.0 + HEAT_WEIGHT * heat)
    memory["heat"] = heat + x / (x + 1.0)
    raw = (1.0 - SHIFT_SHARE) * record + SHIFT_SHARE * shift * (SHIFT_ALONE + (1.0 - SHIFT_ALONE) * record)
    if memory["age_ns"] < memory["quiet_until_ns"] and raw <= QUIET_RATIO * float(memory["peak"]):
        return 0.0
    if raw > 0.0:
        memory["peak"] = raw
        memory["quiet_until_ns"] = memory["age_ns"] + QUIET_SCALES * scale_ns
    return float(raw / (raw + HALF))
