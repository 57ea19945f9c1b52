"""How the executive's functions are compiled, so that all of it takes seconds.

Called from Python they would each need wrappers; `inner` leaves those out. Nor are they cached one by one: the cached
`executive.run` holds all of them. And a constant argument that Numba knows as a literal compiles its callee anew for
every value; `whole` makes it an int64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import config, njit

inner: Any = (
    (lambda function: function)
    if config.DISABLE_JIT
    else njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
)
"""Decorator of functions that only jitted functions call."""


def whole(value: int) -> Any:
    return np.int64(value)
