"""Bytes in jitted code: one at a time as int64, runs of them compared and hashed.

The hash is FNV-1a of 32 bits, so that its arithmetic never leaves int64. A hash only ever selects a candidate.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

Bytes: TypeAlias = npt.NDArray[np.uint8]

FNV_OFFSET: Final = 0x811C9DC5
FNV_PRIME: Final = 0x01000193
MIX: Final = 0x9E3779B1
STRIDE: Final = 0x9E5F


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def octet(buffer: Bytes, at: int) -> int:
    """A byte as int64: mixed with one another, unsigned and signed integers become floats."""
    return int(np.int64(buffer[at]))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def hash_more(h: int, text: Bytes, at: int, stop: int) -> int:
    """A hash with more bytes behind those that made it."""
    for i in range(at, stop):
        h = ((h ^ octet(text, i)) * FNV_PRIME) & 0xFFFFFFFF
    return h


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def hash_bytes(text: Bytes, at: int, stop: int) -> int:
    return int(hash_more(FNV_OFFSET, text, at, stop))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def spread(h: int, group: int, slots: int) -> int:
    """The slot of a hash within a group (a topic); `slots` is a power of two. Of 31 bits, so that nothing overflows."""
    h = ((h ^ (group * STRIDE)) & 0x7FFFFFFF) * MIX
    return int((h ^ (h >> 17)) & (slots - 1))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def same_bytes(left: Bytes, left_at: int, right: Bytes, right_at: int, size: int) -> bool:
    for i in range(size):  # noqa: SIM110 - a loop is what the compiler vectorises
        if left[left_at + i] != right[right_at + i]:
            return False
    return True
