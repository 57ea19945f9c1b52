"""The schedule of a link in simulated time: fairness, patience, silence. No sockets, no clock."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.types import NS_PER_MS, NS_PER_S, Kind
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.plan import Block, Point, plan
from gateway.protocol.modbus.points import WireType
from gateway.protocol.modbus.polled import Line, Transaction
from gateway.protocol.modbus.polling import PROBE_SHARE, Poller

MS = NS_PER_MS


def blocks(units: Iterable[int], period_ns: int, per_unit: int = 1) -> tuple[Block, ...]:
    return plan(
        Point(
            row=0, name=f"u{unit}.{i}", device=f"u{unit}", unit=unit, function=Function.READ_HOLDING_REGISTERS,
            address=100 * i, wire=WireType.UINT16, kind=Kind.F64, period_ns=period_ns,
        )
        for unit in units for i in range(per_unit)
    )  # fmt: skip


class Link:
    """A link in simulated time. `answer(unit, now_ns)` is a reply's delay in ns, or None for silence."""

    def __init__(self, poller: Poller, answer: Callable[[int, int], int | None]) -> None:
        self.poller = poller
        self.answer = answer
        self.now_ns = 0
        self.asked: Counter[int] = Counter()
        self.read: Counter[int] = Counter()
        self.dead: list[Transaction] = []
        self.under_way_max = 0
        self._replies: list[tuple[int, int]] = []
        poller.begin(0)

    def run(self, until_ns: int) -> None:
        while self.now_ns < until_ns:
            self._turn()
            wake_ns = self.poller.wake_ns(self.now_ns)
            assert wake_ns > self.now_ns, "the schedule spins"
            self.now_ns = min([wake_ns, until_ns] + [at for at, _ in self._replies[:1]])

    def _turn(self) -> None:
        while self._replies and self._replies[0][0] <= self.now_ns:
            _, number = heapq.heappop(self._replies)
            if (transaction := self.poller.take_reply(number, self.now_ns)) is not None:
                self.poller.read(transaction, self.now_ns)
                self.read[transaction.poll.block.unit] += 1
        self.dead += self.poller.expired(self.now_ns)
        while (transaction := self.poller.next_request(self.now_ns)) is not None:
            unit = transaction.poll.block.unit
            self.asked[unit] += 1
            if (delay_ns := self.answer(unit, self.now_ns)) is not None:
                heapq.heappush(self._replies, (self.now_ns + delay_ns, transaction.id))
        self.under_way_max = max(self.under_way_max, len(self.poller._holding))


def poller(plan_: tuple[Block, ...], *, in_flight: int = 1, timeout_ms: int = 3_000, gap_ms: int = 0) -> Poller:
    return Poller(plan_, requests_in_flight=in_flight, response_timeout_ns=timeout_ms * MS, request_gap_ns=gap_ms * MS)


@pytest.mark.parametrize("period_ms", [100, 1_000])
def test_three_dead_of_ten_with_a_timeout_of_3_s_cost_the_living_less_than_5_percent(period_ms: int) -> None:
    onset_ns = 5 * NS_PER_S
    link = Link(
        poller(blocks(range(10), period_ms * MS)),
        lambda unit, now_ns: None if unit in (1, 4, 8) and now_ns > onset_ns else 5 * MS,
    )
    link.run(onset_ns)
    before = link.read.copy()
    link.run(onset_ns + 20 * NS_PER_S)
    expected = 20_000 / period_ms
    shares = {unit: (link.read[unit] - before[unit]) / expected for unit in range(10) if unit not in (1, 4, 8)}
    print(f"least share of reads: {min(shares.values()):.3f}")
    assert min(shares.values()) >= 0.95
    assert all(link.asked[unit] - before[unit] <= 12 for unit in (1, 4, 8))


def test_a_gateway_that_blocks_on_its_dead_units_does_not_make_the_living_ones_suspect() -> None:
    """Each request to the dead unit holds up the serial bus behind the gateway for 1 s: all wait, none is lost."""
    busy_until_ns = 0

    def serial(unit: int, now_ns: int) -> int | None:
        nonlocal busy_until_ns
        busy_until_ns = max(busy_until_ns, now_ns) + (NS_PER_S if unit == 3 else 10 * MS)
        return None if unit == 3 else busy_until_ns - now_ns

    link = Link(poller(blocks(range(10), 1_000 * MS)), serial)
    link.run(200 * NS_PER_S)
    assert {transaction.poll.block.unit for transaction in link.dead} == {3}
    assert min(link.read[unit] for unit in range(10) if unit != 3) >= 0.9 * 200
    assert link.asked[3] <= 3 + 200 / PROBE_SHARE + 1


