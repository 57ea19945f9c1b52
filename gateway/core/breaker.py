"""A circuit breaker: who keeps failing is asked rarely, who answers is asked as planned.

Closed: everything passes. After `failures_max` failures in a row it opens: nothing passes until the back-off has run
out, then one probe does; the probe's failure waits longer, its success closes the breaker. It decides only; the
caller sends, waits and tells it what came of it.
"""

from __future__ import annotations

from gateway.core.backoff import Backoff


class Breaker:
    __slots__ = ("_backoff", "_failures_max", "_seed", "failures", "retry_ns")

    def __init__(self, *, failures_max: int, backoff: Backoff, seed: int = 0) -> None:
        assert failures_max >= 1
        self._failures_max = failures_max
        self._backoff = backoff
        self._seed = seed
        self.failures = 0
        self.retry_ns = 0
        """When open: the next probe is due then."""

    @property
    def is_open(self) -> bool:
        return self.failures >= self._failures_max

    def allows(self, now_ns: int) -> bool:
        return self.failures < self._failures_max or now_ns >= self.retry_ns

    def failed(self, now_ns: int) -> None:
        """A request that was under way when it opened, and fails after, is no further failure."""
        if not self.allows(now_ns):
            return
        self.failures += 1
        if self.is_open:
            self.retry_ns = now_ns + self._backoff.delay_ns(self.failures - self._failures_max + 1, self._seed)

    def answered(self) -> None:
        self.failures = 0

    def suspect(self) -> None:
        """Closed for one try: a single further failure opens it."""
        self.failures = self._failures_max - 1
