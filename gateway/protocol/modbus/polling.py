"""Which block to read next on one link, and when to stop waiting: decisions only, no I/O, time is an argument.

**Order.** Each block is due on its own grid (period and phase); the one due first goes first. A block that comes too
late for its next grid point skips whole periods and counts them: a busy link loses reads evenly, and never runs after
its own past.

**Patience.** A link may have few requests under way (often one), so a silent unit costs its neighbours the time its
request occupies a slot. That time is not the response timeout: a unit that answers within 5 ms has given up its slot
after `PATIENCE_FLOOR_NS`. Giving up the slot is not giving up the transaction: its reply is welcome until the response
timeout, so a slow answer costs nothing and teaches patience. Round trips are held at their peak, with slow decay,
faster in silence; a unit that never answered is measured by its neighbours.

**Silence.** A unit that owes `OWED_MAX` answers in a row is only probed, with back-off, and all probes of a link
together take no more than one part in `PROBE_SHARE` of its time. Any answer brings all its blocks back at once. A
single block that fails while its unit answers is held back the same way by a breaker of its own.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from gateway.core.backoff import Backoff
from gateway.core.breaker import Breaker
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Quality
from gateway.protocol.modbus.plan import Block, halved
from gateway.protocol.modbus.points import MEMORY

OWED_MAX: Final = 3
PROBES: Final = Backoff(base_ns=500 * NS_PER_MS, cap_ns=10 * NS_PER_S)
REFUSALS: Final = Backoff(base_ns=NS_PER_S, cap_ns=60 * NS_PER_S)
"""Back-off of a block that fails while its unit answers."""
PROBE_SHARE: Final = 20
PATIENCE_FLOOR_NS: Final = 50 * NS_PER_MS
PATIENCE_UNKNOWN_NS: Final = 500 * NS_PER_MS
"""While nobody on the link has answered yet."""
PATIENCE_FACTOR: Final = 4
PEAK_DECAY_BITS: Final = 6
"""The held peak of round trips loses 1/64 with each reply below it."""
TRANSACTIONS: Final = 1 << 16
SPLITS_MAX: Final = 32
"""Cuts of one unit's blocks in search of a refused address. Then a refused block stays as it is, all its tags bad."""


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
    )

    def __init__(self, unit_id: int) -> None:
        self.id = unit_id
        self.devices: tuple[str, ...] = ()
        self.polls: list[Poll] = []
        self.breaker = Breaker(failures_max=OWED_MAX, backoff=PROBES, seed=unit_id)
        self.peak_ns = 0
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
        "unit",
        "waits",
    )

    def __init__(self, block: Block, unit: Unit) -> None:
        self.block = block
        self.unit = unit
        self.breaker = Breaker(failures_max=OWED_MAX, backoff=REFUSALS, seed=block.request.address)
        self.due_ns = 0
        self.grid_ns = 0
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
    __slots__ = ("gives_up_ns", "holds_slot", "id", "is_probe", "poll", "sent_ns")

    def __init__(self, number: int, poll: Poll, sent_ns: int, gives_up_ns: int, is_probe: bool) -> None:
        self.id = number
        self.poll = poll
        self.sent_ns = sent_ns
        self.gives_up_ns = gives_up_ns
        """When its slot goes to somebody else."""
        self.is_probe = is_probe
        self.holds_slot = True


