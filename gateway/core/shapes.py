"""State of the shape scores: for each tag that has asked for one, its last values and the courses it has taken.

    array        one per tag    bytes   what
    shapes       1                 64   counters, usual and highest distance
    lags         2 × 16           256   the last values, and the window made of them
    prototypes   64 × 16        8,192   courses
    used         64               512   when each was last the nearest

9 kB a tag, allocated for those that have one only (`gateway.core.limits` says how many may). What is done to it is in
`gateway.core.kernels.shape`.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from gateway.core.blank import integers, records
from gateway.core.types import Float64s, Int64s, Samples

LAGS = 16
PROTOTYPES = 64

SHAPE = np.dtype(
    [
        ("count", "<i4"),
        ("at", "<i4"),
        ("steps", "<i8"),
        ("square", "<f8"),
        ("usual", "<f8"),
        ("top", "<f8"),
        ("recent", "<f8"),
        ("before", "<f8"),
        ("last_new", "<i8"),
    ],
    align=True,
)
"""`count` courses; `at`: where the next value goes; `square`: usual square of the differences from a window's mean;
`usual`: mean distance to the nearest course; `recent`, `before` and `top`: the highest of the block of samples under
way, of the one before, and ever; `last_new`: the step at which a window last became a course."""


class ShapeTables(TypedDict):
    shapes: Samples
    lags: Float64s
    prototypes: Float64s
    used: Int64s


def shape_tables(count: int) -> ShapeTables:
    """Zeros for so many tags."""
    return ShapeTables(
        shapes=records(count, SHAPE),
        lags=np.full(2 * LAGS * count, 0.0, np.float64),
        prototypes=np.full(LAGS * PROTOTYPES * count, 0.0, np.float64),
        used=integers(PROTOTYPES * count),
    )
