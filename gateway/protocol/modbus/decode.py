"""From a reply's bytes to samples, and from one value to registers.

A block's decode table has one record a tag (`POINT`); `decode_block` walks it and writes one SAMPLE each, straight
from the receive buffer. A value's bytes are gathered most significant first through its word and byte order, so that
all types share one path; a float is then the same bits under another name, and a bit field a part of them. Texts are
left as not initialised: `gateway.protocol.modbus.texts` comes after it where a block has some.

Integer kinds keep all 64 bits in `bits`. Devices say "sensor broken" or "not available" by a NaN or an infinity, by a
value of their own (0x8000), or by BCD with a digit above 9; each would poison every window it entered:
BAD_SENSOR_FAILURE.
"""

from __future__ import annotations

import math
import struct
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from gateway.core.types import Kind, Quality, Samples
from gateway.protocol.modbus.points import WORDS, WireType

Bytes = npt.NDArray[np.uint8]

_GOOD = int(Quality.GOOD)
_SENSOR_FAILURE = int(Quality.BAD_SENSOR_FAILURE)
_NOT_INITIALISED = int(Quality.BAD_NOT_INITIALISED)
_F64 = int(Kind.F64)
_BOOL = int(WireType.BOOL)
_INT16 = int(WireType.INT16)
_INT32 = int(WireType.INT32)
_INT64 = int(WireType.INT64)
_UINT64 = int(WireType.UINT64)
_FLOAT32 = int(WireType.FLOAT32)
_FLOAT64 = int(WireType.FLOAT64)
_SIGNMAG16 = int(WireType.SIGNMAG16)
_STRING = int(WireType.STRING)


@njit(cache=True, nogil=True, error_model="numpy")
def _gather(data: Bytes, start: int, words: int, big_words: int, big_bytes: int) -> np.uint64:
    """The value's bytes as one number, through its word and byte order."""
    raw = np.uint64(0)
    for word in range(words):
        at = start + 2 * (word if big_words else words - 1 - word)
        high, low = (data[at], data[at + 1]) if big_bytes else (data[at + 1], data[at])
        raw = (raw << np.uint64(16)) | (np.uint64(high) << np.uint64(8)) | np.uint64(low)
    return raw


@njit(cache=True, nogil=True, error_model="numpy")
def _as_integer(raw: np.uint64, wire: int, width: int) -> np.int64:
    """The bits as int64: sign-extended from their width if the type is signed."""
    spare = 64 - np.int64(width) if _BOOL < wire <= _INT64 else 0
    moved = np.uint64(raw << np.uint64(spare))
    return moved.view(np.int64) >> np.int64(spare)


