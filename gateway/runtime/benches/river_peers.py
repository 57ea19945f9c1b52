"""River's online detectors beside the scores: half-space trees and a Gaussian, sample by sample as they are meant.

With their default settings they take 3 to 300 µs a sample, so by default only some series are given to them, and all
detectors are compared on those. Needs river (`pip install river`); without it the peers are left out, and the result
says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gateway.core.types import Float64s
from gateway.runtime.benches.nab import Labelled

SEED = 1
GAUSSIAN_WINDOW = 6_400
SERIES_BY_DEFAULT = 6


def some_of(series: Sequence[Labelled], full: bool) -> list[Labelled]:
    """All, or so many spread evenly over them."""
    step = 1 if full else max(1, len(series) // SERIES_BY_DEFAULT)
    return list(series)[::step][: len(series) if full else SERIES_BY_DEFAULT]


def detectors() -> dict[str, Callable[[Labelled], Float64s]]:
    """Raises ImportError when river is not there."""
    from river import anomaly, compose, preprocessing

    def half_space_trees() -> Any:
        trees = anomaly.HalfSpaceTrees(seed=SEED)
        return compose.Pipeline(preprocessing.MinMaxScaler(), trees)

    def trees(one: Labelled) -> Float64s:
        model, out = half_space_trees(), np.zeros(len(one.values))
        for i, value in enumerate(one.values.tolist()):
            features = {"x": value}
            out[i] = model.score_one(features)
            model.learn_one(features)
        return out

    def gaussian(one: Labelled) -> Float64s:
        model, out = anomaly.GaussianScorer(window_size=GAUSSIAN_WINDOW), np.zeros(len(one.values))
        for i, value in enumerate(one.values.tolist()):
            out[i] = model.score_one(None, value)
            model.learn_one(None, value)
        return out

    return {"river_half_space_trees": trees, "river_gaussian": gaussian}


def run_timed(
    detector: Callable[[Labelled], Float64s], series: Sequence[Labelled]
) -> tuple[dict[str, Float64s], float]:
    """Scores by name, and nanoseconds a sample."""
    began_ns = time.perf_counter_ns()
    scores = {one.name: detector(one) for one in series}
    return scores, (time.perf_counter_ns() - began_ns) / sum(len(one.values) for one in series)
