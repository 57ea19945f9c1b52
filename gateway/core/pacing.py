"""Pacing: how live records and a backlog share one link. Live first, and the backlog never starved.

Three things hold a backlog back, each by itself:

    the pace      so many records a second (`drain`), as a leaky bucket: late records may catch up on SLACK_NS, no more
    the budget    of a link that is paid by the byte: live and backlog together send at most `bandwidth`; the backlog
                  may take what live leaves, and `share` of it in any case. A record counts with the bytes that the
                  spool has, and as soon as it was encoded and compressed with those that go out (`resized`)
    the window    how many records of the backlog are under way. Nobody tells how wide a link is, but a queue in it
                  shows in how long acknowledgements of live records take: over the shortest that was seen lately plus
                  DELAY_NS the window is halved, else it grows by one a round (additive increase, multiplicative
                  decrease, as LEDBAT, RFC 6817, does with one-way delays). One record is always let through.

Times are steady ns, given by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.core.types import NS_PER_MS, NS_PER_S

SLACK_NS: Final = 50 * NS_PER_MS
DELAY_NS: Final = 30 * NS_PER_MS
"""What the backlog may add to the acknowledgement of a live record before it steps back."""
BASE_AGES_NS: Final = 60 * NS_PER_S
"""How long the shortest acknowledgement counts: routes change."""


@dataclass(frozen=True, slots=True)
class Pace:
    """`bandwidth_bytes_per_s` 0: not limited. `share` is between 0 and 1, of the bandwidth."""

    records_per_s: int
    bandwidth_bytes_per_s: int = 0
    share: float = 0.25


class Pacer:
    """One session's. `window_max` bounds the records of the backlog under way."""

    def __init__(self, pace: Pace, window_max: int) -> None:
        assert pace.records_per_s > 0
        assert 0 <= pace.share <= 1
        self._pace = pace
        self._window_max = window_max
        self.window = 1.0
        """Records of the backlog that may be under way."""
        self._next_ns = 0
        self._sent_until_ns = 0
        self._owed_from_ns = 0
        self._base_ns = 0
        self._base_since_ns = 0
        self._stepped_back_ns = 0

    def live_waits_ns(self, now_ns: int) -> int:
        """How long the next live record must wait for the budget."""
        return max(0, self._sent_until_ns - now_ns)

    def backlog_waits_ns(self, now_ns: int, *, is_live_waiting: bool) -> int:
        """How long the next record of the backlog must wait for pace and budget; the window is the caller's."""
        pace_ns = max(0, self._next_ns - now_ns)
        if not self._pace.bandwidth_bytes_per_s:
            return pace_ns
        owed_ns = max(0, self._owed_from_ns - now_ns) if self._pace.share else NS_PER_S
        left_ns = NS_PER_S if is_live_waiting else max(0, self._sent_until_ns - now_ns)
        return max(pace_ns, min(owed_ns, left_ns))

    def live_sent(self, now_ns: int, size: int) -> None:
        self._spend(now_ns, size)

    def backlog_sent(self, now_ns: int, size: int) -> None:
        self._next_ns = max(self._next_ns, now_ns - SLACK_NS) + NS_PER_S // self._pace.records_per_s
        self._spend(now_ns, size)
        owed = self._pace.bandwidth_bytes_per_s * self._pace.share
        if owed:
            self._owed_from_ns = max(self._owed_from_ns, now_ns) + int(size * NS_PER_S / owed)

    def resized(self, more: int, *, is_backlog: bool) -> None:
        """A record that was counted as sent has so many bytes more on the link, or fewer: negative."""
        if not self._pace.bandwidth_bytes_per_s:
            return
        self._sent_until_ns += more * NS_PER_S // self._pace.bandwidth_bytes_per_s
        owed = self._pace.bandwidth_bytes_per_s * self._pace.share
        if is_backlog and owed:
            self._owed_from_ns += int(more * NS_PER_S / owed)

    def live_answered(self, now_ns: int, took_ns: int) -> None:
        """A live record was acknowledged `took_ns` after it was handed over."""
        if not self._base_ns or took_ns < self._base_ns or now_ns - self._base_since_ns > BASE_AGES_NS:
            self._base_ns, self._base_since_ns = took_ns, now_ns
        if took_ns <= self._base_ns + DELAY_NS:
            self._widen()
        elif now_ns - took_ns >= self._stepped_back_ns:
            # What was sent before the last step back says nothing about the window since.
            self.window = max(1.0, self.window / 2)
            self._stepped_back_ns = now_ns

    def backlog_answered(self, *, is_live_quiet: bool) -> None:
        """Without live records there is nobody to make room for."""
        if is_live_quiet:
            self._widen()

    def _widen(self) -> None:
        self.window = min(float(self._window_max), self.window + 1 / self.window)

    def _spend(self, now_ns: int, size: int) -> None:
        bandwidth = self._pace.bandwidth_bytes_per_s
        if bandwidth:
            self._sent_until_ns = max(self._sent_until_ns, now_ns - SLACK_NS) + size * NS_PER_S // bandwidth