@njit(cache=True, nogil=True, error_model="numpy")
def _computed(raw: np.uint64, wire: int, width: int) -> tuple[np.int64, bool]:
    """The integer of a BCD or sign-and-magnitude value, and whether it is one."""
    if wire >= _SIGNMAG16:
        sign = np.uint64(1) << np.uint64(width - 1)
        magnitude = np.int64(raw & (sign - np.uint64(1)))
        return (-magnitude if raw & sign else magnitude), True
    value = np.int64(0)
    for nibble in range((width + 3) // 4 - 1, -1, -1):
        digit = np.int64((raw >> np.uint64(4 * nibble)) & np.uint64(15))
        if digit > 9:
            return np.int64(0), False
        value = value * 10 + digit
    return value, True


@njit(cache=True, nogil=True, error_model="numpy")
def _as_float(raw: np.uint64, wire: int, integer: np.int64) -> np.float64:
    if wire == _UINT64:
        return np.float64(raw)
    if wire < _FLOAT32 or wire > _FLOAT64:
        return np.float64(integer)
    if wire == _FLOAT32:
        half = np.uint32(raw)
        return np.float64(half.view(np.float32))
    whole = np.uint64(raw)
    return np.float64(whole.view(np.float64))


@njit(cache=True, nogil=True, error_model="numpy")
def _is_absent(point: Samples, raw: np.uint64) -> bool:
    found = False
    for k in range(point["absents"]):
        found |= point["absent"][k] == raw
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _raw_of(point: Samples, data: Bytes, start: int) -> np.uint64:
    """A point's bits, right-aligned."""
    if point["is_bit"]:
        at = point["at"]
        return np.uint64((data[start + (at >> 3)] >> (at & 7)) & 1)
    raw = _gather(data, start + 2 * point["at"], point["words"], point["big_words"], point["big_bytes"])
    if point["bits"]:
        raw = (raw >> np.uint64(point["first_bit"])) & ((np.uint64(1) << np.uint64(point["bits"])) - np.uint64(1))
    return raw


@njit(cache=True, nogil=True, error_model="numpy")
def _plain_number(point: Samples, data: Bytes, start: int) -> np.float64:
    """The number in one or two registers, by the short way."""
    wire = point["type"]
    at = start + 2 * np.int64(point["at"])
    high, low = (0, 1) if point["big_bytes"] else (1, 0)
    raw = (np.int64(data[at + high]) << 8) | np.int64(data[at + low])
    if point["words"] == 1:
        return np.float64((raw ^ 0x8000) - 0x8000 if wire == _INT16 else raw)
    second = (np.int64(data[at + 2 + high]) << 8) | np.int64(data[at + 2 + low])
    raw = (raw << 16) | second if point["big_words"] else (second << 16) | raw
    if wire == _FLOAT32:
        half = np.uint32(raw)
        return np.float64(half.view(np.float32))
    return np.float64((raw ^ 0x80000000) - 0x80000000 if wire == _INT32 else raw)


@njit(cache=True, nogil=True, error_model="numpy")
def decode_block(out: Samples, points: Samples, data: Bytes, start: int, arrival_ns: int) -> int:
    """Fill `out[i]` from `points[i]` and the reply data at `data[start:]`; returns how many are not good.

    Texts do not count there.
    """
    bad = 0
    for i in range(len(points)):
        point = points[i]
        sample = out[i]
        wire = point["type"]
        sample["row"] = point["row"]
        sample["source_ns"] = arrival_ns
        sample["arrival_ns"] = arrival_ns
        if point["is_plain"]:
            value = _plain_number(point, data, start) * point["scale"] + point["offset"]
            is_sound = math.isfinite(value)
            sample["value"] = value
            sample["quality"] = _GOOD if is_sound else _SENSOR_FAILURE
            bad += not is_sound
            continue
        if wire == _STRING:
            sample["bits"] = 0
            sample["quality"] = _NOT_INITIALISED
            continue
        raw = _raw_of(point, data, start)
        width = point["bits"] or 16 * np.int64(point["words"])
        is_sound = not (point["absents"] and _is_absent(point, raw))
        if wire == _BOOL:
            raw = np.uint64(raw != np.uint64(0))
        if wire > _FLOAT64:
            integer, is_number = _computed(raw, wire, width)
            is_sound = is_sound and is_number
        else:
            integer = _as_integer(raw, wire, width)
        if point["kind"] != _F64:
            sample["bits"] = integer
        else:
            value = _as_float(raw, wire, integer) * point["scale"] + point["offset"]
            if not math.isfinite(value):
                is_sound = False
            elif point["is_clamped"]:
                value = min(max(value, point["low"]), point["high"])
            sample["value"] = value
        sample["quality"] = _GOOD if is_sound else _SENSOR_FAILURE
        bad += not is_sound
    return bad


_INTEGER_BOUNDS: Final[dict[WireType, tuple[int, int]]] = {
    WireType.INT16: (-(1 << 15), (1 << 15) - 1),
    WireType.INT32: (-(1 << 31), (1 << 31) - 1),
    WireType.INT64: (-(1 << 63), (1 << 63) - 1),
    WireType.UINT16: (0, (1 << 16) - 1),
    WireType.UINT32: (0, (1 << 32) - 1),
    WireType.UINT64: (0, (1 << 64) - 1),
    WireType.BCD16: (0, 10**4 - 1),
    WireType.BCD32: (0, 10**8 - 1),
    WireType.BCD64: (0, 10**16 - 1),
    WireType.SIGNMAG16: (-(1 << 15) + 1, (1 << 15) - 1),
    WireType.SIGNMAG32: (-(1 << 31) + 1, (1 << 31) - 1),
    WireType.SIGNMAG64: (-(1 << 63) + 1, (1 << 63) - 1),
}
"""What a type can hold."""


def encode_value(
    value: float, wire: WireType, *, big_words: bool, big_bytes: bool, scale: float = 1.0, offset: float = 0.0
) -> bytes:
    """The registers of one value in engineering units, for a write.

    Raises ValueError when the value is not finite or the type cannot hold it: a write is never clamped in silence.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be written: it is not a finite number")
    # An int without scaling stays an int: a 64-bit one does not fit a float.
    raw = value if (scale, offset) == (1.0, 0.0) else (value - offset) / scale
    if wire is WireType.FLOAT32:
        try:
            big = struct.pack(">f", raw)
        except OverflowError:
            raise ValueError(f"{value} does not fit {wire.name.lower()} with scale {scale}") from None
    elif wire is WireType.FLOAT64:
        big = struct.pack(">d", raw)
    elif wire is WireType.BOOL:
        big = b"\x00\x01" if raw else b"\x00\x00"
    else:
        low, high = _INTEGER_BOUNDS[wire]
        whole = round(raw)
        if not low <= whole <= high:
            raise ValueError(f"{value} does not fit {wire.name.lower()} with scale {scale} and offset {offset}")
        if wire >= WireType.SIGNMAG16:
            whole = abs(whole) | (whole < 0) << (16 * WORDS[wire] - 1)
        elif wire >= WireType.BCD16:
            whole = int(str(whole), 16)
        big = whole.to_bytes(2 * WORDS[wire], "big", signed=whole < 0)
    words = [big[i : i + 2] for i in range(0, len(big), 2)]
    if not big_words:
        words.reverse()
    return b"".join(word if big_bytes else word[::-1] for word in words)
