"""The words of the core: kinds, qualities, samples.

A value is an 8-byte cell whose kind belongs to its tag, never to the sample, so one record dtype carries
float64, int64 and uint64 alike: `value` and `bits` are two names for the same eight bytes. Text is the number of a
symbol (`gateway.core.symbols`).

A batch is a contiguous array of `SAMPLE` records, 32 bytes each (two samples a cache line). One array is one
argument to a kernel and one memcpy to a queue; a column is a strided view (`batch["row"]`).

Qualities are the byte codes of OPC Data Access 3.0, section 6.8: an integrator reads 192 as "good" without
a manual, and the class of a code is its two top bits.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class Kind(IntEnum):
    """What the eight bytes of a tag's cell are."""

    F64 = 0
    I64 = 1
    U64 = 2
    SYMBOL = 3
    """A text, by its number in the table of symbols; 0 is none."""


class Quality(IntEnum):
    """How far a value can be trusted, and why not (OPC DA 3.0, 6.8)."""

    BAD = 0
    BAD_CONFIG = 4
    BAD_NOT_CONNECTED = 8
    BAD_DEVICE_FAILURE = 12
    BAD_SENSOR_FAILURE = 16
    BAD_COMM_FAILURE = 24
    BAD_NOT_INITIALISED = 32
    UNCERTAIN = 64
    UNCERTAIN_STALE = 68
    UNCERTAIN_NOT_ACCURATE = 80
    UNCERTAIN_OUT_OF_RANGE = 84
    UNCERTAIN_SUBNORMAL = 88
    GOOD = 192


HISTORICAL = 0x100
"""A bit of a sample's quality: a value of before the present one, told later. It enters windows by its own time, and
no live value. It is taken off where the sample is folded: nothing behind the engine has it."""

QUALITY_UNCERTAIN_MIN = int(Quality.UNCERTAIN)
QUALITY_GOOD_MIN = int(Quality.GOOD)

QUALITY_REASONS: dict[int, str] = {
    Quality.BAD: "bad",
    Quality.BAD_CONFIG: "configuration error",
    Quality.BAD_NOT_CONNECTED: "not connected",
    Quality.BAD_DEVICE_FAILURE: "device failure",
    Quality.BAD_SENSOR_FAILURE: "sensor fault",
    Quality.BAD_COMM_FAILURE: "communication failure",
    Quality.BAD_NOT_INITIALISED: "not initialised",
    Quality.UNCERTAIN: "uncertain",
    Quality.UNCERTAIN_STALE: "stale",
    Quality.UNCERTAIN_NOT_ACCURATE: "outside its calibration",
    Quality.UNCERTAIN_OUT_OF_RANGE: "out of range",
    Quality.UNCERTAIN_SUBNORMAL: "fewer sources than there should be",
    Quality.GOOD: "good",
}


def is_good(quality: int) -> bool:
    return quality >= QUALITY_GOOD_MIN


def is_bad(quality: int) -> bool:
    return quality < QUALITY_UNCERTAIN_MIN


SAMPLE = np.dtype(
    {
        "names": ["row", "quality", "source_ns", "arrival_ns", "value", "bits"],
        "formats": ["<i4", "<u4", "<i8", "<i8", "<f8", "<i8"],
        "offsets": [0, 4, 8, 16, 24, 24],
        "itemsize": 32,
    }
)
"""One sample: tag row, quality, source and arrival time (engine time, ns), and the cell under both its names."""

RAW_SAMPLE = np.dtype(f"V{SAMPLE.itemsize}")
"""A sample as plain bytes: copied by memcpy, where a record is copied field by field, ten times as slowly."""

Samples: TypeAlias = npt.NDArray[np.void]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Int64s: TypeAlias = npt.NDArray[np.int64]
Int32s: TypeAlias = npt.NDArray[np.int32]
Float64s: TypeAlias = npt.NDArray[np.float64]
Float32s: TypeAlias = npt.NDArray[np.float32]
