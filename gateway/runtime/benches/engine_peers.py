"""The peers of the engine benchmark that take one tag at a time: river and pandas, doing the same work.

The same work is: mean, standard deviation, minimum, maximum, rate and EWMA over the last 60 s, and an anomaly score.
River does it sample by sample, as the engine does; its score is a Gaussian of the last window, its cheapest.
pandas cannot go on from where it was: it gets whole histories at once, which is the best that it can do, and has no
score. Both are needed (`pip install 'fieldgate[dev]'`); one that is missing is left out, and the result says so.
"""

from __future__ import annotations

import datetime as dt
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from gateway.core.types import NS_PER_S, Float64s

WINDOW_S = 60
PER_S = 10
WINDOW_SAMPLES = WINDOW_S * PER_S
PANDAS_TAGS = 10
PANDAS_SAMPLES = 3_000
RIVER_SAMPLES = 300


class Peer(Protocol):
    def turn(self) -> float:
        """One more piece of work; nanoseconds an update."""
        ...


class River:
    """One tag, at 10 Hz."""

    def __init__(self, rng: np.random.Generator) -> None:
        from river import anomaly, stats, utils

        period = dt.timedelta(seconds=WINDOW_S)
        self._mean = utils.TimeRolling(stats.Mean, period=period)
        self._var = utils.TimeRolling(stats.Var, period=period)
        self._low = stats.RollingMin(WINDOW_SAMPLES)
        self._high = stats.RollingMax(WINDOW_SAMPLES)
        self._ewma = stats.EWMean(1.0 - math.exp(-1.0 / WINDOW_SAMPLES))
        self._kept: deque[tuple[dt.datetime, float]] = deque(maxlen=WINDOW_SAMPLES)
        self._scorer: Any = anomaly.GaussianScorer(window_size=WINDOW_SAMPLES)
        self._rng = rng
        self._now = dt.datetime(2026, 1, 1)
        for _ in range(3):
            self.turn()

    def turn(self) -> float:
        values = self._rng.normal(50.0, 1.0, RIVER_SAMPLES).tolist()
        began_ns = time.perf_counter_ns()
        for value in values:
            self._take(value)
        return (time.perf_counter_ns() - began_ns) / len(values)

    def _take(self, value: float) -> tuple[float, ...]:
        self._now += dt.timedelta(seconds=1 / PER_S)
        self._mean.update(value, t=self._now)
        self._var.update(value, t=self._now)
        self._low.update(value)
        self._high.update(value)
        self._ewma.update(value)
        self._kept.append((self._now, value))
        first, last = self._kept[0], self._kept[-1]
        rate = (last[1] - first[1]) / max((last[0] - first[0]).total_seconds(), 1e-9)
        score = self._scorer.score_one(None, value)
        self._scorer.learn_one(None, value)
        sd = math.sqrt(max(self._var.get(), 0.0))
        return self._mean.get(), sd, self._low.get(), self._high.get(), self._ewma.get(), rate, score


class Pandas:
    """Ten tags of 300 s at 10 Hz, at once."""

    def __init__(self, rng: np.random.Generator) -> None:
        import pandas

        self._rng = rng
        times = pandas.to_datetime(np.arange(PANDAS_SAMPLES) * (NS_PER_S // PER_S))
        self._frame: Any = pandas.DataFrame(np.zeros((PANDAS_SAMPLES, PANDAS_TAGS)), index=times)

    def turn(self) -> float:
        self._frame[:] = self._rng.normal(50.0, 1.0, (PANDAS_SAMPLES, PANDAS_TAGS))
        began_ns = time.perf_counter_ns()
        rolling = self._frame.rolling(f"{WINDOW_S}s")
        for of_all in (rolling.mean(), rolling.std(), rolling.min(), rolling.max()):
            assert len(of_all) == PANDAS_SAMPLES
        self._frame.ewm(alpha=1.0 - math.exp(-1.0 / WINDOW_SAMPLES), adjust=False).mean()
        (self._frame - self._frame.shift(WINDOW_SAMPLES - 1)) / (WINDOW_S - 1 / PER_S)
        return (time.perf_counter_ns() - began_ns) / (PANDAS_TAGS * PANDAS_SAMPLES)


MAKERS: dict[str, Callable[[np.random.Generator], Peer]] = {"river": River, "pandas": Pandas}


def peers(rng: np.random.Generator) -> dict[str, Peer]:
    """Those that are installed."""
    found: dict[str, Peer] = {}
    for name, make in MAKERS.items():
        try:
            found[name] = make(rng)
        except ImportError:
            continue
    return found


def reference(values: Float64s, times_ns: Float64s) -> dict[str, float]:
    """Of the values in a window, in order of time: what the engine's aggregates must be, but for the EWMA."""
    span_s = (times_ns[-1] - times_ns[0]) / NS_PER_S
    return {
        "mean": float(np.mean(values)),
        "sd": float(np.std(values, ddof=1)),
        "min": float(np.min(values)),
        "max": float(np.max(values)),
        "rate": float((values[-1] - values[0]) / span_s),
    }
