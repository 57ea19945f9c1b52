"""The engine's state as other threads see it: `PlantView`, by copies taken under the rows' sequence locks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gateway.core.kernels.read import (
    count_windows,
    read_aggregates,
    read_devices,
    read_live,
    read_memory,
    read_multivariate,
)
from gateway.core.multivariate import MULTIVARIATE
from gateway.core.record import AGGREGATE
from gateway.core.state import HOURS, NOVELTY, PANE, State
from gateway.core.types import Float32s, Samples
from gateway.core.view import DEVICE, LIVE


class StateView:
    """`PlantView` over the engine's state. Windows are as of the engine's last step."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.now_ns = 0

    def live(self, rows: npt.NDArray[np.int32]) -> Samples:
        rows = self._checked(rows)
        out = np.zeros(len(rows), LIVE)
        read_live(self._state.tables, rows, out)
        return out

    def aggregates(self, rows: npt.NDArray[np.int32]) -> Samples:
        rows = self._checked(rows)
        return self.aggregates_at(rows, self.now_ns)

    def aggregates_at(self, rows: npt.NDArray[np.int32], now_ns: int) -> Samples:
        """AGGREGATE records of known rows as of `now_ns`."""
        tables = self._state.tables
        out = np.zeros(count_windows(tables, rows), AGGREGATE)
        read_aggregates(tables, self._state.panes, rows, now_ns, np.zeros(1, PANE), out)
        return out

    def devices(self) -> Samples:
        out = np.zeros(len(self._state.devices), DEVICE)
        read_devices(self._state.device_words, self._state.devices, out)
        return out

    def memory(self, row: int) -> tuple[np.void, Float32s]:
        """Copies of what the tag's scores remember: NOVELTY and the hours."""
        (row,) = self._checked(np.array([row], np.int32))
        memory, hours = np.zeros(1, NOVELTY), np.zeros(HOURS, np.float32)
        read_memory(self._state.tables, row, memory, hours)
        return memory[0], hours

    def multivariate(self) -> Samples:
        records = self._state.multivariate.records
        out = np.zeros(len(records), MULTIVARIATE)
        read_multivariate(self._state.device_words, records, out)
        return out

    def _checked(self, rows: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        tags = len(self._state.tables.cells)
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < tags:
            raise IndexError(f"rows {int(rows.min())} to {int(rows.max())} asked for, the table has 0 to {tags - 1}")
        return np.ascontiguousarray(rows, np.int32)
