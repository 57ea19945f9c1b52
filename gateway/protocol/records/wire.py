"""What records as Protocol Buffers are written of: fields, and packed arrays, by NumPy and not number by number.

A packed array is one length-delimited field (https://protobuf.dev/programming-guides/encoding/#packed). Varints of up
to ten bytes are laid out by their lengths, least significant seven bits first.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.protocol.protobuf import BYTES, FIXED64, VARINT, VARINT_BYTES_MAX, Malformed, encode_varint

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
    """Raises Malformed."""
    raw = np.frombuffer(content, np.uint8)
    last = raw < 0x80
    if len(raw) and not last[-1]:
        raise Malformed("the last number of an array is cut off")
    if last.all():
        return raw.astype(np.uint64)
    ends = np.flatnonzero(last)
    begins = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - begins + 1
    longest = raw[ends[sizes == VARINT_BYTES_MAX]]
    if int(sizes.max()) > VARINT_BYTES_MAX or (longest > 1).any():
        raise Malformed("a number is longer than 64 bits")
    values = np.zeros(len(ends), np.uint64)
    for place in range(int(sizes.max())):
        has = sizes > place
        values[has] |= (raw[begins[has] + place] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * place)
    return values
