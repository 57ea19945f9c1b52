"""Checkpoints in the spool's file: the engine's memory, where the journal stood, and what had been put out by then.

One transaction holds a checkpoint together with the records that were made before it and the ordinals of the last
records stored, so after a crash the three agree: behind the checkpoint's cycle the journal tells what happened,
and of what a replay makes again, whatever has an ordinal that is stored already is left out.

A checkpoint writes the shares whose turn it is (`gateway.core.snapshot`), and of them the blocks that changed since
they were last written. An epoch is an engine of one spec; the shares of an epoch are a whole once each was written, and
then the epochs before it go. A block is byte-shuffled and compressed with a checksum of its content.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
import numpy as np
import zstandard

from gateway.core.engine import Rest
from gateway.core.kernels.shuffle import Rings, shuffle, unshuffle, unshuffle_places
from gateway.core.lending import Lending
from gateway.core.snapshot import COMMON, Block, Image
from gateway.core.types import Bytes
from gateway.spool.records import translated

ZSTD_LEVEL: Final = 1
RAW_BYTES_MAX: Final = 1024 * 1024 * 1024


LENT: Final = -1
"""Number of the block that tells which of a share's rows are lent."""
EXPECTED: Final = -2
"""Number of the block with what goes with LENDs to come."""


class CheckpointDamaged(Exception):
    """Something of a checkpoint cannot be used; says what."""


class Head(msgspec.Struct, frozen=True):
    """A checkpoint but for its images. `texts` are those of all symbols, `positions` those of the lanes."""

    epoch: int
    number: int
    shares: int
    layout: str
    code: str
    spec: str
    rest: Rest
    positions: dict[str, int]
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Images with the cycles behind which they were taken; that of COMMON was taken behind the head's."""

    head: Head
    spec: bytes
    images: tuple[tuple[int, Image], ...]


@dataclass(frozen=True, slots=True)
class Saved:
    """What the file has: the newest whole checkpoint, the cycle of each share, and the ordinals of what is stored."""

    head: Head | None
    spec: bytes
    numbers: dict[int, int]
    outputs: dict[str, int]
    damage: str = ""


class CheckpointWriter:
    """Brings checkpoints into transactions. The spool thread's own, but for `bytes_written`."""

    def __init__(self) -> None:
        self.checkpoints = 0
        self.bytes_written = 0
        self._compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)
        self._digests: dict[tuple[int, int, int], bytes] = {}
        self._spec = ""

    def prepare(self, checkpoint: Checkpoint) -> list[tuple[int, int, bytes, bytes]]:
        """The blocks that changed: share, block, digest, body. Costs time, needs no transaction."""
        changed = []
        for _, image in checkpoint.images:
            for number, block in enumerate(image.blocks):
                digest = digest_of(block)
                if self._digests.get((checkpoint.head.epoch, image.share, number)) != digest:
                    changed.append((image.share, number, digest, encode_block(block, self._compressor)))
            # Always once: the file may have those of an earlier run.
            for number, lendings in ((LENT, image.lendings), (EXPECTED, image.expected)):
                raw = msgspec.msgpack.encode(lendings)
                digest = hashlib.blake2b(raw, digest_size=8).digest()
                if self._digests.get((checkpoint.head.epoch, image.share, number)) != digest:
                    changed.append((image.share, number, digest, self._compressor.compress(raw)))
        return changed

    def write(
        self, connection: sqlite3.Connection, checkpoint: Checkpoint, changed: Sequence[tuple[int, int, bytes, bytes]]
    ) -> None:
        """Inside a transaction."""
        head = checkpoint.head
        body = self._compressor.compress(msgspec.msgpack.encode(head))
        if self._spec != head.spec:
            spec = self._compressor.compress(checkpoint.spec)
            connection.execute("INSERT OR IGNORE INTO checkpoint_specs VALUES (?, ?)", (head.spec, spec))
        connection.executemany(
            "INSERT OR REPLACE INTO checkpoint_blocks (epoch, share, block, body) VALUES (?, ?, ?, ?)",
            [(head.epoch, share, block, body) for share, block, _, body in changed],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO checkpoint_shares (epoch, share, number) VALUES (?, ?, ?)",
            [(head.epoch, image.share, number) for number, image in checkpoint.images],
        )
        connection.execute(
            "INSERT OR REPLACE INTO checkpoints (epoch, number, body) VALUES (?, ?, ?)", (head.epoch, head.number, body)
        )
        if _is_whole(connection, head.epoch, head.shares):
            _delete_before(connection, head.epoch, head.spec)

    def written(self, checkpoint: Checkpoint, changed: Sequence[tuple[int, int, bytes, bytes]]) -> int:
        """The transaction was committed; returns the bytes of the blocks."""
        head = checkpoint.head
        self._digests = {key: digest for key, digest in self._digests.items() if key[0] == head.epoch}
        for share, block, digest, _ in changed:
            self._digests[head.epoch, share, block] = digest
        self._spec = head.spec
        size = sum(len(body) for *_, body in changed)
        self.checkpoints += 1
        self.bytes_written += size
        return size


