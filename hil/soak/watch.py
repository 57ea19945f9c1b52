"""Looks at the daemon from outside, every few seconds: what the kernel says of its process, and its own metrics."""

from __future__ import annotations

import math
import os
import re
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.runtime.benches.environment import PAGE_BYTES, process_cpu_ns

LINE: Final = re.compile(r"^(?P<name>[a-z_]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
BOUND: Final = re.compile(r'le="([^"]+)"')
PERCENTILES: Final = (0.5, 0.99)
LATENCIES: Final = {
    "aggregate": "fieldgate_sample_to_aggregate_seconds",
    "score": "fieldgate_sample_to_score_seconds",
    "control": "fieldgate_control_input_to_output_seconds",
}
TIMEOUT_S: Final = 10.0

Histogram = dict[float, float]
"""By upper bound in seconds, how many were at most that."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """Sums over all labels, and the buckets of histograms."""

    sums: Mapping[str, float]
    histograms: Mapping[str, Histogram]

    def __getitem__(self, name: str) -> float:
        return self.sums.get(name, 0.0)


def parse(text: str) -> Scrape:
    """Of the Prometheus text format what the soak needs."""
    sums: dict[str, float] = {}
    histograms: dict[str, Histogram] = {}
    for line in text.splitlines():
        found = LINE.match(line)
        if found is None:
            continue
        name, value = found["name"], float(found["value"])
        bound = BOUND.search(found["labels"] or "")
        if bound is None:
            sums[name] = sums.get(name, 0.0) + value
        else:
            buckets = histograms.setdefault(name.removesuffix("_bucket"), {})
            buckets[float(bound[1])] = buckets.get(float(bound[1]), 0.0) + value
    return Scrape(sums, histograms)


def percentile_ms(before: Histogram, after: Histogram, share: float) -> float:
    """Of what came between two looks, evenly spread within its bucket, as Prometheus does it; NaN when nothing came.
    A histogram may have begun anew (a reload): then all of it came."""
    found: Histogram = {}
    _add(found, before, after)
    counts = sorted(found.items())
    wanted = share * counts[-1][1] if counts else 0.0
    below_s, below = 0.0, 0.0
    for bound_s, count in counts:
        if count >= wanted > 0:
            inside = (wanted - below) / (count - below)
            return 1e3 * (below_s if math.isinf(bound_s) else below_s + inside * (bound_s - below_s))
        below_s, below = bound_s, count
    return math.nan


def _add(whole: Histogram, before: Histogram, after: Histogram) -> None:
    is_anew = any(count < before.get(bound, 0.0) for bound, count in after.items())
    for bound, count in after.items():
        whole[bound] = whole.get(bound, 0.0) + count - (0.0 if is_anew else before.get(bound, 0.0))


@dataclass(slots=True)
class Look:
    """One moment. Latencies and rates are of the time since the look before."""

    at_s: float
    figures: dict[str, float] = field(default_factory=dict)


class Watch:
    """All looks at one process."""

    def __init__(self, pid: int, http_port: int, state: Path) -> None:
        self._pid = pid
        self._port = http_port
        self._state = state
        self._began_s = time.monotonic()
        self._last_s, self._last = self._began_s, self.scrape()
        self._whole: dict[str, Histogram] = {name: {} for name in LATENCIES.values()}
        self._cpu_ns = process_cpu_ns(pid)
        self.looks: list[Look] = []

    def scrape(self) -> Scrape:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=TIMEOUT_S) as answer:
            return parse(answer.read().decode())

    def look(self, **more: float) -> Look:
        """Raises OSError when the daemon does not answer."""
        now, now_s = self.scrape(), time.monotonic()
        cpu_ns = process_cpu_ns(self._pid)
        span_s = max(now_s - self._last_s, 1e-9)
        one = Look(now_s - self._began_s)
        one.figures = {
            "resident_bytes": float(self._resident_bytes()),
            "descriptors": self._count("fd") - now["fieldgate_http_connections"],
            "threads": self._count("task"),
            "cpu_cores": (cpu_ns - self._cpu_ns) / 1e9 / span_s,
            **self._disk(),
            "samples_per_s": (now["fieldgate_engine_samples_total"] - self._last["fieldgate_engine_samples_total"])
            / span_s,
            "waiting_records": now["fieldgate_spool_records"],
            "inbox_samples": now["fieldgate_inbox_depth_samples"],
            "dropped_samples": now["fieldgate_inbox_dropped_samples_total"],
            "viewers": now["fieldgate_http_viewers"],
            **more,
        }
        for short, name in LATENCIES.items():
            before, after = self._last.histograms.get(name, {}), now.histograms.get(name, {})
            _add(self._whole[name], before, after)
            for share in PERCENTILES:
                one.figures[f"{short}_p{share * 100:.0f}_ms"] = percentile_ms(before, after, share)
        self._last_s, self._last, self._cpu_ns = now_s, now, cpu_ns
        self.looks.append(one)
        return one

    def whole_ms(self) -> dict[str, float]:
        """The 99th percentiles of all that came between the first look and the last."""
        return {f"{short}_p99_ms": percentile_ms({}, self._whole[name], 0.99) for short, name in LATENCIES.items()}

    def _count(self, what: str) -> float:
        return float(sum(1 for _ in Path(f"/proc/{self._pid}/{what}").iterdir()))

    def _resident_bytes(self) -> int:
        return int(Path(f"/proc/{self._pid}/statm").read_text().split()[1]) * PAGE_BYTES

    def _disk(self) -> dict[str, float]:
        """Bytes of all that the state folder holds; files may go while they are looked at."""
        sizes = {"spool": 0, "journal": 0, "history": 0, "other": 0}
        for folder, _, names in os.walk(self._state):
            for name in names:
                place = Path(folder, name)
                part = next((part for part in sizes if part in str(place.relative_to(self._state))), "other")
                try:
                    sizes[part] += place.stat().st_size
                except FileNotFoundError:
                    continue
        return {"disk_bytes": float(sum(sizes.values())), **{f"{part}_bytes": float(n) for part, n in sizes.items()}}
