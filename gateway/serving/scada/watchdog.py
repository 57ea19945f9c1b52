"""SCADA's watchdog: a register in which a living SCADA counts, and what its silence does.

Only a count that differs from the last one is a sign of life: a driver that goes on writing what a dead script left
behind is none. Each sign is handed to the loops that watch (their executive keeps the time, also while Python stands
still, and takes them to their fail-safe); here silence is told, once, and its end. Time counts from the start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.core.events import Emit, Event, Severity
from gateway.core.ports import Clock
from gateway.core.readings import Reading
from gateway.core.types import NS_PER_S
from gateway.core.view import ControlView

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_scada_watchdog_silent", "gauge", "1 while SCADA does not count in its watchdog's register."),
    ("fieldgate_scada_watchdog_age_seconds", "gauge", "Time since SCADA's last count, or since the start."),
    ("fieldgate_scada_watchdog_counts_total", "counter", "Counts of SCADA in its watchdog's register."),
)


class ScadaWatchdog:
    """`loops` are the numbers of those that fail safe."""

    def __init__(
        self, timeout_ns: int, loops: Sequence[int], control: ControlView | None, *, now_ns: Clock, emit: Emit
    ) -> None:
        self._timeout_ns = timeout_ns
        self._loops = loops
        self._control = control
        self._now_ns = now_ns
        self._emit = emit
        self._seen_ns = now_ns()
        self._counts = 0
        self._is_silent = False
        self.count = 0

    def age_ns(self) -> int:
        return max(0, self._now_ns() - self._seen_ns)

    def write(self, count: int, client: str) -> None:
        """The register was written."""
        is_first = self._counts == 0
        if count == self.count and not is_first:
            return
        self.count = count
        self._counts += 1
        self._seen_ns = self._now_ns()
        if self._control is not None:
            for loop in self._loops:
                self._control.keep_alive(loop)
        if self._is_silent:
            self._is_silent = False
            self._say(Severity.NOTICE, "scada.watchdog.back", f"{client} counts again")

    def look(self) -> None:
        """To be called some times in the watchdog's time."""
        if not self._is_silent and self.age_ns() > self._timeout_ns:
            self._is_silent = True
            since = "since its last one" if self._counts else "since the start"
            what = f"no new count for {self.age_ns() / NS_PER_S:.1f} s {since}"
            trips = f"; {len(self._loops)} loops go to their fail-safe" if self._loops else ""
            self._say(Severity.WARNING, "scada.watchdog.silent", f"{what}{trips}: look at SCADA and the network")

    def readings(self) -> Iterator[Reading]:
        yield Reading("fieldgate_scada_watchdog_silent", int(self._is_silent))
        yield Reading("fieldgate_scada_watchdog_age_seconds", self.age_ns() / NS_PER_S)
        yield Reading("fieldgate_scada_watchdog_counts_total", self._counts)

    def _say(self, severity: Severity, kind: str, message: str) -> None:
        self._emit(Event(self._now_ns(), severity, kind, "scada", message))
