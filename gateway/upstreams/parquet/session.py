"""A session with a folder: records into the log, and each period's log into files."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.util import find_spec
from io import FileIO
from pathlib import Path
from typing import Final

from gateway.core.ports import Clock, LinkDown, Verdict
from gateway.core.record import Identity
from gateway.settings.schema import ParquetAddress
from gateway.upstreams.parquet import folder as places
from gateway.upstreams.parquet.log import Damaged, Log, opened

LOOK_EVERY_S: Final = 1.0
CONVERT: Final = "gateway.upstreams.parquet.convert"
NO_PYARROW: Final = "pip install 'fieldgate[parquet]'"
ROOM_REMEDY: Final = "check the disk's room and the folder's owner"
DISK_REMEDY: Final = "look into the disk; fieldgate reconcile names what is missing"
STDERR_CHARACTERS_MAX: Final = 300


class ParquetUpstream:
    """`gateway.core.ports.Upstream`. Made by `connect`."""

    def __init__(self, address: ParquetAddress, lock: FileIO, log: Log, wall_ns: Clock) -> None:
        self._address = address
        self._lock = lock
        self._log = log
        self._wall_ns = wall_ns
        self._waiting: list[tuple[Identity, bytes]] = []
        self._turn = asyncio.Lock()
        self._job: asyncio.Future[None] | None = None
        self._broken: LinkDown | None = None
        self._look = asyncio.Event()
        self._folder_bytes = 0

    async def send(self, identity: Identity, payload: bytes) -> Verdict:
        self._waiting.append((identity, payload))
        async with self._turn:
            # Whoever has the turn writes for all that wait; the others find their records done.
            if self._waiting and self._broken is None:
                group, self._waiting = self._waiting, []
                await self._do(partial(self._append, group))
        if self._broken is not None:
            raise self._broken
        if self._log.size >= self._address.rotate_bytes:
            self._look.set()
        return Verdict.ACCEPTED

    async def convert(self) -> None:
        """Make files of all closed logs. Raises LinkDown."""
        await _convert(self._address.path, self._lock)

    async def measure(self) -> None:
        """Raises LinkDown where the folder has as much as it may."""
        await self._do(self._check_room)
        if self._broken is not None:
            raise self._broken

    async def run(self) -> None:
        """Close the log when its period or its size is over, and have it converted. Ends at a failure, which the next
        send raises."""
        while self._broken is None:
            self._look.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._look.wait()
            try:
                async with self._turn:
                    if not self._is_due():
                        continue
                    await self._do(self._log.next)
                if self._broken is None:
                    await self.convert()
                    async with self._turn:
                        await self._do(self._check_room)
            except LinkDown as error:
                self._broken = error

    async def close(self) -> None:
        """A write that was begun is ended first."""
        if self._job is not None:
            await asyncio.wait([self._job])
        self._log.close()

    def _is_due(self) -> bool:
        every_ns = self._address.rotate_every_ns
        is_over = self._wall_ns() // every_ns != self._log.began_ns // every_ns
        return bool(self._log.records) and (is_over or self._log.size >= self._address.rotate_bytes)

    async def _do(self, work: Callable[[], None]) -> None:
        """In a thread; what goes wrong ends the session."""
        try:
            self._job = asyncio.ensure_future(asyncio.to_thread(work))
            await asyncio.shield(self._job)
        except OSError as error:
            self._broken = LinkDown(f"{self._address.path}: {error.strerror or error}", ROOM_REMEDY)
        except LinkDown as error:
            self._broken = error

    def _append(self, group: list[tuple[Identity, bytes]]) -> None:
        if self._folder_bytes >= self._address.room_bytes:
            self._check_room()
        self._folder_bytes += self._log.append(group, self._wall_ns())

    def _check_room(self) -> None:
        """Readers may have taken files away since."""
        self._folder_bytes = places.size(self._address.path)
        if self._folder_bytes >= self._address.room_bytes:
            raise LinkDown(
                f"{self._address.path}: has {self._folder_bytes / 1e6:,.0f} MB, and may have"
                f" {self._address.room_bytes / 1e6:,.0f} (room)",
                "take finished files away, or give it more room",
            )


@asynccontextmanager
async def connect(address: ParquetAddress, *, wall_ns: Clock) -> AsyncIterator[ParquetUpstream]:
    """A folder in order, with nothing left to convert, or LinkDown."""
    if find_spec("pyarrow") is None:
        raise LinkDown(f"{address.path}: pyarrow is not installed", NO_PYARROW)
    try:
        lock, log = await asyncio.to_thread(_opened, address.path)
    except OSError as error:
        raise LinkDown(
            f"{address.path}: {error.strerror or error}", "check that the folder exists and that we may write there"
        ) from error
    upstream = ParquetUpstream(address, lock, log, wall_ns)
    keeper: asyncio.Task[None] | None = None
    try:
        if not await asyncio.to_thread(places.is_converted, address.path):
            await upstream.convert()
        await upstream.measure()
        keeper = asyncio.create_task(upstream.run(), name="uplink periods")
        yield upstream
    finally:
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        await upstream.close()
        lock.close()


def _opened(folder: Path) -> tuple[FileIO, Log]:
    try:
        lock = places.lock(folder)
    except places.Taken:
        raise LinkDown(
            f"{folder}: somebody else writes there, or still converts what a gateway left that was killed",
            "it is tried again by itself; give each uplink a folder of its own",
        ) from None
    try:
        log = opened(folder)
        log.probe()
    except Damaged as error:
        lock.close()
        raise LinkDown(
            f"{error}; what is whole in it is kept, and it goes on in the next log",
            DISK_REMEDY,
        ) from error
    except OSError:
        lock.close()
        raise
    return lock, log


class _Conversion:
    """The process that makes files of closed logs, and the thread that waits for it."""

    def __init__(self, folder: Path, lock: FileIO) -> None:
        self._command = [sys.executable, "-P", "-m", CONVERT, str(folder)]
        self._lock = lock
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopped = False

    def run(self) -> tuple[int, bytes, bytes]:
        """Exit code, output and errors. The lock goes along: whoever comes next waits for the end of it."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(self._lock.fileno(),),
        )
        if self._is_stopped:
            self._process.kill()
        out, errors = self._process.communicate()
        return self._process.returncode, out, errors

    def stop(self) -> None:
        """It may be killed at any moment."""
        self._is_stopped = True
        if self._process is not None:
            self._process.kill()


async def _convert(folder: Path, lock: FileIO) -> None:
    """Raises LinkDown."""
    conversion = _Conversion(folder, lock)
    ending = asyncio.ensure_future(asyncio.to_thread(conversion.run))
    try:
        code, out, errors = await asyncio.shield(ending)
    except OSError as error:
        raise LinkDown(f"{folder}: no process to convert ({error})", "it is tried again by itself") from error
    finally:
        if not ending.done():
            conversion.stop()
            await asyncio.wait([ending])
    try:
        answer = json.loads(out)
    except ValueError:
        last = errors.decode(errors="replace").strip().rpartition("\n")[2][:STDERR_CHARACTERS_MAX]
        raise LinkDown(
            f"{folder}: the conversion ended with {code}{f' ({last})' if last else ''}",
            "it is tried again by itself; what was accepted is in the log",
        ) from None
    if failed := answer.get("failed"):
        raise LinkDown(f"{folder}: cannot convert: {'; '.join(failed)}", ROOM_REMEDY)
    if told := answer.get("told"):
        raise LinkDown(f"{folder}: {'; '.join(told)}", DISK_REMEDY)
