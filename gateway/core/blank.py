"""Arrays of state, made whole at the start, each beginning at a cache line.

An allocator gives large blocks an address 16 bytes behind the begin of a page, so a record of 64 bytes would lie in two
cache lines and cost two misses where one is enough.
"""

from __future__ import annotations

import numpy as np

from gateway.core.types import Float32s, Int64s, Samples

LINE_BYTES = 64


def records(size: int, dtype: np.dtype[np.void]) -> Samples:
    """Zeros whose pages are really there (`np.zeros` would leave them to the first write)."""
    raw = np.empty(size * dtype.itemsize + LINE_BYTES, np.uint8)
    begin = -raw.ctypes.data % LINE_BYTES
    raw[:] = 0
    return raw[begin : begin + size * dtype.itemsize].view(dtype)


def integers(size: int) -> Int64s:
    return records(size, np.dtype(np.int64))


def unknowns(size: int) -> Float32s:
    """NaNs."""
    array: Float32s = records(size, np.dtype(np.float32))
    array[:] = np.nan
    return array
