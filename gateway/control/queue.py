"""Samples from the executive to the engine: a ring with one producer and one consumer, neither of which waits.

Overflow rule, `drop_newest`: what does not fit is refused and counted.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from gateway.control import layout as at
from gateway.core.kernels.atomics import load_acquire, store_release
from gateway.core.types import Int64s, Samples


@njit(cache=True, nogil=True, error_model="numpy")
def put(ring: Int64s, samples: Samples, row: int, quality: int, time_ns: int, bits: int) -> None:
    """The executive's side."""
    head = ring[at.RING_HEAD]
    if head - load_acquire(ring, at.RING_TAIL) >= len(samples):
        store_release(ring, at.RING_OVERFLOW, ring[at.RING_OVERFLOW] + 1)
        return
    sample = samples[head % len(samples)]
    sample["row"] = row
    sample["quality"] = quality
    sample["source_ns"] = time_ns
    sample["arrival_ns"] = time_ns
    sample["bits"] = bits
    store_release(ring, at.RING_HEAD, head + 1)


@njit(cache=True, nogil=True, error_model="numpy")
def take(ring: Int64s, samples: Samples, out: Samples) -> Any:
    """The engine's side: move what is there into `out`; returns how many."""
    tail = ring[at.RING_TAIL]
    taken = min(load_acquire(ring, at.RING_HEAD) - tail, len(out))
    for i in range(taken):
        out[i] = samples[(tail + i) % len(samples)]
    store_release(ring, at.RING_TAIL, tail + taken)
    return taken
