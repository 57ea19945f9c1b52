"""The ports: what the runtime asks of a source and of an upstream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

from gateway.core.intake import Frame, Identities
from gateway.core.pressure import Step
from gateway.core.readings import HistogramReading, Reading
from gateway.core.record import Identity
from gateway.core.types import Samples

Clock: TypeAlias = Callable[[], int]
"""Engine time in ns: strictly increasing over restarts and boots."""


class Source(Protocol):
    """A device session. It owns its connection, its back-off and its lane."""

    name: str

    async def run(self) -> None:
        """Until cancelled. Operating errors are handled inside; what comes out is a programmer's error."""
        ...

    def press(self, step: Step) -> None:
        """The pressure upstream: from SLOW_POLLS on ask for less, from HOLD on acknowledge nothing that may wait."""
        ...

    def readings(self) -> Iterator[Reading | HistogramReading]: ...


class Intake(Protocol):
    """What keeps the samples of one lane on disk until they are safe further on.

    The lane's positions go on over restarts. Whoever makes samples safe (journals the batch, or stores the records cut
    from them) stores `Inbox.positions()` in the same transaction, gives that position back at the next start, and
    tells `passed` once it is on the disk. What lies behind it comes into the lane again, once.
    """

    @property
    def begins_at(self) -> int:
        """Position behind which the lane goes on: first with what is restored, then with what is put."""
        ...

    @property
    def identities(self) -> Identities:
        """What is known of messages of earlier runs. Only before `start`."""
        ...

    def restored(self) -> Iterator[Samples]:
        """Samples of earlier runs that are not safe further on, in their order. Only before `start`."""
        ...

    def start(self) -> None: ...

    def put(self, frame: Frame, kept: Callable[[], None]) -> None:
        """Any thread; `kept` is called, on another one, once the frame is on disk. Frames are kept in their order."""
        ...

    def passed(self, position: int) -> None:
        """All samples up to this position are safe elsewhere, on disk; they need not be kept. Any thread."""
        ...

    def stop(self, timeout_s: float) -> bool:
        """Keep what was put and end; False when that took longer than the time-out."""
        ...

    def readings(self) -> Iterator[Reading | HistogramReading]: ...


class Verdict(Enum):
    """What an upstream said to one record that may be theirs."""

    ACCEPTED = "accepted"
    """It is theirs now."""
    RETRY = "retry"
    """Not now: the same bytes again, later."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Never again: the record goes to the dead letters, with what the upstream said."""

    reason: str


Answer: TypeAlias = Verdict | Refusal


class LinkDown(Exception):
    """A connection ended, or could not be made. `remedy` says what the reader of the log may do about it.

    `retry_after_ns` is how long the other end asks to be left alone, 0 when it does not say.
    """

    def __init__(self, reason: str, remedy: str, *, retry_after_ns: int = 0) -> None:
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy
        self.retry_after_ns = retry_after_ns


Resized: TypeAlias = Callable[[Identity, int], None]
"""Told by how many bytes a record that is handed to the link has more than what was given, or fewer: negative."""


def as_given(identity: Identity, more: int) -> None:
    return


class Upstream(Protocol):
    """One connection to the other end of the uplink; whole while it exists."""

    async def send(self, identity: Identity, payload: bytes) -> Answer:
        """Returns when the other end has answered; raises LinkDown. Several sends may be under way, in their order."""
        ...