class Poller:
    """The schedule of one link.

    `begin` at each new connection; then `next_request` until it returns None, `take_reply` for each reply's transaction
    id and one of `read`, `refused`, `garbled`, `unreachable` for what it held, and `expired` when `wake_ns` has come.
    """

    def __init__(
        self, blocks: Sequence[Block], *, requests_in_flight: int, response_timeout_ns: int, request_gap_ns: int = 0
    ) -> None:
        assert requests_in_flight >= 1
        self._requests_in_flight = requests_in_flight
        self._response_timeout_ns = response_timeout_ns
        self._request_gap_ns = request_gap_ns
        self.units: dict[int, Unit] = {}
        for block in blocks:
            if block.unit not in self.units:
                self.units[block.unit] = Unit(block.unit)
            unit = self.units[block.unit]
            unit.polls.append(Poll(block, unit))
            unit.devices = tuple(dict.fromkeys((*unit.devices, block.device)))
        self._queue: list[tuple[int, int, Poll]] = []
        self._pushes = 0
        self._outstanding: dict[int, Transaction] = {}
        self._holding: list[Transaction] = []
        self._last_id = 0
        self._free_ns = 0  # the request gap ends
        self._probe_free_ns = 0  # the next probe of any unit may go
        self._probed_ns: int | None = None  # when the last probe was sent, until its cost is known
        self._peak_ns = 0
        self.late = 0
        self.skipped_held_back = 0
        self.skipped_failing = 0
        self.timeouts = 0
        self.strays = 0

    @property
    def polls(self) -> Iterable[Poll]:
        for unit in self.units.values():
            yield from unit.polls

    def begin(self, now_ns: int) -> None:
        """A new connection: nothing is under way, every block is due at once and then on its grid."""
        self._outstanding.clear()
        self._holding.clear()
        self._queue.clear()
        self._free_ns = self._probe_free_ns = now_ns
        self._probed_ns = None
        for unit in self.units.values():
            unit.breaker.answered()
            unit.probe = None
        for poll in sorted(self.polls, key=lambda poll: poll.block.phase_ns * 1000 // poll.block.period_ns):
            poll.breaker.answered()
            poll.waits = False
            poll.grid_ns = now_ns + poll.block.phase_ns
            self._schedule(poll, now_ns)

    def _schedule(self, poll: Poll, due_ns: int) -> None:
        poll.due_ns = due_ns
        self._pushes += 1
        heapq.heappush(self._queue, (due_ns, self._pushes, poll))

    def _schedule_after(self, poll: Poll, time_ns: int) -> int:
        """Due at its first grid point after `time_ns`; returns how many grid points were passed over for it."""
        period_ns = poll.block.period_ns
        due_ns = poll.grid_ns + ((time_ns - poll.grid_ns) // period_ns + 1) * period_ns
        skipped = max(0, (due_ns - poll.due_ns - 1) // period_ns)
        self._schedule(poll, due_ns)
        return skipped

    # Asking

    def is_due(self, now_ns: int) -> bool:
        """Whether `next_request` has anything to look at: cheaper than to ask it."""
        queue = self._queue
        return (
            bool(queue)
            and queue[0][0] <= now_ns
            and now_ns >= self._free_ns
            and len(self._holding) < self._requests_in_flight
        )

    def next_request(self, now_ns: int, *, is_held_back: bool = False) -> Transaction | None:
        """The request to send now, or None. While `is_held_back`, what falls due is skipped instead."""
        if now_ns < self._free_ns:
            return None
        queue = self._queue
        while len(self._holding) < self._requests_in_flight and queue and queue[0][0] <= now_ns:
            due_ns, _, poll = heapq.heappop(queue)
            if due_ns != poll.due_ns:
                continue  # it was scheduled anew since
            if is_held_back:
                self.skipped_held_back += 1 + self._schedule_after(poll, now_ns)
                continue
            ready_ns = self._ready_ns(poll, now_ns)
            if ready_ns > now_ns:
                self.skipped_failing += (ready_ns - due_ns) // poll.block.period_ns
                self._schedule(poll, ready_ns)
                continue
            self.late += self._schedule_after(poll, now_ns)
            if poll.waits:
                self.late += 1
                continue
            return self._sent(poll, now_ns)
        return None

    def _ready_ns(self, poll: Poll, now_ns: int) -> int:
        """When its breakers let it pass."""
        ready_ns = now_ns
        unit = poll.unit
        if unit.breaker.is_open:
            ready_ns = max(unit.breaker.retry_ns, self._probe_free_ns)
            if unit.probe is not None:
                ready_ns = max(ready_ns, unit.probe.gives_up_ns + 1)
        if poll.breaker.is_open:
            ready_ns = max(ready_ns, poll.breaker.retry_ns)
        return ready_ns

    def _sent(self, poll: Poll, now_ns: int) -> Transaction:
        number = (self._last_id + 1) % TRANSACTIONS
        while number in self._outstanding:
            number = (number + 1) % TRANSACTIONS
        self._last_id = number
        unit = poll.unit
        transaction = Transaction(number, poll, now_ns, now_ns + self._patience_ns(unit), unit.breaker.is_open)
        if transaction.is_probe:
            unit.probe = transaction
            self._probe_free_ns = transaction.gives_up_ns + 1
        self._outstanding[number] = transaction
        self._holding.append(transaction)
        poll.waits = True
        self._free_ns = now_ns + self._request_gap_ns
        return transaction

    def _patience_ns(self, unit: Unit) -> int:
        peak_ns = unit.peak_ns or self._peak_ns
        patience_ns = max(PATIENCE_FLOOR_NS, PATIENCE_FACTOR * peak_ns) if peak_ns else PATIENCE_UNKNOWN_NS
        return min(self._response_timeout_ns, patience_ns)

    # What comes of it

    def take_reply(self, number: int, now_ns: int) -> Transaction | None:
        """The transaction that this id answers; None, counted, for one that nobody waits for (any more)."""
        transaction = self._outstanding.pop(number, None)
        if transaction is None:
            self.strays += 1
            return None
        self._free_ns = max(self._free_ns, now_ns + self._request_gap_ns)
        if transaction.holds_slot:
            self._release(transaction, now_ns)
        elif self._probed_ns is not None and transaction.sent_ns > self._probed_ns:
            # A gateway that waits for the probed unit itself holds up all that comes after: that is the probe's cost.
            self._probe_free_ns = max(self._probe_free_ns, now_ns + (now_ns - self._probed_ns) * PROBE_SHARE)
            self._probed_ns = None
        return transaction

    def _release(self, transaction: Transaction, now_ns: int) -> None:
        transaction.holds_slot = False
        transaction.poll.waits = False
        self._holding.remove(transaction)
        if transaction.is_probe:
            transaction.poll.unit.probe = None
            self._probed_ns = transaction.sent_ns
            self._probe_free_ns = now_ns + (now_ns - transaction.sent_ns) * PROBE_SHARE

    def _answered(self, transaction: Transaction, now_ns: int) -> None:
        unit = transaction.poll.unit
        round_trip_ns = now_ns - transaction.sent_ns
        unit.answered_ns = now_ns
        unit.peak_ns = max(round_trip_ns, unit.peak_ns - (unit.peak_ns >> PEAK_DECAY_BITS))
        self._peak_ns = max(round_trip_ns, self._peak_ns - (self._peak_ns >> PEAK_DECAY_BITS))
        if unit.breaker.failures == 0:
            return
        if unit.breaker.is_open:
            for poll in unit.polls:
                poll.breaker.answered()
                self.skipped_failing -= max(0, poll.due_ns - now_ns) // poll.block.period_ns
                self._schedule(poll, now_ns)
        unit.breaker.answered()

    def read(self, transaction: Transaction, now_ns: int) -> bool:
        """It was answered well. False when a newer reading of its block is already known: drop this one."""
        poll = transaction.poll
        self._answered(transaction, now_ns)
        poll.breaker.answered()
        if transaction.sent_ns < poll.good_ns:
            return False
        poll.good_ns = transaction.sent_ns
        return True

    def refused(self, transaction: Transaction, now_ns: int) -> None:
        """The unit answers, but not with what was asked for: an exception, or a reply that does not fit."""
        self._answered(transaction, now_ns)
        transaction.poll.breaker.failed(now_ns)

    def unreachable(self, transaction: Transaction, now_ns: int) -> None:
        """A gateway on the way says that the unit does not answer: silence, told by somebody else."""
        transaction.poll.unit.breaker.failed(now_ns)

    def expired(self, now_ns: int) -> list[Transaction]:
        """Transactions whose response timeout has passed. Those past their patience hand their slot on."""
        for transaction in [held for held in self._holding if held.gives_up_ns <= now_ns]:
            self._release(transaction, now_ns)
            poll = transaction.poll
            if poll.unit.answered_ns < transaction.sent_ns:
                poll.unit.breaker.failed(now_ns)
                poll.unit.peak_ns >>= 1
            else:
                poll.breaker.failed(now_ns)
        dead: list[Transaction] = []
        for transaction in self._outstanding.values():
            if transaction.sent_ns + self._response_timeout_ns > now_ns:
                break
            dead.append(transaction)
        for transaction in dead:
            del self._outstanding[transaction.id]
        self.timeouts += len(dead)
        return dead

    def is_found_silent(self, transaction: Transaction) -> bool:
        """Whether this dead transaction makes its unit a silent one: not one reply since it was sent."""
        unit = transaction.poll.unit
        return unit.breaker.is_open and unit.answered_ns < transaction.sent_ns

    def split(self, poll: Poll, now_ns: int) -> bool:
        """Two smaller blocks in place of one that was never read, due at once, until the limit; False past it."""
        unit = poll.unit
        if len(poll.block.points) == 1 or poll.good_ns >= 0 or unit.splits == SPLITS_MAX:
            return False
        unit.splits += 1
        poll.due_ns = -1
        halves = [Poll(half, unit) for half in halved(poll.block)]
        at = unit.polls.index(poll)
        unit.polls[at : at + 1] = halves
        for half in halves:
            half.quality = poll.quality
            half.grid_ns = poll.grid_ns
            self._schedule(half, now_ns)
        return True

    def wake_ns(self, now_ns: int) -> int:
        """When there is something to do next, if nothing comes in before.

        What falls due later counts even while no slot is free: the reply will most likely come before, and finds the
        timer set already.
        """
        wake_ns = now_ns + NS_PER_S
        if self._queue:
            due_ns = self._queue[0][0]
            if due_ns < self._free_ns:
                due_ns = self._free_ns
            if due_ns < wake_ns and (due_ns > now_ns or len(self._holding) < self._requests_in_flight):
                wake_ns = due_ns
        for transaction in self._holding:
            if transaction.gives_up_ns < wake_ns:
                wake_ns = transaction.gives_up_ns
        for transaction in self._outstanding.values():
            return min(wake_ns, transaction.sent_ns + self._response_timeout_ns)
        return wake_ns
