"""A log of records: frames, each a group of records that were written together and synced before the next.

    mark       8 bytes   "FGRLOG1\\n"
    head       uint32    its bytes
    body       uint32    its bytes
    check      uint32    CRC-32 of head and body
    head       JSON: spans of the records inside, and the wall time
    body       zstd: the records as JSON, one a line

Since a frame is synced before the next one is begun, one that is not whole and has nothing sound behind it was torn
and was never acknowledged; one that has is damage. The first frame of a log has no body: its spans are what the logs
before it held. A log so says by itself what the far end has.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import zstandard

from gateway.protocol.records.held import Span

MARK: Final = b"FGRLOG1\n"
_PREFIX: Final = struct.Struct("<8sIII")
PREFIX_BYTES: Final = _PREFIX.size
ZSTD_LEVEL: Final = 3


class Head(msgspec.Struct):
    spans: list[Span]
    wall_ns: int = 0


_heads: Final = msgspec.json.Decoder(Head)


class Prefix(NamedTuple):
    head_bytes: int
    body_bytes: int
    check: int

    @property
    def rest_bytes(self) -> int:
        return self.head_bytes + self.body_bytes


class Frame(NamedTuple):
    head: Head
    body: bytes

    def payloads(self) -> list[bytes]:
        return zstandard.ZstdDecompressor().decompress(self.body).split(b"\n") if self.body else []


def frame(head: Head, payloads: Sequence[bytes]) -> bytes:
    body = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(b"\n".join(payloads)) if payloads else b""
    told = msgspec.json.encode(head)
    return _PREFIX.pack(MARK, len(told), len(body), zlib.crc32(body, zlib.crc32(told))) + told + body


def prefix_of(content: bytes) -> Prefix | None:
    """None where no frame begins."""
    if len(content) < PREFIX_BYTES:
        return None
    mark, *rest = _PREFIX.unpack(content[:PREFIX_BYTES])
    return Prefix(*rest) if mark == MARK else None


def frame_of(prefix: Prefix, rest: bytes) -> Frame | None:
    """`rest` is what stands behind the prefix; None where it is not whole."""
    if len(rest) != prefix.rest_bytes or zlib.crc32(rest) != prefix.check:
        return None
    try:
        return Frame(_heads.decode(rest[: prefix.head_bytes]), rest[prefix.head_bytes :])
    except msgspec.MsgspecError:
        return None


def find_frame(content: bytes) -> int:
    """Where the first whole frame begins; -1 where there is none."""
    at = content.find(MARK)
    while at >= 0:
        prefix = prefix_of(content[at : at + PREFIX_BYTES])
        begin = at + PREFIX_BYTES
        if prefix is not None and frame_of(prefix, content[begin : begin + prefix.rest_bytes]) is not None:
            return at
        at = content.find(MARK, at + 1)
    return -1
