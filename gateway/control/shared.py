"""Python's hold on the words that it shares with the executive: acquire, release, and consistent copies."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from gateway.core.kernels.atomics import fence_acquire, load_acquire, store_release
from gateway.core.types import Int64s, Samples

TRIES: Final = 1000


@njit(cache=True, nogil=True, error_model="numpy")
def write_command(words: Int64s, version: int, place: int, value: float) -> None:
    """The value first, then its next version. One writer at a time."""
    words[place] = np.float64(value).view(np.int64)
    store_release(words, version, words[version] + 1)


@njit(cache=True, nogil=True, error_model="numpy")
def copy_loop(
    sequence: Int64s, loop: int, published: Samples, counters: Int64s, record_out: Samples, counters_out: Int64s
) -> bool:
    """Copy a loop's record and counters as of one moment; False when the writer was in the middle at every try."""
    for _ in range(TRIES):
        before = load_acquire(sequence, loop)
        record_out[loop] = published[loop]
        for i in range(counters.shape[1]):
            counters_out[loop, i] = counters[loop, i]
        fence_acquire()
        if before & 1 == 0 and load_acquire(sequence, loop) == before:
            return True
    return False
