"""Which block to read next on one link, and when to stop waiting: decisions only, no I/O, time is an argument.

**Order.** Each block is due on its own grid of engine time (period, phase, jitter); the one due first goes first. A
block that comes too late for its next grid point skips whole periods and counts them: a busy link loses reads evenly,
and never runs after its own past.

**Patience.** A link may have few requests under way (often one), so a silent unit costs its neighbours the time its
request occupies a slot. That time is not the response timeout: a unit that answers within 5 ms has given up its slot
after `PATIENCE_FLOOR_NS`. Giving up the slot is not giving up the transaction: its reply is welcome until the
response timeout, so a slow answer costs nothing and teaches patience. Round trips are held at their peak, with slow
decay, faster in silence, and of two in a row the lower counts, so that one straggler teaches nothing; a unit that
never answered is measured by its neighbours.

**Silence.** A unit that owes `OWED_MAX` answers in a row is only probed, with back-off, and all probes of a link
together take no more than one part in `PROBE_SHARE` of its time. Any answer brings all its blocks back at once. A
single block that fails while its unit answers is held back the same way by a breaker of its own.

**A dead bus.** When all units of a link owe so much, it is most likely not they who died. The first that answers again
brings them all back at once, each on trial: one more miss, and it is held back alone (`verdict` tells them apart).

**Lines.** On a serial line (`Line`) nothing on the wire tells one transaction from another, so a reply is known by its
unit: a unit has one transaction at a time, and one that did not answer is not asked again before its reply cannot come
any more. Characters take their time, which is added to every patience, and nobody gives up while they still come.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.protocol.modbus.plan import Block
from gateway.protocol.modbus.polled import Line, Poll, RoundTrips, Transaction, Unit

PROBE_SHARE: Final = 20
PROBE_COST_TIMEOUTS_MAX: Final = 2
"""A late reply after a probe is laid at its door for so many response timeouts at the most."""
PATIENCE_FLOOR_NS: Final = 50 * NS_PER_MS
PATIENCE_UNKNOWN_NS: Final = 500 * NS_PER_MS
"""While nobody on the link has answered yet."""
PATIENCE_FACTOR: Final = 4
TRANSACTIONS: Final = 1 << 16
SPLITS_MAX: Final = 32
"""Cuts of one unit's blocks in search of a refused address. Then a refused block stays as it is, all its tags bad."""
BUSY_RETRY_NS: Final = 500 * NS_PER_MS
"""A unit that says that it is busy is asked for the same block again after so long."""
FRAMING_BYTES: Final = 13
"""Unit, function, address, count, byte count and two checksums: what a read has on a line beside its data."""


