"""Does it stay as it was? The trend of each figure over the soak, and whether it is within its bound. Pure.

A trend is Theil's (the median of the slopes between all pairs of looks), which a fault that lasts for a minute does not
move: what is asked is what is left behind when it is over. It is taken behind the warm-up, the first third, in which
caches fill and what is kept reaches its room. A look every few seconds for an hour is thinned to some hundred, as
pairs go with the square.

Source: Theil (1950), A rank-invariant method of linear regression analysis; Sen (1968).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

WARM_UP: Final = 1 / 3
LOOKS_MAX: Final = 300
TREND_S_MIN: Final = 600.0
"""Within a shorter stretch a trend says more of the last fault than of the daemon: it is told, and not judged."""
MB: Final = 1e6


@dataclass(frozen=True, slots=True)
class Bound:
    """How much a figure may have grown from the end of the warm-up to the end of the soak, by its trend."""

    growth_max: float
    share_max: float = 0.0
    """Of its median, on top."""


BOUNDS: Final[Mapping[str, Bound]] = {
    # A leak of 100 bytes in each of an hour's 360,000 cycles would be 36 MB. What the allocator keeps moves by less.
    "resident_bytes": Bound(8 * MB, 0.01),
    "descriptors": Bound(0.5),
    "threads": Bound(0.5),
    # Files come and go in pieces: a journal's is 8 MB, SQLite's log some more.
    "disk_bytes": Bound(16 * MB, 0.05),
    "aggregate_p99_ms": Bound(5.0),
    "score_p99_ms": Bound(5.0),
    "control_p99_ms": Bound(1.0),
    "cpu_cores": Bound(0.05, 0.1),
}
BUDGETS_MS: Final[Mapping[str, float]] = {"aggregate_p99_ms": 50.0, "score_p99_ms": 100.0, "control_p99_ms": 10.0}
"""Of the whole soak's 99th percentile."""


def growth(at_s: Sequence[float], values: Sequence[float]) -> float:
    """By how much the figure grew over the stretch, by its trend. Looks without it (NaN) do not count."""
    times, found = np.asarray(at_s, float), np.asarray(values, float)
    is_known = np.isfinite(found)
    times, found = times[is_known], found[is_known]
    if len(times) < 2:
        return 0.0
    kept = np.unique(np.linspace(0, len(times) - 1, LOOKS_MAX).astype(int))
    span_s = float(times[-1] - times[0])
    times, found = times[kept], found[kept]
    first, second = np.triu_indices(len(times), 1)
    slopes = (found[second] - found[first]) / (times[second] - times[first])
    return float(np.median(slopes)) * span_s


@dataclass(frozen=True, slots=True)
class Trend:
    """`is_judged` is False where the soak was too short."""

    name: str
    median: float
    growth: float
    allowed: float
    is_judged: bool

    @property
    def is_broken(self) -> bool:
        return self.is_judged and self.growth > self.allowed

    def __str__(self) -> str:
        return f"{self.name} grew by {self.growth:.4g}, more than {self.allowed:.4g}, from about {self.median:.4g}"


def trends(at_s: Sequence[float], figures: Mapping[str, Sequence[float]]) -> tuple[Trend, ...]:
    """Of each figure that has a bound."""
    if not at_s:
        return ()
    begin_s = at_s[0] + WARM_UP * (at_s[-1] - at_s[0])
    first = next(place for place, moment_s in enumerate(at_s) if moment_s >= begin_s)
    is_judged = at_s[-1] - at_s[first] >= TREND_S_MIN
    found = []
    for name, bound in BOUNDS.items():
        values = np.asarray(figures[name][first:], float)
        median = float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0
        allowed = bound.growth_max + bound.share_max * abs(median)
        found.append(Trend(name, median, growth(at_s[first:], figures[name][first:]), allowed, is_judged))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Books:
    """What was sent into the plant and what came of it."""

    readings_sent: int
    readings_received: int
    """Of those sent, in records that arrived."""
    samples_dropped: int
    records_produced: int
    records_received: int
    records_ledgered: int
    records_waiting: int
    records_lost: int
    records_duplicated: int
    exit_code: int | None


def broken(found: Sequence[Trend], whole_ms: Mapping[str, float], books: Books) -> list[str]:
    """What was promised and not kept, in words."""
    out = [str(trend) for trend in found if trend.is_broken]
    for name, budget_ms in BUDGETS_MS.items():
        if not whole_ms[name] <= budget_ms:
            out.append(f"{name} was {whole_ms[name]:.3g} over the whole soak, the budget is {budget_ms:g}")
    if books.records_lost or books.records_duplicated:
        out.append(f"{books.records_lost} records were lost, {books.records_duplicated} came twice")
    if books.readings_received != books.readings_sent and not books.records_ledgered:
        out.append(f"{books.readings_sent} readings were sent, {books.readings_received} are in records upstream")
    if books.samples_dropped:
        out.append(f"{books.samples_dropped} samples were dropped at the way in")
    if books.exit_code != 0:
        out.append(f"the gateway ended with {books.exit_code}")
    return out
