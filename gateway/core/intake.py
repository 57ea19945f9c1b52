"""What a durable session keeps on disk before it acknowledges, and the bytes in which it does.

A frame is what one turn of the session brought: samples, the acknowledgements that are owed for their messages, and
the keys of messages that only their content tells from a repetition. It is whole on disk or not there, so after a
crash the samples, the packet identifiers of QoS 2 (which follow from the acknowledgements) and the keys agree.

    offset  size  what
         0     4  "FGI1"
         4     1  kind: 1 head of a file, 2 frame
         5     1  1: a new session with the broker begins, packet identifiers of before mean nothing any more
         6     2  zero
         8     8  position in the lane of the first sample inside (of a head: of the first to come)
        16     4  samples, 32 bytes each
        20     4  acknowledgements, bytes
        24     4  keys, 8 bytes each
        28     4  text, bytes (head only)
        32     4  CRC-32 of the 32 bytes before and of what follows
        36        samples, acknowledgements, keys, text

A head carries all that is known when its file begins, so that older files are not needed for it: the identifiers as
PUBRECs, the keys, and as text the tags whose rows the samples name. All integers are little endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final
from zlib import crc32

import msgspec
import numpy as np

from gateway.core.types import SAMPLE, Int64s, Samples

MAGIC: Final = b"FGI1"
HEAD: Final = 1
FRAME: Final = 2
_FIELDS: Final = struct.Struct("<4sBBxxQIIII")
_CHECK: Final = struct.Struct("<I")
OVERHEAD_BYTES: Final = _FIELDS.size + _CHECK.size
BODY_BYTES_MAX: Final = 64 * 1024 * 1024

NO_SAMPLES: Samples = np.empty(0, SAMPLE)
NO_KEYS: Int64s = np.empty(0, np.int64)

PUBREC: Final = 0x50
PUBCOMP: Final = 0x70


@dataclass(frozen=True, slots=True)
class Frame:
    """`first` is the position of the first sample. `acks` are PUBACK, PUBREC and PUBCOMP as they go to the broker."""

    first: int
    samples: Samples = field(default_factory=lambda: NO_SAMPLES)
    acks: bytes = b""
    keys: Int64s = field(default_factory=lambda: NO_KEYS)
    is_new_session: bool = False

    @property
    def last(self) -> int:
        """Position of the last sample."""
        return self.first + len(self.samples) - 1


@dataclass(frozen=True, slots=True)
class Head:
    """What a file begins with. `tags` are names by row."""

    first: int
    acks: bytes
    keys: Int64s
    tags: dict[int, str]


class FrameDamaged(Exception):
    """Bytes that should be a frame and are not; says why."""


def encode_frame(frame: Frame) -> bytes:
    return _seal(FRAME, frame.is_new_session, frame.first, frame.samples, frame.acks, frame.keys, b"")


def encode_head(head: Head) -> bytes:
    return _seal(HEAD, False, head.first, NO_SAMPLES, head.acks, head.keys, msgspec.json.encode(head.tags))


def _seal(kind: int, flag: bool, first: int, samples: Samples, acks: bytes, keys: Int64s, text: bytes) -> bytes:
    fields = _FIELDS.pack(MAGIC, kind, flag, first, len(samples), len(acks), len(keys), len(text))
    body = b"".join((samples.tobytes(), acks, keys.tobytes(), text))
    return b"".join((fields, _CHECK.pack(crc32(body, crc32(fields))), body))


def decode(data: bytes, at: int) -> tuple[Head | Frame, int]:
    """What stands at `at`, and where the next one does. Raises FrameDamaged."""
    if len(data) - at < OVERHEAD_BYTES:
        raise FrameDamaged("cut off in its first bytes")
    magic, kind, flag, first, samples, acks, keys, text = _FIELDS.unpack_from(data, at)
    if magic != MAGIC or kind not in (HEAD, FRAME):
        raise FrameDamaged("does not begin like a frame")
    sizes = (samples * SAMPLE.itemsize, acks, keys * 8, text)
    begin = at + OVERHEAD_BYTES
    end = begin + sum(sizes)
    if sum(sizes) > BODY_BYTES_MAX or end > len(data):
        raise FrameDamaged("cut off")
    (check,) = _CHECK.unpack_from(data, at + _FIELDS.size)
    if crc32(data[begin:end], crc32(data[at : at + _FIELDS.size])) != check:
        raise FrameDamaged("does not agree with its checksum")
    places = [begin]
    for size in sizes:
        places.append(places[-1] + size)
    parts = [data[start:stop] for start, stop in pairwise(places)]
    known = np.frombuffer(parts[2], np.int64)
    if kind == HEAD:
        try:
            tags = msgspec.json.decode(parts[3], type=dict[int, str])
        except msgspec.DecodeError as error:
            raise FrameDamaged(f"has a head that cannot be read: {error}") from error
        return Head(first, parts[1], known, tags), end
    return Frame(first, np.frombuffer(parts[0], SAMPLE), parts[1], known, bool(flag)), end


class Identities:
    """What the acknowledgements and keys seen so far say: packet identifiers of QoS 2 not yet released, last keys."""

    def __init__(self, keys_max: int) -> None:
        self._keys_max = keys_max
        self._unreleased: dict[int, None] = {}
        self._keys: Int64s = NO_KEYS

    def note(self, acks: bytes, keys: Int64s, *, is_new_session: bool = False) -> None:
        if is_new_session:
            self._unreleased.clear()
        for first, packet_id in acknowledgements(acks):
            if first == PUBREC:
                self._unreleased[packet_id] = None
            elif first == PUBCOMP:
                self._unreleased.pop(packet_id, None)
        if len(keys):
            self._keys = np.concatenate((self._keys, keys))[-self._keys_max :]

    @property
    def unreleased(self) -> Sequence[int]:
        return list(self._unreleased)

    @property
    def keys(self) -> Int64s:
        """The oldest first."""
        return self._keys

    def as_acks(self) -> bytes:
        """The identifiers as the PUBRECs that made them."""
        return b"".join(bytes((PUBREC, 2)) + packet_id.to_bytes(2, "big") for packet_id in self._unreleased)


def acknowledgements(acks: bytes) -> Iterator[tuple[int, int]]:
    """(first byte, packet identifier) of each; all are four bytes long."""
    for at in range(0, len(acks), 4):
        yield acks[at], acks[at + 2] << 8 | acks[at + 3]
