"""Files as an upstream: one record a line of JSON, appended and synced before it counts as accepted.

`records.jsonl` grows to `rotate_bytes` and is then renamed to `records-000001.jsonl` and so on; nobody but the reader
deletes those. Sends that are under way together share one write and one fsync.

At connect the last two files are read: a line that a power cut tore is cut off (it was never accepted), and the
identities in them are known from then on, so that what was written and not yet acknowledged to the spool is not written
twice. What is further back was acknowledged long ago; a reader of everything can tell by identity all the same. What
somebody asked for again is written though it is known: whoever keeps what these files said has lost it.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from gateway.core.ports import LinkDown, Verdict
from gateway.core.record import Identity
from gateway.disk import sync_folder
from gateway.settings.schema import FileAddress

ROTATED: Final = re.compile(r"-(\d{6,})$")
"""How the stem of a file ends that is not written to any more."""


class _Head(msgspec.Struct):
    gateway: str
    stream: str
    segment: int
    sequence: int


_decoder: Final = msgspec.json.Decoder(_Head)


class FileUpstream:
    """An open file; `gateway.core.ports.Upstream`. Made by `connect`."""

    def __init__(self, path: Path, rotate_bytes: int, number: int, before: set[Identity], here: set[Identity]) -> None:
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._number = number
        self._before, self._here = before, here
        """What the last whole file has, and this one."""
        self._file = path.open("ab", buffering=0)
        self._waiting: list[tuple[Identity, bytes]] = []
        self._writing = asyncio.Lock()
        self._job: asyncio.Future[None] | None = None
        self._broken: LinkDown | None = None

    async def send(self, identity: Identity, payload: bytes) -> Verdict:
        self._waiting.append((identity, payload))
        async with self._writing:
            # Whoever holds the lock writes for all that wait; the others find their records done.
            if self._waiting and self._broken is None:
                group, self._waiting = self._waiting, []
                try:
                    self._job = asyncio.ensure_future(asyncio.to_thread(self._write, group))
                    await asyncio.shield(self._job)
                except OSError as error:
                    self._broken = LinkDown(
                        f"{self._path}: {error.strerror or error}", "check the disk's room and the folder's owner"
                    )
        if self._broken is not None:
            raise self._broken
        return Verdict.ACCEPTED

    def _write(self, group: list[tuple[Identity, bytes]]) -> None:
        held = (self._before, self._here)
        fresh = [each for each in dict(group).items() if each[0].is_asked or not any(each[0] in file for file in held)]
        if self._file.tell() > self._rotate_bytes:
            self._rotate()
        block = b"".join(payload + b"\n" for _, payload in fresh)
        while block:
            block = block[self._file.write(block) or 0 :]
        os.fsync(self._file.fileno())
        self._here.update(identity for identity, _ in fresh)

    def _rotate(self) -> None:
        self._file.close()
        self._number += 1
        self._path.rename(_rotated(self._path, self._number))
        self._file = self._path.open("ab", buffering=0)
        sync_folder(self._path.parent)
        self._before, self._here = self._here, set()

    async def close(self) -> None:
        """A write that was begun is ended first: the next session cuts the file at its last whole line."""
        if self._job is not None:
            await asyncio.wait([self._job])
        self._file.close()


@asynccontextmanager
async def connect(address: FileAddress) -> AsyncIterator[FileUpstream]:
    """An open file with its end in order, or LinkDown."""
    try:
        upstream = await asyncio.to_thread(_opened, address)
    except OSError as error:
        raise LinkDown(
            f"{address.path}: {error.strerror or error}", "check that the folder exists and that we may write there"
        ) from error
    try:
        yield upstream
    finally:
        await upstream.close()


def _opened(address: FileAddress) -> FileUpstream:
    path = address.path
    found = (ROTATED.search(each.stem) for each in path.parent.glob(f"{path.stem}-*{path.suffix}"))
    numbers = [int(match[1]) for match in found if match]
    number = max(numbers, default=0)
    before = _read(_rotated(path, number))[1] if numbers else set()
    here: set[Identity] = set()
    if path.exists():
        sound_bytes, here = _read(path)
        if sound_bytes < path.stat().st_size:
            os.truncate(path, sound_bytes)
        # What a run that was killed wrote and did not sync counts as held from now on.
        with path.open("ab") as lines:
            os.fsync(lines.fileno())
    upstream = FileUpstream(path, address.rotate_bytes, number, before, here)
    sync_folder(path.parent)
    return upstream


def _rotated(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number:06}{path.suffix}")


def _read(path: Path) -> tuple[int, set[Identity]]:
    """Up to where the lines are whole, and the identities in them."""
    held: set[Identity] = set()
    sound_bytes = 0
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                break
            try:
                head = _decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise OSError(0, f"byte {sound_bytes} begins a line that is no record; move the file away") from error
            held.add(Identity(head.gateway, head.stream, head.segment, head.sequence))
            sound_bytes += len(line)
    return sound_bytes, held
