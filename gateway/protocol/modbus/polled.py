"""What a link's schedule is made of: its line, units, their blocks, transactions. State; `polling` decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.core.backoff import Backoff
from gateway.core.breaker import Breaker
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Quality
from gateway.protocol.deadband import MEMORY
from gateway.protocol.modbus.plan import Block, halved

OWED_MAX: Final = 3
PROBES: Final = Backoff(base_ns=500 * NS_PER_MS, cap_ns=10 * NS_PER_S)
REFUSALS: Final = Backoff(base_ns=NS_PER_S, cap_ns=60 * NS_PER_S)
"""Back-off of a block that fails while its unit answers."""
PEAK_DECAY_BITS: Final = 6
"""The held peak of round trips loses 1/64 with each reply below it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A serial line. `byte_ns` is how long one byte takes on it, 0 when nobody knows."""

    byte_ns: int = 0


class RoundTrips:
    """Their peak, held with slow decay; of two in a row the lower counts, so that one straggler teaches nothing."""

    __slots__ = ("last_ns", "peak_ns")

    def __init__(self) -> None:
        self.last_ns = 0
        self.peak_ns = 0
        """0 before the first."""

    def add(self, trip_ns: int) -> None:
        lower_ns = min(trip_ns, self.last_ns or trip_ns)
        self.last_ns = trip_ns
        self.peak_ns = max(lower_ns, self.peak_ns - (self.peak_ns >> PEAK_DECAY_BITS))


class Unit:
    """One unit behind the link, and what is known of it."""

    __slots__ = (
        "answered_ns",
        "breaker",
        "devices",
        "id",
        "is_babbling",
        "is_silent",
        "is_told",
        "owed_ns",
        "polls",
        "probe",
        "splits",
        "trips",
    )

    def __init__(self, unit_id: int) -> None:
        self.id = unit_id
        self.devices: tuple[str, ...] = ()
        self.polls: list[Poll] = []
        self.breaker = Breaker(failures_max=OWED_MAX, backoff=PROBES, seed=unit_id)
        self.trips = RoundTrips()
        self.answered_ns = -1
        self.owed_ns = -1
        """When the first of the requests that it left unanswered in a row was sent."""
        self.probe: Transaction | None = None
        self.splits = 0
        self.is_silent = False
        """Declared silent: a whole response timeout has passed without a word, and the breaker is open."""
        self.is_told = False
        """Its silence was told as its own, not as the bus's."""
        self.is_babbling = False
        """Its last reply did not fit its request."""

    def missed(self, sent_ns: int, now_ns: int) -> None:
        """It owes one answer more, to what was sent then."""
        if self.breaker.failures == 0:
            self.owed_ns = sent_ns
        self.breaker.failed(now_ns)

    def cut(self, poll: Poll) -> tuple[Poll, Poll]:
        """Two smaller blocks in place of this one; the second comes last, as in the compiled schedule."""
        poll.is_cut = True
        self.splits += 1
        first, second = (Poll(half, self) for half in halved(poll.block))
        self.polls[self.polls.index(poll)] = first
        self.polls.append(second)
        for half in (first, second):
            half.quality, half.grid_ns = poll.quality, poll.grid_ns
        return first, second


class Poll:
    """A block in the schedule. `quality` is what was last told of its rows; `out` takes its decoded samples."""

    __slots__ = (
        "block",
        "breaker",
        "due_ns",
        "exception",
        "good_ns",
        "grid_ns",
        "is_cut",
        "memory",
        "out",
        "quality",
        "sequence",
        "unit",
        "waits",
    )

    def __init__(self, block: Block, unit: Unit) -> None:
        self.block = block
        self.unit = unit
        self.breaker = Breaker(failures_max=OWED_MAX, backoff=REFUSALS, seed=block.request.address)
        self.due_ns = -1
        self.grid_ns = 0
        self.sequence = -1
        """Of its entry in the queue that counts."""
        self.good_ns = -1
        """When the newest request that was answered well was sent."""
        self.waits = False
        """It holds a slot now."""
        self.is_cut = False
        """Two others have taken its place; what is still under way of it counts as a word of its unit, no more."""
        self.exception = 0
        self.quality = int(Quality.BAD_NOT_INITIALISED)
        self.out = np.zeros(len(block.points), SAMPLE)
        self.memory = np.zeros(len(block.points), MEMORY)
        """What was passed on last, for blocks with rules."""


class Transaction:
    __slots__ = ("dead_ns", "gives_up_ns", "holds_slot", "id", "is_probe", "poll", "sent_ns")

    def __init__(
        self, number: int, poll: Poll, sent_ns: int, *, gives_up_ns: int, dead_ns: int, is_probe: bool
    ) -> None:
        self.id = number
        self.poll = poll
        self.sent_ns = sent_ns
        self.gives_up_ns = gives_up_ns
        """When its slot goes to somebody else."""
        self.dead_ns = dead_ns
        """When its response timeout has passed."""
        self.is_probe = is_probe
        self.holds_slot = True
