"""How kernels are compiled that only kernels call: without the wrappers that a call from Python needs."""

from __future__ import annotations

from typing import Any

from numba import config, njit

inner: Any = (
    (lambda function: function)
    if config.DISABLE_JIT
    else njit(nogil=True, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)
)
"""Decorator. It takes a third of the time off the compilation; the caller's cache holds the code."""
