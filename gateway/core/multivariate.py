"""State of the multivariate scores: one record and a few small matrices for each device that has asked for one.

    array     one per device   bytes    what
    records   1                  168    clock, score, whose tags
    rows      8                   32    its tags' rows, as they were named
    tags      12 × 8             768    of each tag: centre, usual sizes, what it explains (TAG places)
    features  2 × 44             704    of each feature: mean, now (FEATURE places)
    matrices  2 × 44 × 44     30,976    covariance of the features; inverse of their shrunk correlation
    weights   8 × 44           2,816    of each tag: its residual, as a sum over the features
    squares   4 × 9 × 9        2,592    what residuals are together, and what an error of a tag does to them

38 kB a device, allocated for those that have one only (`gateway.core.limits` says how many may). With k tags there are
k + k (k + 1) / 2 features: the tags, then their products in the order (0, 0), (0, 1) … (1, 1) …. What is done to all
this is in `gateway.core.kernels.multivariate`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.core.limits import MULTIVARIATE_TAGS_MAX
from gateway.core.model import Model
from gateway.core.types import Float64s, Samples

K = MULTIVARIATE_TAGS_MAX
M = K + K * (K + 1) // 2

TAG_PLACES = 12
VALUE, MEAN, SQUARE, CENTRE, SCALE, Z, SIZE, SHORT, EXPLAINS, REST, FACTOR, OFFSET = range(TAG_PLACES)
"""Its value, running mean and mean square distance; what z is counted from and in; z; the usual size of its residual,
and the residual's short mean; what of the distance the tag explains now; what it leaves usually; what its z
was changed by when it was last counted from elsewhere."""

FEATURE_PLACES = 2
FEATURE_MEAN, NOW = range(FEATURE_PLACES)
"""Mean; distance from it in deviations."""

COVARIANCE, INVERSE = 0, 1
"""Places in `matrices`."""

SQUARE_PLACES = 4
BLOCK, SENSITIVITY, SPREAD, PRECISION = range(SQUARE_PLACES)
"""Places in `squares`: room to invert a tag's own part of the correlation; what an error of tag j adds to the residual
of tag k at [k, j], as a short mean; products of the residuals' short means, as they usually are; the inverse of it."""

MULTIVARIATE = np.dtype(
    [
        ("device", "<i4"),
        ("count", "<i4"),
        ("begun", "<i4"),
        ("flags", "<i4"),
        ("steps", "<i8"),
        ("skipped", "<i8"),
        ("restarts", "<i8"),
        ("next_ns", "<i8"),
        ("last_ns", "<i8"),
        ("scale_ns", "<f8"),
        ("age_ns", "<f8"),
        ("centred_ns", "<f8"),
        ("interval_ns", "<f8"),
        ("inverse_due", "<f8"),
        ("score", "<f8"),
        ("once_h", "<f8"),
        ("top", "<f8"),
        ("block_left", "<f8"),
        ("tail", "<f8"),
        ("spread", "<f8"),
        ("row_first", "<i4"),
        ("row_second", "<i4"),
        ("row_third", "<i4"),
        ("share_first", "<f4"),
        ("share_second", "<f4"),
        ("share_third", "<f4"),
    ],
    align=True,
)
"""`score` is NaN while it warms up; `once_h` as in LIVE (`gateway.core.view`). `row_…` are the tags that explain best
what is off, -1 for none, `share_…` how much of it each explains by itself. `flags` are FLAG bits
(`gateway.core.state`), `skipped` counts the times at which some tag had no value, `restarts` those at which the plant
had moved elsewhere and its values were counted from there."""


class MultivariateTables(NamedTuple):
    records: Samples
    rows: npt.NDArray[np.int32]
    tags: Float64s
    features: Float64s
    matrices: Float64s
    weights: Float64s
    squares: Float64s


def multivariate_tables(model: Model, scale_ns_default: float) -> MultivariateTables:
    """Zeros for every device of the model that has tags to be seen together."""
    chosen = [(number, model.devices[number]) for number in model.multivariate_devices]
    tables = MultivariateTables(
        records=np.zeros(len(chosen), MULTIVARIATE),
        rows=np.full((len(chosen), K), -1, np.int32),
        tags=np.full((len(chosen), TAG_PLACES, K), 0.0, np.float64),
        features=np.full((len(chosen), FEATURE_PLACES, M), 0.0, np.float64),
        matrices=np.full((len(chosen), 2, M, M), 0.0, np.float64),
        weights=np.full((len(chosen), K, M), 0.0, np.float64),
        squares=np.full((len(chosen), SQUARE_PLACES, K + 1, K + 1), 0.0, np.float64),
    )
    for place, (number, device) in enumerate(chosen):
        record = tables.records[place]
        windows = [model.tags[row].windows_ns for row in device.together]
        record["device"] = number
        record["count"] = len(device.together)
        record["scale_ns"] = max(float(of_tag[0]) if of_tag else scale_ns_default for of_tag in windows)
        record["score"] = record["once_h"] = math.nan
        for name in ("row_first", "row_second", "row_third"):
            record[name] = -1
        tables.rows[place, : len(device.together)] = device.together
    return tables
