"""The two ladders of one spool (`gateway.core.pressure`), as its thread looks at them, and what is told of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gateway.core.events import Emit, Event, Severity
from gateway.core.ports import Clock
from gateway.core.pressure import DOES, Ladder, Step, disk_pressure
from gateway.core.readings import Labels, Reading
from gateway.core.types import NS_PER_S

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_pressure_ratio", "gauge", "How full what is fullest is: the spool, its queue, the disk to its floor."),
    ("fieldgate_pressure_step", "gauge", "Step of the pressure ladder: 0 calm, 5 acknowledgements are held back."),
    ("fieldgate_pressure_climbed_total", "counter", "How often a step of the pressure ladder was climbed, by step."),
    ("fieldgate_disk_free_bytes", "gauge", "What is free on the disk that the spool is on."),
    ("fieldgate_disk_floor_bytes", "gauge", "What is to stay free on the spool's disk (`free_disk`); 0: unwatched."),
)

LOOK_AT_DISK_NS = NS_PER_S


class Pressing:
    """Of the spool at `path`; `floor_bytes` of the disk are to stay free (0: not looked at)."""

    def __init__(self, path: Path, *, now_ns: Clock, emit: Emit) -> None:
        self.floor_bytes = 0
        self.pressure = 0.0
        self.step = Step.CALM
        """The higher one of both ladders."""
        self._speed, self._space = Ladder(), Ladder()
        self._path = path
        self._now_ns = now_ns
        self._emit = emit
        self._climbed = [0] * len(Step)
        self._free_bytes: int | None = None
        self._disk = 0.0
        self._looked_ns: int | None = None

    @property
    def speed(self) -> Step:
        """What comes too fast is shed as it comes."""
        return self._speed.step

    @property
    def space(self) -> Step:
        """Where there is too little room, the oldest that waits is shed."""
        return self._space.step

    def look(self, queue: float, spool: float, now_ns: int, subject: str) -> None:
        """`queue` and `spool` are how full those are; `now_ns` is steady."""
        if self._looked_ns is None or now_ns - self._looked_ns >= LOOK_AT_DISK_NS:
            self._looked_ns = now_ns
            self._look_at_disk()
        self.pressure = max(queue, spool, self._disk)
        moved = self._speed.look(max(queue, self._disk), now_ns)
        moved |= self._space.look(spool, now_ns)
        before, self.step = self.step, max(self.speed, self.space)
        if moved and self.step != before:
            self._tell(before, {"drafts wait": queue, "spool": spool, "disk": self._disk}, subject)

    def _look_at_disk(self) -> None:
        try:
            seen = os.statvfs(self._path.parent)
        except OSError:
            # A disk that cannot even say this takes nothing either, which the spool tells; the last word stands.
            return
        self._free_bytes = seen.f_bavail * seen.f_frsize
        self._disk = disk_pressure(self._free_bytes, self.floor_bytes)

    def _tell(self, before: Step, of: dict[str, float], subject: str) -> None:
        is_up = self.step > before
        if is_up:
            self._climbed[self.step] += 1
        fullest = max(of, key=of.__getitem__)
        kind = "pressure.raised" if is_up else "pressure.eased"
        severity = Severity.WARNING if is_up else Severity.NOTICE
        message = f"step {self.step} of {Step.HOLD} ({fullest}: {of[fullest]:.0%} full): {DOES[self.step]}"
        self._emit(Event(self._now_ns(), severity, kind, subject, message))

    def readings(self, whose: Labels) -> Iterator[Reading]:
        yield Reading("fieldgate_pressure_ratio", self.pressure, whose)
        yield Reading("fieldgate_pressure_step", int(self.step), whose)
        for step in tuple(Step)[1:]:
            label = ("step", step.name.lower())
            yield Reading("fieldgate_pressure_climbed_total", self._climbed[step], (label, *whose))
        if self._free_bytes is not None:
            yield Reading("fieldgate_disk_free_bytes", self._free_bytes, whose)
        yield Reading("fieldgate_disk_floor_bytes", self.floor_bytes, whose)
