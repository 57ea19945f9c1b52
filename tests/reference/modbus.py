"""The decoder's twin: registers put in order as lists of bytes, numbers made by struct."""

from __future__ import annotations

import math
import struct

from gateway.core.types import Kind, Quality
from gateway.protocol.deadband import Deadband
from gateway.protocol.modbus.plan import Point
from gateway.protocol.modbus.points import WORDS, WireType

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
    if point.wire in FORMATS and not point.bits:
        pattern = int.from_bytes(data, "big")
        raw = struct.unpack(">" + FORMATS[point.wire], data)[0]
    else:
        binary = "".join(f"{byte:08b}" for byte in data)
        if point.bits:
            binary = binary[::-1][point.first_bit : point.first_bit + point.bits][::-1]
        pattern = int(binary, 2)
        raw = _from_binary(binary, point.wire)
    is_sound = raw is not None and pattern not in point.absent
    if raw is None:
        raw = 0
    if point.kind is not Kind.F64:
        return (Quality.GOOD if is_sound else Quality.BAD_SENSOR_FAILURE), int(raw)
    value = float(raw) * point.scale + point.offset
    if not math.isfinite(value):
        return Quality.BAD_SENSOR_FAILURE, value
    return (Quality.GOOD if is_sound else Quality.BAD_SENSOR_FAILURE), min(max(value, point.low), point.high)


def _from_binary(binary: str, wire: WireType) -> float | None:
    """A number from its binary digits; None when they are not one."""
    if wire is WireType.BOOL:
        return float("1" in binary)
    if wire in (WireType.SIGNMAG16, WireType.SIGNMAG32, WireType.SIGNMAG64):
        magnitude = int(binary[1:], 2)
        return -magnitude if binary[0] == "1" else magnitude
    if wire in (WireType.BCD16, WireType.BCD32, WireType.BCD64):
        digits = f"{int(binary, 2):x}"
        return int(digits) if digits.isdecimal() else None
    number = int(binary, 2)
    is_signed = wire in (WireType.INT16, WireType.INT32, WireType.INT64)
    return number - (1 << len(binary)) if is_signed and binary[0] == "1" else number


def is_news(
    deadband: Deadband, last: tuple[Quality, float, int] | None, quality: Quality, value: float, now_ns: int
) -> bool:
    """The rule of report by exception on Python's numbers. `last` is quality, value and time of the last report."""
    if last is None or last[0] != quality or now_ns - last[2] >= deadband.heartbeat_ns:
        return True
    difference = abs(value - last[1])
    leaves = difference > deadband.change
    if math.isfinite(deadband.fraction):
        leaves = leaves or difference > deadband.fraction * abs(last[1])
    return leaves and now_ns - last[2] >= deadband.hold_ns
