"""The event book: where every event of every thread comes together.

An event is logged at once, kept for the page (bounded, oldest dropped), and handed to the engine's thread, which
sends it upstream in the order in which it came.

What many devices tell at one moment (their link went down) is one line, and one entry of the page; upstream each is
told for itself.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from gateway.core.events import Event, Severity
from gateway.core.limits import EVENTS_KEPT
from gateway.core.readings import Reading

METRICS = (
    ("fieldgate_events_total", "counter", "Events (changes of state), by severity."),
    ("fieldgate_events_unsent_total", "counter", "Events that were logged but came too fast to be sent upstream."),
)


DEVICE: Final = "device."
"""What events begin with that a device tells when its quality is another."""
TOLD_APART_MAX: Final = 10
"""Devices that tell the same at one moment, each by a line of its own."""
NAMED_MAX: Final = 3
"""Devices named where they are told together."""


def together(events: Sequence[Event]) -> Iterator[tuple[Event, int]]:
    """The events as they are shown, and for how many each stands."""
    counts = Counter(event.kind for event in events if event.kind.startswith(DEVICE))
    many = {kind for kind, count in counts.items() if count > TOLD_APART_MAX}
    told: set[str] = set()
    for event in events:
        if event.kind not in many:
            yield event, 1
        elif event.kind not in told:
            told.add(event.kind)
            names = [other.subject for other in events if other.kind == event.kind]
            message = f"{', '.join(names[:NAMED_MAX])} and {len(names) - NAMED_MAX} more; of the first: {event.message}"
            subject = f"{len(names)} devices"
            yield Event(event.time_ns, event.severity, event.kind, subject, message), len(names)


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
        self._show(event)

    def show(self, events: Sequence[Event]) -> None:
        """Log and keep what the engine itself made in one step: it is on its way upstream already."""
        for event, count in together(events):
            self._show(event, count)

    def _show(self, event: Event, count: int = 1) -> None:
        self._counts[event.severity] += count
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
