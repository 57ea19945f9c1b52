"""How other threads read the plant: consistent copies, never references.

Each call copies under the row's sequence lock, so a reader never sees half of a sample and never holds up the engine.
The dtypes are the contract between the engine and the executive on one side, SCADA, metrics and page on the other.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gateway.core.types import Samples

LIVE = np.dtype(
    {
        "names": [
            *("row", "quality", "source_ns", "arrival_ns", "value", "bits"),
            *("score", "alarms", "persistent", "reasons"),
            *("score_once_h", "persistent_once_h", "score_quality", "flags"),
        ],
        "formats": [
            *("<i4", "<u4", "<i8", "<i8", "<f8", "<i8", "<f8", "<i8", "<f8", "<i8"),
            *("<f8", "<f8", "<u4", "<u4"),
        ],
        "offsets": [0, 4, 8, 16, 24, 24, 32, 40, 48, 56, 64, 72, 80, 84],
        "itemsize": 88,
    }
)
"""A row as it stands. `value` and `bits` are the last cell that was not bad, with its own times; `quality` is now.
`score` is the event score, `persistent` the persistent one, both NaN while they warm up; `reasons` are REASON bits.
`…_once_h`: the tag's own past has such scores once in so many hours, NaN while that is too short to tell.
`score_quality`: "not initialised" while the event score warms up, else the value's where that is not good, else
uncertain until the persistent score and both rates are there too. `flags` are FLAG bits (`gateway.core.state`)."""

ALARM_LOW = 1
ALARM_HIGH = 2
ALARM_SCORE = 4
ALARM_PERSISTENT = 8
ALARM_LOW_LOW = 16
ALARM_HIGH_HIGH = 32
ALARM_OTHER = 64
"""Deviation, rate of change, a state, bad quality, a multivariate score."""
ALARM_UNACKNOWLEDGED = 128
"""Some alarm of the row was not acknowledged yet; alone: one that latches and whose condition has ended."""

REASON_SPIKE = 1
REASON_LEVEL = 2
REASON_FROZEN = 4
REASON_NOISE = 8
REASON_DRIFT = 16
REASON_OUT_OF_RANGE = 32
REASON_SHAPE = 64
REASON_MULTIVARIATE = 128
REASONS: dict[int, str] = {
    REASON_SPIKE: "spike",
    REASON_LEVEL: "level",
    REASON_FROZEN: "frozen",
    REASON_NOISE: "noise",
    REASON_DRIFT: "drift",
    REASON_OUT_OF_RANGE: "out of range",
    REASON_SHAPE: "shape",
    REASON_MULTIVARIATE: "tags disagree",
}
"""Why a tag's scores are what they are. A bit keeps its meaning for ever: SCADA reads it."""

DEVICE = np.dtype(
    [
        ("quality", "<i8"),
        ("tags_good", "<i8"),
        ("tags", "<i8"),
        ("samples", "<i8"),
        ("score", "<f8"),
        ("score_row", "<i8"),
        ("alarms", "<i8"),
        ("persistent", "<f8"),
        ("reasons", "<i8"),
        ("flags", "<i8"),
    ],
    align=True,
)
"""A device rolled up: worst quality, tags that are good, samples ever, highest score and whose, all alarm bits, highest
persistent score, all reason bits; FLAG bits (`gateway.core.state`)."""


class Mode(IntEnum):
    """Modes of a loop."""

    MANUAL = 0
    AUTO = 1
    FAILSAFE = 2
    """Entered by itself on stale or bad input, left by itself."""
    INITIALISING = 3
    """The device's present output is not known yet; nothing is written."""
    CASCADE = 4
    """As AUTO, with a setpoint that comes from a block or from another loop."""
    TRACKING = 5
    """The output is the setpoint of the loop below, which does not take it now; entered and left by itself."""
    INTERLOCKED = 6
    """An interlock demands its output, whatever mode was asked for; left by itself."""


LOOP = np.dtype(
    [
        ("setpoint", "<f8"),
        ("process_value", "<f8"),
        ("output", "<f8"),
        ("mode", "<i8"),
        ("quality", "<i8"),
        ("input_ns", "<i8"),
        ("cycles", "<i8"),
        ("misses", "<i8"),
        ("overruns", "<i8"),
    ],
    align=True,
)
"""A loop as it stands. `input_ns` is the engine time at which the reply with the process value was complete."""


class PlantView(Protocol):
    def live(self, rows: npt.NDArray[np.int32]) -> Samples:
        """LIVE records of the given rows, in their order."""
        ...

    def aggregates(self, rows: npt.NDArray[np.int32]) -> Samples:
        """AGGREGATE records (`gateway.core.record`): for each row in order, one for each of its windows in order."""
        ...

    def devices(self) -> Samples:
        """DEVICE records of all devices, as of the last grid point."""
        ...

    def multivariate(self) -> Samples:
        """MULTIVARIATE records (`gateway.core.multivariate`) of the devices that have such a score, in their order."""
        ...


class ControlView(Protocol):
    def loops(self) -> Samples:
        """LOOP records of all loops, in the settings' order."""
        ...

    def write_setpoint(self, loop: int, value: float) -> None:
        """Raises ValueError, with the permitted range, when value is outside it."""
        ...

    def write_mode(self, loop: int, mode: Mode) -> None:
        """AUTO, MANUAL or, where the loop has a setpoint from elsewhere, CASCADE; raises ValueError for the others."""
        ...

    def write_output(self, loop: int, value: float) -> None:
        """Raises ValueError when the loop is not in MANUAL or value is outside the output limits."""
        ...

    def keep_alive(self, loop: int) -> None:
        """A sign of life of its commander, which changes nothing else."""
        ...
