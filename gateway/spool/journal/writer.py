"""The journal's thread: groups of cycles to the disk, then what came of them to the outside.

The engine runs beside it and never waits: `put` hands over a cycle and what is to be released, and the journal calls
that, in order, once the cycle is on the disk (fdatasync). A group is written `commit_every_ns` after its first cycle,
or as soon as it is large.

When the disk takes nothing (full, read-only, an error), or is so slow that the queue is full, the plant goes on
without the journal: outputs are released uncovered, counted and told by one event, lanes' positions are not passed,
so whoever keeps inbound samples keeps them. A file to which a write failed is never written again. The numbers of
the cycles say later where something is missing: a restart that meets such a hole begins new segments.

Files are kept up to `bytes_max` and `age_ns`, but those that the latest checkpoint needs: they go only when they alone
are more than `bytes_max`, which is told by an event.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import zstandard

from gateway.core.cycle import Cycle
from gateway.core.events import Emit, Event, Severity
from gateway.core.histogram import SIZE
from gateway.core.kernels.histogram import observe
from gateway.core.kernels.shuffle import keep_rows
from gateway.core.limits import JOURNAL_GROUP_SAMPLES, JOURNAL_QUEUE_CYCLES, JOURNAL_QUEUE_SAMPLES
from gateway.core.ports import Clock
from gateway.core.readings import HistogramReading, Reading, histogram_reading
from gateway.core.types import NS_PER_S, RAW_SAMPLE, SAMPLE, Bytes
from gateway.disk import sync_folder
from gateway.spool.journal.files import first_of, path_of, paths
from gateway.spool.journal.format import ZSTD_LEVEL, Head, encode_cycles, encode_head
from gateway.spool.thread import DiskThread

Release: TypeAlias = Callable[[bool], None]
"""Called once with whether the cycle is in the journal, on disk."""

RETRY_NS: Final = NS_PER_S
FILES_PER_JOURNAL: Final = 16
FILE_BYTES_MAX: Final = 64 * 1024 * 1024
FILE_BYTES_MIN: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Keep:
    """How much is kept, and how long a cycle may wait for its group."""

    bytes_max: int
    age_ns: int
    commit_every_ns: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """`cycle` is None when it did not fit into the queue; `head` is given when an engine begins, which is no cycle."""

    number: int
    release: Release
    cycle: Cycle | None = None
    head: Head | None = None


class Journal(DiskThread):
    """Owns `folder` from `start` to `stop`. `passed` is told the lanes' positions that are on disk."""

    def __init__(
        self,
        folder: Path,
        *,
        keep: Keep,
        now_ns: Clock,
        emit: Emit,
        passed: Callable[[dict[str, int]], None],
        stopwatch_ns: Clock = time.monotonic_ns,
    ) -> None:
        super().__init__("journal")
        self.folder = folder
        self._keep = keep
        self._file_bytes_max = max(FILE_BYTES_MIN, min(FILE_BYTES_MAX, keep.bytes_max // FILES_PER_JOURNAL))
        self._now_ns = now_ns
        self._emit = emit
        self._passed = passed
        self._stopwatch_ns = stopwatch_ns
        # Shared between threads, under the condition.
        self._queue: deque[_Entry] = deque()
        self._queued_samples = 0
        self._queued_ns = 0
        self._hurry = False
        self._needed = 0
        # Written by the engine's thread only.
        self._is_kept: Bytes = np.zeros(0, np.uint8)
        self._overflowed = 0
        # The journal thread's own.
        self._compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
        self._file = -1
        self._file_bytes = 0
        self._head: Head | None = None
        self._sizes = {path: (path.stat().st_size, now_ns()) for path in paths(folder)}
        self._hole = 0
        self._available = True
        self._failed_ns = 0
        self._failures = 0
        self._covered = 0
        self._uncovered = 0
        self._samples = 0
        self._bytes = 0
        self._deleted = 0
        self._needed_deleted = 0
        self._commit_counts = np.zeros(SIZE, np.int64)

    # -- from other threads --------------------------------------------------------------------------------------

    def has_hole(self, number: int) -> None:
        """Before the start: a restart could not follow the cycles up to `number`, and would come to no more again."""
        self._hole = number

    def begin(self, head: Head, is_kept: Bytes) -> None:
        """The cycles from now on are of the engine in `head`; samples of rows not marked in `is_kept` are left out."""
        self._is_kept = is_kept
        self._append(_Entry(0, _nothing, head=head), 0)

    def put(self, cycle: Cycle, release: Release) -> None:
        """Engine's thread. The samples are copied; what does not fit into the queue is released uncovered."""
        samples = cycle.samples
        if len(self._is_kept):
            kept = np.empty_like(samples)
            samples = kept[: keep_rows(samples, self._is_kept, kept)]
        if (
            self._queued_samples + len(samples) > JOURNAL_QUEUE_SAMPLES
            or len(self._queue) >= JOURNAL_QUEUE_CYCLES
            or self._stopping
        ):
            self._overflowed += 1
            self._append(_Entry(cycle.number, release), 0)
            return
        self._append(
            _Entry(cycle.number, release, replace(cycle, samples=samples.view(RAW_SAMPLE).copy().view(SAMPLE))),
            len(samples),
        )

    def _append(self, entry: _Entry, samples: int) -> None:
        with self._changed:
            if not self._queue:
                self._queued_ns = self._stopwatch_ns()
            self._queue.append(entry)
            self._queued_samples += samples
            self._changed.notify()

    def flush(self, timeout_s: float) -> bool:
        """Returns when all that was put before is released; False when that took longer."""
        done = threading.Event()
        with self._changed:
            self._hurry = True
        self._append(_Entry(0, lambda _: done.set()), 0)
        return done.wait(timeout_s)

    def let_go(self, number: int) -> None:
        """A restart needs no cycle up to `number` any more."""
        self._needed = number

    @property
    def is_available(self) -> bool:
        return self._available

    def size_bytes(self) -> int:
        return sum(size for size, _ in self._sizes.copy().values())

    def readings(self) -> Iterator[Reading | HistogramReading]:
        overflowed = self._overflowed
        yield Reading("fieldgate_journal_cycles_total", self._covered)
        uncovered = "fieldgate_journal_uncovered_cycles_total"
        yield Reading(uncovered, overflowed, (("reason", "queue full"),))
        yield Reading(uncovered, self._uncovered, (("reason", "unavailable"),))
        yield Reading("fieldgate_journal_samples_total", self._samples)
        yield Reading("fieldgate_journal_written_bytes_total", self._bytes)
        yield Reading("fieldgate_journal_unavailable_total", self._failures)
        yield Reading("fieldgate_journal_available", float(self._available))
        yield Reading("fieldgate_journal_queue_samples", self._queued_samples)
        yield Reading("fieldgate_journal_bytes", self.size_bytes())
        yield Reading("fieldgate_journal_limit_bytes", self._keep.bytes_max)
        yield Reading("fieldgate_journal_deleted_files_total", self._deleted)
        yield Reading("fieldgate_journal_needed_deleted_total", self._needed_deleted)
        yield histogram_reading("fieldgate_journal_commit_seconds", self._commit_counts)

    # -- the journal's thread ------------------------------------------------------------------------------------

    def _turn(self) -> bool:
        with self._changed:
            while not self._is_due():
                self._changed.wait(self._wait_s())
            stopping = self._stopping
            entries = self._take()
        self._write_group(entries)
        return not stopping or bool(self._queue)

    def _is_due(self) -> bool:
        return self._stopping or (bool(self._queue) and (self._hurry or self._wait_s() <= 0))

    def _wait_s(self) -> float:
        """How long the group may grow; for want of one, until something is put."""
        if not self._queue:
            return 1.0
        if self._queued_samples >= JOURNAL_GROUP_SAMPLES:
            return 0.0
        return max(0, self._queued_ns + self._keep.commit_every_ns - self._stopwatch_ns()) / NS_PER_S

    def _take(self) -> list[_Entry]:
        """A group: cycles of one engine, and no more samples than a group has."""
        taken: list[_Entry] = []
        samples = 0
        while self._queue and samples < JOURNAL_GROUP_SAMPLES:
            if taken and self._queue[0].head is not None:
                break
            entry = self._queue.popleft()
            taken.append(entry)
            samples += len(entry.cycle.samples) if entry.cycle is not None else 0
        self._queued_samples -= samples
        if not self._queue:
            self._hurry = False
        self._queued_ns = self._stopwatch_ns()
        return taken

    def _write_group(self, entries: list[_Entry]) -> None:
        for entry in entries:
            if entry.head is not None:
                self._head = entry.head
                self._close()
        cycles = [entry.cycle for entry in entries if entry.cycle is not None]
        is_written = bool(cycles) and self._try(cycles)
        for entry in entries:
            is_covered = is_written and entry.cycle is not None
            if entry.number and not is_covered:
                self._hole = entry.number
            entry.release(is_covered)
        # Behind a hole nothing is passed until a checkpoint stands beyond it: what fell into it is in no file.
        if is_written and self._hole <= self._needed:
            self._passed(cycles[-1].positions)

    def _try(self, cycles: list[Cycle]) -> bool:
        """Whether the cycles are on disk now."""
        now = self._stopwatch_ns()
        if not self._available and now - self._failed_ns < RETRY_NS:
            self._uncovered += len(cycles)
            return False
        try:
            self._write(cycles)
        except OSError as error:
            self._failures += 1
            self._failed_ns = now
            self._uncovered += len(cycles)
            self._close()
            if self._available:
                self._available = False
                self._say(
                    Severity.ERROR,
                    "journal.unavailable",
                    f"{self.folder}: {error.strerror or error}; the gateway goes on without its journal: a restart now "
                    "loses what is under way and begins new segments; free some space, or look at the disk",
                )
            return False
        observe(self._commit_counts, self._stopwatch_ns() - now)
        self._covered += len(cycles)
        self._samples += sum(len(cycle.samples) for cycle in cycles)
        if not self._available:
            self._available = True
            self._say(Severity.NOTICE, "journal.available", f"{self.folder}: cycles are written again")
        return True

    def _write(self, cycles: list[Cycle]) -> None:
        """Consecutive cycles in one block each; a hole in the numbers begins another."""
        assert self._head is not None, "an engine must begin before its cycles"
        if self._file < 0 or self._file_bytes >= self._file_bytes_max:
            self._open_file(cycles[0].number, cycles[0].now_ns, self._head)
        begin = 0
        for place in range(1, len(cycles) + 1):
            if place == len(cycles) or cycles[place].number != cycles[place - 1].number + 1:
                self._append_bytes(encode_cycles(cycles[begin:place], self._compressor))
                begin = place
        os.fdatasync(self._file)
        path = max(self._sizes)
        self._sizes[path] = (self._file_bytes, cycles[-1].now_ns)

    def _open_file(self, first: int, now_ns: int, head: Head) -> None:
        self._close()
        self._delete_old(now_ns)
        self.folder.mkdir(exist_ok=True)
        path = path_of(self.folder, first)
        # A file of that name can only be one to which nothing was written whole.
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o640)
        self._file_bytes = 0
        self._sizes[path] = (0, now_ns)
        self._append_bytes(encode_head(head, first))
        os.fsync(self._file)
        sync_folder(self.folder)

    def _append_bytes(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._file, left) :]
        self._file_bytes += len(data)
        self._bytes += len(data)

    def _delete_old(self, now_ns: int) -> None:
        """The oldest file, again and again, while there is too much, or it is too old and not needed."""
        while self._sizes:
            oldest, *others = sorted(self._sizes)
            is_needed = not others or first_of(others[0]) > self._needed + 1
            total = self.size_bytes() + self._file_bytes_max
            is_old = now_ns - self._sizes[oldest][1] > self._keep.age_ns
            if not (total > self._keep.bytes_max or (is_old and not is_needed)):
                return
            if is_needed:
                self._needed_deleted += 1
                self._say(
                    Severity.ERROR,
                    "journal.overflow",
                    f"{oldest.name} is deleted to keep within {self._keep.bytes_max:,} bytes, and a restart would have "
                    "needed it: it would begin new segments; raise keep under [journal], or see why no checkpoint is "
                    "written",
                )
            oldest.unlink(missing_ok=True)
            del self._sizes[oldest]
            self._deleted += 1

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _say(self, severity: Severity, kind: str, message: str) -> None:
        self._emit(Event(self._now_ns(), severity, kind, "journal", message))


def _nothing(is_covered: bool) -> None:
    return
