"""Calibration curves: what an instrument shows, turned into what is there, piece by piece a straight line.

Beyond its ends a curve goes on as its last piece does, and the value is uncertain: nobody calibrated it there.
"""

from __future__ import annotations

from numba import njit

from gateway.core.types import HISTORICAL, QUALITY_GOOD_MIN, Float64s, Int32s, Quality, Samples

NOT_ACCURATE = int(Quality.UNCERTAIN_NOT_ACCURATE)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def on_curve(shown: Float64s, true: Float64s, first: int, count: int, x: float) -> float:
    """The value at `x` of the curve whose `count` points begin at `first`. `shown` rises."""
    low = first
    high = first + count - 1
    while high - low > 1:
        middle = (low + high) // 2
        if shown[middle] <= x:
            low = middle
        else:
            high = middle
    return true[low] + (x - shown[low]) * ((true[high] - true[low]) / (shown[high] - shown[low]))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def calibrate(firsts: Int32s, counts: Int32s, shown: Float64s, true: Float64s, batch: Samples) -> None:
    """Have every sample of a row with a curve say what is there. `firsts` and `counts` are by row."""
    for i in range(len(batch)):
        row = int(batch[i]["row"])
        if not 0 <= row < len(counts) or counts[row] == 0:
            continue
        first, count = int(firsts[row]), int(counts[row])
        x = batch[i]["value"]
        told = int(batch[i]["quality"]) & HISTORICAL
        if batch[i]["quality"] - told >= QUALITY_GOOD_MIN and not shown[first] <= x <= shown[first + count - 1]:
            batch[i]["quality"] = NOT_ACCURATE | told
        batch[i]["value"] = on_curve(shown, true, first, count, x)
