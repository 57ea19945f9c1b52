"""What Prometheus sees: the components' readings as metric families, in a registry of our own.

A component's module says which metrics it has in a table `METRICS` of (name, type, help); the runtime merges the tables
and hands them in. The table decides, not the reading: a reading that is not in it, that is of another type, or that
repeats a series already told is left out and counted, because a scrape that fails as a whole hides everything else.

Histograms of the core have 384 fine buckets; Prometheus gets those of `BOUNDS_NS`. Regrouping is exact but for the one
fine bucket that a bound cuts: it counts to the coarse bucket above, so a latency is never told as better than it was,
and the bound is blurred by at most 1/16 of itself. `_sum` and `_count` are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.core.histogram import BUCKETS, bucket_upper_ns
from gateway.core.readings import HistogramReading, Labels, Measured, Reading
from gateway.core.types import NS_PER_S, Int64s

MetricTable: TypeAlias = Sequence[tuple[str, str, str]]

SERIES_MAX: Final = 50_000
"""Series of one scrape. Overflow: the rest of the scrape is left out and counted."""

BOUNDS_NS: Final = tuple(
    int(bound_us * 1_000)
    for bound_us in (
        *(50, 100, 250, 500),
        *(1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000),
        *(1_000_000, 2_500_000, 5_000_000, 10_000_000),
    )
)
"""Upper bounds of the buckets told to Prometheus; the budgets (10, 50, 100 ms) are among them."""

_UPPER_NS: Final = [bucket_upper_ns(index) for index in range(BUCKETS)]
_WHOLE: Final = [int(np.searchsorted(_UPPER_NS, bound_ns, side="right")) for bound_ns in BOUNDS_NS]
"""For each bound, how many fine buckets lie below it as a whole."""
_LE: Final = [f"{bound_ns / NS_PER_S:g}" for bound_ns in BOUNDS_NS]

METRICS: MetricTable = (
    (
        "fieldgate_http_refused_readings_total",
        "counter",
        "Readings left out of a scrape, by reason: unknown, type, duplicate or limit. All but limit are bugs.",
    ),
    ("fieldgate_process_threads", "gauge", "Threads of the process."),
)

REFUSALS: Final = ("unknown", "type", "duplicate", "limit")


class MetricTableInvalid(ValueError):
    """Two parts disagree on a metric, or a name breaks a convention that Prometheus relies on."""


def regroup(counts: Int64s) -> list[int]:
    """Cumulative counts at each of `BOUNDS_NS`, then the count of all."""
    running = np.concatenate(([0], np.cumsum(counts[:BUCKETS])))
    return [int(running[whole]) for whole in _WHOLE] + [int(running[BUCKETS])]


def merge_tables(tables: Iterable[MetricTable]) -> dict[str, tuple[str, str]]:
    """Name → (type, help). Raises MetricTableInvalid."""
    merged: dict[str, tuple[str, str]] = {}
    for name, kind, text in (row for table in tables for row in table):
        if kind not in ("counter", "gauge", "histogram"):
            raise MetricTableInvalid(f"{name}: type {kind!r}; write counter, gauge or histogram")
        if (kind == "counter") != name.endswith("_total"):
            raise MetricTableInvalid(f"{name}: a {kind} {'must' if kind == 'counter' else 'must not'} end in _total")
        if kind == "histogram" and not name.endswith("_seconds"):
            raise MetricTableInvalid(f"{name}: a histogram holds durations and must end in _seconds")
        if merged.setdefault(name, (kind, text)) != (kind, text):
            raise MetricTableInvalid(f"{name}: in two tables with different type or help; keep one of them")
    return merged


class GatewayCollector(Collector):
    """Asks every component at each scrape; keeps nothing but what it refused."""

    def __init__(self, *, tables: Iterable[MetricTable], measured: Callable[[], Sequence[Measured]]) -> None:
        self._table = merge_tables([METRICS, *tables])
        self._measured = measured
        self._refused = dict.fromkeys(REFUSALS, 0)
        self.refused_names: set[str] = set()
        """Names of refused readings, for whoever looks for the bug; at most as many as the code has."""

    def readings(self) -> Iterator[Reading]:
        for reason, count in self._refused.items():
            yield Reading("fieldgate_http_refused_readings_total", count, (("reason", reason),))
        yield Reading("fieldgate_process_threads", sum(1 for _ in Path("/proc/self/task").iterdir()))

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        told: set[tuple[str, Labels]] = set()
        for component in (self, *self._measured()):
            for reading in component.readings():
                refusal = self._refusal(reading, told)
                if refusal:
                    self._refused[refusal] += 1
                    self.refused_names.add(reading.name)
                else:
                    self._add(families, reading)
        yield from families.values()

    def _refusal(self, reading: Reading | HistogramReading, told: set[tuple[str, Labels]]) -> str:
        """Why a reading is left out; empty when it is not. Notes it as told."""
        if reading.name not in self._table:
            return "unknown"
        if (self._table[reading.name][0] == "histogram") != isinstance(reading, HistogramReading):
            return "type"
        series = (reading.name, tuple(sorted(reading.labels)))
        if series in told:
            return "duplicate"
        if len(told) >= SERIES_MAX:
            return "limit"
        told.add(series)
        return ""

    def _add(self, families: dict[str, Metric], reading: Reading | HistogramReading) -> None:
        name = reading.name
        if name not in families:
            kind, text = self._table[name]
            # The library takes a counter's family without its suffix and puts it back on every sample's line.
            families[name] = Metric(name.removesuffix("_total") if kind == "counter" else name, text, kind)
        family, labels = families[name], dict(reading.labels)
        if isinstance(reading, Reading):
            family.add_sample(name, labels, reading.value)
            return
        *buckets, count = regroup(reading.counts)
        for le, below in zip(_LE, buckets, strict=True):
            family.add_sample(f"{name}_bucket", {**labels, "le": le}, below)
        family.add_sample(f"{name}_bucket", {**labels, "le": "+Inf"}, count)
        family.add_sample(f"{name}_sum", labels, reading.sum_ns / NS_PER_S)
        family.add_sample(f"{name}_count", labels, count)


class BuildCollector(Collector):
    """Which build of which gateway this is; a constant."""

    def __init__(self, *, gateway_id: str, build: dict[str, str]) -> None:
        self._labels = {"gateway": gateway_id, **build}

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("fieldgate_build", "The build that runs, and the gateway's name.", self._labels)


def make_registry(collector: GatewayCollector, build: BuildCollector) -> CollectorRegistry:
    """A registry with nothing global in it: our readings, the build, and the process's CPU, memory and descriptors."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    registry.register(build)
    ProcessCollector(registry=registry)
    return registry
