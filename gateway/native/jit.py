"""How the executive's functions are compiled, so that all of it takes seconds.

Called from Python they would each need wrappers; `inner` leaves those out. Nor are they cached one by one: the cached
`executive.run` holds all of them. And a constant argument that Numba knows as a literal compiles its callee anew for
every value; `whole` makes it an int64.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np
from numba import config, njit
from numba.core.registry import cpu_target

BLAS: Final = "scipy.linalg.cython_blas"
"""What Numba looks for, for products of matrices, which no kernel has. Where SciPy is installed, importing it takes
longer than loading all kernels."""

inner: Any = (
    (lambda function: function)
    if config.DISABLE_JIT
    else njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
)
"""Decorator of functions that only jitted functions call."""


def whole(value: int) -> Any:
    return np.int64(value)


def begin() -> None:
    """Have Numba load what it otherwise loads with the first kernel, without BLAS."""
    if BLAS in sys.modules:
        return
    sys.modules[BLAS] = None  # type: ignore[assignment]  # Python says then that there is none
    try:
        cpu_target.target_context.refresh()
    finally:
        del sys.modules[BLAS]
