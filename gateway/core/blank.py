"""Arrays of state, made whole at the start, each beginning at a cache line.

An allocator gives large blocks an address 16 bytes behind the begin of a page, so a record of 64 bytes would lie in two
cache lines and cost two misses where one is enough.
"""

from __future__ import annotations

import numpy as np

from gateway.core.types import Bytes, Float32s, Int64s, Samples

LINE_BYTES = 64


def zeros(size: int) -> Bytes:
    """Bytes whose pages are really there (`np.zeros` would leave them to the first write)."""
    raw: Bytes = np.empty(size + LINE_BYTES, np.uint8)
    begin = -raw.ctypes.data % LINE_BYTES
    raw[:] = 0
    return raw[begin : begin + size]


def records(size: int, dtype: np.dtype[np.void]) -> Samples:
    return zeros(size * dtype.itemsize).view(dtype)


def integers(size: int) -> Int64s:
    return zeros(size * 8).view(np.int64)


def unknowns(size: int) -> Float32s:
    """NaNs."""
    array: Float32s = zeros(size * 4).view(np.float32)
    array[:] = np.nan
    return array
