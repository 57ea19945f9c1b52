"""Messages seen before: a window of keys, for QoS 1, which repeats what it is not sure of.

A broker repeats a message with the same topic and the same bytes. Where these bytes hold a time or a sequence number
of the reading, equal bytes are the same reading; where they do not, they may as well be the next one that happens to be
equal. So only messages that hold the member which the settings name get a key: 63 bits over topic and payload. Two
different messages within the window have the same one with a chance of the window over 2**63, 1 in 10**15.

The window is a ring of the last keys; chains by hash find a key in it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit

from gateway.core.types import Int64s
from gateway.protocol.octets import Bytes, octet

WORD: Final = 0xFFFFFFFF
SEEDS: Final = (0x811C9DC5, 0x2545F491)
FACTORS: Final = (0x01000193, 0x5BD1E995)
"""Below 2**31: no product of a 32-bit word with one leaves int64, which compiled code could not tell from a number."""
NOWHERE: Final = -1


class Recent(NamedTuple):
    """`ring[i % size]` is the i-th key, `before` the place of an earlier one of its chain, `heads` where chains begin;
    `total[0]` keys were ever remembered."""

    ring: Int64s
    before: Int64s
    heads: Int64s
    total: Int64s


def no_recent(size: int) -> Recent:
    """An empty window; `size` is a power of two."""
    return Recent(np.zeros(size, np.int64), np.full(size, NOWHERE), np.full(2 * size, NOWHERE), np.zeros(1, np.int64))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def mix(first: int, second: int, octets: Bytes, at: int, stop: int) -> tuple[int, int]:
    """Two 32-bit hashes, taken on over `octets[at:stop]` and one closing step."""
    for i in range(at, stop):
        byte = octet(octets, i)
        first = ((first ^ byte) * FACTORS[0]) & WORD
        second = ((second ^ (second >> 15)) + byte + 1) & WORD
        second = (second * FACTORS[1]) & WORD
    first = ((first ^ (first >> 13)) * FACTORS[1]) & WORD
    return first ^ (first >> 16), second ^ (second >> 16)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def key_of(topic: Bytes, topic_at: int, topic_bytes: int, payload: Bytes, at: int, stop: int) -> int:
    """63 bits of topic and payload."""
    first, second = mix(SEEDS[0], SEEDS[1], topic, topic_at, topic_at + topic_bytes)
    first, second = mix(first, second, payload, at, stop)
    return ((first & 0x7FFFFFFF) << 32) | second


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def is_recent(recent: Recent, key: int) -> bool:
    place = recent.heads[key & (len(recent.heads) - 1)]
    while place != NOWHERE:
        if recent.ring[place] == key:
            return True
        place = recent.before[place]
    return False


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def remember(recent: Recent, key: int) -> None:
    """The newest key takes the oldest one's place."""
    ring, before, heads = recent.ring, recent.before, recent.heads
    place = recent.total[0] & (len(ring) - 1)
    if recent.total[0] >= len(ring):
        head = ring[place] & (len(heads) - 1)
        if heads[head] == place:
            heads[head] = before[place]
        else:
            at = heads[head]
            while before[at] != place:
                at = before[at]
            before[at] = before[place]
    head = key & (len(heads) - 1)
    ring[place] = key
    before[place] = heads[head]
    heads[head] = place
    recent.total[0] += 1


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def holds(payload: Bytes, at: int, stop: int, name: Bytes, name_at: int, name_bytes: int) -> bool:
    """Whether the bytes of the name stand in `payload[at:stop]`."""
    first = name[name_at]
    for i in range(at, stop - name_bytes + 1):
        if payload[i] == first:
            j = 1
            while j < name_bytes and payload[i + j] == name[name_at + j]:
                j += 1
            if j == name_bytes:
                return True
    return False
