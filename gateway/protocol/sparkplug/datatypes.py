"""Data types of metrics (Sparkplug 3.0.0, 6.4.16), and what a metric's value is as a number.

Integers of 8 to 32 bits travel in `int_value`, of 64 in `long_value`; signed ones as two's complement, which encoders
cut to the type's width or to 32 bits. Some put UInt32 into `long_value`: either field is taken for any integer, and
only the type's own bits of it count.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class DataType(IntEnum):
    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    UUID = 15
    DATASET = 16
    BYTES = 17
    FILE = 18
    TEMPLATE = 19
    PROPERTY_SET = 20
    PROPERTY_SET_LIST = 21
    INT8_ARRAY = 22
    DATETIME_ARRAY = 34


# Numbers of the value's field in a Metric.
INT_VALUE, LONG_VALUE, FLOAT_VALUE, DOUBLE_VALUE, BOOLEAN_VALUE = 10, 11, 12, 13, 14
STRING_VALUE, BYTES_VALUE, DATASET_VALUE, TEMPLATE_VALUE, EXTENSION_VALUE = 15, 16, 17, 18, 19

SIGNED_BITS: Final = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
UNSIGNED_BITS: Final = {
    DataType.UINT8: 8,
    DataType.UINT16: 16,
    DataType.UINT32: 32,
    DataType.UINT64: 64,
    DataType.DATETIME: 64,
}
TEXTS: Final = frozenset({DataType.STRING, DataType.TEXT, DataType.UUID})
NUMBERS: Final = frozenset({*SIGNED_BITS, *UNSIGNED_BITS, DataType.FLOAT, DataType.DOUBLE, DataType.BOOLEAN})

QUALITY: Final = "Quality"
"""The property of a metric that tells how far its value can be trusted (6.4.12)."""
QUALITY_GOOD, QUALITY_STALE, QUALITY_BAD = 192, 500, 0


def name_of(datatype: int) -> str:
    """As the specification writes it."""
    try:
        return DataType(datatype).name
    except ValueError:
        return f"data type {datatype}"


def as_signed(value: int, bits: int) -> int:
    """The lowest bits as two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
