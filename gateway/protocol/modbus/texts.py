"""Texts in registers: names, serial numbers, states in words.

A register carries two characters, the first in its high byte; devices that swap bytes swap them here too. The order of
words is that of numbers and does not apply: every device known lays text out from front to back. What follows the text
is padding, and makers differ: a NUL with the last name's rest behind it, or spaces.

A text becomes UTF-8 and then a symbol (`gateway.core.symbols`). One that is not of its encoding says that the registers
hold something else: BAD_SENSOR_FAILURE. At the end of the registers a character may be cut off, which costs only it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from gateway.core.kernels.symbols import intern
from gateway.core.types import Int64s, Quality, Samples
from gateway.protocol.modbus.points import SCRATCH_BYTES, TEXT_REGISTERS_MAX, Encoding, Padding, WireType

Bytes = npt.NDArray[np.uint8]

_GOOD = int(Quality.GOOD)
_BAD = int(Quality.BAD)
_SENSOR_FAILURE = int(Quality.BAD_SENSOR_FAILURE)
_STRING = int(WireType.STRING)
_UTF_8 = int(Encoding.UTF_8)
_ASCII = int(Encoding.ASCII)
_UTF_16 = int(Encoding.UTF_16)
_ANY = int(Padding.ANY)
_NUL = int(Padding.NUL)
_SPACE = int(Padding.SPACE)
_NOT_A_TEXT: Final = -1


def scratch_bytes() -> Bytes:
    """What `decode_texts` needs to work in; each thread its own."""
    return np.zeros(SCRATCH_BYTES, np.uint8)


@njit(cache=True, nogil=True, error_model="numpy")
def _unit(data: Bytes, start: int, i: int, encoding: int, big_bytes: int) -> int:
    """The i-th character, or 16 bit unit."""
    if encoding == _UTF_16:
        high, low = (0, 1) if big_bytes else (1, 0)
        return int(np.int64(data[start + 2 * i + high]) << 8 | np.int64(data[start + 2 * i + low]))
    return int(np.int64(data[start + (i if big_bytes else i ^ 1)]))


@njit(cache=True, nogil=True, error_model="numpy")
def _units(data: Bytes, start: int, units: int, encoding: int, big_bytes: int, padding: int) -> int:
    """How many of them are the text, and not padding."""
    if padding in (_ANY, _NUL):
        used = 0
        while used < units and _unit(data, start, used, encoding, big_bytes) != 0:
            used += 1
        units = used
    if padding in (_ANY, _SPACE):
        while units > 0 and _unit(data, start, units - 1, encoding, big_bytes) == 32:
            units -= 1
    return units


@njit(cache=True, nogil=True, error_model="numpy")
def _put(out: Bytes, at: int, code: int) -> int:
    """One character as UTF-8; returns the place behind it."""
    if code < 0x80:
        out[at] = code
        return at + 1
    if code < 0x800:
        out[at] = 0xC0 | code >> 6
        out[at + 1] = 0x80 | code & 0x3F
        return at + 2
    if code < 0x10000:
        out[at] = 0xE0 | code >> 12
        out[at + 1] = 0x80 | code >> 6 & 0x3F
        out[at + 2] = 0x80 | code & 0x3F
        return at + 3
    out[at] = 0xF0 | code >> 18
    out[at + 1] = 0x80 | code >> 12 & 0x3F
    out[at + 2] = 0x80 | code >> 6 & 0x3F
    out[at + 3] = 0x80 | code & 0x3F
    return at + 4


@njit(cache=True, nogil=True, error_model="numpy")
def _from_utf_16(out: Bytes, data: Bytes, start: int, units: int, big_bytes: int) -> int:
    at = 0
    i = 0
    while i < units:
        code = _unit(data, start, i, _UTF_16, big_bytes)
        i += 1
        if 0xD800 <= code < 0xDC00:
            if i == units:
                return at
            low = _unit(data, start, i, _UTF_16, big_bytes)
            i += 1
            if not 0xDC00 <= low < 0xE000:
                return _NOT_A_TEXT
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
        elif 0xDC00 <= code < 0xE000:
            return _NOT_A_TEXT
        at = _put(out, at, code)
    return at


@njit(cache=True, nogil=True, error_model="numpy")
def _second_is_possible(first: int, second: int) -> bool:
    """No overlong forms, no surrogates, nothing above U+10FFFF: all of that shows in the second byte (RFC 3629, 4)."""
    lowest = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
    highest = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
    return lowest <= second <= highest


@njit(cache=True, nogil=True, error_model="numpy")
def _from_utf_8(out: Bytes, data: Bytes, start: int, units: int, big_bytes: int) -> int:
    """Checked byte by byte, so that what is cut off is told from what never was a character."""
    i = 0
    while i < units:
        first = _unit(data, start, i, _UTF_8, big_bytes)
        if first < 0x80:
            length = 1
        elif 0xC2 <= first < 0xE0:
            length = 2
        elif 0xE0 <= first < 0xF0:
            length = 3
        elif 0xF0 <= first < 0xF5:
            length = 4
        else:
            return _NOT_A_TEXT
        for k in range(1, length):
            if i + k == units:
                return i
            rest = _unit(data, start, i + k, _UTF_8, big_bytes)
            if not (_second_is_possible(first, rest) if k == 1 else rest & 0xC0 == 0x80):
                return _NOT_A_TEXT
        for k in range(length):
            out[i + k] = _unit(data, start, i + k, _UTF_8, big_bytes)
        i += length
    return i


@njit(cache=True, nogil=True, error_model="numpy")
def _text_of(out: Bytes, point: Samples, data: Bytes, start: int) -> int:
    """A point's text as UTF-8 in `out`; returns its bytes, or _NOT_A_TEXT."""
    encoding = point["encoding"]
    big_bytes = point["big_bytes"]
    units = np.int64(point["words"]) if encoding == _UTF_16 else 2 * np.int64(point["words"])
    units = _units(data, start, units, encoding, big_bytes, point["padding"])
    if encoding == _UTF_16:
        return _from_utf_16(out, data, start, units, big_bytes)
    if encoding == _UTF_8:
        return _from_utf_8(out, data, start, units, big_bytes)
    at = 0
    for i in range(units):
        code = _unit(data, start, i, encoding, big_bytes)
        if encoding == _ASCII and code > 0x7F:
            return _NOT_A_TEXT
        at = _put(out, at, code)
    return at


