"""The schedule's kernels against `Poller`, their oracle: the same link, the same faults, the same decisions."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from gateway.core.types import NS_PER_MS, NS_PER_S, Kind
from gateway.protocol.modbus import schedule
from gateway.protocol.modbus import schedule_rows as at
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.plan import Block, Point, plan
from gateway.protocol.modbus.points import WireType
from gateway.protocol.modbus.polled import Poll, Transaction
from gateway.protocol.modbus.polling import Poller
from gateway.protocol.modbus.schedule_breakers import unit_missed
from gateway.protocol.modbus.schedule_rows import Schedule

BEGIN, NEXT, TAKE, READ, REFUSED, POSTPONED, UNREACHABLE, PATIENCE, BURY, WAKE = range(10)
LINK = 1
"""Not the first one: rows are not to be taken for places in a link."""


@njit(cache=False, nogil=True, error_model="numpy")
def decide(s: Schedule, operation: int, slot: int, now_ns: int, is_held_back: int) -> int:
    """One decision by kernels that only jitted code can call."""
    link = np.int64(LINK)
    if operation == BEGIN:
        schedule.begin(s, link, now_ns)
    elif operation == NEXT:
        return int(schedule.next_request(s, link, now_ns, is_held_back))
    elif operation == TAKE:
        schedule.take(s, link, slot, now_ns)
    elif operation == READ:
        is_fresh = schedule.read(s, link, slot, now_ns)
        schedule.drop(s, link, slot)
        return int(is_fresh)
    elif operation in (REFUSED, POSTPONED, UNREACHABLE):
        unit, block, sent_ns = s.slots[slot, at.OF_UNIT], s.slots[slot, at.OF_BLOCK], s.slots[slot, at.SENT_NS]
        schedule.drop(s, link, slot)
        if operation == REFUSED:
            schedule.refused(s, link, unit, block, sent_ns, now_ns)
        elif operation == POSTPONED:
            schedule.postponed(s, link, unit, block, sent_ns, now_ns)
        else:
            unit_missed(s, unit, sent_ns, now_ns)
    elif operation == PATIENCE:
        schedule.lose_patience(s, link, now_ns)
    elif operation == BURY:
        dead = 0
        while schedule.is_dead(s, link, now_ns):
            schedule.drop(s, link, s.links[link, at.FIRST_SLOT])
            s.links[link, at.TIMEOUTS] += 1
            dead += 1
        return dead
    elif operation == WAKE:
        return int(schedule.wake_ns(s, link, now_ns))
    return 0


def blocks_of(units: int, per_unit: int, periods_ms: list[int], jitter_ms: int) -> tuple[Block, ...]:
    return plan(
        Point(
            row=0, name=f"u{unit}.{i}", device=f"u{unit}", unit=unit, function=Function.READ_HOLDING_REGISTERS,
            address=100 * i, wire=WireType.UINT16, kind=Kind.F64,
            period_ns=periods_ms[(unit + i) % len(periods_ms)] * NS_PER_MS, jitter_ns=jitter_ms * NS_PER_MS,
            eased_ns=(i % 2) * 4 * periods_ms[(unit + i) % len(periods_ms)] * NS_PER_MS,
        )
        for unit in range(1, units + 1) for i in range(per_unit)
    )  # fmt: skip


class Both:
    """One link, decided by both."""

    def __init__(self, blocks: tuple[Block, ...], in_flight: int, timeout_ms: int, gap_ms: int) -> None:
        self.poller = Poller(
            blocks,
            requests_in_flight=in_flight,
            response_timeout_ns=timeout_ms * NS_PER_MS,
            request_gap_ns=gap_ms * NS_PER_MS,
        )
        self.polls: list[Poll] = list(self.poller.polls)
        ordered = [poll.block for poll in self.polls]
        size = at.size_of(ordered)._replace(slots=1_000)  # the kernels' own limit is not `Poller`'s
        self.s = at.allocate([size, size])
        units = at.fill(
            self.s, LINK, ordered, in_flight=in_flight, timeout_ns=timeout_ms * NS_PER_MS, gap_ns=gap_ms * NS_PER_MS
        )
        self.unit_rows = units
        self.first = int(self.s.links[LINK, at.FIRST_BLOCK])
        self.first_slot = int(self.s.links[LINK, at.FIRST_SLOT])

    def begin(self, now_ns: int) -> None:
        self.poller.begin(now_ns)
        decide(self.s, BEGIN, 0, now_ns, 0)

    def ease(self, is_eased: bool) -> None:
        self.poller.is_eased = is_eased
        self.s.links[LINK, at.IS_EASED] = is_eased

    def next_request(self, now_ns: int, is_held_back: bool) -> Transaction | None:
        transaction = self.poller.next_request(now_ns, is_held_back=is_held_back)
        slot = int(decide(self.s, NEXT, 0, now_ns, int(is_held_back)))
        if transaction is None:
            assert slot == -1
            return None
        row = self.s.slots[slot]
        assert row[at.ID] == transaction.id
        assert self.polls[row[at.OF_BLOCK] - self.first] is transaction.poll
        assert (row[at.SENT_NS], row[at.GIVES_UP_NS]) == (transaction.sent_ns, transaction.gives_up_ns)
        assert bool(row[at.IS_PROBE]) == transaction.is_probe
        return transaction

    def reply(self, number: int, what: int, now_ns: int) -> None:
        transaction = self.poller.take_reply(number, now_ns)
        found = [slot for slot in range(self.first_slot, self._end()) if self.s.slots[slot, at.ID] == number]
        assert len(found) == (transaction is not None)
        if transaction is None:
            return
        decide(self.s, TAKE, found[0], now_ns, 0)
        if what == READ:
            assert self.poller.read(transaction, now_ns) == bool(decide(self.s, READ, found[0], now_ns, 0))
            return
        {REFUSED: self.poller.refused, POSTPONED: self.poller.postponed, UNREACHABLE: self.poller.unreachable}[what](
            transaction, now_ns
        )
        decide(self.s, what, found[0], now_ns, 0)

    def expire(self, now_ns: int) -> None:
        dead = self.poller.expired(now_ns)
        decide(self.s, PATIENCE, 0, now_ns, 0)
        assert int(decide(self.s, BURY, 0, now_ns, 0)) == len(dead)

    def wake_ns(self, now_ns: int) -> int:
        """The heap of `Poller` may hold what was scheduled anew since, so they may wake at different times."""
        theirs, ours = self.poller.wake_ns(now_ns), int(decide(self.s, WAKE, 0, now_ns, 0))
        assert ours > now_ns, "the schedule spins"
        return max(now_ns + 1, min(theirs, ours))

    def _end(self) -> int:
        return self.first_slot + int(self.s.links[LINK, at.OUTSTANDING])

    def compare(self) -> None:
        state = self.s.links[LINK]
        counted = (at.LATE, at.SKIPPED_HELD_BACK, at.SKIPPED_FAILING, at.TIMEOUTS)
        poller = self.poller
        assert [int(state[field]) for field in counted] == [
            poller.late, poller.skipped_held_back, poller.skipped_failing, poller.timeouts,
        ]  # fmt: skip
        assert state[at.LINK_ANSWERED_NS] == poller.answered_ns
        for row, poll in enumerate(self.polls, self.first):
            assert self.s.due[row] == poll.due_ns
            assert self.s.blocks[row, at.BLOCK_FAILURES] == poll.breaker.failures
        for unit in poller.units.values():
            row = self.unit_rows[unit.id]
            assert self.s.units[row, at.UNIT_FAILURES] == unit.breaker.failures
            assert self.s.units[row, at.PEAK_NS] == unit.trips.peak_ns
            assert self.s.units[row, at.OWED_NS] == unit.owed_ns


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    units=st.integers(1, 4),
    per_unit=st.integers(1, 3),
    in_flight=st.integers(1, 4),
    gap_ms=st.sampled_from([0, 0, 3]),
    timeout_ms=st.sampled_from([80, 300, 1_000]),
    jitter_ms=st.sampled_from([0, 0, 7]),
)
def test_the_kernels_decide_as_the_poller_does_whatever_the_link_does(
    seed: int, units: int, per_unit: int, in_flight: int, gap_ms: int, timeout_ms: int, jitter_ms: int
) -> None:
    """Units answer, answer late, refuse, are busy, fall silent and return, as a seed has it; the link reconnects."""
    rng = random.Random(seed)
    both = Both(blocks_of(units, per_unit, [20, 50, 100], jitter_ms), in_flight, timeout_ms, gap_ms)
    replies: list[tuple[int, int, int]] = []
    silent: set[int] = set()
    now_ns = rng.randrange(10**12)
    end_ns = now_ns + 8 * NS_PER_S
    both.begin(now_ns)
    while now_ns < end_ns:
        if rng.random() < 0.01:
            silent ^= {rng.randint(1, units)}
        if rng.random() < 0.002:
            replies.clear()
            both.begin(now_ns)
        while replies and replies[0][0] <= now_ns:
            _, number, what = replies.pop(0)
            both.reply(number, what, now_ns)
        both.expire(now_ns)
        if rng.random() < 0.005:
            both.ease(rng.random() < 0.5)
        is_held_back = rng.random() < 0.02
        while (transaction := both.next_request(now_ns, is_held_back)) is not None:
            if transaction.poll.unit.id not in silent and rng.random() < 0.97:
                delay_ns = rng.choice([1, 5, 5, 30, timeout_ms - 1, timeout_ms + 50]) * NS_PER_MS
                what = rng.choice([READ] * 12 + [REFUSED, POSTPONED, UNREACHABLE])
                replies.append((now_ns + delay_ns, transaction.id, what))
                replies.sort()
        both.compare()
        now_ns = min([both.wake_ns(now_ns), *(due_ns for due_ns, _, _ in replies[:1])])
