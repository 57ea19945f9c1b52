"""From a reply's bytes to samples, and from one value to registers.

A block's decode table has one record a tag (`POINT`); `decode_block` walks it and writes one SAMPLE each, straight
from the receive buffer. A value's bytes are gathered most significant first through its word and byte order, so that
all types share one path; a float is then the same bits under another name.

Integer kinds keep all 64 bits in `bits`. A float that is NaN or infinite, before or after scaling, is how devices say
"sensor broken" and would poison every window it entered: BAD_SENSOR_FAILURE.
"""

from __future__ import annotations

import math
import struct
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from gateway.core.types import Kind, Quality, Samples


class WireType(IntEnum):
    """What lies in the registers. The order is the decoder's: bool, signed, unsigned, floats."""

    BOOL = 0
    INT16 = 1
    INT32 = 2
    INT64 = 3
    UINT16 = 4
    UINT32 = 5
    UINT64 = 6
    FLOAT32 = 7
    FLOAT64 = 8


WORDS: Final[dict[WireType, int]] = {
    WireType.BOOL: 1,
    WireType.INT16: 1,
    WireType.INT32: 2,
    WireType.INT64: 4,
    WireType.UINT16: 1,
    WireType.UINT32: 2,
    WireType.UINT64: 4,
    WireType.FLOAT32: 2,
    WireType.FLOAT64: 4,
}

POINT = np.dtype(
    [
        ("row", "<i4"),
        ("at", "<i4"),
        ("type", "i1"),
        ("kind", "i1"),
        ("words", "i1"),
        ("is_bit", "i1"),
        ("big_words", "i1"),
        ("big_bytes", "i1"),
        ("scale", "<f8"),
        ("offset", "<f8"),
    ],
    align=True,
)
"""Where in the reply a tag lies: `at` counts registers from the block's first, or bits where `is_bit`."""

Bytes = npt.NDArray[np.uint8]

_GOOD = int(Quality.GOOD)
_SENSOR_FAILURE = int(Quality.BAD_SENSOR_FAILURE)
_F64 = int(Kind.F64)
_BOOL = int(WireType.BOOL)
_INT64 = int(WireType.INT64)
_UINT64 = int(WireType.UINT64)
_FLOAT32 = int(WireType.FLOAT32)


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
def _as_integer(raw: np.uint64, wire: int, words: int) -> np.int64:
    """The bits as int64: sign-extended from the type's width if it is signed."""
    spare = 64 - 16 * np.int64(words) if _BOOL < wire <= _INT64 else 0
    moved = np.uint64(raw << np.uint64(spare))
    return moved.view(np.int64) >> np.int64(spare)


@njit(cache=True, nogil=True, error_model="numpy")
def _as_float(raw: np.uint64, wire: int, integer: np.int64) -> np.float64:
    if wire == _UINT64:
        return np.float64(raw)
    if wire < _FLOAT32:
        return np.float64(integer)
    if wire == _FLOAT32:
        half = np.uint32(raw)
        return np.float64(half.view(np.float32))
    whole = np.uint64(raw)
    return np.float64(whole.view(np.float64))


@njit(cache=True, nogil=True, error_model="numpy")
def decode_block(out: Samples, points: Samples, data: Bytes, start: int, arrival_ns: int) -> int:
    """Fill `out[i]` from `points[i]` and the reply data at `data[start:]`; returns how many are not good."""
    bad = 0
    for i in range(len(points)):
        point = points[i]
        sample = out[i]
        wire = point["type"]
        if point["is_bit"]:
            at = point["at"]
            raw = np.uint64((data[start + (at >> 3)] >> (at & 7)) & 1)
        else:
            raw = _gather(data, start + 2 * point["at"], point["words"], point["big_words"], point["big_bytes"])
            if wire == _BOOL:
                raw = np.uint64(raw != np.uint64(0))
        sample["row"] = point["row"]
        sample["quality"] = _GOOD
        sample["source_ns"] = arrival_ns
        sample["arrival_ns"] = arrival_ns
        integer = _as_integer(raw, wire, point["words"])
        if point["kind"] != _F64:
            sample["bits"] = integer
            continue
        value = _as_float(raw, wire, integer) * point["scale"] + point["offset"]
        sample["value"] = value
        if not math.isfinite(value):
            sample["quality"] = _SENSOR_FAILURE
            bad += 1
    return bad


_INTEGER_BOUNDS: Final[dict[WireType, tuple[int, int]]] = {
    WireType.INT16: (-(1 << 15), (1 << 15) - 1),
    WireType.INT32: (-(1 << 31), (1 << 31) - 1),
    WireType.INT64: (-(1 << 63), (1 << 63) - 1),
    WireType.UINT16: (0, (1 << 16) - 1),
    WireType.UINT32: (0, (1 << 32) - 1),
    WireType.UINT64: (0, (1 << 64) - 1),
}


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
        big = whole.to_bytes(2 * WORDS[wire], "big", signed=low < 0)
    words = [big[i : i + 2] for i in range(0, len(big), 2)]
    if not big_words:
        words.reverse()
    return b"".join(word if big_bytes else word[::-1] for word in words)