def _is_whole(connection: sqlite3.Connection, epoch: int, shares: int) -> bool:
    (count,) = connection.execute(
        "SELECT count(*) FROM checkpoint_shares WHERE epoch = ? AND share >= 0", (epoch,)
    ).fetchone()
    return bool(count == shares)


def _delete_before(connection: sqlite3.Connection, epoch: int, spec: str) -> None:
    if connection.execute("SELECT 1 FROM checkpoints WHERE epoch < ? LIMIT 1", (epoch,)).fetchone():
        for table in ("checkpoints", "checkpoint_shares", "checkpoint_blocks"):
            connection.execute(f"DELETE FROM {table} WHERE epoch < ?", (epoch,))
        connection.execute("DELETE FROM checkpoint_specs WHERE digest <> ?", (spec,))


def needed_after(connection: sqlite3.Connection, epoch: int, shares: int) -> int:
    """The cycle behind which a restart reads the journal; 0 while the epoch is not whole."""
    if not _is_whole(connection, epoch, shares):
        return 0
    (number,) = connection.execute("SELECT min(number) FROM checkpoint_shares WHERE epoch = ?", (epoch,)).fetchone()
    return int(number or 0)


def note_outputs(connection: sqlite3.Connection, ordinals: dict[str, int]) -> None:
    """Inside the transaction that stores the records: the last ordinal of each stream."""
    connection.executemany("INSERT OR REPLACE INTO outputs (stream, ordinal) VALUES (?, ?)", list(ordinals.items()))


def noted_outputs(connection: sqlite3.Connection) -> dict[str, int]:
    """By stream, the ordinal of the last draft that was stored."""
    return dict(connection.execute("SELECT stream, ordinal FROM outputs"))


