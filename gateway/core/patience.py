"""When a session whose answers stay away is given up: what a narrow line still carries is not held against the far end.

A record's time counts from when its bytes left, not from when it was handed over: a window full of records behind a
narrow line waits for longer than an answer may take. Two things tell that bytes left:

    the queue     what was handed over, less what still lies in the client's buffers and in the socket's, which the
                  other side's TCP has not acknowledged
    the answers   whoever is in between (a modem, a proxy) has buffers too. An answer to one record begins anew the time
                  of all that were handed over after it: they were behind it on the line

A record that is passed over, while later ones are answered, is excused by neither. Where nothing comes and nothing
leaves, the time is over as if there were no line. Times are steady ns, given by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LOOKS: Final = 10
"""How often it is asked within the time."""


@dataclass(slots=True)
class _Waiting:
    since_ns: int
    ends_at: int
    """Of all bytes that were handed over, up to where they are its own."""


class Patience:
    """Of one session. `is_over` is asked LOOKS times within the time."""

    def __init__(self, timeout_ns: int) -> None:
        self._timeout_ns = timeout_ns
        self._waiting: dict[int, _Waiting] = {}
        self._number = 0
        self._handed = 0
        self._left = 0
        self._first_answered: int | None = None
        """Of those answered since the last look, the one handed over first."""

    def sent(self, size: int, now_ns: int) -> int:
        """A record of so many bytes was handed over; its number."""
        self._number += 1
        self._handed += size
        self._waiting[self._number] = _Waiting(now_ns, self._handed)
        return self._number

    def ended(self, number: int, *, is_answered: bool) -> None:
        """Nothing is expected for this record any more."""
        del self._waiting[number]
        if is_answered:
            first = self._first_answered
            self._first_answered = number if first is None else min(first, number)

    def is_over(self, queued_bytes: int, now_ns: int) -> bool:
        """Whether a record has waited for too long. `queued_bytes`: handed over, and not at the other side's TCP."""
        left = max(self._left, self._handed - queued_bytes)
        for number, record in self._waiting.items():
            is_behind = self._first_answered is not None and number > self._first_answered
            is_moving = left > self._left and record.ends_at > self._left
            if is_behind or is_moving:
                record.since_ns = now_ns
        self._left, self._first_answered = left, None
        return any(now_ns - record.since_ns > self._timeout_ns for record in self._waiting.values())
