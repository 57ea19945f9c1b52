"""VUS-PR, the volume under the surface of precision and recall, as it was published (Paparrizos et al. 2022).

A labelled window is given soft edges of every length up to BUFFER_MAX samples; for each length there is a curve of
precision against recall over all thresholds, whose recall counts only the windows that are touched at all; the volume
is the mean area under these curves. Nothing is gained by one good threshold: it rates the whole score.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gateway.core.types import Float64s
from gateway.runtime.benches.nab import Labelled

BUFFER_MAX = 100
BUFFER_STEP = 10
THRESHOLDS = 250


def softened(one: Labelled, buffer: int) -> Float64s:
    """Labels that fall off to both sides of each window within half of `buffer`, by a square root."""
    soft = one.is_labelled().astype(np.float64)
    reach = buffer // 2
    for first, last in one.windows:
        for distance in range(1, reach + 1):
            worth = np.sqrt(1.0 - distance / buffer)
            for at in (first - distance, last + distance):
                if 0 <= at < len(soft):
                    soft[at] = max(soft[at], worth)
    return soft


def area(one: Labelled, score: Float64s, buffer: int) -> float:
    """Under precision against recall, for one length of the edges."""
    soft = softened(one, buffer)
    order = np.argsort(-score, kind="stable")
    found = np.cumsum(soft[order])
    at = np.unique(np.linspace(0, len(score) - 1, THRESHOLDS).astype(np.int64))
    thresholds = score[order][at]
    best = [score[max(first - buffer // 2, 0) : last + buffer // 2 + 1].max() for first, last in one.windows]
    touched = np.mean([best_of_window >= thresholds for best_of_window in best], axis=0)
    positives = 0.5 * (soft.sum() + one.is_labelled().sum())
    recall = np.minimum(found[at] / positives, 1.0) * touched
    precision = found[at] / (at + 1)
    return float((np.diff(np.concatenate([[0.0], recall])) * precision).sum())


def vus_pr(series: Sequence[Labelled], scores: dict[str, Float64s]) -> float:
    """The mean over the series that have labels; NaN without one. A score that is NaN counts as 0."""
    volumes = [
        np.mean([area(one, np.nan_to_num(scores[one.name]), b) for b in range(0, BUFFER_MAX + 1, BUFFER_STEP)])
        for one in series
        if one.windows
    ]
    return float(np.mean(volumes)) if volumes else float("nan")
