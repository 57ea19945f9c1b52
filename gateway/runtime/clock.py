"""Engine time: one strictly increasing clock for everything that the gateway remembers.

It is the monotonic clock plus an offset, so no step of the wall clock ever reaches a window, a time-out or a record's
order. The offset is chosen at start so that engine time goes on after the highest that any earlier run may have
used, over restarts and boots; where the wall clock is ahead of that, engine time starts at the wall time, so on
most machines the two read alike.

Wall time is only a stamp: `wall_offset_ns` says how far the two are apart now, `time_quality` whether the wall clock
can be believed (a box without a battery-backed clock boots in 1970).
"""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass

from gateway.core.record import Stamp
from gateway.core.types import NS_PER_S

LEASE_NS = 10_000_000_000
"""How far ahead of now the persisted mark lies: a crash between two marks must not let engine time repeat."""

_STA_UNSYNC = 0x0040  # adjtimex(2): the kernel's clock is not disciplined
_TIMEX_BYTES = 208
_TIMEX_STATUS_OFFSET = 40


@dataclass(frozen=True, slots=True)
class EngineClock:
    """Call it for the engine time in ns. `offset_ns` is engine minus monotonic time."""

    offset_ns: int

    def __call__(self) -> int:
        return time.monotonic_ns() + self.offset_ns

    def lease_ns(self) -> int:
        """The mark to persist now; the next run starts no earlier."""
        return self() + LEASE_NS

    def wall_offset_ns(self) -> int:
        """Wall time minus engine time, as of now."""
        return time.time_ns() - self()


def resume_clock(leased_ns: int) -> EngineClock:
    """A clock that goes on after `leased_ns`, the mark that an earlier run persisted (0 on the very first)."""
    return EngineClock(offset_ns=max(leased_ns, time.time_ns()) - time.monotonic_ns())


STEP_NS = 100_000_000
"""A move of the wall clock against the engine's by more, from one stamp to the next, is a step and no slewing."""


class WallStamp:
    """The stamp of records at an engine time. One thread's own: whether the clock is disciplined is asked for once a
    second, and at once when the wall clock was stepped."""

    def __init__(self, clock: EngineClock) -> None:
        self._clock = clock
        self._is_synced = False
        self._due_ns = 0
        self._offset_ns = 0

    def __call__(self, now_ns: int) -> Stamp:
        before_ns, self._offset_ns = self._offset_ns, self._clock.wall_offset_ns()
        if now_ns >= self._due_ns or abs(self._offset_ns - before_ns) > STEP_NS:
            self._is_synced = is_clock_synced()
            self._due_ns = now_ns + NS_PER_S
        return Stamp(self._offset_ns, self._is_synced)


def is_clock_synced() -> bool:
    """Whether the kernel says that its clock is disciplined (adjtimex(2))."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    if ctypes.CDLL(None).adjtimex(timex) < 0:
        return False
    status = int.from_bytes(timex.raw[_TIMEX_STATUS_OFFSET : _TIMEX_STATUS_OFFSET + 4], "little")
    return not status & _STA_UNSYNC
