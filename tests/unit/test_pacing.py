"""Pacing in simulated time: a link of a known width, live records at a steady rate, and a backlog beside them."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import pytest

from gateway.core.limits import UPLINK_DRAIN_IN_FLIGHT
from gateway.core.pacing import DELAY_NS, Pace, Pacer
from gateway.core.types import NS_PER_MS, NS_PER_S

RECORD_BYTES = 100_000


@dataclass
class Link:
    """Sends one record after the other at its width, and answers a round trip later."""

    bytes_per_s: int
    round_trip_ns: int = 20 * NS_PER_MS
    free_ns: int = 0

    def answers_ns(self, now_ns: int, size: int) -> int:
        self.free_ns = max(self.free_ns, now_ns) + size * NS_PER_S // self.bytes_per_s
        return self.free_ns + self.round_trip_ns


@dataclass
class Outcome:
    live_ns: list[int] = field(default_factory=list)
    backlog: int = 0
    bytes_sent: int = 0

    def p99_ms(self) -> float:
        return sorted(self.live_ns)[int(len(self.live_ns) * 0.99)] / NS_PER_MS


def play(pace: Pace, link: Link, *, seconds: int, live_per_s: int, encoded: float = 1.0) -> Outcome:
    """A backlog without end; live records due at their rate, each sent when the budget lets it. What goes out of each
    is `encoded` of what it was."""
    size = int(encoded * RECORD_BYTES)
    pacer, found = Pacer(pace, UPLINK_DRAIN_IN_FLIGHT), Outcome()
    answers: list[tuple[int, str, int]] = []
    due: list[int] = []
    under_way = 0
    made = 0
    for now_ns in range(NS_PER_S, (seconds + 1) * NS_PER_S, NS_PER_MS):
        while answers and answers[0][0] <= now_ns:
            at_ns, lane, since_ns = heapq.heappop(answers)
            if lane == "live":
                pacer.live_answered(at_ns, at_ns - since_ns)
            else:
                under_way -= 1
                pacer.backlog_answered(is_live_quiet=live_per_s == 0)
        if live_per_s and now_ns >= NS_PER_S + made * NS_PER_S // live_per_s:
            made += 1
            due.append(now_ns)
        while due and not pacer.live_waits_ns(now_ns):
            began_ns = due.pop(0)
            pacer.live_sent(now_ns, RECORD_BYTES)
            pacer.resized(size - RECORD_BYTES, is_backlog=False)
            at_ns = link.answers_ns(now_ns, size)
            found.live_ns.append(at_ns - began_ns)
            found.bytes_sent += size
            heapq.heappush(answers, (at_ns, "live", now_ns))
        while under_way < int(pacer.window) and not pacer.backlog_waits_ns(now_ns, is_live_waiting=bool(due)):
            pacer.backlog_sent(now_ns, RECORD_BYTES)
            pacer.resized(size - RECORD_BYTES, is_backlog=True)
            under_way += 1
            found.backlog += 1
            found.bytes_sent += size
            heapq.heappush(answers, (link.answers_ns(now_ns, size), "backlog", now_ns))
    return found


def test_on_a_link_that_is_wide_enough_the_backlog_goes_at_its_pace_and_live_records_do_not_feel_it() -> None:
    found = play(Pace(100), Link(100_000_000), seconds=20, live_per_s=20)
    assert found.backlog == pytest.approx(2_000, rel=0.02)
    assert found.p99_ms() < 30


def test_on_a_narrow_link_the_backlog_takes_what_is_left_and_adds_little_to_live_records() -> None:
    """10 MB/s carry 100 records a second, 20 of them live."""
    found = play(Pace(100_000), Link(10_000_000), seconds=30, live_per_s=20)
    assert found.backlog / 30 > 3 * 20, "less than what an outage needs to be caught up"
    assert found.p99_ms() < (20 * NS_PER_MS + 10 * NS_PER_MS + 3 * DELAY_NS) / NS_PER_MS


def test_without_live_records_the_whole_link_is_the_backlogs() -> None:
    found = play(Pace(100_000), Link(10_000_000), seconds=10, live_per_s=0)
    assert found.backlog / 10 > 90


def test_a_metered_link_sends_no_more_than_its_bandwidth_and_gives_the_backlog_its_share() -> None:
    """4 MB/s are paid for, live records want 3 MB/s of it, the backlog has a right to 2."""
    found = play(Pace(100_000, 4_000_000, 0.5), Link(100_000_000), seconds=30, live_per_s=30)
    assert found.bytes_sent / 30 == pytest.approx(4_000_000, rel=0.03)
    assert found.backlog * RECORD_BYTES / 30 == pytest.approx(2_000_000, rel=0.05)


@pytest.mark.parametrize("encoded", [0.2, 1.3])
def test_the_bandwidth_is_of_what_goes_out_and_not_of_what_the_spool_has(encoded: float) -> None:
    found = play(Pace(100_000, 4_000_000, 0.5), Link(100_000_000), seconds=30, live_per_s=30, encoded=encoded)
    assert found.bytes_sent / 30 == pytest.approx(4_000_000, rel=0.03)
    assert len(found.live_ns) == pytest.approx(min(30 * 30, 0.5 * 30 * 4_000_000 / (encoded * RECORD_BYTES)), rel=0.05)


def test_a_share_of_nothing_sends_the_backlog_only_in_the_gaps() -> None:
    found = play(Pace(100_000, 4_000_000, 0.0), Link(100_000_000), seconds=30, live_per_s=30)
    assert found.backlog * RECORD_BYTES / 30 == pytest.approx(1_000_000, rel=0.1)
    assert found.p99_ms() < 100


def test_a_route_that_becomes_longer_is_not_taken_for_a_queue_for_ever() -> None:
    pacer = Pacer(Pace(1_000), 16)
    for second in range(200):
        pacer.live_answered(second * NS_PER_S, (10 if second < 20 else 300) * NS_PER_MS)
    assert pacer.window > 4
