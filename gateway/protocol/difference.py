"""Whether two readings differ by more than a deadband allows (`deadband`), as a kernel."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from gateway.core.types import Kind, Samples

_F64 = int(Kind.F64)
_U64 = int(Kind.U64)


@njit(cache=True, nogil=True, error_model="numpy")
def differs(sample: Samples, last: Samples, rule: Samples) -> bool:
    """Whether the value has left a deadband around the last one."""
    if rule["kind"] == _F64:
        size = math.fabs(last["value"])
        difference = math.fabs(sample["value"] - last["value"])
        return bool(difference > rule["change"] or difference > rule["fraction"] * size)
    now_bits = np.int64(sample["bits"])
    last_bits = np.int64(last["bits"])
    if now_bits == last_bits:
        return False
    if rule["kind"] == _U64:
        now, then = now_bits.view(np.uint64), last_bits.view(np.uint64)
        difference = np.float64(now - then if now > then else then - now)
        size = np.float64(then)
    else:
        # In two steps: the distance of two int64 needs 64 bits of its own.
        apart = now_bits.view(np.uint64) - last_bits.view(np.uint64)
        difference = np.float64(apart if now_bits > last_bits else np.uint64(0) - apart)
        size = math.fabs(last_bits)
    return bool(difference > rule["change"] or difference > rule["fraction"] * size)
