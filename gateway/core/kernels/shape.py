"""Shapes: how far the last 16 values are from every course that the tag has ever taken, for tags that ask for it.

The last LAGS values, less their mean and in the usual size of such differences, are held against up to PROTOTYPES
courses (after adaptive resonance: the nearest one learns the window a little, or, when it is too far, the window
becomes a course of its own in place of the one not used for longest). The distance to the nearest is told against the
highest that there was a while ago, which shrinks slowly, and against twice the usual one: 0.5 at FAR times. It sees a
waveform that is wrong within its usual range; it does not see what takes longer than 16 samples to show.

The score counts as the tag's event score where it is the higher one. Samples count, not time: a course is what
comes one after the other.
"""

from __future__ import annotations

import math

from numba import njit

from gateway.core.kernels.persistence import clipped, strength
from gateway.core.shapes import LAGS, PROTOTYPES
from gateway.core.types import Float64s, Int64s, Samples
from gateway.core.view import REASON_SHAPE, REASON_SPIKE

WARM_UP_SAMPLES = 1_000
MEMORY_SAMPLES = 10_000.0
FAR = 1.3
USUAL_FAR = 2.0
NEW_USUAL = 1.5
"""So many usual distances from all courses, a window is one of its own."""

NEW_MIN = 0.05
BLOCK_SAMPLES = 64
"""A window becomes a course, and a distance counts as one that there was, only so much later: else what slides into
view sample by sample would be known before it is seen."""

LEARN = 0.05
SHRINK = 1e-5
Z_MAX = 8.0
SHAPE_AT = 0.5


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def window_of(shapes: Samples, lags: Float64s, slot: int, value: float) -> bool:
    """Take a value in; normalise the window, oldest first, behind the values. False until there are enough."""
    record = shapes[slot]
    first = 2 * LAGS * slot
    at = record["at"]
    lags[first + at] = value
    at = (at + 1) % LAGS
    record["at"] = at
    record["steps"] += 1
    if record["steps"] < LAGS:
        return False
    mean = 0.0
    for k in range(LAGS):
        mean += lags[first + k]
    mean /= LAGS
    square = 0.0
    for k in range(LAGS):
        distance = lags[first + k] - mean
        square += distance * distance
    square /= LAGS
    weight = 1.0 / min(record["steps"] - LAGS + 1.0, MEMORY_SAMPLES)
    record["square"] += weight * (square - record["square"])
    size = max(math.sqrt(record["square"]), 1e-9 * abs(mean), 1e-280)
    for k in range(LAGS):
        lags[first + LAGS + k] = clipped((lags[first + (at + k) % LAGS] - mean) / size, Z_MAX)
    return True


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def nearest(shapes: Samples, lags: Float64s, prototypes: Float64s, slot: int) -> tuple[int, float]:
    """The nearest course to the window, and its distance in usual sizes; -1 while there is none."""
    best = -1
    least = math.inf
    window = 2 * LAGS * slot + LAGS
    for p in range(shapes[slot]["count"]):
        first = LAGS * (PROTOTYPES * slot + p)
        total = 0.0
        for k in range(LAGS):
            distance = lags[window + k] - prototypes[first + k]
            total += distance * distance
            if total >= least:
                break
        if total < least:
            least = total
            best = p
    return best, math.sqrt(least / LAGS)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def learn_course(
    shapes: Samples, lags: Float64s, prototypes: Float64s, used: Int64s, slot: int, best: int, distance: float
) -> None:
    """The window into the nearest course, or as one of its own."""
    record = shapes[slot]
    window = 2 * LAGS * slot + LAGS
    rate = LEARN
    is_calm = record["steps"] <= WARM_UP_SAMPLES or record["steps"] - record["last_new"] >= BLOCK_SAMPLES
    if best < 0 or (is_calm and distance > max(NEW_USUAL * record["usual"], NEW_MIN)):
        record["last_new"] = record["steps"]
        rate = 1.0
        if record["count"] < PROTOTYPES:
            best = record["count"]
            record["count"] += 1
        else:
            best = 0
            for p in range(1, PROTOTYPES):
                if used[PROTOTYPES * slot + p] < used[PROTOTYPES * slot + best]:
                    best = p
    used[PROTOTYPES * slot + best] = record["steps"]
    first = LAGS * (PROTOTYPES * slot + best)
    for k in range(LAGS):
        prototypes[first + k] += rate * (lags[window + k] - prototypes[first + k])


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def shape_of(shapes: Samples, lags: Float64s, prototypes: Float64s, used: Int64s, slot: int, value: float) -> float:
    """The score of the course that ends with `value`: 0 to 1, NaN while it warms up."""
    if not window_of(shapes, lags, slot, value):
        return math.nan
    record = shapes[slot]
    best, distance = nearest(shapes, lags, prototypes, slot)
    if best < 0:
        learn_course(shapes, lags, prototypes, used, slot, best, 0.0)
        return math.nan
    limit = max(FAR * record["top"], USUAL_FAR * record["usual"], NEW_MIN)
    score = strength(distance / limit)
    steps = record["steps"]
    if steps > WARM_UP_SAMPLES // 2:  # before, everything is new
        usual = min(distance, 3.0 * record["usual"]) if record["usual"] > 0.0 else distance
        weight = 1.0 / min(steps - WARM_UP_SAMPLES // 2 + 0.0, MEMORY_SAMPLES)
        record["usual"] += weight * (usual - record["usual"])
        record["top"] *= 1.0 - SHRINK
        record["recent"] = max(record["recent"], distance)
        if steps % BLOCK_SAMPLES == 0:
            record["top"] = max(record["top"], record["before"])
            record["before"] = record["recent"]
            record["recent"] = 0.0
    learn_course(shapes, lags, prototypes, used, slot, best, distance)
    return score if steps > WARM_UP_SAMPLES else math.nan


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def with_shape(score: float, reasons: int, shape: float, before: int) -> tuple[float, int]:
    """Event score and reasons with the shape's; `before` are the reasons before. While a shape's score fades, it goes
    on being the reason."""
    if shape > score or (shape >= SHAPE_AT and math.isnan(score)):
        score = shape
        if shape >= SHAPE_AT:
            return score, (reasons & ~REASON_SPIKE) | REASON_SHAPE
    elif score >= SHAPE_AT and before & REASON_SHAPE:
        return score, (reasons & ~REASON_SPIKE) | REASON_SHAPE
    return score, reasons


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def shape_series(
    shapes: Samples, lags: Float64s, prototypes: Float64s, used: Int64s, values: Float64s, out: Float64s
) -> None:
    """A whole series of slot 0."""
    for i in range(len(values)):
        out[i] = shape_of(shapes, lags, prototypes, used, 0, values[i])
