"""The recorder: the short memory behind the page, noted once a second on the http thread.

A counter says how much ever, a histogram says how it was since the start; a person wants to know how it is now. So
totals of the last seconds are kept for rates, the stages' counts of the last minute for recent quantiles, and two
minutes of each loop for its trend, which is therefore whole the moment a page is opened.

Everything is bounded by its ring; a reload (another `Plant`) or a counter that went back empties it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

import numpy as np

from gateway.core.histogram import BUCKETS
from gateway.core.readings import HistogramReading, Measured, Reading
from gateway.core.types import NS_PER_S, Int64s
from gateway.serving.http.status import Plant, StatusSource

TREND_POINTS: Final = 120
RATE_POINTS: Final = 6
"""Rates cover the five seconds between the first and the last of them."""
COUNTS_EVERY: Final = 10
COUNTS_KEPT: Final = 7
"""Counts are kept every tenth second, so recent quantiles cover the last 60 to 70 s."""

ACCEPTED: Final = "fieldgate_inbox_accepted_samples_total"
DROPPED: Final = "fieldgate_inbox_dropped_samples_total"


class Totals:
    """The readings that the page needs, summed over labels: one pass over every component."""

    def __init__(self, measured: Iterable[Measured], stages: Iterable[str]) -> None:
        self.samples = 0
        self.dropped = 0
        self.counts: dict[str, Int64s] = {metric: np.zeros(BUCKETS, np.int64) for metric in stages}
        for component in measured:
            for reading in component.readings():
                self._add(reading)

    def _add(self, reading: Reading | HistogramReading) -> None:
        if isinstance(reading, HistogramReading):
            if reading.name in self.counts:
                self.counts[reading.name] += reading.counts[:BUCKETS]
        elif reading.name == ACCEPTED:
            self.samples += int(reading.value)
        elif reading.name == DROPPED:
            self.dropped += int(reading.value)


class Rate:
    """How fast a counter moves, over the last few notes."""

    def __init__(self) -> None:
        self._points: deque[tuple[int, int]] = deque(maxlen=RATE_POINTS)

    def note(self, now_ns: int, total: int) -> None:
        if self._points and total < self._points[-1][1]:
            self._points.clear()
        self._points.append((now_ns, total))

    def per_s(self) -> float | None:
        """None while there are not two notes at different times."""
        if len(self._points) < 2:
            return None
        (first_ns, first), (last_ns, last) = self._points[0], self._points[-1]
        if last_ns <= first_ns:
            return None
        return (last - first) * NS_PER_S / (last_ns - first_ns)


class Recorder:
    """Noted and read on one thread, the server's. `note` is called once a second."""

    def __init__(self) -> None:
        self.samples = Rate()
        self.delivered: dict[str, Rate] = {}
        """By uplink."""
        self.loop_times_ns: deque[int] = deque(maxlen=TREND_POINTS)
        self.loop_points: deque[np.ndarray[tuple[int], np.dtype[np.void]]] = deque(maxlen=TREND_POINTS)
        self._counts: deque[dict[str, Int64s]] = deque(maxlen=COUNTS_KEPT)
        self._plant: Plant | None = None
        self._notes = 0

    def note(self, now_ns: int, source: StatusSource) -> None:
        plant = source.plant()
        if plant is None:
            return
        if plant is not self._plant:
            self.loop_times_ns.clear()
            self.loop_points.clear()
            self._counts.clear()
            self._plant = plant
            self._notes = 0
        totals = Totals(source.measured(), [stage.metric for stage in plant.stages])
        self.samples.note(now_ns, totals.samples)
        for uplink in source.uplinks():
            self.delivered.setdefault(uplink.name, Rate()).note(now_ns, uplink.delivered_records)
        if plant.loops:
            self.loop_times_ns.append(now_ns)
            self.loop_points.append(plant.control_view.loops())
        if self._notes % COUNTS_EVERY == 0:
            self._counts.append(totals.counts)
        self._notes += 1

    def recent(self, metric: str, counts_now: Int64s) -> Int64s:
        """What was counted since the oldest kept counts; all of it while none are kept."""
        if not self._counts or metric not in self._counts[0]:
            return counts_now
        since = counts_now - self._counts[0][metric]
        return counts_now if since.min() < 0 else since
