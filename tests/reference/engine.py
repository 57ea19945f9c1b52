"""The engine's oracle: plain Python, every sample kept, every figure computed anew from all of them when asked.

It shares with the engine only the rules (which pane a time belongs to, what a quality does), not the arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from gateway.core.model import TagDefinition

SLOW, QUIET, WARM, SHRINK = 10.0, 0.8, 10.0, 1.0e6


@dataclass
class WindowOracle:
    window_ns: int
    panes: int
    pane_ns: int
    phase_ns: int
    kept: list[tuple[int, float]] = field(default_factory=list)
    current: int | None = None
    late: int = 0
    ewma: float = math.nan
    newest_ns: int = 0

    def pane_of(self, time_ns: int) -> int:
        return (time_ns + self.phase_ns) // self.pane_ns

    def add(self, time_ns: int, value: float) -> None:
        pane = self.pane_of(time_ns)
        if self.current is None:
            self.current, self.ewma, self.newest_ns = pane, value, time_ns
        if pane <= self.current - self.panes:
            self.late += 1
            return
        self.current = max(self.current, pane)
        self.kept.append((time_ns, value))
        if time_ns >= self.newest_ns:
            alpha = 1.0 - math.exp(-(time_ns - self.newest_ns) / self.window_ns)
            self.ewma += alpha * (value - self.ewma)
            self.newest_ns = time_ns

    def read(self, present_ns: int) -> dict[str, float]:
        present = self.pane_of(max(present_ns, self.newest_ns))
        inside = [(t, v) for t, v in self.kept if self.pane_of(t) > present - self.panes]
        n = len(inside)
        empty = dict.fromkeys(("mean", "sd", "min", "max", "rate", "ewma"), math.nan)
        if n == 0:
            return {"count": 0, **empty}
        values = [v for _, v in inside]
        mean = math.fsum(values) / n
        first_ns, first = min(inside, key=lambda tv: tv[0])
        last_ns, last = max(enumerate(inside), key=lambda item: (item[1][0], item[0]))[1]
        return {
            "count": n,
            "mean": mean,
            "sd": math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else math.nan,
            "min": min(values),
            "max": max(values),
            "rate": (last - first) / ((last_ns - first_ns) / 1e9) if last_ns > first_ns else math.nan,
            "ewma": self.ewma,
        }


class Interval:
    def __init__(self, x: float) -> None:
        self.low = self.high = x

    def outside(self, x: float, floor: float) -> float:
        return max(x - self.high, self.low - x, 0.0) / max(self.high - self.low, floor)

    def learn(self, x: float, shrink: float) -> None:
        width = self.high - self.low
        self.low, self.high = min(self.low + shrink * width, x), max(self.high - shrink * width, x)


@dataclass
class NoveltyOracle:
    """The score as told in words by `gateway.core.kernels.novelty`."""

    scale_ns: float
    started: bool = False

    def score(self, time_ns: int, value: float) -> float:
        if not self.started:
            self.started = True
            self.last_ns = self.quiet_ns = time_ns
            self.warm_ns = time_ns + int(WARM * self.scale_ns)
            self.value = self.fast = self.slow = value
            self.variance = self.covariance = self.peak = 0.0
            self.intervals = [Interval(value), Interval(0.0), Interval(0.0)]
            return math.nan
        elapsed = time_ns - self.last_ns
        if elapsed <= 0:
            return math.nan if self.last_ns < self.warm_ns else 0.0
        self.last_ns = time_ns
        fast, slow = (1.0 - math.exp(-elapsed / (k * self.scale_ns)) for k in (1.0, SLOW))
        before, now = self.value - self.slow, value - self.slow
        slope = max(-1.0, min(1.0, self.covariance / self.variance)) if self.variance > 0 else 0.0
        self.variance += slow * (before**2 - self.variance)
        self.covariance += slow * (before * now - self.covariance)
        self.fast += fast * (value - self.fast)
        self.slow += slow * now
        self.value = value
        signals = (value, self.fast - self.slow, now - slope * before)
        floor = 1e-9 * max(abs(value), 1e-300)
        x = max(interval.outside(s, floor) for interval, s in zip(self.intervals, signals, strict=True))
        for interval, signal in zip(self.intervals, signals, strict=True):
            interval.learn(signal, min(elapsed / (SHRINK * self.scale_ns), 0.25))
        if time_ns < self.warm_ns:
            return math.nan
        score = x / (x + 1.0)
        if time_ns < self.quiet_ns and score <= self.peak * (1 + 1e-9):
            return 0.0
        if score > 0:
            self.peak, self.quiet_ns = score, time_ns + int(QUIET * self.scale_ns)
        return score


class TagOracle:
    """One tag: its cell, its windows, its score."""

    def __init__(self, tag: TagDefinition, row: int, panes: int) -> None:
        self.tag = tag
        self.windows = []
        for window_ns in tag.windows_ns:
            pane_ns = math.ceil(window_ns / panes)
            phase = ((row * 0x9E3779B1) % 2**32) * pane_ns // 2**32
            self.windows.append(WindowOracle(window_ns, panes, pane_ns, phase))
        self.scale_ns = float(tag.windows_ns[0])
        self.novelty = NoveltyOracle(self.scale_ns)
        self.quality = 32
        self.value = math.nan
        self.source_ns = self.arrival_ns = 0
        self.newest_ns = self.lag_ns = 0
        self.score = math.nan
        self.replaced = self.bad = 0

    def add(self, quality: int, source_ns: int, arrival_ns: int, value: float) -> None:
        if not arrival_ns - 3600 * 10**9 <= source_ns <= arrival_ns + 10**9:
            source_ns = arrival_ns
            self.replaced += 1
        if quality >= 64 and not math.isfinite(value):
            quality = 16
        if quality < 64:
            self.quality = quality
            self.bad += 1
            return
        low, high = self.tag.valid_low, self.tag.valid_high
        if (low is not None and value < low) or (high is not None and value > high):
            quality = 84
        else:
            for window in self.windows:
                window.add(source_ns, value)
            self.learn_score(source_ns, value)
        self.quality, self.value, self.source_ns, self.arrival_ns = quality, value, source_ns, arrival_ns
        if quality != 84 and source_ns >= self.newest_ns:
            self.newest_ns, self.lag_ns = source_ns, arrival_ns - source_ns

    def learn_score(self, source_ns: int, value: float) -> None:
        decay = 1.0
        if self.novelty.started and source_ns > self.novelty.last_ns:
            decay = math.exp(-(source_ns - self.novelty.last_ns) / self.scale_ns)
        held = self.score * decay
        instant = self.novelty.score(source_ns, value)
        self.score = held if held > instant else instant

    def read(self, window: int, now_ns: int) -> dict[str, float]:
        return self.windows[window].read(now_ns - self.lag_ns)
