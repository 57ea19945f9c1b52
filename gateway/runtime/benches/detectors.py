"""The detectors that the benchmark of the scores compares: ours by the daemon's own kernels, and a windowed Gaussian.

The event score is the one told of each sample, not as it fades in the live cell. The peer is a windowed Gaussian:
distance from the mean of the last 6,400 samples in their standard deviations, with the tail probability as its score
(by NumPy over whole series; the event score runs sample by sample).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gateway.core.types import Float64s, Samples
from gateway.runtime.benches.nab import Labelled
from gateway.runtime.scoring import score

FLAG_AT = 0.5
PEER_SAMPLES = 6_400
PEER_FLAG_AT = 0.9999

Detector = Callable[[Labelled], Float64s]


def scored(one: Labelled, *, shape: bool = False) -> Samples:
    return score(one.values, one.times_ns, shape=shape)


def event_score(one: Labelled) -> Float64s:
    return np.asarray(scored(one)["told"], np.float64)


def persistent_score(one: Labelled) -> Float64s:
    return np.asarray(scored(one)["persistent"], np.float64)


def either_score(one: Labelled) -> Float64s:
    both = scored(one)
    return np.asarray(np.fmax(both["told"], both["persistent"]), np.float64)


def event_score_with_shape(one: Labelled) -> Float64s:
    return np.asarray(scored(one, shape=True)["told"], np.float64)


def windowed_gaussian(one: Labelled) -> Float64s:
    """1 minus an upper bound of the normal tail at z, exp(-z²/2), of the samples before."""
    values = one.values - one.values[0]
    sums, squares = (np.concatenate([[0.0], np.cumsum(part)]) for part in (values, values * values))
    end = np.arange(len(values))
    start = np.maximum(end - PEER_SAMPLES, 0)
    count = np.maximum(end - start, 1)
    mean = (sums[end] - sums[start]) / count
    var = np.maximum((squares[end] - squares[start]) / count - mean * mean, 1e-12)
    out: Float64s = 1.0 - np.exp(-0.5 * (values - mean) ** 2 / var)
    return out


DETECTORS: dict[str, tuple[Detector, float]] = {
    "event": (event_score, FLAG_AT),
    "persistent": (persistent_score, FLAG_AT),
    "either": (either_score, FLAG_AT),
    "event_with_shape": (event_score_with_shape, FLAG_AT),
    "windowed_gaussian": (windowed_gaussian, PEER_FLAG_AT),
}
"""With the thresholds at which they raise a flag: ours are the daemon's defaults."""

STAYS_ON = ("persistent", "either")
"""These are high for as long as a fault lasts; the benchmark would count every sample as a false alarm."""
