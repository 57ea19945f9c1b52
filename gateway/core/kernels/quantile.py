"""Quantiles of the samples that a calculation keeps: exact, by sorting, as long as none has left the ring."""

from __future__ import annotations

import math

from gateway.core.kernels.jit import inner
from gateway.core.state import Tables
from gateway.core.types import Float64s


@inner
def quantile(
    tables: Tables, c: int, most: int, start_ns: int, end_ns: int, q: float, scratch: Float64s
) -> tuple[float, int]:
    """Of the newest `most` kept samples, those in [start, end): Hyndman and Fan 1996, type 7. And how many these are:
    fewer than there were when some have left the ring."""
    rule = tables.calculations.rules[c]
    state = tables.calculations.states[c]
    found = 0
    for k in range(min(most, state["samples"], rule["ring_size"])):
        kept = tables.calculations.kept[rule["ring_first"] + (state["samples"] - 1 - k) % rule["ring_size"]]
        if start_ns <= kept["time_ns"] < end_ns:
            scratch[found] = kept["value"]
            found += 1
    if found == 0:
        return math.nan, 0
    sort(scratch, found)
    place = q * (found - 1)
    low = int(place)
    high = min(low + 1, found - 1)
    return float(scratch[low] + (place - low) * (scratch[high] - scratch[low])), found


@inner
def sort(values: Float64s, count: int) -> None:
    """Heap sort of the first `count`: in place, n log n whatever comes."""
    for root in range(count // 2 - 1, -1, -1):
        sift(values, root, count)
    for last in range(count - 1, 0, -1):
        values[0], values[last] = values[last], values[0]
        sift(values, 0, last)


@inner
def sift(values: Float64s, root: int, count: int) -> None:
    while True:
        child = 2 * root + 1
        if child >= count:
            return
        if child + 1 < count and values[child + 1] > values[child]:
            child += 1
        if values[root] >= values[child]:
            return
        values[root], values[child] = values[child], values[root]
        root = child