def test_a_unit_that_returns_is_read_at_full_rate_again_within_the_longest_back_off() -> None:
    link = Link(
        poller(blocks([1, 2], 100 * MS, per_unit=3)),
        lambda unit, now_ns: None if unit == 1 and 5 * NS_PER_S < now_ns < 60 * NS_PER_S else 2 * MS,
    )
    link.run(60 * NS_PER_S)
    assert link.asked[1] < 3 * 50 + 20
    link.run(71 * NS_PER_S)
    before = link.read[1]
    link.run(81 * NS_PER_S)
    assert link.read[1] - before >= 3 * 99


def test_a_lost_reply_costs_patience_and_not_the_timeout() -> None:
    """One in ten replies of a unit is lost on its serial line, which is no reason to stop asking it."""
    n = 0

    def lossy(unit: int, now_ns: int) -> int | None:
        nonlocal n
        n += 1
        return None if n % 10 == 0 else 5 * MS

    link = Link(poller(blocks([1], 100 * MS)), lossy)
    link.run(60 * NS_PER_S)
    assert link.read[1] >= 0.85 * 600
    assert link.asked[1] >= 0.95 * 600


def test_a_single_block_that_is_never_answered_is_held_back_alone() -> None:
    plan_ = blocks([1], 100 * MS, per_unit=4)
    link_poller = poller(plan_)
    link = Link(link_poller, lambda unit, now_ns: 2 * MS)
    mute = next(poll for poll in link_poller.polls if poll.block is plan_[2])
    sent = link_poller._sent

    def losing(poll, now_ns):  # type: ignore[no-untyped-def]
        transaction = sent(poll, now_ns)
        if poll is mute:
            link.answer = lambda unit, now_ns: None
        else:
            link.answer = lambda unit, now_ns: 2 * MS
        return transaction

    link_poller._sent = losing  # type: ignore[method-assign]
    link.run(60 * NS_PER_S)
    assert mute.good_ns < 0
    assert link.read[1] >= 0.95 * 3 * 600


def test_a_link_that_is_too_slow_loses_reads_evenly_and_counts_them() -> None:
    """Ten units each 100 ms at 25 ms a read: four in ten fit."""
    link_poller = poller(blocks(range(10), 100 * MS))
    link = Link(link_poller, lambda unit, now_ns: 25 * MS)
    link.run(60 * NS_PER_S)
    assert sum(link.read.values()) == pytest.approx(60 * 40, rel=0.02)
    assert min(link.read.values()) >= 0.9 * max(link.read.values())
    assert link_poller.late == pytest.approx(60 * 60, rel=0.02)


def test_fast_and_slow_blocks_share_a_busy_link_by_deadline() -> None:
    plan_ = blocks([1], 10 * MS) + blocks([2], 1_000 * MS)
    link = Link(poller(plan_), lambda unit, now_ns: 12 * MS)
    link.run(60 * NS_PER_S)
    assert link.read[2] >= 59


