"""The wear of the disk by this process: counted by the kernel, told by `gateway.core.wear`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gateway.core.ports import Clock
from gateway.core.readings import Reading
from gateway.core.wear import Wear

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_disk_written_bytes_total", "counter", "What the process had the system write to disks."),
    (
        "fieldgate_disk_written_bytes_per_day",
        "gauge",
        "What the process has the system write to disks in a day, by the last day or the time since the start.",
    ),
    (
        "fieldgate_disk_life_years",
        "gauge",
        "How long a new disk of `flash_endurance` lives at fieldgate_disk_written_bytes_per_day.",
    ),
)

OWN_IO = Path("/proc/self/io")


def written_bytes(io: Path = OWN_IO) -> int:
    """0 where the kernel does not count it."""
    try:
        lines = io.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), 0)


class Wearing:
    def __init__(self, endurance_bytes: int, now_ns: Clock) -> None:
        self.wear = Wear(endurance_bytes)
        self._now_ns = now_ns
        self.look()

    def begin(self) -> None:
        self.wear.begin()
        self.look()

    def look(self) -> None:
        self.wear.look(self._now_ns(), written_bytes())

    def readings(self) -> Iterator[Reading]:
        self.look()
        yield Reading("fieldgate_disk_written_bytes_total", self.wear.written_bytes)
        if self.wear.bytes_per_day is not None:
            yield Reading("fieldgate_disk_written_bytes_per_day", self.wear.bytes_per_day)
        if self.wear.life_years is not None:
            yield Reading("fieldgate_disk_life_years", self.wear.life_years)
