"""What to do when the lane stays past its mark: wait a moment, then leave out messages of QoS 0, the least first.

The count begins anew whenever the lane falls below its mark: an engine that is slow, but takes something, holds the
broker up by pauses alone.

A broker queues for a subscriber that does not read, and in the end cuts it off (the NATS server at 64 MB). Messages of
QoS 1 and 2 cannot be lost that way and are bounded by the receive maximum, so they always wait. Those of QoS 0
come as fast as they are published:

    past the mark for     level   messages of QoS 0 that are left out, read and counted
    less than 250 ms      0       none; reading pauses
    250 ms                1       of topics of low priority
    1 s                   2       of low and normal priority
    and the lane is full          all of QoS 0
"""

from __future__ import annotations

from typing import Final

from gateway.core.types import NS_PER_MS

LOW_AFTER_NS: Final = 250 * NS_PER_MS
NORMAL_AFTER_NS: Final = 1_000 * NS_PER_MS


class Pressure:
    """Of one session."""

    def __init__(self) -> None:
        self._since_ns: int | None = None
        self._is_told = False
        self._shed_before = 0

    def level(self, is_past_mark: bool, now_ns: int) -> int:
        if not is_past_mark:
            self._since_ns = None
            return 0
        if self._since_ns is None:
            self._since_ns = now_ns
        waited_ns = now_ns - self._since_ns
        return (waited_ns >= LOW_AFTER_NS) + (waited_ns >= NORMAL_AFTER_NS)

    def told(self, shed: int, level: int) -> str:
        """What is to be said, once when messages begin to be left out and once when that is over; else empty."""
        if not self._is_told and shed > self._shed_before:
            self._is_told = True
            return "messages of QoS 0 come faster than they can be taken and are left out, low priority first"
        if self._is_told and level == 0:
            count, self._shed_before, self._is_told = shed - self._shed_before, shed, False
            return f"messages are taken again; {count} of QoS 0 were left out"
        return ""
