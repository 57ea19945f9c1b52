"""The historian: every ten seconds, what all tags are goes into the history, by a thread of its own.

A point is the tag's first window as it stands then: its mean, minimum and maximum (a window longer than ten seconds
smooths). What has no window is not kept. Nobody waits for this thread; while the disk takes nothing, steps are missing
and counted. Nothing is kept while the wall clock was never set.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from gateway.core.events import Emit, Event, Severity
from gateway.core.ports import Clock
from gateway.core.readings import Reading
from gateway.core.types import NS_PER_S, QUALITY_GOOD_MIN
from gateway.runtime.clock import EngineClock
from gateway.runtime.plant import Plant
from gateway.spool.history import HISTORY_FILE, RESOLUTIONS_NS, Columns, HistoryStore
from gateway.spool.records import StoreDamaged, StoreUnavailable

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_history_bytes", "gauge", "Bytes that the history takes in its file."),
    ("fieldgate_history_blocks_total", "counter", "Steps of ten seconds that were written."),
    ("fieldgate_history_missed_total", "counter", "Steps that could not be written."),
    ("fieldgate_history_dropped_blocks_total", "counter", "Oldest blocks deleted to stay within `keep`."),
)

STEP_NS: Final = RESOLUTIONS_NS[0]
WALL_MIN_NS: Final = 1_577_836_800 * NS_PER_S
"""2020: a clock that shows less was never set."""


class Historian:
    """`plant` gives the one that runs now, None while there is none."""

    def __init__(
        self, state_dir: Path, bytes_max: int, plant: Callable[[], Plant | None], clock: EngineClock, emit: Emit
    ) -> None:
        self._path = state_dir / HISTORY_FILE
        self._bytes_max = bytes_max
        self._plant = plant
        self._clock: EngineClock = clock
        self._now_ns: Clock = clock
        self._emit = emit
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._store: HistoryStore | None = None
        self._is_well = True
        self._written = self._missed = self._dropped = self._bytes = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """False when it took longer."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            wall_ns = self._now_ns() + self._clock.wall_offset_ns()
            if self._stopping.wait((STEP_NS - wall_ns % STEP_NS) / NS_PER_S):
                break
            wall_ns = self._now_ns() + self._clock.wall_offset_ns()
            self.step(wall_ns - wall_ns % STEP_NS - STEP_NS)
        if self._store is not None:
            self._store.close()

    def step(self, start_ns: int) -> None:
        """Write the step that began then. On the thread, or a test's."""
        plant = self._plant()
        if plant is None or start_ns < WALL_MIN_NS:
            return
        try:
            if self._store is None:
                self._store = self._open()
            names, values = points_of(plant)
            if names:
                self._store.write(start_ns, names, values)
            self._written += 1
            self._dropped = self._store.dropped_blocks
            self._bytes = self._store.bytes_used()
        except (StoreUnavailable, StoreDamaged) as error:
            self._missed += 1
            if isinstance(error, StoreDamaged) and self._store is not None:
                # Opened again, it is looked through and put aside.
                self._store.close()
                self._store = None
            self._tell(False, f"the history is not written: {error}")
            return
        self._tell(True, "the history is written again")

    def _open(self) -> HistoryStore:
        store = HistoryStore(self._path, self._bytes_max)
        if store.put_aside is not None:
            message = f"{self._path} is damaged; it is put aside as {store.put_aside.name}, and a new one is begun"
            self._emit(Event(self._now_ns(), Severity.ERROR, "history.damaged", "history", message))
        return store

    def _tell(self, is_well: bool, message: str) -> None:
        if is_well != self._is_well:
            kind, severity = ("available", Severity.NOTICE) if is_well else ("unavailable", Severity.ERROR)
            self._emit(Event(self._now_ns(), severity, f"history.{kind}", "history", message))
        self._is_well = is_well

    def readings(self) -> Iterator[Reading]:
        yield Reading("fieldgate_history_bytes", self._bytes)
        yield Reading("fieldgate_history_blocks_total", self._written)
        yield Reading("fieldgate_history_missed_total", self._missed)
        yield Reading("fieldgate_history_dropped_blocks_total", self._dropped)


def points_of(plant: Plant) -> tuple[list[str], Columns]:
    """Names, and [mean, min, max, good share] by tag, of all tags that have a window."""
    known = list(plant.engine.directory.rows())
    view = plant.engine.view
    rows = np.array([row for _, row in known], np.int32)
    if not len(rows):
        return [], np.zeros((4, 0))
    windows = view.aggregates(rows)
    first = np.flatnonzero(np.diff(windows["row"], prepend=-1))
    windows = windows[first]
    name_of = {row: name for name, row in known}
    names = [name_of[row] for row in windows["row"].tolist()]
    is_good = (windows["quality"] >= QUALITY_GOOD_MIN).astype(np.float64)
    return names, np.stack([windows["mean"], windows["min"], windows["max"], is_good])
