"""Recorded series, shipped small: two of machines for sensors that replay the real thing, and the whole benchmark.

Source: the Numenta Anomaly Benchmark (NAB). The two machines are from its `realKnownCause/`: the temperature of a large
industrial machine's component and of an office, with the stretches in which they failed. MIT licence, in
NAB_LICENSE.txt beside this file. In `nab_corpus.npz.xz` are all 58 series one behind the other: `values`, `steps_s`
(the difference of each time to the one before, the first to 1970), `lengths` and `names` by series, and `windows`, the
labelled stretches as (series, first, last).
"""

from __future__ import annotations

import io
import lzma
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


@dataclass(frozen=True)
class Series:
    """One series of the benchmark; as `Recording`, with the values as they were published."""

    name: str
    value: npt.NDArray[np.float64]
    time_s: npt.NDArray[np.int64]
    anomalies: npt.NDArray[np.int32]


def load(name: str) -> Recording:
    """One of NAMES, whole. Raises KeyError for another name."""
    with as_file(files(__package__) / "nab.npz") as path, np.load(path, allow_pickle=False) as archive:
        return Recording(name, archive[f"{name}_value"], archive[f"{name}_time_s"], archive[f"{name}_anomalies"])


def corpus() -> tuple[Series, ...]:
    """The 58 series of the benchmark, by name."""
    packed = (files(__package__) / "nab_corpus.npz.xz").read_bytes()
    with np.load(io.BytesIO(lzma.decompress(packed)), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    ends = np.cumsum(arrays["lengths"])
    windows = arrays["windows"]
    return tuple(
        Series(
            str(name),
            arrays["values"][end - length : end],
            np.cumsum(arrays["steps_s"][end - length : end]),
            windows[windows[:, 0] == place, 1:],
        )
        for place, (name, length, end) in enumerate(zip(arrays["names"], arrays["lengths"], ends, strict=True))
    )
