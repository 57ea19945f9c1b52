"""What a link's schedule is made of: units, their blocks, transactions. State only; `polling` decides."""

from __future__ import annotations

from typing import Final

import numpy as np

from gateway.core.backoff import Backoff
from gateway.core.breaker import Breaker
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Quality
from gateway.protocol.deadband import MEMORY
from gateway.protocol.modbus.plan import Block

OWED_MAX: Final = 3
PROBES: Final = Backoff(base_ns=500 * NS_PER_MS, cap_ns=10 * NS_PER_S)
REFUSALS: Final = Backoff(base_ns=NS_PER_S, cap_ns=60 * NS_PER_S)
"""Back-off of a block that fails while its unit answers."""


class Unit:
    """One unit behind the link, and what is known of it."""

    __slots__ = (
        "answered_ns",
        "breaker",
        "devices",
        "id",
        "is_babbling",
        "is_silent",
        "peak_ns",
        "polls",
        "probe",
        "splits",
        "trip_ns",
    )

    def __init__(self, unit_id: int) -> None:
        self.id = unit_id
        self.devices: tuple[str, ...] = ()
        self.polls: list[Poll] = []
        self.breaker = Breaker(failures_max=OWED_MAX, backoff=PROBES, seed=unit_id)
        self.peak_ns = 0
        self.trip_ns = 0
        """The last round trip; 0 before the first."""
        self.answered_ns = -1
        self.probe: Transaction | None = None
        self.splits = 0
        self.is_silent = False
        """Declared silent: a whole response timeout has passed without a word, and the breaker is open."""
        self.is_babbling = False
        """Its last reply did not fit its request."""


class Poll:
    """A block in the schedule. `quality` is what was last told of its rows; `out` takes its decoded samples."""

    __slots__ = (
        "block",
        "breaker",
        "due_ns",
        "exception",
        "good_ns",
        "grid_ns",
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
