"""Arrays of state, made whole at the start."""

from __future__ import annotations

import numpy as np

from gateway.core.types import Int64s, Samples


def records(size: int, dtype: np.dtype[np.void]) -> Samples:
    """Zeros whose pages are really there (`np.zeros` would leave them to the first write)."""
    array = np.empty(size, dtype)
    array.view(np.uint8)[:] = 0
    return array


def integers(size: int) -> Int64s:
    return np.full(size, 0, np.int64)
