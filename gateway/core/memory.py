"""What a tag remembers, as bytes: taken out of a row when the tag leaves, put into another when it returns.

The bytes are those of the tables that `state.TAG_MEMORY` and `WINDOW_MEMORY` name, one table behind the other. They
mean something only to an engine with the same layout (the same fields, the same windows, as many panes and alarms),
which `layout` tells in one number. The last bytes are marks of what the tag was (`gateway.core.lentalarms.mark_of`).
A tag that returns goes on as if it had been silent in between: times are engine time, which goes on over restarts,
and a window's panes keep the phase of the row where they began.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from zlib import crc32

import numpy as np
import numpy.typing as npt

from gateway.core.alarms import ALARM
from gateway.core.kernels.atomics import begin_writes, end_writes
from gateway.core.state import TAG_MEMORY, WINDOW_MEMORY, State
from gateway.core.types import Int64s

Bytes = npt.NDArray[np.uint8]
Marks = npt.NDArray[np.uint32]

MARK_BYTES: Final = 8
NO_MARK: Final[Marks] = np.zeros(2, np.uint32)


class Memory:
    """The memory of one pool's rows: `rows`, which all have `windows_ns` and places for as many `alarms`. All arrays of
    rows are int64."""

    def __init__(self, state: State, rows: range, windows_ns: tuple[int, ...], alarms: int) -> None:
        self._state = state
        self._windows = len(windows_ns)
        self._alarms = alarms
        tables = state.tables._asdict()
        count = len(tables["cells"])
        self._of_tag: list[Bytes] = [as_bytes(tables[name], count) for name in TAG_MEMORY]
        self._of_alarm = as_bytes(tables["alarms"], len(state.tables.alarms))
        self._of_window: list[Bytes] = [as_bytes(tables[name], len(state.tables.windows)) for name in WINDOW_MEMORY]
        described = [(name, repr(tables[name].dtype)) for name in (*TAG_MEMORY, *WINDOW_MEMORY)]
        described.append(("alarms", repr((tables["alarms"].dtype, alarms))))
        self.layout = crc32(repr((described, state.panes, windows_ns, MARK_BYTES)).encode())
        self._of_rows = sum(table.shape[1] for table in self._of_tag)
        self._of_rows += self._windows * sum(table.shape[1] for table in self._of_window)
        self._before_marks = self._of_rows + alarms * ALARM.itemsize
        self.bytes_per_row = self._before_marks + MARK_BYTES
        self._fresh = self.take(np.array([rows.start], np.int64), NO_MARK)[0]

    def take(self, rows: Int64s, marks: Marks) -> Bytes:
        """What these rows remember, [place, bytes], with their marks, [place, 2] or the same for all."""
        out = np.empty((len(rows), self.bytes_per_row), np.uint8)
        for table, index, start, stop in self._parts(rows):
            out[:, start:stop] = table[index].reshape(len(rows), stop - start)
        told = np.ascontiguousarray(np.broadcast_to(marks, (len(rows), 2)), np.uint32)
        out[:, self._before_marks :] = told.view(np.uint8)
        return out

    def put(self, row: int, memory: Bytes, mark: tuple[int, int]) -> bool:
        """Have a row remember what `take` gave, under its sequence lock; all but the alarms where it had others. False,
        and nothing happens, where the tag was of another kind or unit."""
        of_tag, of_alarms = memory[self._before_marks :].view(np.uint32).tolist()
        if of_tag != mark[0]:
            return False
        if of_alarms != mark[1]:
            memory = memory.copy()
            memory[self._of_rows :] = self._fresh[self._of_rows :]
        self._write(np.array([row], np.int64), memory[np.newaxis])
        return True

    def clear(self, rows: Int64s) -> None:
        """Have rows remember nothing, under their sequence locks."""
        self._write(rows, np.broadcast_to(self._fresh, (len(rows), self.bytes_per_row)))

    def _write(self, rows: Int64s, memory: Bytes) -> None:
        words = self._state.tables.words
        begin_writes(words, rows)
        for table, index, start, stop in self._parts(rows):
            table[index] = memory[:, start:stop].reshape(*index.shape, table.shape[1])
        end_writes(words, rows)

    def _parts(self, rows: Int64s) -> Iterator[tuple[Bytes, Int64s, int, int]]:
        """Each table with the records that are these rows', and their place in the bytes of a row."""
        start = 0
        for table in self._of_tag:
            yield table, rows, start, start + table.shape[1]
            start += table.shape[1]
        if self._alarms:
            first = self._state.tables.limits["alarm_first"][rows].astype(np.int64)
            yield self._of_alarm, first[:, np.newaxis] + np.arange(self._alarms), self._of_rows, self._before_marks
        if self._windows:
            first = self._state.tables.limits["window_first"][rows].astype(np.int64)
            windows = first[:, np.newaxis] + np.arange(self._windows)
            for table in self._of_window:
                size = self._windows * table.shape[1]
                yield table, windows, start, start + size
                start += size


def as_bytes(table: npt.NDArray[np.generic], count: int) -> Bytes:
    """A table as [owner, bytes], the same memory. `count` owners share it evenly, in order."""
    raw: Bytes = table.view(np.uint8).reshape(count, -1) if count else np.zeros((0, 0), np.uint8)
    return raw
