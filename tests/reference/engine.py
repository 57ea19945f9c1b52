"""The engine's oracle: plain Python, every sample kept, every figure computed anew from all of them when asked.

It shares with the engine only the rules (which pane a time belongs to, what a quality does), not the arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from gateway.core.model import TagDefinition
from tests.reference.anomaly import AnomalyOracle


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
        self.anomaly = AnomalyOracle(self.scale_ns)
        self.quality = 32
        self.value = math.nan
        self.source_ns = self.arrival_ns = 0
        self.newest_ns = self.lag_ns = 0
        self.replaced = self.bad = self.rejected = self.historical = 0

    def add_historical(self, quality: int, source_ns: int, arrival_ns: int, value: float) -> None:
        """One of before the present value, told later."""
        if not 0 <= source_ns <= arrival_ns + 10**9:
            self.rejected += 1
            return
        self.historical += 1
        if quality < 64 or not math.isfinite(value):
            self.bad += 1
            return
        low, high = self.tag.valid_low, self.tag.valid_high
        if (low is None or value >= low) and (high is None or value <= high):
            for window in self.windows:
                window.add(source_ns, value)

    def add(self, quality: int, source_ns: int, arrival_ns: int, value: float) -> None:
        if quality & 0x100:
            self.add_historical(quality & 0xFF, source_ns, arrival_ns, value)
            return
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
            self.anomaly.add(source_ns, value)
        self.quality, self.value, self.source_ns, self.arrival_ns = quality, value, source_ns, arrival_ns
        if quality != 84 and source_ns >= self.newest_ns:
            self.newest_ns, self.lag_ns = source_ns, arrival_ns - source_ns

    def read(self, window: int, now_ns: int) -> dict[str, float]:
        return self.windows[window].read(now_ns - self.lag_ns)
