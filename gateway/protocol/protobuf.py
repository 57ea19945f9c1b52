"""Protocol Buffers, the wire format (https://protobuf.dev/programming-guides/encoding/), for whoever speaks it.

A message is a run of fields, each a tag (number and wire type, a varint) and a value. Read strictly: what no writer may
write is refused. Groups, which proto3 has not and nobody here uses, are refused too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
VARINT_BYTES_MAX: Final = 10


class Malformed(ValueError):
    """The bytes are no such message; the text says why."""


def encode_varint(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | 0x80 if value else low)
        if not value:
            return bytes(out)


def read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for byte in raw[at : at + VARINT_BYTES_MAX]:
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, at
    raise Malformed("a number is cut off or longer than 64 bits")


def fields(raw: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(field number, wire type, value) of each field. Raises Malformed."""
    at = 0
    while at < len(raw):
        tag, at = read_varint(raw, at)
        number, wire = tag >> 3, tag & 7
        if number == 0 or tag >= 1 << 32:
            raise Malformed("a field has an impossible number")
        value: int | bytes
        if wire == VARINT:
            value, at = read_varint(raw, at)
        elif wire == BYTES:
            size, at = read_varint(raw, at)
            value = raw[at : at + size]
            if len(value) < size:
                raise Malformed("a field is longer than its message")
            at += size
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
            if at + size > len(raw):
                raise Malformed("a field is longer than its message")
            value = int.from_bytes(raw[at : at + size], "little")
            at += size
        else:
            raise Malformed(f"a field has wire type {wire}")
        yield number, wire, value
