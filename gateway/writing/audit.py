"""The audit trail: who wrote what, from where, with which result, appended to a file and synced. Its lines are chained
(`chain`), and log-ins and reloads are in it too.

Every write has a line before anything is sent, so that none goes without a trace, and one with its result. When the
trail cannot be kept, nothing is written. Files are put aside at `AUDIT_FILE_BYTES_MAX` and the oldest of
`AUDIT_FILES_MAX` deleted, which is told.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.core.events import Emit, Event, Severity
from gateway.core.limits import AUDIT_FILE_BYTES_MAX, AUDIT_FILES_MAX, AUDIT_WAITING_MAX
from gateway.core.ports import Clock
from gateway.core.readings import Reading
from gateway.core.types import NS_PER_S
from gateway.writing.chain import NO_HEAD, Head, chained, cut_torn_end, head_of

FILE: Final = "audit.jsonl"
ANCHOR_EVERY_NS: Final = 3_600 * NS_PER_S

METRICS = (("fieldgate_audit_lines_total", "counter", "Lines of the audit trail, by whether they were written."),)


class TrailError(Exception):
    """The audit trail cannot be kept; the text says why."""


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. `result` is "sent" before the write, and then what came of it."""

    id: str
    way: str
    who: str
    what: str
    new: str
    result: str
    old: str = ""
    reason: str = ""


class Trail:
    """Of one gateway. `run` writes what `note` hands over; the order is kept."""

    def __init__(self, folder: Path, *, wall_ns: Clock, now_ns: Clock, emit: Emit) -> None:
        self._path = folder / FILE
        self._wall_ns = wall_ns
        self._now_ns = now_ns
        self._emit = emit
        self._waiting: asyncio.Queue[tuple[bytes, asyncio.Future[None]]] = asyncio.Queue(AUDIT_WAITING_MAX)
        self._is_broken = False
        self._head: Head | None = None
        """None: to be found in the files."""
        self._anchored = NO_HEAD
        self._anchor_ns = 0
        self.written = 0
        self.lost = 0

    async def note(self, line: Line) -> None:
        """Returns when the line is on the disk. Raises TrailError."""
        await self.post(line)

    def post(self, line: Line) -> asyncio.Future[None]:
        """Hand a line over; the future ends when it is on the disk, or with TrailError. Raises TrailError at once."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.add_done_callback(_look_at)
        wall = datetime.fromtimestamp(self._wall_ns() / NS_PER_S, UTC)
        text: dict[str, Any] = {"time": wall.isoformat(timespec="milliseconds"), **msgspec.to_builtins(line)}
        try:
            self._waiting.put_nowait((msgspec.json.encode(text), done))
        except asyncio.QueueFull:
            self.lost += 1
            raise TrailError(f"{AUDIT_WAITING_MAX} lines of the audit trail wait for the disk already") from None
        return done

    async def run(self) -> None:
        """Until cancelled; then what still waits is written first."""
        try:
            while True:
                taken = [await self._waiting.get(), *self._take()]
                lines = [line for line, _ in taken]
                self._end(taken, await asyncio.shield(asyncio.to_thread(self._append, lines)))
        finally:
            if left := self._take():
                self._end(left, self._append([line for line, _ in left]))

    def _take(self) -> list[tuple[bytes, asyncio.Future[None]]]:
        taken = []
        while not self._waiting.empty():
            taken.append(self._waiting.get_nowait())
        return taken

    def _end(self, taken: list[tuple[bytes, asyncio.Future[None]]], error: TrailError | None) -> None:
        for _, done in taken:
            if not done.done():
                done.set_result(None) if error is None else done.set_exception(error)
        self._tell(error, len(taken))

    def _tell(self, error: TrailError | None, count: int) -> None:
        if error is None:
            self.written += count
        else:
            self.lost += count
        if (error is not None) != self._is_broken:
            self._is_broken = error is not None
            said = f"{error}; nothing can be written to devices until it is" if error else "is kept again"
            severity = Severity.ERROR if error else Severity.NOTICE
            self._emit(Event(self._now_ns(), severity, "audit.broken" if error else "audit.kept", "audit", said))

    def _append(self, new: list[bytes]) -> TrailError | None:
        """On another thread."""
        try:
            head = self._head if self._head is not None else self._found_head()
            self._head = None  # until all of it is there: else what the file has is looked at again
            chain = []
            for line in new:
                whole, head = chained(line, head)
                chain.append(whole)
            lines = b"".join(chain)
            if self._path.exists() and self._path.stat().st_size + len(lines) > AUDIT_FILE_BYTES_MAX:
                self._put_aside()
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                if os.write(fd, lines) != len(lines):
                    return TrailError(f"the audit trail {self._path} cannot be kept: the disk is full")
                os.fdatasync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            return TrailError(f"the audit trail {self._path} cannot be kept: {error.strerror}")
        self._head = head
        self._anchor(head)
        return None

    def _found_head(self) -> Head:
        """Raises OSError."""
        torn = cut_torn_end(self._path)
        if torn:
            what = f"{torn} bytes at the end of {self._path} are no whole line: a power cut left them; they are cut off"
            self._emit(Event(self._now_ns(), Severity.WARNING, "audit.torn", "audit", what))
        return head_of(self._path)

    def _anchor(self, head: Head) -> None:
        """Tell the head, for whoever wants to know later that the trail was not cut off or made anew."""
        now_ns = self._now_ns()
        if self._anchored is NO_HEAD or now_ns - self._anchor_ns >= ANCHOR_EVERY_NS:
            self._anchored, self._anchor_ns = head, now_ns
            self._emit(Event(now_ns, Severity.INFO, "audit.head", "audit", str(head)))

    def _put_aside(self) -> None:
        stamp = datetime.fromtimestamp(self._wall_ns() / NS_PER_S, UTC).strftime("%Y%m%dT%H%M%S%f")
        self._path.rename(self._path.with_suffix(f".{stamp}.jsonl"))
        aside = sorted(self._path.parent.glob(f"{self._path.stem}.*.jsonl"))
        for old in aside[: max(0, len(aside) + 1 - AUDIT_FILES_MAX)]:
            old.unlink()
            what = f"{old} is deleted: there are {AUDIT_FILES_MAX} files; copy them elsewhere in time"
            self._emit(Event(self._now_ns(), Severity.WARNING, "audit.deleted", "audit", what))

    def readings(self) -> Iterator[Reading]:
        for result, count in (("written", self.written), ("lost", self.lost)):
            yield Reading("fieldgate_audit_lines_total", count, (("result", result),))


def _look_at(done: asyncio.Future[None]) -> None:
    """A line that nobody waits for may fail: that is told by an event."""
    if not done.cancelled():
        done.exception()
