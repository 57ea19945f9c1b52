"""Protocol Buffers, the wire format: fields and packed arrays, arrays by NumPy and not number by number.

A packed array is one length-delimited field (https://protobuf.dev/programming-guides/encoding/#packed). Varints of up
to ten bytes are laid out by their lengths, least significant seven bits first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.protocol.sparkplug.wire import BYTES, FIXED32, FIXED64, VARINT, VARINT_BYTES_MAX, encode_varint

_MASK_64: Final = (1 << 64) - 1

Uint64s: TypeAlias = npt.NDArray[np.uint64]


def tag(number: int, wire_type: int) -> bytes:
    return encode_varint(number << 3 | wire_type)


def delimited(number: int, content: bytes) -> bytes:
    return tag(number, BYTES) + encode_varint(len(content)) + content


def text(number: int, value: str) -> bytes:
    return delimited(number, value.encode())


def counted(number: int, value: int) -> bytes:
    """A uint64, or an int64 in two's complement."""
    return tag(number, VARINT) + encode_varint(value & _MASK_64)


def fixed(number: int, value: int) -> bytes:
    """An sfixed64. Raises OverflowError."""
    return tag(number, FIXED64) + value.to_bytes(8, "little", signed=True)


def varints(values: Uint64s) -> bytes:
    """Packed."""
    if not len(values) or int(values.max()) < 0x80:
        return values.astype(np.uint8).tobytes()
    sizes = np.ones(len(values), np.int64)
    for shift in range(7, 70, 7):
        more = values >= np.uint64(1) << np.uint64(shift) if shift < 64 else np.zeros(len(values), np.bool_)
        if not more.any():
            break
        sizes += more
    begins = np.cumsum(sizes) - sizes
    out = np.zeros(int(begins[-1] + sizes[-1]), np.uint8)
    for place in range(int(sizes.max())):
        has = sizes > place
        low = (values[has] >> np.uint64(7 * place)).astype(np.uint8) & np.uint8(0x7F)
        out[begins[has] + place] = low | np.where(sizes[has] > place + 1, np.uint8(0x80), np.uint8(0))
    return out.tobytes()


def unpack_varints(content: bytes) -> Uint64s:
    """Raises ValueError."""
    raw = np.frombuffer(content, np.uint8)
    last = raw < 0x80
    if len(raw) and not last[-1]:
        raise ValueError("the last number of an array is cut off")
    if last.all():
        return raw.astype(np.uint64)
    ends = np.flatnonzero(last)
    begins = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - begins + 1
    if int(sizes.max()) > VARINT_BYTES_MAX:
        raise ValueError("a number is longer than 64 bits")
    values = np.zeros(len(ends), np.uint64)
    for place in range(int(sizes.max())):
        has = sizes > place
        values[has] |= (raw[begins[has] + place] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * place)
    return values


def fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field; numbers of fixed length are unsigned. Raises ValueError."""
    at = 0
    while at < len(content):
        head, at = _varint(content, at)
        number, wire_type = head >> 3, head & 7
        if wire_type == VARINT:
            whole, at = _varint(content, at)
            yield number, whole
            continue
        if wire_type == BYTES:
            size, at = _varint(content, at)
        elif wire_type in (FIXED64, FIXED32):
            size = 8 if wire_type == FIXED64 else 4
        else:
            raise ValueError(f"field {number} has wire type {wire_type}")
        value = content[at : at + size]
        at += size
        if len(value) < size:
            raise ValueError("a field is longer than its message")
        yield number, value if wire_type == BYTES else int.from_bytes(value, "little")


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(content[at : at + VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value & _MASK_64, at + place + 1
    raise ValueError("a number is cut off or longer than 64 bits")
