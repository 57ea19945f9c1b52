"""The intake: frames of one durable session on disk, before the broker hears that we have them.

Files `<number>.intake` in one folder are appended to by a thread of their own: all frames that
wait are one group, one fdatasync, then each is told as kept, in order. A frame that the disk does not take is tried
again every `RETRY_NS`; meanwhile nothing is acknowledged, which is what holds the broker up.

A file goes when all its samples are safe further on (`passed`) and a later one has its head, which repeats what
must be remembered of it. At `bytes_max` nothing more is taken until something is passed.

Opening cuts off what a crash left half written at the end; it was never told as kept. Damage before the end is put
aside (`.damaged`) and told: what was lost with it cannot be known.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from gateway.core.events import Emit, Event, Severity
from gateway.core.histogram import SIZE
from gateway.core.intake import Frame, FrameDamaged, Head, Identities, decode, encode_frame, encode_head
from gateway.core.kernels.histogram import observe
from gateway.core.limits import INTAKE_BYTES_MAX, INTAKE_KEYS_MAX
from gateway.core.ports import Clock
from gateway.core.readings import HistogramReading, Reading, histogram_reading
from gateway.core.types import NS_PER_S, Samples
from gateway.disk import sync_folder
from gateway.spool.thread import DiskThread

Kept: TypeAlias = Callable[[], None]

SUFFIX: Final = ".intake"
DIGITS: Final = 20
FILE_BYTES: Final = 8 * 1024 * 1024
RETRY_NS: Final = NS_PER_S

METRICS: Final[tuple[tuple[str, str, str], ...]] = (
    ("fieldgate_intake_samples_total", "counter", "Samples on disk before their messages were acknowledged."),
    ("fieldgate_intake_written_bytes_total", "counter", "Bytes written to the intake."),
    ("fieldgate_intake_bytes", "gauge", "Bytes of the files whose samples are not safe further on yet."),
    ("fieldgate_intake_limit_bytes", "gauge", "Bytes at which nothing more is acknowledged until samples are safe."),
    ("fieldgate_intake_restored_samples_total", "counter", "Samples brought back after a restart."),
    ("fieldgate_intake_unknown_samples_total", "counter", "Samples of a restart whose tags are no longer configured."),
    ("fieldgate_intake_unavailable_total", "counter", "Writes that failed: disk full, or input/output error."),
    ("fieldgate_intake_commit_seconds", "histogram", "Time that a group took to reach the disk."),
)


class IntakeFiles(DiskThread):
    """One lane's intake: opened, restored, started, stopped. `tags` are the names of the rows that its samples have."""

    def __init__(
        self,
        folder: Path,
        lane: str,
        *,
        tags: Mapping[int, str],
        now_ns: Clock,
        emit: Emit,
        bytes_max: int = INTAKE_BYTES_MAX,
        file_bytes: int = FILE_BYTES,
        stopwatch_ns: Clock = time.monotonic_ns,
    ) -> None:
        super().__init__(f"intake {lane}")
        self._folder = folder
        self._lane = lane
        self._tags = dict(tags)
        self._now_ns = now_ns
        self._emit = emit
        self._bytes_max = bytes_max
        self._file_bytes_max = file_bytes
        self._stopwatch_ns = stopwatch_ns
        self._safe = 0
        self.identities = Identities(INTAKE_KEYS_MAX)
        self._sizes: dict[Path, int] = {}
        self._last: dict[Path, int] = {}
        self._number = 0
        self._begins_at = 0
        self._queue: deque[tuple[Frame, Kept]] = deque()
        self._is_held = False
        # The thread's own.
        self._file = -1
        self._path = folder
        self._available = True
        self._samples = self._written = self._failures = self._restored = self._unknown = 0
        self._commit_counts = np.zeros(SIZE, np.int64)

    # -- before the start -----------------------------------------------------------------------------------------

    def open(self, safe: int) -> None:
        """Read everything once. `safe` is the position up to which all is safe further on. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._safe = safe
        begins_at = None
        following = self._safe + 1
        paths = sorted(path for path in self._folder.glob(f"*{SUFFIX}") if path.stem.isdigit())
        for path in paths:
            self._number = int(path.stem)
            self._sizes[path] = path.stat().st_size
            self._last[path] = 0
            for found in self._read(path, is_last=path == paths[-1]):
                if isinstance(found, Head):
                    self.identities = Identities(INTAKE_KEYS_MAX)
                    self.identities.note(found.acks, found.keys)
                    self._last[path] = found.first - 1
                else:
                    self.identities.note(found.acks, found.keys, is_new_session=found.is_new_session)
                    self._last[path] = found.last
                    if begins_at is None and found.last > self._safe:
                        begins_at = max(self._safe, found.first - 1)
                following = max(following, self._last[path] + 1)
        self._begins_at = following - 1 if begins_at is None else begins_at

    @property
    def begins_at(self) -> int:
        """Position behind which the lane goes on: first with what is restored, then with what is put."""
        return self._begins_at

    def restored(self) -> Iterator[Samples]:
        """The samples that are not safe further on, in their order, with the rows of the present configuration.

        Each position comes once: a frame may stand in two files, when the disk took it and said that it did not.
        """
        rows = {name: row for row, name in self._tags.items()}
        done = self._begins_at
        for path in sorted(self._sizes):
            moved: dict[int, int] = {}
            for found in self._read(path):
                if isinstance(found, Head):
                    moved = {row: rows.get(name, -1) for row, name in found.tags.items()}
                elif found.last > done:
                    samples = found.samples[max(0, done + 1 - found.first) :].copy()
                    done = found.last
                    old = samples["row"].tolist()
                    samples["row"] = [moved.get(row, -1) for row in old]
                    # Positions count every sample, so those of unknown tags stay; the engine rejects and counts them.
                    self._unknown += int(np.count_nonzero(samples["row"] < 0))
                    self._restored += len(samples)
                    yield samples

    # -- from any thread ------------------------------------------------------------------------------------------

    def put(self, frame: Frame, kept: Kept) -> None:
        """`kept` is called on the intake's thread once the frame is on disk."""
        with self._changed:
            self._queue.append((frame, kept))
            self._changed.notify()

    def passed(self, position: int) -> None:
        with self._changed:
            self._safe = max(self._safe, position)
            if self._is_held:
                self._changed.notify()

    def size_bytes(self) -> int:
        return sum(self._sizes.copy().values())

    def readings(self) -> Iterator[Reading | HistogramReading]:
        labels = (("lane", self._lane),)
        values = (
            self._samples,
            self._written,
            self.size_bytes(),
            self._bytes_max,
            self._restored,
            self._unknown,
            self._failures,
        )
        for (name, _, _), value in zip(METRICS[:-1], values, strict=True):
            yield Reading(name, value, labels)
        yield histogram_reading("fieldgate_intake_commit_seconds", self._commit_counts, labels)

    # -- opening --------------------------------------------------------------------------------------------------

    def _read(self, path: Path, *, is_last: bool = False) -> Iterator[Head | Frame]:
        data = path.read_bytes() if path.exists() else b""
        at = 0
        while at < len(data):
            try:
                found, at = decode(data, at)
            except FrameDamaged as error:
                self._repair(path, at, f"{error}", is_torn=is_last)
                return
            yield found

    def _repair(self, path: Path, at: int, why: str, *, is_torn: bool) -> None:
        """Keep what is sound. A torn end was never told as kept; anything else was, and is told as lost."""
        if not is_torn:
            path.with_suffix(".damaged").write_bytes(path.read_bytes()[at:])
            message = f"{path}: the frame at byte {at} {why}; what follows it in this file is put aside and not used"
            self._say(Severity.ERROR, "intake.damaged", message)
        os.truncate(path, at)
        self._sizes[path] = at

    # -- the intake's thread --------------------------------------------------------------------------------------

    def _turn(self) -> bool:
        with self._changed:
            while not (self._queue or self._stopping):
                self._changed.wait()
            self._is_held = bool(self._queue) and self._is_full() and not self._stopping
            if self._is_held:
                self._changed.wait(RETRY_NS / NS_PER_S)
            group = list(self._queue)
        self._delete_passed()
        if group and not self._is_full() and self._try(group):
            with self._changed:
                for _ in group:
                    self._queue.popleft()
            for _, kept in group:
                kept()
        elif group and not self._stopping:
            with self._changed:
                self._changed.wait(RETRY_NS / NS_PER_S)
        return not self._stopping or bool(group and self._available and not self._is_full())

    def _is_full(self) -> bool:
        return self.size_bytes() >= self._bytes_max

    def _try(self, group: list[tuple[Frame, Kept]]) -> bool:
        """Whether the frames are on disk now."""
        started_ns = self._stopwatch_ns()
        try:
            self._write(group)
        except OSError as error:
            self._failures += 1
            self._give_up_file()
            if self._available:
                self._available = False
                why = f"{self._folder}: {error.strerror or error}"
                remedy = (
                    "durable messages are not acknowledged until this is over; free some space, or look at the disk"
                )
                self._say(Severity.ERROR, "intake.unavailable", f"{why}; {remedy}")
            return False
        observe(self._commit_counts, self._stopwatch_ns() - started_ns)
        if not self._available:
            self._available = True
            self._say(Severity.NOTICE, "intake.available", f"{self._folder}: messages are kept again")
        return True

    def _write(self, group: list[tuple[Frame, Kept]]) -> None:
        frames = [frame for frame, _ in group]
        if self._file < 0 or self._sizes[self._path] >= self._file_bytes_max:
            self._begin_file(frames[0].first)
        data = b"".join(encode_frame(frame) for frame in frames)
        self._append(data)
        os.fdatasync(self._file)
        self._sizes[self._path] += len(data)
        self._last[self._path] = frames[-1].last
        for frame in frames:
            self.identities.note(frame.acks, frame.keys, is_new_session=frame.is_new_session)
            self._samples += len(frame.samples)

    def _begin_file(self, first: int) -> None:
        """A file to which a write failed is never written again."""
        self._close()
        self._number += 1
        path = self._folder / f"{self._number:0{DIGITS}}{SUFFIX}"
        head = encode_head(Head(first, self.identities.as_acks(), self.identities.keys, self._tags))
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o640)
        self._path = path
        self._sizes[path] = self._last[path] = 0
        self._append(head)
        os.fsync(self._file)
        sync_folder(self._folder)
        self._sizes[path] = len(head)
        self._last[path] = first - 1

    def _append(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._file, left) :]
        self._written += len(data)

    def _delete_passed(self) -> None:
        """Old files all of whose samples are safe; never the newest, whose head knows the identifiers."""
        for path in sorted(self._sizes)[:-1]:
            if self._last[path] > self._safe or path == self._path:
                return
            path.unlink(missing_ok=True)
            del self._sizes[path], self._last[path]

    def _give_up_file(self) -> None:
        """A write failed: take off what it may have left, which is written again, elsewhere."""
        if self._file >= 0:
            # A disk that does not even do this leaves a repetition or a torn end; both are seen when it is read.
            with suppress(OSError):
                os.ftruncate(self._file, self._sizes[self._path])
        self._close()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _say(self, severity: Severity, kind: str, message: str) -> None:
        self._emit(Event(self._now_ns(), severity, kind, self._lane, message))
