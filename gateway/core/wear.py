"""How much is written to the disk, and how long a flash that takes so much lives.

A flash wears by what is written to it: its maker states how much that may be (TBW). What this process has the system
write is counted; the rate is that of the last day, or of the time since the start while that is shorter. The file
system and the flash itself write more than they are given, so the life told is the most that can be hoped for.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from gateway.core.types import NS_PER_S

DAY_NS: Final = 24 * 3_600 * NS_PER_S
LOOKS_MAX: Final = 288
"""Every five minutes of a day."""
LOOK_EVERY_NS: Final = DAY_NS // LOOKS_MAX
SOON_NS: Final = 60 * NS_PER_S
"""A shorter time says nothing of a day."""
DAYS_PER_YEAR: Final = 365.25


class Wear:
    """`endurance_bytes` is what the flash takes in its life; 0 where nobody said."""

    def __init__(self, endurance_bytes: int) -> None:
        self.written_bytes = 0
        self._endurance_bytes = endurance_bytes
        self._looks: deque[tuple[int, int]] = deque(maxlen=LOOKS_MAX + 1)
        self._now_ns = 0

    def begin(self) -> None:
        """The rate is that of the time from now on: kernels that the first start compiled are no habit."""
        self._looks.clear()

    def look(self, now_ns: int, written_bytes: int) -> None:
        """`written_bytes` is what was written in all; as often as one likes."""
        self._now_ns, self.written_bytes = now_ns, written_bytes
        if not self._looks or now_ns - self._looks[-1][0] >= LOOK_EVERY_NS:
            self._looks.append((now_ns, written_bytes))

    @property
    def bytes_per_day(self) -> float | None:
        """None in the first minute."""
        if not self._looks or self._now_ns - self._looks[0][0] < SOON_NS:
            return None
        since_ns, before_bytes = self._looks[0]
        return (self.written_bytes - before_bytes) * DAY_NS / (self._now_ns - since_ns)

    @property
    def life_years(self) -> float | None:
        """Of a new flash, at this rate; None where it is not known, or nothing is written."""
        rate = self.bytes_per_day
        return self._endurance_bytes / rate / DAYS_PER_YEAR if rate and self._endurance_bytes else None
