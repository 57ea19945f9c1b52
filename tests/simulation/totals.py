"""Days and months of a tag by NumPy, from its samples in the order in which they came."""

from __future__ import annotations

import numpy as np

from gateway.core.types import NS_PER_S, QUALITY_UNCERTAIN_MIN, Float64s, Int64s, Samples
from tests.simulation.october import BELIEVED, HOUR_NS, STALE_NS

Total = dict[str, float]
"""By function: count, sum, min, max, integral."""


class Totals:
    """Of the tags in `rows`; each day is asked for once, in order."""

    def __init__(self, rows: range) -> None:
        self._kept: dict[int, tuple[Int64s, Float64s]] = {row: (np.zeros(0, np.int64), np.zeros(0)) for row in rows}
        self._day_from: dict[int, int] = dict.fromkeys(rows, 0)

    def take(self, samples: Samples) -> None:
        """An hour's, in the order of arrival."""
        for row, (times, values) in self._kept.items():
            own = samples[samples["row"] == row]
            own = own[(own["quality"] >= QUALITY_UNCERTAIN_MIN) & (own["value"] <= BELIEVED)]
            arrival, source = own["arrival_ns"], own["source_ns"]
            # A source's clock is believed when it is no hour behind and no second ahead.
            taken = np.where((source < arrival - HOUR_NS) | (source > arrival + NS_PER_S), arrival, source)
            self._kept[row] = np.concatenate([times, taken]), np.concatenate([values, own["value"]])

    def day(self, row: int, end_ns: int) -> Total:
        """Of the samples up to `end_ns` that no day before had."""
        times, values = self._kept[row]
        start_ns, self._day_from[row] = self._day_from[row], end_ns
        inside = (times >= start_ns) & (times < end_ns)
        in_order = times >= np.maximum.accumulate(times)
        total = {
            "count": float(inside.sum()),
            "sum": float(values[inside].sum()),
            "min": float(values[inside].min()),
            "max": float(values[inside].max()),
            "integral": _integral(times[in_order], values[in_order], start_ns, end_ns),
        }
        last = np.flatnonzero(in_order & (times < end_ns))[-1]
        self._kept[row] = times[last:], values[last:]
        return total


def _integral(times: Int64s, values: Float64s, start_ns: int, end_ns: int) -> float:
    """A value holds until the next one in time's order, and no longer than it is believed."""
    until = np.minimum(np.append(times[1:], end_ns), times + STALE_NS)
    held_ns = np.minimum(until, end_ns) - np.maximum(times, start_ns)
    return float((values * np.maximum(held_ns, 0)).sum()) / NS_PER_S


def together(month: Total | None, day: Total) -> Total:
    if month is None:
        return day
    sums = {word: month[word] + day[word] for word in ("count", "sum", "integral")}
    return sums | {"min": min(month["min"], day["min"]), "max": max(month["max"], day["max"])}