def test_reads_keep_to_their_grid_and_their_phases() -> None:
    times: dict[int, list[int]] = {1: [], 2: [], 3: [], 4: []}

    def note(unit: int, now_ns: int) -> int:
        times[unit].append(now_ns)
        return MS

    planned = blocks(times, 100 * MS)
    Link(poller(planned), note).run(NS_PER_S)
    phases_ms = {block.unit: block.phase_ns // MS for block in planned}
    first_ms = phases_ms[1]
    assert phases_ms == {unit: (first_ms + 25 * (unit - 1)) % 100 for unit in times}
    for unit, phase_ms in phases_ms.items():
        assert {at // MS % 100 - phase_ms for at in times[unit][2:]} <= {0, 1}
        assert len(times[unit]) in (10, 11)
        assert times[unit][0] < 4 * MS, "the first read does not wait for its phase"


def test_an_older_reply_does_not_follow_a_newer_one() -> None:
    link_poller = poller(blocks([1], 10 * MS), in_flight=2, timeout_ms=1_000)
    link_poller.begin(0)
    first = link_poller.next_request(0)
    assert first is not None
    link_poller.expired(600 * MS)
    second = link_poller.next_request(600 * MS)
    assert second is not None
    assert first.poll is second.poll
    assert first.id != second.id
    assert link_poller.take_reply(second.id, 601 * MS) is second
    assert link_poller.read(second, 601 * MS)
    assert link_poller.take_reply(first.id, 602 * MS) is first
    assert not link_poller.read(first, 602 * MS)


def test_a_transaction_id_under_way_is_not_given_twice() -> None:
    link_poller = poller(blocks([1, 2], 10 * MS), in_flight=2)
    link_poller.begin(0)
    first = link_poller.next_request(0)
    assert first is not None
    link_poller._last_id = (first.id - 1) % 65_536
    second = link_poller.next_request(0)
    assert second is not None
    assert second.id != first.id


@settings(deadline=None)
@given(
    st.integers(1, 4),
    st.integers(0, 5),
    st.lists(st.one_of(st.none(), st.integers(0, 400)), min_size=1, max_size=30),
    st.integers(50, 500),
)
def test_whatever_a_link_does_its_limits_hold(
    in_flight: int, gap_ms: int, delays_ms: list[int | None], timeout_ms: int
) -> None:
    turn = 0
    sent_ns: list[int] = []

    def answer(unit: int, now_ns: int) -> int | None:
        nonlocal turn
        sent_ns.append(now_ns)
        delay_ms = delays_ms[turn % len(delays_ms)]
        turn += 1
        return None if delay_ms is None else delay_ms * MS

    link_poller = poller(
        blocks(range(3), 20 * MS, per_unit=2), in_flight=in_flight, timeout_ms=timeout_ms, gap_ms=gap_ms
    )
    link = Link(link_poller, answer)
    link.run(3 * NS_PER_S)
    assert link.under_way_max <= in_flight
    assert all(later - earlier >= gap_ms * MS for earlier, later in pairwise(sent_ns))
    answered, dead, waiting = sum(link.read.values()), len(link.dead), len(link_poller._outstanding)
    assert len(sent_ns) == answered + dead + waiting
    assert link_poller.timeouts == dead


# Serial lines


def line_poller(plan_: tuple[Block, ...], *, timeout_ms: int = 3_000, baud: int = 9_600) -> Poller:
    character_ns = 11 * NS_PER_S // baud
    return Poller(
        plan_,
        requests_in_flight=1,
        response_timeout_ns=timeout_ms * MS,
        request_gap_ns=7 * character_ns // 2,
        line=Line(character_ns),
    )


def test_three_dead_of_ten_at_a_line_cost_the_living_less_than_5_percent_in_ten_minutes() -> None:
    """9600 baud: a read of one register takes 15 characters, 17 ms, and the unit's own 5 ms."""
    onset_ns = 5 * NS_PER_S
    link = Link(
        line_poller(blocks(range(1, 11), NS_PER_S)),
        lambda unit, now_ns: None if unit in (2, 5, 9) and now_ns > onset_ns else 22 * MS,
    )
    link.run(onset_ns)
    before = link.read.copy()
    link.run(onset_ns + 600 * NS_PER_S)
    shares = {unit: (link.read[unit] - before[unit]) / 600 for unit in range(1, 11) if unit not in (2, 5, 9)}
    print(f"least share of reads: {min(shares.values()):.3f}")
    assert min(shares.values()) >= 0.95
    assert link.under_way_max == 1


def test_a_unit_at_a_line_is_not_asked_again_while_its_late_reply_may_still_come() -> None:
    """It answers after 700 ms: by then another unit was asked. Its reply is known by its unit, and no other's."""
    link = Link(
        line_poller(blocks([1, 2], 100 * MS), timeout_ms=1_000),
        lambda unit, now_ns: 700 * MS if unit == 1 else 20 * MS,
    )
    link.run(30 * NS_PER_S)
    assert link.dead == []
    assert link.poller.strays == 0
    assert link.asked[1] - link.read[1] <= 1
    assert link.read[2] > 30


def test_nobody_at_a_line_gives_up_while_a_reply_is_still_coming_in() -> None:
    link_poller = line_poller(blocks([1, 2], NS_PER_S))
    link_poller.begin(0)
    first = link_poller.next_request(0)
    assert first is not None
    gives_up_ns = first.gives_up_ns
    link_poller.heard_bytes(gives_up_ns - 1)
    assert link_poller.expired(gives_up_ns) == []
    assert link_poller.next_request(gives_up_ns + 10 * MS) is None
    assert link_poller.take_reply(first.id, gives_up_ns + 20 * MS) is first


def test_a_late_word_on_a_block_that_was_cut_since_brings_it_back_to_nobody() -> None:
    """Two requests of one block were under way; the first answer had it cut. Once the second one had it asked again."""
    points = [
        Point(
            row=row, name=f"t{row}", device="u", unit=1, function=Function.READ_HOLDING_REGISTERS, address=row,
            wire=WireType.UINT16, kind=Kind.F64, period_ns=100 * MS,
        )
        for row in range(4)
    ]  # fmt: skip
    link = poller(plan(points), in_flight=2)
    link.begin(0)
    first = link.next_request(0)
    assert first is not None
    link.expired(600 * MS)
    second = link.next_request(600 * MS)
    assert second is not None
    assert second.poll is first.poll
    assert link.take_reply(first.id, 601 * MS) is first
    link.refused(first, 601 * MS)
    assert link.split(first.poll, 601 * MS)
    assert first.poll.is_cut
    assert link.take_reply(second.id, 602 * MS) is second
    link.heard(second, 602 * MS)
    asked: Counter[int] = Counter()
    for now_ms in range(602, 1_602):
        while (transaction := link.next_request(now_ms * MS)) is not None:
            asked[transaction.poll.block.request.count] += 1
            assert link.take_reply(transaction.id, now_ms * MS) is transaction
            link.read(transaction, now_ms * MS)
    assert asked == {2: 2 * 11}, "both halves, and never the whole"
