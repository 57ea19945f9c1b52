"""What a metric means to a tag, in plain Python; `gateway.protocol.sparkplug.fast` makes the same of the same bytes."""

from __future__ import annotations

import math
from typing import Final

from gateway.core.types import Kind, Quality
from gateway.protocol.sparkplug.datatypes import (
    BOOLEAN_VALUE,
    DOUBLE_VALUE,
    FLOAT_VALUE,
    INT_VALUE,
    LONG_VALUE,
    NUMBERS,
    QUALITY_BAD,
    QUALITY_GOOD,
    QUALITY_STALE,
    SIGNED_BITS,
    STRING_VALUE,
    TEXTS,
    UNSIGNED_BITS,
    DataType,
    as_signed,
    name_of,
)
from gateway.protocol.sparkplug.wire import Metric, double_of, float_of

_RANGES: Final = {Kind.I64: (-(1 << 63), (1 << 63) - 1), Kind.U64: (0, (1 << 64) - 1)}
_QUALITIES: Final = {
    QUALITY_GOOD: Quality.GOOD,
    QUALITY_STALE: Quality.UNCERTAIN_STALE,
    QUALITY_BAD: Quality.BAD,
}


class NoValue(Exception):
    """The metric has no value that this tag can have; the text says why."""


def is_supported(datatype: int, kind: Kind) -> bool:
    return datatype in NUMBERS or (kind is Kind.SYMBOL and datatype in TEXTS)


def text(metric: Metric, datatype: int) -> str:
    """The text of a metric; of a number, how it is written. Raises NoValue."""
    if datatype not in TEXTS:
        return str(number(metric, datatype))
    if metric.which != STRING_VALUE or not isinstance(metric.raw, bytes):
        raise NoValue("a value of another type stands where a text is wanted")
    try:
        return metric.raw.decode()
    except UnicodeDecodeError:
        raise NoValue("the text is not UTF-8") from None


def number(metric: Metric, datatype: int) -> float | int:
    """The number of a metric of this type. Raises NoValue."""
    which, raw = metric.which, metric.raw
    if metric.datatype not in (0, datatype):
        raise NoValue(f"it is said to be {name_of(metric.datatype)}, its birth said {name_of(datatype)}")
    if datatype not in NUMBERS:
        raise NoValue(f"{name_of(datatype)} is not supported")
    if isinstance(raw, int):
        kind = DataType(datatype)
        if which in (INT_VALUE, LONG_VALUE):
            if kind in SIGNED_BITS:
                return as_signed(raw, SIGNED_BITS[kind])
            if kind in UNSIGNED_BITS:
                return raw & ((1 << UNSIGNED_BITS[kind]) - 1)
        elif kind in (DataType.FLOAT, DataType.DOUBLE):
            if which == FLOAT_VALUE:
                return float_of(raw)
            if which == DOUBLE_VALUE:
                return double_of(raw)
        elif kind is DataType.BOOLEAN and which == BOOLEAN_VALUE:
            return int(raw != 0)
    raise NoValue(f"a value of another type stands where {name_of(datatype)} is wanted")


def cell(value: float | int, kind: Kind, scale: float, offset: float) -> float | int:
    """A number as a tag of this kind has it. Raises NoValue."""
    if kind is not Kind.F64 and isinstance(value, int) and scale == 1.0 and offset == 0.0:
        found: float | int = value
    else:
        x = float(value) * scale + offset
        if not math.isfinite(x):
            raise NoValue("the value is not a finite number")
        if kind is Kind.F64:
            return x
        found = round(x)
    low, high = _RANGES[kind]
    if not low <= found <= high:
        raise NoValue(f"the number does not fit into {kind.name.lower()}")
    return found


def quality_of(metric: Metric) -> Quality:
    """By the property Quality; good without it, uncertain when it is none that the specification has."""
    return Quality.GOOD if metric.quality is None else _QUALITIES.get(metric.quality, Quality.UNCERTAIN)
