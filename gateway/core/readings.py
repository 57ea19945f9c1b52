"""Readings: how a component tells what it counted, without knowing who asks.

Each component has `readings()`, cheap and callable from any thread. Names, types and help texts stand in the METRICS of
the module that counts; `gateway.runtime.metric_tables` joins them. A reading that is in none is left out of the scrape
and counted: a programmer's error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from gateway.core.histogram import BUCKETS
from gateway.core.types import Int64s

Labels: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """A counter's or gauge's present value, in the metric's base unit (seconds, bytes)."""

    name: str
    value: float
    labels: Labels = ()


@dataclass(frozen=True, slots=True)
class HistogramReading:
    """A copy of a log-linear histogram's counts (`gateway.core.histogram`), in nanoseconds."""

    name: str
    counts: Int64s
    sum_ns: int
    labels: Labels = ()


def histogram_reading(name: str, counts: Int64s, labels: Labels = ()) -> HistogramReading:
    """A reading of a histogram that goes on counting. `counts` is [histogram.SIZE]."""
    copied = counts.copy()
    return HistogramReading(name, copied[:BUCKETS], int(copied[BUCKETS]), labels)


class Measured(Protocol):
    def readings(self) -> Iterator[Reading | HistogramReading]: ...