class Poller:
    """The schedule of one link.

    `begin` at each new connection; then `next_request` until it returns None, `take_reply` for each reply's transaction
    id and one of `read`, `refused`, `garbled`, `unreachable` for what it held, and `expired` when `wake_ns` has come.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        *,
        requests_in_flight: int,
        response_timeout_ns: int,
        request_gap_ns: int = 0,
        line: Line | None = None,
    ) -> None:
        assert requests_in_flight >= 1
        assert line is None or requests_in_flight == 1, "a line carries one request at a time"
        self._line = line
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
        self._trips = RoundTrips()
        self.answered_ns = -1
        """When any unit last said something."""
        self.is_eased = False
        """Whether blocks of low priority are asked for more seldom."""
        self.late = self.timeouts = self.strays = 0
        self.skipped_held_back = self.skipped_failing = 0

    @property
    def polls(self) -> Iterable[Poll]:
        for unit in self.units.values():
            yield from unit.polls

    def begin(self, now_ns: int) -> None:
        """A new connection: nothing is under way, every block is due at once and then on its grid."""
        self.resume(now_ns)
        self._queue.clear()
        self._probe_free_ns = now_ns
        self._probed_ns = None
        for unit in self.units.values():
            unit.breaker.answered()
        for poll in sorted(self.polls, key=lambda poll: poll.block.phase_ns * 1000 // poll.block.period_ns):
            poll.breaker.answered()
            poll.grid_ns = poll.block.phase_ns
            poll.due_ns = -1
            self._schedule(poll, now_ns)

    def resume(self, now_ns: int) -> None:
        """A connection that was closed between two rounds: nothing is under way, the schedule goes on."""
        self._outstanding.clear()
        self._holding.clear()
        self._free_ns = now_ns
        for unit in self.units.values():
            unit.probe = None
        for poll in self.polls:
            poll.waits = False

    @property
    def under_way(self) -> Iterable[Transaction]:
        """What was sent and may still be answered."""
        return self._outstanding.values()

    @property
    def next_due_ns(self) -> int | None:
        """When the next block is due; None while there is anything under way."""
        if self._outstanding or not self._queue:
            return None
        return self._queue[0][0]

    def _schedule(self, poll: Poll, due_ns: int) -> None:
        if due_ns == poll.due_ns:
            return  # it keeps its place among those that are due then
        poll.due_ns = due_ns
        self._pushes += 1
        poll.sequence = self._pushes
        heapq.heappush(self._queue, (due_ns, self._pushes, poll))

    def _schedule_after(self, poll: Poll, time_ns: int) -> int:
        """Due at its first grid point after `time_ns`; returns how many grid points were passed over for it."""
        block = poll.block
        period_ns = block.slow_ns if self.is_eased else block.period_ns
        number = (time_ns - poll.grid_ns) // period_ns + 1
        skipped = max(0, number - (poll.due_ns - poll.grid_ns) // period_ns - 1)
        due_ns = poll.grid_ns + number * period_ns
        self._schedule(poll, due_ns + block.moved_ns(number) if block.jitter_ns else due_ns)
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
            due_ns, sequence, poll = heapq.heappop(queue)
            if sequence != poll.sequence:
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
        return ready_ns if self._line is None else max(ready_ns, self._clear_ns(unit))

    def _clear_ns(self, unit: Unit) -> int:
        """On a line: when no reply to an earlier request of this unit can come any more."""
        earlier = self._outstanding.get(unit.id)
        return 0 if earlier is None else earlier.dead_ns + 1

    def send_apart(self, poll: Poll, now_ns: int) -> Transaction | None:
        """A request outside the schedule: `poll` is in no queue. None while it cannot be sent."""
        if now_ns < self._free_ns or len(self._holding) >= self._requests_in_flight:
            return None
        if self._line is not None and self._clear_ns(poll.unit) > now_ns:
            return None
        return self._sent(poll, now_ns)

    def _next_number(self, unit: Unit) -> int:
        if self._line is not None:
            return unit.id
        number = (self._last_id + 1) % TRANSACTIONS
        while number in self._outstanding:
            number = (number + 1) % TRANSACTIONS
        self._last_id = number
        return number

    def _sent(self, poll: Poll, now_ns: int) -> Transaction:
        number = self._next_number(poll.unit)
        unit = poll.unit
        request = poll.block.request
        size = FRAMING_BYTES + len(request.body) + request.reply_bytes
        wire_ns = 0 if self._line is None else size * self._line.byte_ns
        transaction = Transaction(
            number,
            poll,
            now_ns,
            gives_up_ns=now_ns + wire_ns + self._patience_ns(unit),
            dead_ns=now_ns + wire_ns + self._response_timeout_ns,
            is_probe=unit.breaker.is_open,
        )
        if transaction.is_probe:
            unit.probe = transaction
            self._probe_free_ns = transaction.gives_up_ns + 1
        self._outstanding[number] = transaction
        self._holding.append(transaction)
        poll.waits = True
        self._free_ns = now_ns + self._request_gap_ns
        return transaction

    def _patience_ns(self, unit: Unit) -> int:
        peak_ns = unit.trips.peak_ns or self._trips.peak_ns
        patience_ns = max(PATIENCE_FLOOR_NS, PATIENCE_FACTOR * peak_ns) if peak_ns else PATIENCE_UNKNOWN_NS
        return min(self._response_timeout_ns, patience_ns)

    # What comes of it

    def heard_bytes(self, now_ns: int) -> None:
        """On a line: something is being said. It gets its silence, and whoever is waited for its time to finish."""
        self._free_ns = max(self._free_ns, now_ns + self._request_gap_ns)
        for transaction in self._holding:
            transaction.gives_up_ns = min(transaction.dead_ns, max(transaction.gives_up_ns, now_ns + PATIENCE_FLOOR_NS))

    def take_reply(self, number: int, now_ns: int) -> Transaction | None:
        """The transaction that this id answers; None, counted, for one that nobody waits for (any more)."""
        transaction = self._outstanding.pop(number, None)
        if transaction is None:
            self.strays += 1
            return None
        self._free_ns = max(self._free_ns, now_ns + self._request_gap_ns)
        is_after_probe = self._probed_ns is not None and transaction.sent_ns > self._probed_ns
        if is_after_probe and not transaction.holds_slot:
            # A gateway that waits for the probed unit itself holds up all that comes after: that is the probe's cost.
            cost_ns = min(now_ns - (self._probed_ns or 0), PROBE_COST_TIMEOUTS_MAX * self._response_timeout_ns)
            self._probe_free_ns = max(self._probe_free_ns, now_ns + cost_ns * PROBE_SHARE)
        if is_after_probe:
            self._probed_ns = None
        if transaction.holds_slot:
            self._release(transaction, now_ns)
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
        unit.answered_ns = self.answered_ns = now_ns
        unit.trips.add(now_ns - transaction.sent_ns)
        self._trips.add(now_ns - transaction.sent_ns)
        if unit.breaker.failures == 0:
            return
        if unit.breaker.is_open:
            self._bring_back(unit, now_ns)
            if self.is_bus_dead:
                self._probe_free_ns = now_ns
                for other in self.units.values():
                    if other is not unit:
                        other.breaker.suspect()
                        other.owed_ns = now_ns
                        self._bring_back(other, now_ns)
        unit.breaker.answered()

    @property
    def is_bus_dead(self) -> bool:
        """Whether all of the link's units, two or more, owe so many answers that they are only probed."""
        return len(self.units) > 1 and all(unit.breaker.is_open for unit in self.units.values())

    def _bring_back(self, unit: Unit, now_ns: int) -> None:
        """All blocks of a unit are due at once."""
        for poll in unit.polls:
            poll.breaker.answered()
            self.skipped_failing -= max(0, poll.due_ns - now_ns) // poll.block.period_ns
            self._schedule(poll, now_ns)

    def heard(self, transaction: Transaction, now_ns: int) -> None:
        """The unit answers to what nobody wants to know any more: its block was cut since."""
        self._answered(transaction, now_ns)

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

    def postponed(self, transaction: Transaction, now_ns: int) -> None:
        """The unit answers that it is busy: the same block again a little later, which no breaker counts."""
        self._answered(transaction, now_ns)
        self._schedule(transaction.poll, now_ns + BUSY_RETRY_NS)

    def unreachable(self, transaction: Transaction, now_ns: int) -> None:
        """A gateway on the way says that the unit does not answer: silence, told by somebody else."""
        transaction.poll.unit.missed(transaction.sent_ns, now_ns)

    def expired(self, now_ns: int) -> list[Transaction]:
        """Transactions whose response timeout has passed. Those past their patience hand their slot on."""
        for transaction in [held for held in self._holding if held.gives_up_ns <= now_ns]:
            self._release(transaction, now_ns)
            poll = transaction.poll
            if poll.unit.answered_ns < transaction.sent_ns:
                poll.unit.missed(transaction.sent_ns, now_ns)
                poll.unit.trips.peak_ns >>= 1
            else:
                poll.breaker.failed(now_ns)
        dead = [transaction for transaction in self._outstanding.values() if transaction.dead_ns <= now_ns]
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
        poll.due_ns = poll.sequence = -1
        for half in unit.cut(poll):
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
            if transaction.dead_ns < wake_ns:
                wake_ns = transaction.dead_ns
            if self._line is None:
                break  # they die in the order in which they were sent
        return wake_ns
