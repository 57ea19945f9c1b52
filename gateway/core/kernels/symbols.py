"""The table of symbols in one array of words, so that a kernel that decodes can number a text without the GIL.

    words   what
    0       lock: whoever adds holds it
    1 …     count, bytes used, texts refused, texts cut, capacity, slots, bytes
    8 …     slots (a power of two): the number of the symbol found there, 0 where none is
    …       ends: where each symbol's bytes end; those of symbol n begin at ends[n - 1]
    …       the bytes

Open addressing: the hash (FNV-1a, 32 bits, so that its arithmetic never leaves int64) only selects, the bytes decide.
Symbols are never taken out, so one that is found needs no lock: its slot is written last, with release.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from gateway.core.kernels.atomics import load_acquire, store_release, try_lock
from gateway.core.types import Int64s

Bytes = npt.NDArray[np.uint8]

LOCK: Final = 0
COUNT: Final = 1
USED: Final = 2
REFUSED: Final = 3
CUT: Final = 4
CAPACITY: Final = 5
SLOTS: Final = 6
ROOM: Final = 7
HEAD: Final = 8

FNV_OFFSET: Final = 0x811C9DC5
FNV_PRIME: Final = 0x01000193


def symbol_words(capacity: int, bytes_max: int) -> Int64s:
    """An empty table for `capacity` symbols of `bytes_max` bytes together."""
    slots = 1 << (2 * capacity - 1).bit_length()
    words = np.zeros(HEAD + slots + capacity + 1 + -(-bytes_max // 8), np.int64)
    words[CAPACITY], words[SLOTS], words[ROOM] = capacity, slots, bytes_max
    return words


@njit(cache=True, nogil=True, error_model="numpy")
def _slot_of(words: Int64s, data: Bytes, start: int, size: int) -> tuple[int, int]:
    """The slot where the text is or would go, and its number, 0 for none. There is always a free slot, so it ends."""
    octets = words.view(np.uint8)
    slots = words[SLOTS]
    ends = HEAD + slots
    text = 8 * (ends + words[CAPACITY] + 1)
    hashed: int = FNV_OFFSET
    for i in range(start, start + size):
        hashed = ((hashed ^ int(np.int64(data[i]))) * FNV_PRIME) & 0xFFFFFFFF
    slot = hashed & (slots - 1)
    while True:
        number = load_acquire(words, HEAD + slot)
        if number == 0:
            return slot, 0
        at = words[ends + number - 1]
        if words[ends + number] - at == size:
            same = 0
            while same < size and octets[text + at + same] == data[start + same]:
                same += 1
            if same == size:
                return slot, number
        slot = (slot + 1) & (slots - 1)


@njit(cache=True, nogil=True, error_model="numpy")
def _add(words: Int64s, data: Bytes, start: int, size: int) -> int:
    """Under the lock: the text's number, a new one if need be, 0 without room."""
    slot, number = _slot_of(words, data, start, size)
    if number:
        return number
    count = words[COUNT]
    used = words[USED]
    if count == words[CAPACITY] or used + size > words[ROOM]:
        words[REFUSED] += 1
        return 0
    octets = words.view(np.uint8)
    ends = HEAD + words[SLOTS]
    text = 8 * (ends + words[CAPACITY] + 1) + used
    for i in range(size):
        octets[text + i] = data[start + i]
    words[ends + count + 1] = used + size
    words[USED] = used + size
    store_release(words, COUNT, count + 1)
    store_release(words, HEAD + slot, count + 1)
    return int(count + 1)


@njit(cache=True, nogil=True, error_model="numpy")
def intern(words: Int64s, data: Bytes, start: int, size: int) -> int:
    """The number of the text `data[start : start + size]`, UTF-8; 0 when it is new and there is no room. Any thread."""
    _, number = _slot_of(words, data, start, size)
    if number:
        return number
    while not try_lock(words, LOCK):
        pass
    number = _add(words, data, start, size)
    store_release(words, LOCK, 0)
    return number
