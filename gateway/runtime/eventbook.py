"""The event book: where every event of every thread comes together.

An event is logged at once, kept for the page (bounded, oldest dropped), and handed to the engine's thread, which
sends it upstream in the order in which it came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from gateway.core.events import Event, Severity
from gateway.core.limits import EVENTS_KEPT
from gateway.core.readings import Reading

METRICS = (
    ("fieldgate_events_total", "counter", "Events (changes of state), by severity."),
    ("fieldgate_events_unsent_total", "counter", "Events that were logged but came too fast to be sent upstream."),
)


class EventBook:
    """Thread-safe without a lock of its own: deque appends and pops are atomic under the GIL."""

    def __init__(self, log: Callable[[Event], None]) -> None:
        self._log = log
        self._kept: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._outgoing: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._counts = dict.fromkeys(Severity, 0)
        self._unsent = 0

    def emit(self, event: Event) -> None:
        if len(self._outgoing) == EVENTS_KEPT:
            self._unsent += 1
        self._outgoing.append(event)
        self.show(event)

    def show(self, event: Event) -> None:
        """Log and keep an event that the engine itself made: it is on its way upstream already."""
        self._counts[event.severity] += 1
        self._kept.append(event)
        self._log(event)

    def take_outgoing(self) -> list[Event]:
        """Events since the last call, oldest first. Only the engine's thread calls this."""
        taken = []
        while self._outgoing:
            taken.append(self._outgoing.popleft())
        return taken

    def kept(self) -> list[Event]:
        """The events that are kept, oldest first."""
        return list(self._kept)

    def readings(self) -> Iterator[Reading]:
        for severity, count in self._counts.items():
            yield Reading("fieldgate_events_total", count, (("severity", severity.name.lower()),))
        yield Reading("fieldgate_events_unsent_total", self._unsent)
