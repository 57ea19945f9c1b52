"""How often in a row sessions came to nothing: what the wait before the next one grows with.

A session whose records are answered is no failure, with one exception: where it ends at the same record each time (one
that the other end wants later, or that it hangs up at), while others are answered beside it. So what was under way when
a session ended must be answered before failures are forgotten. A record that never will be (the spool dropped it) does
not count for ever: a session that lasted is none that came to nothing.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from gateway.core.types import NS_PER_S

K = TypeVar("K")

LASTED_NS: Final = 60 * NS_PER_S
"""More than the longest wait between two sessions."""


class Setbacks(Generic[K]):
    """`K` is what records are told apart by."""

    def __init__(self) -> None:
        self.failures = 0
        self._unanswered: set[K] = set()
        """Of the last session that ended with something under way."""
        self._left: set[K] = set()
        self._is_answered = False

    def answered(self, key: K) -> None:
        """The other end took it, or refused it for ever."""
        self._is_answered = True
        self._unanswered.discard(key)
        if not self._unanswered:
            self.failures = 0

    def left(self, key: K) -> None:
        """It got no answer in this session, or was told to come later."""
        self._left.add(key)

    def ended(self, lasted_ns: int) -> None:
        """A session, or the attempt at one, after so long."""
        if self._is_answered and lasted_ns >= LASTED_NS:
            self.failures = 0
            self._unanswered = set()
        self.failures += 1
        self._unanswered = self._left or self._unanswered
        self._left, self._is_answered = set(), False
