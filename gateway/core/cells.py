"""A tag's cell as Python has it: a number of its kind, a text, or nothing where JSON and readers know no number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from gateway.core.types import Kind

_MASK_64: Final = (1 << 64) - 1


def number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def cell_value(kind: Kind, value: float, bits: int, text_of: Callable[[int], str | None]) -> float | int | str | None:
    """`value` and `bits` are the cell under both its names; the kind says which counts."""
    if kind is Kind.F64:
        return number(value)
    if kind is Kind.SYMBOL:
        return text_of(int(bits))
    return int(bits) & _MASK_64 if kind is Kind.U64 else int(bits)
