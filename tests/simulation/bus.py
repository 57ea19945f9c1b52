"""A bus in simulated time: the real planner and scheduler, units that misbehave by script, and a trace of all of it.

Time jumps from one thing that happens to the next, so a day takes seconds. What a unit does is a function of the seed
and of the time alone: two runs with one seed leave the same trace, whose digest says so. On a serial line (`Line`) a
reply's characters take their time, and two that talk at once ruin each other's reply.

What an owner of a `Poller` does with each outcome stands in `Bus._outcome`, as in `gateway.sources.modbus`.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateway.core.backoff import Backoff
from gateway.core.types import NS_PER_MS, NS_PER_S, Kind
from gateway.protocol.modbus.codes import Function, ModbusException
from gateway.protocol.modbus.plan import Block, Point, plan
from gateway.protocol.modbus.points import WireType
from gateway.protocol.modbus.polled import Line, Transaction
from gateway.protocol.modbus.polling import FRAMING_BYTES, Poller
from gateway.protocol.modbus.reactions import Reaction, rule_of

RECONNECT = Backoff(base_ns=500 * NS_PER_MS, cap_ns=30 * NS_PER_S)


class Mood(StrEnum):
    WELL = "well"
    DEAD = "dead"
    SLOW = "slow"
    """Its replies come after the response timeout as often as before it."""
    BABBLING = "babbling"
    """Half of its replies do not fit."""
    FAULTY = "faulty"
    """It answers exception 4."""
    BUSY = "busy"
    """It answers exception 6 to every third request."""


@dataclass(frozen=True, slots=True)
class Spell:
    """How a unit is from `begin_ns` on."""

    begin_ns: int
    mood: Mood


@dataclass(slots=True)
class UnitScript:
    """A unit's life; well where nothing is said. `refused` is an address that it does not have."""

    spells: Sequence[Spell] = ()
    refused: int | None = None

    def mood(self, now_ns: int) -> Mood:
        found = Mood.WELL
        for spell in self.spells:
            if spell.begin_ns > now_ns:
                break
            found = spell.mood
        return found


@dataclass(slots=True)
class Trace:
    """What happened, as counts, as a digest, and when each unit was read."""

    counts: Counter[str] = field(default_factory=Counter)
    sent: Counter[int] = field(default_factory=Counter)
    read_ns: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    lines: int = 0
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def note(self, now_ns: int, what: str, unit: int, place: str) -> None:
        self.counts[what] += 1
        self.lines += 1
        self._hash.update(f"{now_ns} {what} {unit} {place}\n".encode())

    def digest(self) -> str:
        return self._hash.hexdigest()


def blocks_of(units: Iterable[int], period_ns: int, *, per_unit: int = 1, registers: int = 1) -> tuple[Block, ...]:
    """Blocks far apart, of `registers` each, one period for all."""
    return plan(
        Point(
            row=0, name=f"u{unit}.{k}.{r}", device=f"u{unit}", unit=unit, address=1_000 * k + r,
            function=Function.READ_HOLDING_REGISTERS, wire=WireType.UINT16, kind=Kind.F64, period_ns=period_ns,
        )
        for unit in units for k in range(per_unit) for r in range(registers)
    )  # fmt: skip


