"""Recorded machine series, shipped small, for sensors that replay the real thing.

Source: the Numenta Anomaly Benchmark (NAB), `realKnownCause/`: the temperature of a large industrial machine's
component and of an office, with the stretches in which they failed. MIT licence, in NAB_LICENSE.txt beside this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files

import numpy as np
import numpy.typing as npt

NAMES = ("machine_temperature", "ambient_temperature")


@dataclass(frozen=True)
class Recording:
    """`value` and `time_s` are [samples]; `anomalies` is [stretches, (first, last)], sample numbers."""

    name: str
    value: npt.NDArray[np.float32]
    time_s: npt.NDArray[np.int64]
    anomalies: npt.NDArray[np.int32]


def load(name: str) -> Recording:
    """One of NAMES, whole. Raises KeyError for another name."""
    with as_file(files(__package__) / "nab.npz") as path, np.load(path, allow_pickle=False) as archive:
        return Recording(name, archive[f"{name}_value"], archive[f"{name}_time_s"], archive[f"{name}_anomalies"])
