"""The decoder's twin: registers put in order as lists of bytes, numbers made by struct."""

from __future__ import annotations

import math
import struct

from gateway.core.types import Kind, Quality
from gateway.protocol.modbus.decode import WORDS, WireType
from gateway.protocol.modbus.plan import Point

FORMATS = {
    WireType.INT16: "h",
    WireType.INT32: "i",
    WireType.INT64: "q",
    WireType.UINT16: "H",
    WireType.UINT32: "I",
    WireType.UINT64: "Q",
    WireType.FLOAT32: "f",
    WireType.FLOAT64: "d",
}


def _ordered(data: bytes, big_words: bool, big_bytes: bool) -> bytes:
    """Wire order to most significant first, or back: it is its own inverse."""
    registers = [data[i : i + 2] for i in range(0, len(data), 2)]
    registers = registers if big_words else registers[::-1]
    return b"".join(register if big_bytes else register[::-1] for register in registers)


def wire_bytes(value: float, wire: WireType, big_words: bool, big_bytes: bool) -> bytes:
    return _ordered(struct.pack(">" + FORMATS[wire], value), big_words, big_bytes)


def decode_point(point: Point, registers: bytes) -> tuple[Quality, float]:
    """Quality and value (an int for integer cells) of a point, `registers` being those from address 0."""
    start = 2 * point.address
    data = _ordered(registers[start : start + 2 * WORDS[point.wire]], point.big_words, point.big_bytes)
    raw = float(any(data)) if point.wire is WireType.BOOL else struct.unpack(">" + FORMATS[point.wire], data)[0]
    if point.kind is not Kind.F64:
        return Quality.GOOD, int(raw)
    value = float(raw) * point.scale + point.offset
    return (Quality.GOOD if math.isfinite(value) else Quality.BAD_SENSOR_FAILURE), value
