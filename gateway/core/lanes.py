"""A lane whose producer holds no GIL: its indexes are words with acquire and release, its ring is lent.

The same lane as `inbox.Lane` in every other respect: one producer, one consumer, newest dropped when it is full.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gateway.core.kernels.atomics import read_word, write_word
from gateway.core.types import SAMPLE, Int64s, Samples

HEAD, DROPPED, DEPTH_MAX, TAIL, FIRST, CAPACITY, LANE_WORDS = 0, 1, 2, 8, 14, 15, 16
"""The producer's and the consumer's words are on cache lines of their own; FIRST and CAPACITY are config."""

_RAW: Final = np.dtype(f"V{SAMPLE.itemsize}")


class SharedLane:
    """`ring` is the lane's part of the producer's samples, `words` its [LANE_WORDS]."""

    def __init__(self, name: str, ring: Samples, words: Int64s, weight: int = 1) -> None:
        self.name = name
        self.capacity = len(ring)
        self.weight = weight
        self._ring = ring.view(_RAW)
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
        tail = int(self._words[TAIL])
        n = min(len(out), int(read_word(self._words, HEAD)) - tail)
        start = tail % self.capacity
        first = min(n, self.capacity - start)
        raw = out.view(_RAW)
        raw[:first] = self._ring[start : start + first]
        if n > first:
            raw[first:n] = self._ring[: n - first]
        write_word(self._words, TAIL, tail + n)
        return n