class Bus:
    """One link. `cuts` are spans of time in which the connection is lost and cannot be made.

    `make` makes the schedule: `Poller`, or whatever decides as it does.
    """

    def __init__(
        self,
        seed: int,
        blocks: Sequence[Block],
        scripts: dict[int, UnitScript],
        *,
        cuts: Sequence[tuple[int, int]] = (),
        line: Line | None = None,
        response_timeout_ns: int = 3 * NS_PER_S,
        turnaround_ns: int = 5 * NS_PER_MS,
        make: Callable[..., Any] = Poller,
    ) -> None:
        self.poller = make(
            blocks, requests_in_flight=1, response_timeout_ns=response_timeout_ns, request_gap_ns=0, line=line
        )
        self.trace = Trace()
        self._random = random.Random(seed)
        self._scripts = scripts
        self._cuts = sorted(cuts)
        self._line = line
        self._timeout_ns = response_timeout_ns
        self._turnaround_ns = turnaround_ns
        self._replies: list[tuple[int, int, int, int, Mood]] = []  # end, order, begin, transaction id, what it is
        self._order = 0
        self._failures = 0
        self._connect_ns: int | None = 0

    def run(self, until_ns: int) -> Trace:
        now_ns = 0
        while now_ns < until_ns:
            if self._connect_ns is not None:
                now_ns = self._connect(self._connect_ns)
                continue
            cut_ns = next((begin for begin, end in self._cuts if end > now_ns), until_ns)
            if cut_ns <= now_ns:
                self._lose(now_ns)
                continue
            self._turn(now_ns)
            wake_ns = self.poller.wake_ns(now_ns)
            assert wake_ns > now_ns, f"the schedule spins at {now_ns}"
            now_ns = min([wake_ns, until_ns, cut_ns] + [reply[0] for reply in self._replies[:1]])
        return self.trace

    def _connect(self, now_ns: int) -> int:
        """Try to connect; returns the time."""
        if any(begin <= now_ns < end for begin, end in self._cuts):
            self._failures += 1
            self.trace.note(now_ns, "connect failed", 0, "")
            self._connect_ns = now_ns + RECONNECT.delay_ns(self._failures, 1)
            return now_ns
        self._connect_ns = None
        self._failures = 0
        self.trace.note(now_ns, "connected", 0, "")
        self.poller.begin(now_ns)
        return now_ns

    def _lose(self, now_ns: int) -> None:
        for transaction in self.poller.under_way:
            self.trace.note(now_ns, "lost", transaction.poll.unit.id, "")
        self._replies.clear()
        self._failures = 1
        self._connect_ns = now_ns + RECONNECT.delay_ns(1, 1)

    def _turn(self, now_ns: int) -> None:
        while self._replies and self._replies[0][0] <= now_ns:
            _, _, _, number, kind = heapq.heappop(self._replies)
            transaction = self.poller.take_reply(number, now_ns)
            if transaction is None:
                self.trace.note(now_ns, "stray", number, "")
            else:
                self._outcome(transaction, kind, now_ns)
        for transaction in self.poller.expired(now_ns):
            self.trace.note(now_ns, "timeout", transaction.poll.unit.id, transaction.poll.block.place)
        while (transaction := self.poller.next_request(now_ns)) is not None:
            unit = transaction.poll.unit.id
            self.trace.sent[unit] += 1
            self.trace.note(now_ns, "sent", unit, transaction.poll.block.place)
            self._answer(transaction, now_ns)

    def _answer(self, transaction: Transaction, now_ns: int) -> None:
        """What the unit will do."""
        block = transaction.poll.block
        mood = self._scripts[block.unit].mood(now_ns)
        luck = self._random.random()
        if mood is Mood.DEAD:
            return
        if mood is Mood.SLOW:
            begin_ns = now_ns + round(2 * luck * self._timeout_ns)
        else:
            begin_ns = now_ns + round((0.5 + luck) * self._turnaround_ns)
        end_ns = begin_ns
        if self._line is not None:
            byte_ns = self._line.byte_ns
            begin_ns += (FRAMING_BYTES - 5) * byte_ns
            end_ns = begin_ns + (5 + block.request.reply_bytes) * byte_ns
            # From the request's first byte to the reply's last the line is taken.
            hit = [reply for reply in self._replies if reply[2] < end_ns and now_ns < reply[0]]
            if hit:
                self.trace.note(now_ns, "collision", block.unit, "")
                self._replies = [reply for reply in self._replies if reply not in hit]
                heapq.heapify(self._replies)
                return
        self._order += 1
        heapq.heappush(self._replies, (end_ns, self._order, begin_ns, transaction.id, mood))

    def _outcome(self, transaction: Transaction, mood: Mood, now_ns: int) -> None:
        poll, poller = transaction.poll, self.poller
        block = poll.block
        if poll.is_cut:
            poller.heard(transaction, now_ns)
            self.trace.note(now_ns, "too late", block.unit, block.place)
            return
        code = self._code(mood, block)
        if code is None and mood is Mood.BABBLING and self._random.random() < 0.5:
            poller.refused(transaction, now_ns)
            self.trace.note(now_ns, "garbled", block.unit, block.place)
        elif code is None:
            poller.read(transaction, now_ns)
            self.trace.read_ns[block.unit].append(now_ns)
            self.trace.note(now_ns, "read", block.unit, block.place)
        else:
            rule = rule_of(code)
            self.trace.note(now_ns, f"exception {code}", block.unit, block.place)
            if rule.reaction is Reaction.LATER:
                poller.postponed(transaction, now_ns)
            else:
                poller.refused(transaction, now_ns)
                if rule.reaction is Reaction.SPLIT and poller.split(poll, now_ns):
                    self.trace.note(now_ns, "split", block.unit, block.place)

    def _code(self, mood: Mood, block: Block) -> int | None:
        if mood is Mood.FAULTY:
            return ModbusException.SERVER_DEVICE_FAILURE
        if mood is Mood.BUSY and self._random.random() < 1 / 3:
            return ModbusException.SERVER_DEVICE_BUSY
        refused = self._scripts[block.unit].refused
        first = block.request.address
        if refused is not None and first <= refused < first + block.request.count:
            return ModbusException.ILLEGAL_DATA_ADDRESS
        return None


def reads_in(trace: Trace, unit: int, begin_ns: int, end_ns: int) -> int:
    return sum(begin_ns <= at < end_ns for at in trace.read_ns[unit])
