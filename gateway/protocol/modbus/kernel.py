"""What kernels of the schedule are made of: how they are compiled, and `core.backoff` among them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import config, njit

from gateway.core import backoff

kernel: Any = (
    (lambda function: function)
    if config.DISABLE_JIT
    else njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
)
"""Decorator of functions that only jitted functions call, and that are compiled into those."""

if config.DISABLE_JIT:

    def mix(seed: int, number: int) -> int:
        return backoff.mix(int(seed) * 0x10001 + int(number)) % 1024

else:

    @kernel
    def mix(seed: int, number: int) -> Any:
        """Ten bits of `backoff.mix`."""
        value = np.uint64(seed * 0x10001 + number) + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.int64((value ^ (value >> np.uint64(31))) & np.uint64(1023))


@kernel
def delay(base_ns: int, cap_ns: int, failures: int, seed: int) -> Any:
    """`Backoff.delay_ns`."""
    whole_ns = base_ns
    for _ in range(failures - 1):
        if whole_ns >= cap_ns:
            break
        whole_ns *= 2
    whole_ns = min(whole_ns, cap_ns)
    return whole_ns - whole_ns * mix(seed, failures) // 4096
