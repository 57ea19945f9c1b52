"""What to do when the lane is past its mark again and again: wait, then leave out messages of QoS 0, the least first.

A broker queues for a subscriber that does not read, and in the end cuts it off (the NATS server at 64 MB) or drops what
it likes (Mosquitto). Messages of QoS 1 and 2 are bounded by the receive maximum, so they always wait. Those of QoS 0
come as fast as they are published:

    debt              level   messages of QoS 0 that are left out, read and counted
    below 250 ms      0       none; reading pauses while the lane is past its mark
    from 250 ms on    1       of topics of low priority
    from 500 ms on    2       of low and normal priority
    from 750 ms on    3       all, once the lane is full

The debt is the time for which the lane was past its mark, less the time for which it was not: whoever is overloaded
drains a little and is past the mark again at once, because the broker has more, and a burst that can be caught up with
is paid back. A level goes on until the debt has fallen to where the one below begins, so it does not flutter.
"""

from __future__ import annotations

from typing import Final

from gateway.core.types import NS_PER_MS, NS_PER_S

FROM_NS: Final = (0, 250 * NS_PER_MS, 500 * NS_PER_MS, 750 * NS_PER_MS)
"""By level."""
DEBT_NS_MAX: Final = 1_000 * NS_PER_MS
"""What more there is is forgotten, so that the end of an overload is seen in time."""
LOOK_NS_MAX: Final = 50 * NS_PER_MS
"""Nobody knows how long the lane stayed past its mark between two looks further apart."""
CALM_NS: Final = 5 * NS_PER_S
"""An overload is over when nothing was left out for so long; what comes sooner belongs to it and is not told again."""


class Pressure:
    """Of one session."""

    def __init__(self, shed: int = 0) -> None:
        """`shed` messages were left out before this session."""
        self.is_told = False
        """Whether it was said that messages are left out, and not yet that this is over."""
        self._level = 0
        self._debt_ns = 0
        self._was_past_mark = False
        self._looked_ns: int | None = None
        self._shed = self._shed_before = shed
        self._shed_ns = 0

    def level(self, is_past_mark: bool, now_ns: int) -> int:
        since_ns = 0 if self._looked_ns is None else now_ns - self._looked_ns
        if self._was_past_mark:
            self._debt_ns = min(DEBT_NS_MAX, self._debt_ns + min(since_ns, LOOK_NS_MAX))
        else:
            self._debt_ns = max(0, self._debt_ns - since_ns)
        self._looked_ns, self._was_past_mark = now_ns, is_past_mark
        while self._level < len(FROM_NS) - 1 and self._debt_ns >= FROM_NS[self._level + 1]:
            self._level += 1
        while self._level and self._debt_ns <= FROM_NS[self._level - 1]:
            self._level -= 1
        return self._level

    def told(self, shed: int, now_ns: int) -> str:
        """What is to be said, once when messages begin to be left out and once when that is over; else empty."""
        if shed > self._shed:
            self._shed, self._shed_ns = shed, now_ns
            if not self.is_told:
                self.is_told = True
                return "messages of QoS 0 come faster than they can be taken and are left out, low priority first"
        elif self.is_told and now_ns - self._shed_ns >= CALM_NS:
            count, self._shed_before, self.is_told = shed - self._shed_before, shed, False
            return f"messages are taken again; {count} of QoS 0 were left out"
        return ""
