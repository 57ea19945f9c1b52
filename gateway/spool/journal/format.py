"""The bytes of a journal: blocks, each whole by itself.

    offset  size  what
         0     4  "FGJ1"
         4     1  kind: 1 head of a file, 2 cycles
         5     3  zero
         8     4  length of the body
        12     8  number of the first cycle inside (of a head: of the first to come)
        20     8  number of the last cycle inside
        28     4  CRC-32 of the 28 bytes before and of the body
        32        body, one zstd frame

A head says who wrote the file and for which engine, so that each file can be read by itself. A block of cycles is one
group commit: a MessagePack head (influences, positions of lanes), one CYCLE record a cycle, and the samples of all of
them as differences, byte-shuffled (`gateway.core.kernels.shuffle`). All integers are little endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

import msgspec
import numpy as np
import zstandard

from gateway.core.cycle import Cycle, Influence
from gateway.core.kernels.shuffle import from_differences, shuffle, to_differences, unshuffle
from gateway.core.record import Stamp
from gateway.core.types import RAW_SAMPLE, SAMPLE, Samples

MAGIC: Final = b"FGJ1"
HEAD: Final = 1
CYCLES: Final = 2
BLOCK: Final = struct.Struct("<4sB3xIQQ")
CHECK: Final = struct.Struct("<I")
OVERHEAD_BYTES: Final = BLOCK.size + CHECK.size
BODY_BYTES_MAX: Final = 256 * 1024 * 1024
RAW_BYTES_MAX: Final = 1024 * 1024 * 1024
ZSTD_LEVEL: Final = 1
FORMAT: Final = 1

CYCLE = np.dtype([("now_ns", "<i8"), ("wall_offset_ns", "<i8"), ("samples", "<u4"), ("is_synced", "<u4")])


class BlockDamaged(Exception):
    """Bytes that should be a block and are not; says why."""


class Head(msgspec.Struct, frozen=True):
    """`code` names the build that wrote the file: another one may compute other outputs from it. `left_out` is how many
    tags' samples are not in it."""

    format: int
    gateway: str
    code: str
    spec: bytes
    left_out: int
    is_fresh: bool = False
    """The engine remembered nothing when its first cycle, the first of this file, came."""
    texts: tuple[str, ...] = ()
    """Those of all symbols up to here."""


class _Cycles(msgspec.Struct, frozen=True):
    """Influences by the place of their cycle; positions of lanes after the last one."""

    influences: tuple[tuple[int, tuple[Influence, ...]], ...]
    positions: dict[str, int]
    cycles: int
    samples: int


@dataclass(frozen=True, slots=True)
class Block:
    """A block as it was read, its body still compressed. `end` is where the next one begins in its file."""

    kind: int
    first: int
    last: int
    body: bytes
    end: int


def seal(kind: int, first: int, last: int, body: bytes) -> bytes:
    head = BLOCK.pack(MAGIC, kind, len(body), first, last)
    return b"".join((head, CHECK.pack(crc32(body, crc32(head))), body))


def open_block(data: bytes | memoryview, at: int) -> Block:
    """The block that begins at `at`. Raises BlockDamaged."""
    if len(data) - at < OVERHEAD_BYTES:
        raise BlockDamaged("cut off in its first bytes")
    magic, kind, length, first, last = BLOCK.unpack_from(data, at)
    if magic != MAGIC:
        raise BlockDamaged("does not begin like a block")
    begin = at + OVERHEAD_BYTES
    if length > BODY_BYTES_MAX or begin + length > len(data):
        raise BlockDamaged("cut off")
    (check,) = CHECK.unpack_from(data, at + BLOCK.size)
    body = bytes(data[begin : begin + length])
    if crc32(body, crc32(bytes(data[at : at + BLOCK.size]))) != check:
        raise BlockDamaged("does not agree with its checksum")
    return Block(kind, first, last, body, begin + length)


def encode_head(head: Head, first: int) -> bytes:
    return seal(HEAD, first, first, zstandard.compress(msgspec.msgpack.encode(head), 3))


def decode_head(block: Block) -> Head:
    """Raises BlockDamaged when the block is no head, or of a later format."""
    try:
        head = msgspec.msgpack.decode(_raw(block), type=Head)
    except msgspec.DecodeError as error:
        raise BlockDamaged(f"is no head of a journal: {error}") from error
    if block.kind != HEAD or head.format > FORMAT:
        raise BlockDamaged(f"was written by a newer fieldgate (format {head.format}, this one reads {FORMAT})")
    return head


def encode_cycles(cycles: Sequence[Cycle], compressor: zstandard.ZstdCompressor) -> bytes:
    """One block of consecutive cycles."""
    table = np.zeros(len(cycles), CYCLE)
    for place, cycle in enumerate(cycles):
        table[place] = (cycle.now_ns, cycle.stamp.wall_offset_ns, len(cycle.samples), cycle.stamp.is_synced)
    samples = np.concatenate([cycle.samples.view(RAW_SAMPLE) for cycle in cycles]).view(SAMPLE)
    differences = np.empty_like(samples)
    to_differences(samples, differences)
    planes = np.empty(samples.nbytes, np.uint8)
    shuffle(differences.view(np.uint8), SAMPLE.itemsize, planes)
    influences = tuple((place, cycle.influences) for place, cycle in enumerate(cycles) if cycle.influences)
    head = msgspec.msgpack.encode(_Cycles(influences, cycles[-1].positions, len(cycles), len(samples)))
    body = compressor.compress(b"".join((CHECK.pack(len(head)), head, table.tobytes(), planes.data)))
    return seal(CYCLES, cycles[0].number, cycles[-1].number, body)


def decode_cycles(block: Block) -> Iterator[Cycle]:
    """The cycles of a block. Positions are told with the last one. Raises BlockDamaged."""
    raw = _raw(block)
    try:
        (length,) = CHECK.unpack_from(raw)
        begin = CHECK.size + length
        head = msgspec.msgpack.decode(raw[CHECK.size : begin], type=_Cycles)
        table = np.frombuffer(raw, CYCLE, head.cycles, begin)
        samples = _samples(raw, begin + table.nbytes, head.samples)
        if int(table["samples"].astype(np.int64).sum()) != head.samples or block.last - block.first + 1 != head.cycles:
            raise BlockDamaged("its counts contradict one another")
    except (msgspec.DecodeError, struct.error, ValueError) as error:
        raise BlockDamaged(f"cannot be decoded: {error}") from error
    influences = dict(head.influences)
    at = 0
    for place in range(head.cycles):
        count = int(table[place]["samples"])
        yield Cycle(
            number=block.first + place,
            now_ns=int(table[place]["now_ns"]),
            samples=samples[at : at + count],
            influences=influences.get(place, ()),
            stamp=Stamp(int(table[place]["wall_offset_ns"]), bool(table[place]["is_synced"])),
            positions=head.positions if place == head.cycles - 1 else {},
        )
        at += count


def _samples(raw: bytes, at: int, count: int) -> Samples:
    planes = np.frombuffer(raw, np.uint8, count * SAMPLE.itemsize, at)
    samples: Samples = np.empty(count, SAMPLE)
    # A copy: the kernels are compiled for arrays that may be written.
    unshuffle(planes.copy(), SAMPLE.itemsize, samples.view(np.uint8))
    from_differences(samples)
    return samples


def _raw(block: Block) -> bytes:
    try:
        return zstandard.ZstdDecompressor().decompress(block.body, max_output_size=RAW_BYTES_MAX)
    except zstandard.ZstdError as error:
        raise BlockDamaged(f"cannot be decompressed: {error}") from error
