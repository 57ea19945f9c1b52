"""The number in a cell."""

from __future__ import annotations

from numba import njit

from gateway.core.types import Kind

I64 = int(Kind.I64)
U64 = int(Kind.U64)
SYMBOL = int(Kind.SYMBOL)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def as_float(value: float, bits: int, kind: int) -> float:
    """The number in a cell of the given kind; of a text, that of its symbol, which is a number but no quantity."""
    if kind in (I64, SYMBOL):
        return float(bits)
    if kind == U64:
        return float(bits) + 18446744073709551616.0 if bits < 0 else float(bits)
    return float(value)
