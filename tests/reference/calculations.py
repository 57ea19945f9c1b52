"""The calculations' oracle: keeps every sample, and computes each interval anew from all of them, with NumPy.

It says what an interval's outputs are, not when it ends: that a test knows from how it made the samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Held:
    """How long a value is believed, what counts as on, and how a counter rolls over. Times in ns."""

    hold: int
    state: float | None = None
    rollover: float | None = None

    def is_on(self, value: float) -> bool:
        return value == self.state if self.state is not None else value != 0

    def rise(self, before: float, after: float) -> float:
        if after >= before:
            return after - before
        return after - before + self.rollover if self.rollover is not None else max(after, 0.0)


def outputs_of(
    samples: Sequence[tuple[int, float]], inside: Sequence[bool], start: int, end: int, rules: Held, now: int
) -> dict[str, float]:
    """All functions over [start, end) as of `now`. `samples` in order of time; those `inside` are its values."""
    values = np.array([value for (_, value), counts in zip(samples, inside, strict=True) if counts])
    times = np.array([time for (time, _), counts in zip(samples, inside, strict=True) if counts], dtype=float)
    integral = covered = on = 0.0
    for place, (time, value) in enumerate(samples):
        follows = samples[place + 1][0] if place + 1 < len(samples) else now
        begin, stop = max(time, start), min(follows, time + rules.hold, end, now)
        if stop > begin:
            integral += value * (stop - begin) * 1e-9
            covered += stop - begin
            on += (stop - begin) * 1e-9 if rules.is_on(value) else 0.0
    pairs = [
        (before, after)
        for (_, before), (_, after), counts in zip(samples, samples[1:], inside[1:], strict=False)
        if counts
    ]
    known = covered > 0
    found = {
        "count": float(len(values)),
        "integral": integral if known else math.nan,
        "time_mean": integral / (covered * 1e-9) if known else math.nan,
        "on_time": on if known else math.nan,
        "coverage": min(1.0, covered / (end - start)),
        "increase": sum(rules.rise(a, b) for a, b in pairs) if len(values) or known else math.nan,
        "edges": float(sum(not rules.is_on(a) and rules.is_on(b) for a, b in pairs)),
    }
    return found | of_values(values, times)


def of_values(values: np.ndarray, times: np.ndarray) -> dict[str, float]:
    names = ("sum", "mean", "sd", "variance", "min", "max", "range", "first", "last", "delta", "rate", "rms", "crest")
    if not len(values):
        return dict.fromkeys((*names, "slope", "p50", "p90"), math.nan)
    many = len(values) > 1
    elapsed = (times[-1] - times[0]) * 1e-9
    rms = math.sqrt(float(np.mean(values**2)))
    seconds = (times - times[0]) * 1e-9
    spread = float(np.sum((seconds - seconds.mean()) ** 2))
    return {
        "sum": float(values.sum()),
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if many else math.nan,
        "variance": float(values.var(ddof=1)) if many else math.nan,
        "min": float(values.min()),
        "max": float(values.max()),
        "range": float(values.max() - values.min()),
        "first": float(values[0]),
        "last": float(values[-1]),
        "delta": float(values[-1] - values[0]),
        "rate": float(values[-1] - values[0]) / elapsed if elapsed > 0 else math.nan,
        "rms": rms,
        "crest": float(np.abs(values).max()) / rms if rms > 0 else math.nan,
        "slope": float(np.sum((seconds - seconds.mean()) * (values - values.mean()))) / spread
        if spread > 0
        else math.nan,
        "p50": float(np.quantile(values, 0.5)),
        "p90": float(np.quantile(values, 0.9)),
    }