@njit(cache=True, nogil=True, error_model="numpy")
def decode_texts(out: Samples, points: Samples, data: Bytes, start: int, symbols: Int64s, scratch: Bytes) -> None:
    """Finish what `decode_block` left in `out`: the texts among `points`. `symbols` is `Symbols.words`."""
    for i in range(len(points)):
        point = points[i]
        if point["type"] == _STRING:
            size = _text_of(scratch, point, data, start + 2 * np.int64(point["at"]))
            number = 0
            quality = _SENSOR_FAILURE
            if size >= 0:
                number = intern(symbols, scratch, 0, size)
                quality = _GOOD if number else _BAD
            out[i]["bits"] = number
            out[i]["quality"] = quality


_CODECS: Final = {
    Encoding.UTF_8: "utf-8",
    Encoding.ASCII: "ascii",
    Encoding.LATIN_1: "latin-1",
    Encoding.UTF_16: "utf-16-be",
}


def encode_text(
    text: str, registers: int, *, big_bytes: bool = True, encoding: Encoding = Encoding.UTF_8,
    padding: Padding = Padding.ANY,
) -> bytes:  # fmt: skip
    """The registers of a text, for a write. Raises ValueError when they cannot hold it: nothing is cut in silence."""
    assert 0 < registers <= TEXT_REGISTERS_MAX
    try:
        data = text.encode(_CODECS[encoding])
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} has characters that {_CODECS[encoding]} has not") from None
    if len(data) > 2 * registers:
        raise ValueError(f"{text!r} takes {len(data)} bytes, and its {registers} registers hold {2 * registers}")
    is_wide = encoding is Encoding.UTF_16
    if padding is Padding.SPACE:
        filler = b"\0 " if is_wide else b" "
        data += filler * ((2 * registers - len(data)) // len(filler))
    data = data.ljust(2 * registers, b"\0")
    return data if big_bytes else b"".join(data[i : i + 2][::-1] for i in range(0, len(data), 2))
