"""Counting into the histograms of `gateway.core.histogram` from jitted code."""

from __future__ import annotations

from numba import njit

from gateway.core.histogram import BUCKETS, SUB, SUB_BITS, UNIT_BITS
from gateway.core.types import Int64s, Samples


@njit(cache=True, nogil=True, error_model="numpy")
def observe(counts: Int64s, value_ns: int) -> None:
    """Count one value; negative ones as 0, those past the last bucket in it."""
    if value_ns < 0:
        value_ns = 0
    counts[BUCKETS] += value_ns
    units = value_ns >> UNIT_BITS
    if units < SUB:
        counts[units] += 1
        return
    exponent = 0
    while units >= 2 * SUB:
        units >>= 1
        exponent += 1
    index = SUB + (exponent << SUB_BITS) + (units - SUB)
    if index >= BUCKETS:
        index = BUCKETS - 1
    counts[index] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def observe_arrivals(counts: Int64s, batch: Samples, now_ns: int) -> None:
    """Count the age of each sample of a batch at `now_ns`; records of negative row are commands."""
    for i in range(len(batch)):
        if batch[i]["row"] >= 0:
            observe(counts, now_ns - batch[i]["arrival_ns"])


@njit(cache=True, nogil=True, error_model="numpy")
def observe_due(
    counts: Int64s, first: int, count: int, start_ns: int, rate_per_ns: float, per_event: int, now_ns: int
) -> None:
    """Count at `now_ns` how late samples first to first + count - 1 are, of which `per_event` at a time were due.

    Event i was due at start_ns + i / rate_per_ns.
    """
    for i in range(first, first + count):
        observe(counts, now_ns - start_ns - int((i // per_event) / rate_per_ns))
