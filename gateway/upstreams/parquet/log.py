"""The log that is written to: opened and put in order, appended to, and followed by the next one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gateway.core.record import Identity
from gateway.disk import sync_folder
from gateway.protocol.records.held import Held
from gateway.protocol.records.log import Head, frame
from gateway.upstreams.parquet import folder as places
from gateway.upstreams.parquet.files import held_by_files, numbers_of_files


class Damaged(Exception):
    """The log had a frame that was synced once and is not whole any more. It is closed now, and the next one begun."""


class Log:
    """Blocking; one thread at a time. `began_ns` is the wall time of its first record. After an OSError nothing more
    may be appended: open it anew."""

    def __init__(self, folder: Path, number: int, held: Held) -> None:
        self.began_ns = 0
        self.records = 0
        self._folder = folder
        self._number = number
        self._held = held
        self._file = places.log_path(folder, number).open("ab", buffering=0)

    @property
    def size(self) -> int:
        return self._file.tell()

    def append(self, group: Sequence[tuple[Identity, bytes]], wall_ns: int) -> int:
        """Those that are not held yet or were asked for again, synced; returns how many bytes.

        Raises OSError, and nothing of it stays.
        """
        fresh = {identity: payload for identity, payload in group if identity.is_asked or identity not in self._held}
        if not fresh:
            return 0
        inside = Held()
        for identity in fresh:
            inside.add(identity)
        head = Head(inside.spans(), wall_ns)
        count = self._write(frame(head, list(fresh.values())))
        self.note(head)
        return count

    def probe(self) -> None:
        """An empty frame: what a full or read-only disk says no to before any record is sent."""
        self._write(frame(Head([]), []))

    def next(self) -> None:
        """From here on in the next log; this one is closed."""
        begin(self._folder, self._number + 1, self._held)
        self._file.close()
        self._number += 1
        self._file = places.log_path(self._folder, self._number).open("ab", buffering=0)
        self.began_ns = self.records = 0

    def note(self, head: Head) -> None:
        """A frame that stands in it."""
        for span in head.spans:
            self._held.add_span(span)
        # The first frame, which says what the logs before held, has no time.
        if head.wall_ns and head.spans:
            self.began_ns = self.began_ns or head.wall_ns
            self.records += sum(last - first + 1 for *_, first, last in head.spans)

    def close(self) -> None:
        self._file.close()

    def _write(self, block: bytes) -> int:
        before, count = self._file.tell(), len(block)
        try:
            while block:
                block = block[self._file.write(block) or 0 :]
            os.fsync(self._file.fileno())
        except OSError:
            # What was not synced must not be found whole later: the system may never try again to write it.
            with suppress(OSError):
                os.ftruncate(self._file.fileno(), before)
            raise
        return count


def opened(folder: Path) -> Log:
    """The newest log, its torn end cut off, or a first one. Raises Damaged or OSError."""
    numbers = places.logs(folder)
    if not numbers:
        numbers.append(max([*places.done(folder), *numbers_of_files(folder)], default=0) + 1)
        begin(folder, numbers[-1], held_by_files(folder))
    path = places.log_path(folder, numbers[-1])
    heads: list[Head] = []
    damaged_at = -1
    with path.open("rb+") as log:
        end = 0
        for each in places.frames(log):
            if each is None:
                damaged_at = end
            else:
                heads.append(each.head)
                end = log.tell()
        log.truncate(end)
        # What a run that was killed wrote and did not sync counts as held from now on.
        os.fsync(log.fileno())
    found = Log(folder, numbers[-1], Held())
    for head in heads:
        found.note(head)
    if damaged_at >= 0:
        found.next()
        found.close()
        raise Damaged(f"{path}: damaged at byte {damaged_at}")
    return found


def begin(folder: Path, number: int, held: Held) -> None:
    path = places.log_path(folder, number)
    with path.with_suffix(".new").open("wb") as new:
        new.write(frame(Head(held.spans()), []))
        new.flush()
        os.fsync(new.fileno())
    path.with_suffix(".new").replace(path)
    sync_folder(path.parent)
