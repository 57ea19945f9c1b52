"""Lanes whose producer holds no GIL: their indexes are words with acquire and release, their ring is lent.

The same as `inbox.Lane` in every other respect: one producer, one consumer, newest dropped when it is full.
"""

from __future__ import annotations

from collections.abc import Sequence

from numba import njit

from gateway.core.kernels.atomics import load_acquire, store_release
from gateway.core.moving import Moved
from gateway.core.types import Int64s, Samples

HEAD, DROPPED, DEPTH_MAX, BASE, FIRST, CAPACITY, TAIL, LANE_WORDS = 0, 1, 2, 3, 4, 5, 8, 16
"""The consumer's word is on a cache line of its own; FIRST and CAPACITY are config.

The sample at position p is in place (p - BASE) % CAPACITY. A producer that finds its lane empty moves BASE to the next
position, so that a lane that is drained in time uses the same memory again, which is in the cache.
"""


class SharedLanes:
    """All lanes of one producer: `words` is [lane, LANE_WORDS], with FIRST and CAPACITY written; `ring` their samples.

    The consumer looks at a thousand of them with one call.
    """

    def __init__(self, names: Sequence[str], ring: Samples, words: Int64s) -> None:
        self._ring = ring
        self._words = words
        self.moved = Moved()
        self.lanes = tuple(SharedLane(name, self, ring, words[i]) for i, name in enumerate(names))

    def __len__(self) -> int:
        """Samples that wait in any of them."""
        return int(_waiting(self._words))

    def take_into(self, out: Samples) -> int:
        """Move what is in all lanes out, lane by lane, as far as it fits; returns how many samples."""
        return self.moved.put_right(out[: int(_take_all(self._words, self._ring, out))])


class SharedLane:
    """One lane of `group`; `words` are its [LANE_WORDS]."""

    def __init__(self, name: str, group: SharedLanes, ring: Samples, words: Int64s) -> None:
        self.name = name
        self.group = group
        self.capacity = int(words[CAPACITY])
        self.weight = 1
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
        return self.group.moved.put_right(out[: int(_take(self._words, self._ring, out, 0))])

    def clear(self) -> None:
        """Leave what waits; only once nothing fills the lane any more."""
        self._words[TAIL] = self._words[HEAD]


@njit(cache=True, nogil=True, error_model="numpy")
def _waiting(lanes: Int64s) -> int:
    waiting = 0
    for i in range(len(lanes)):
        waiting += lanes[i, HEAD] - lanes[i, TAIL]
    return waiting


@njit(cache=True, nogil=True, error_model="numpy")
def _take_all(lanes: Int64s, ring: Samples, out: Samples) -> int:
    taken = 0
    for i in range(len(lanes)):
        if lanes[i, HEAD] != lanes[i, TAIL]:
            taken += _take(lanes[i], ring, out, taken)
    return taken


@njit(cache=True, nogil=True, error_model="numpy")
def _take(words: Int64s, ring: Samples, out: Samples, start: int) -> int:
    """Move samples of one lane to `out[start:]`; returns how many."""
    tail = words[TAIL]
    capacity = words[CAPACITY]
    first = words[FIRST]
    n = min(len(out) - start, load_acquire(words, HEAD) - tail)
    at = (tail - words[BASE]) % capacity
    for i in range(start, start + n):
        sample = ring[first + at]
        out[i]["row"] = sample["row"]
        out[i]["quality"] = sample["quality"]
        out[i]["source_ns"] = sample["source_ns"]
        out[i]["arrival_ns"] = sample["arrival_ns"]
        out[i]["bits"] = sample["bits"]
        at = at + 1 if at + 1 < capacity else 0
    store_release(words, TAIL, tail + n)
    return int(n)