class CheckpointReader:
    """Reads what a file has, on a connection of its own, beside whoever writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with translated(path):
            self._connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=5.0
            )

    def close(self) -> None:
        self._connection.close()

    def saved(self) -> Saved:
        """Raises StoreUnavailable or StoreDamaged, when the file itself cannot be read."""
        with translated(self._path):
            return self._saved()

    def _saved(self) -> Saved:
        outputs = noted_outputs(self._connection)
        damage = ""
        for epoch, body in self._connection.execute("SELECT epoch, body FROM checkpoints ORDER BY epoch DESC"):
            try:
                head = decode_head(body)
                if not _is_whole(self._connection, epoch, head.shares):
                    continue
                spec = self._spec(head.spec)
            except CheckpointDamaged as error:
                damage = f"{error}"
                continue
            numbers = dict(
                self._connection.execute("SELECT share, number FROM checkpoint_shares WHERE epoch = ?", (epoch,))
            )
            return Saved(head, spec, numbers, outputs, damage)
        return Saved(None, b"", {}, outputs, damage)

    def image(self, epoch: int, share: int, like: Sequence[Block], rings: Rings | None = None) -> Image:
        """One share, of blocks of the same shapes as in `like`. Raises CheckpointDamaged. With `rings`, the last blocks
        are written there, each into its place, and are not in the image; nothing is, where a block is damaged."""
        with translated(self._path):
            rows = self._connection.execute(
                "SELECT block, body FROM checkpoint_blocks WHERE epoch = ? AND share = ? ORDER BY block", (epoch, share)
            ).fetchall()
        beside = {number: body for number, body in rows if number < 0}
        rows = [row for row in rows if row[0] >= 0]
        what = "what belongs to no share" if share == COMMON else f"share {share}"
        if [number for number, _ in rows] != list(range(len(like))):
            raise CheckpointDamaged(f"{what} of the checkpoint has {len(rows)} of {len(like)} blocks")
        kept = len(like) - (rings.shape[1] if rings is not None else 0)
        try:
            planes = decompressed([body for _, body in rows], [sum(part.size for part in block) for block in like])
            lent, expected = (
                decode_lendings(beside[number]) if number in beside else () for number in (LENT, EXPECTED)
            )
        except (zstandard.ZstdError, ValueError, msgspec.DecodeError) as error:
            raise CheckpointDamaged(f"{what} of the checkpoint is damaged: {error}") from error
        blocks = []
        at = 0
        for block in like[:kept]:
            blocks.append(_unshuffled(planes, at, block))
            at += sum(part.size for part in block)
        if rings is not None:
            unshuffle_places(planes[at:], rings)
        return Image(share, tuple(blocks), lent, expected)

    def _spec(self, digest: str) -> bytes:
        found = self._connection.execute("SELECT body FROM checkpoint_specs WHERE digest = ?", (digest,)).fetchall()
        try:
            ((body,),) = found
            return zstandard.ZstdDecompressor().decompress(body, max_output_size=RAW_BYTES_MAX)
        except (zstandard.ZstdError, ValueError) as error:
            raise CheckpointDamaged(f"the plant of the checkpoint is damaged: {error}") from error


def decode_head(body: bytes) -> Head:
    try:
        return msgspec.msgpack.decode(
            zstandard.ZstdDecompressor().decompress(body, max_output_size=RAW_BYTES_MAX), type=Head
        )
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise CheckpointDamaged(f"the head of the checkpoint is damaged: {error}") from error


def decode_lendings(body: bytes) -> tuple[Lending, ...]:
    """Raises ZstdError or DecodeError."""
    raw = zstandard.ZstdDecompressor().decompress(body, max_output_size=RAW_BYTES_MAX)
    return msgspec.msgpack.decode(raw, type=tuple[Lending, ...])


def digest_of(block: Block) -> bytes:
    digest = hashlib.blake2b(digest_size=8)
    for part in block:
        digest.update(part.data)
    return digest.digest()


def encode_block(block: Block, compressor: zstandard.ZstdCompressor) -> bytes:
    planes = np.empty(sum(part.nbytes for part in block), np.uint8)
    at = 0
    for part in block:
        shuffle(part.reshape(-1), part.shape[1], planes[at : at + part.nbytes])
        at += part.nbytes
    return compressor.compress(planes.data)


def decompressed(bodies: Sequence[bytes], sizes: Sequence[int]) -> Bytes:
    """The planes of blocks of these sizes, one behind the other. All are decompressed in one call without Python's
    lock: a checkpoint has tens of thousands, and a start has other threads that want it. Raises ZstdError."""
    filled = [(body, size) for body, size in zip(bodies, sizes, strict=True) if size]
    if not filled:
        return np.zeros(0, np.uint8)
    wanted = np.array([size for _, size in filled], np.uint64)
    made = zstandard.ZstdDecompressor().multi_decompress_to_buffer([body for body, _ in filled], wanted.data)
    parts: list[Any] = [made[place] for place in range(len(made))]
    return np.frombuffer(bytearray().join(parts), np.uint8)


def _unshuffled(planes: Bytes, at: int, like: Block) -> Block:
    """The block whose planes begin there."""
    parts = []
    for part in like:
        out = np.empty(part.size, np.uint8)
        unshuffle(planes[at : at + part.size], part.shape[1], out)
        parts.append(out.reshape(part.shape))
        at += part.size
    return tuple(parts)
