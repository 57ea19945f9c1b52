"""What reloads came to, for Prometheus: when the configuration in force was taken, and how often one was or was not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from gateway.core.readings import Reading
from gateway.core.types import NS_PER_S

METRICS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "fieldgate_config_last_reload_success_timestamp_seconds",
        "gauge",
        "When the configuration in force was taken, by the wall clock: at the start, or by a reload.",
    ),
    (
        "fieldgate_config_last_reload_successful",
        "gauge",
        "0 after a reload that was refused or rolled back, until one is not.",
    ),
    (
        "fieldgate_config_reloads_total",
        "counter",
        "Reloads (SIGHUP, `fieldgate reload`, or a reference table that changed), by result; also trials, by theirs.",
    ),
)
RESULTS: Final = ("applied", "refused", "kept", "rolled back")
"""A reload's own, then those of a trial that it was on."""


class Reloads:
    """Begins with the configuration that the daemon was started with."""

    def __init__(self, wall_ns: Callable[[], int]) -> None:
        self._wall_ns = wall_ns
        self._taken_ns = wall_ns()
        self._last = "applied"
        self._counts = dict.fromkeys(RESULTS, 0)

    def note(self, result: str) -> None:
        """One of RESULTS."""
        self._last = result
        self._counts[result] += 1
        if result in ("applied", "rolled back"):
            self._taken_ns = self._wall_ns()

    def readings(self) -> Iterator[Reading]:
        yield Reading("fieldgate_config_last_reload_success_timestamp_seconds", self._taken_ns / NS_PER_S)
        yield Reading("fieldgate_config_last_reload_successful", int(self._last in ("applied", "kept")))
        for result, count in self._counts.items():
            yield Reading("fieldgate_config_reloads_total", count, (("result", result),))
