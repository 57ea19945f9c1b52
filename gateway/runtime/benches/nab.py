"""The score of the Numenta Anomaly Benchmark, after its published definition (Lavin and Ahmad 2015).

The first detection in a labelled window earns up to 1, the earlier the more, by a scaled sigmoid; a false one costs up
to the profile's weight, less when it comes soon after a window. The first 15 % of a series, 750 samples at most, are
not scored. One threshold serves all series; it is the one that scores best (refitted), or one given (transferred). 0 is
a detector that says nothing, 100 a perfect one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.core.types import Float64s, Int64s

NOWHERE = -1


class Profile(NamedTuple):
    hit: float
    missed: float
    false_alarm: float


PROFILES = {"standard": Profile(1, 1, 0.11), "low_fp": Profile(1, 1, 0.22), "low_fn": Profile(1, 2, 0.11)}


def sigmoid(x: Float64s) -> Float64s:
    return np.where(x > 3.0, -1.0, 2.0 / (1.0 + np.exp(np.minimum(5.0 * x, 50.0))) - 1.0)


@dataclass(frozen=True)
class Labelled:
    """One series. `windows` are first and last samples of the labelled stretches, in order."""

    name: str
    values: Float64s
    times_ns: Int64s
    windows: tuple[tuple[int, int], ...]

    @property
    def probation(self) -> int:
        return min(math.floor(0.15 * len(self.values)), 750)

    def is_labelled(self) -> npt.NDArray[np.bool_]:
        inside = np.zeros(len(self.values), np.bool_)
        for first, last in self.windows:
            inside[first : last + 1] = True
        return inside

    def worth(self) -> tuple[Int64s, Float64s]:
        """The window of each sample or NOWHERE, and what a detection there earns (0 to 1) or costs (-1 to 0)."""
        window = np.full(len(self.values), NOWHERE, np.int64)
        worth = np.full(len(self.values), -1.0)
        at = np.arange(len(self.values), dtype=np.float64)
        best = float(sigmoid(np.array([-1.0]))[0])
        for number, (first, last) in enumerate(self.windows):
            inside = slice(first, last + 1)
            worth[last + 1 :] = sigmoid((at[last + 1 :] - last) / max(last - first, 1))
            worth[inside] = sigmoid((at[inside] - last - 1.0) / (last - first + 1)) / best
            window[inside] = number
        return window, worth


def pooled(series: Iterable[Labelled], scores: dict[str, Float64s]) -> tuple[Float64s, Int64s, Float64s, int, int]:
    """What is scored, of all series: score, window (numbered through), worth; windows scored, windows in all."""
    parts: list[tuple[Float64s, Int64s, Float64s]] = []
    scored = in_all = 0
    for one in series:
        whole_window, whole_worth = one.worth()
        window, worth = whole_window[one.probation :], whole_worth[one.probation :]
        seen = np.unique(window[window != NOWHERE])
        window = np.where(window == NOWHERE, NOWHERE, scored + np.searchsorted(seen, window))
        parts.append((np.nan_to_num(scores[one.name][one.probation :]), window, worth))
        scored += len(seen)
        in_all += len(one.windows)
    score, windows, worths = ([part[place] for part in parts] for place in range(3))
    return np.concatenate(score), np.concatenate(windows), np.concatenate(worths), scored, in_all


def nab_score(
    series: Iterable[Labelled], scores: dict[str, Float64s], profile: Profile, threshold: float | None = None
) -> tuple[float, float]:
    """The score and its threshold: the given one, or the best."""
    score, window, worth, scored, in_all = pooled(series, scores)
    order = np.argsort(-score, kind="stable")
    if threshold is not None:
        order = order[score[order] >= threshold]
    silent = total = best = -profile.missed * scored
    best_at = math.inf
    earned = [-profile.missed] * scored
    current = math.inf
    for value, place, unit in zip(score[order].tolist(), window[order].tolist(), worth[order].tolist(), strict=True):
        if value != current:
            if total > best:
                best, best_at = total, current
            current = value
        if place == NOWHERE:
            total += unit * profile.false_alarm
        elif unit * profile.hit > earned[place]:
            total += unit * profile.hit - earned[place]
            earned[place] = unit * profile.hit
    if threshold is not None:
        best, best_at = total, threshold
    elif total > best:
        best, best_at = total, current
    return 100.0 * (best - silent) / (in_all * profile.hit - silent), best_at
