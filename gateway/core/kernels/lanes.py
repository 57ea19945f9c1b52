"""A lane whose producer holds no GIL: its indexes are words with acquire and release, its ring is lent.

The same lane as `inbox.Lane` in every other respect: one producer, one consumer, newest dropped when it is full.
"""

from __future__ import annotations

from numba import njit

from gateway.core.kernels.atomics import load_acquire, store_release
from gateway.core.types import Int64s, Samples

HEAD, DROPPED, DEPTH_MAX, TAIL, FIRST, CAPACITY, LANE_WORDS = 0, 1, 2, 8, 14, 15, 16
"""The producer's and the consumer's words are on cache lines of their own; FIRST and CAPACITY are config."""


class SharedLane:
    """`ring` is the lane's part of the producer's samples, `words` its [LANE_WORDS]."""

    def __init__(self, name: str, ring: Samples, words: Int64s, weight: int = 1) -> None:
        self.name = name
        self.capacity = len(ring)
        self.weight = weight
        self._ring = ring
        self._words = words

    def __len__(self) -> int:
        return int(self._words[HEAD] - self._words[TAIL])

    @property
    def accepted(self) -> int:
        return int(self._words[HEAD])

    @property
    def dropped(self) -> int:
        return int(self._words[DROPPED])

    @property
    def depth_max(self) -> int:
        return int(self._words[DEPTH_MAX])

    @property
    def taken(self) -> int:
        """Position of the last sample taken."""
        return int(self._words[TAIL])

    def take_into(self, out: Samples) -> int:
        """Move up to `len(out)` samples out; returns how many. Only the consumer's thread calls this."""
        return int(_take(self._words, self._ring, out))


@njit(cache=True, nogil=True, error_model="numpy")
def _take(words: Int64s, ring: Samples, out: Samples) -> int:
    tail = words[TAIL]
    n = min(len(out), load_acquire(words, HEAD) - tail)
    at = tail % len(ring)
    for i in range(n):
        out[i]["row"] = ring[at]["row"]
        out[i]["quality"] = ring[at]["quality"]
        out[i]["source_ns"] = ring[at]["source_ns"]
        out[i]["arrival_ns"] = ring[at]["arrival_ns"]
        out[i]["bits"] = ring[at]["bits"]
        at = at + 1 if at + 1 < len(ring) else 0
    store_release(words, TAIL, tail + n)
    return int(n)
