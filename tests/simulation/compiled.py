"""The compiled schedule behind the interface of `Poller`, and a run of both: `python -m ... SEED HOURS`.

Its kernels have no wrapper for Python, so this runs with NUMBA_DISABLE_JIT=1, where they are plain functions. The last
line printed is the digest of each trace: the same units, with the same faults, must be asked the same at the same
nanoseconds by both.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.core.types import NS_PER_S
from gateway.protocol.modbus import schedule
from gateway.protocol.modbus import schedule_rows as at
from gateway.protocol.modbus.plan import Block, halved
from gateway.protocol.modbus.polled import Line
from gateway.protocol.modbus.polling import SPLITS_MAX, Poller
from tests.simulation.bus import Bus, Trace, UnitScript, blocks_of
from tests.simulation.test_bus_days import a_life


@dataclass(slots=True, eq=False)
class _Unit:
    id: int
    splits: int = 0


@dataclass(slots=True, eq=False)
class _Poll:
    """A block's row as of one version."""

    row: int
    version: int
    block: Block
    unit: _Unit
    is_cut: bool


@dataclass(slots=True, eq=False)
class _Transaction:
    id: int
    slot: int
    poll: _Poll
    sent_ns: int


class CompiledPoller:
    """One link of the compiled schedule; what `Bus` uses of `Poller`."""

    def __init__(
        self, blocks: Sequence[Block], *, requests_in_flight: int, response_timeout_ns: int, request_gap_ns: int,
        line: Line | None,
    ) -> None:  # fmt: skip
        assert line is None, "the compiled schedule is that of Modbus TCP"
        self.s = at.allocate([at.size_of(blocks)])
        rows = at.fill(
            self.s, 0, blocks, in_flight=requests_in_flight, timeout_ns=response_timeout_ns, gap_ns=request_gap_ns
        )
        self.units = {unit: _Unit(unit) for unit in rows}
        self._blocks = dict(enumerate(blocks))
        self.strays = self.timeouts = 0

    def _transaction(self, slot: int) -> _Transaction:
        row = self.s.slots[slot]
        block = int(row[at.OF_BLOCK])
        planned = self._blocks[block]
        version = int(row[at.OF_VERSION])
        is_cut = int(self.s.blocks[block, at.VERSION]) != version
        poll = _Poll(block, version, planned, self.units[planned.unit], is_cut)
        return _Transaction(int(row[at.ID]), int(slot), poll, int(row[at.SENT_NS]))

    def begin(self, now_ns: int) -> None:
        schedule.begin(self.s, 0, now_ns)

    @property
    def under_way(self) -> Iterator[_Transaction]:
        for slot in range(int(self.s.links[0, at.OUTSTANDING])):
            yield self._transaction(slot)

    def next_request(self, now_ns: int) -> _Transaction | None:
        slot = int(schedule.next_request(self.s, 0, now_ns, 0))
        return None if slot < 0 else self._transaction(slot)

    def take_reply(self, number: int, now_ns: int) -> _Transaction | None:
        slot = int(schedule.find(self.s, 0, number))
        if slot < 0:
            self.strays += 1
            return None
        schedule.take(self.s, 0, slot, now_ns)
        return self._transaction(slot)

    def heard(self, transaction: _Transaction, now_ns: int) -> None:
        unit = self.s.blocks[transaction.poll.row, at.UNIT]
        schedule.answered(self.s, 0, unit, transaction.sent_ns, now_ns)
        schedule.drop(self.s, 0, transaction.slot)

    def read(self, transaction: _Transaction, now_ns: int) -> None:
        schedule.read(self.s, 0, transaction.slot, now_ns)
        schedule.drop(self.s, 0, transaction.slot)

    def refused(self, transaction: _Transaction, now_ns: int) -> None:
        poll = transaction.poll
        schedule.refused(self.s, 0, self.s.blocks[poll.row, at.UNIT], poll.row, transaction.sent_ns, now_ns)
        schedule.drop(self.s, 0, transaction.slot)

    def postponed(self, transaction: _Transaction, now_ns: int) -> None:
        poll = transaction.poll
        schedule.postponed(self.s, 0, self.s.blocks[poll.row, at.UNIT], poll.row, transaction.sent_ns, now_ns)
        schedule.drop(self.s, 0, transaction.slot)

    def expired(self, now_ns: int) -> list[_Transaction]:
        schedule.lose_patience(self.s, 0, now_ns)
        dead = []
        while schedule.is_dead(self.s, 0, now_ns):
            dead.append(self._transaction(0))
            schedule.drop(self.s, 0, 0)
        self.timeouts += len(dead)
        return dead

    def split(self, poll: _Poll, now_ns: int) -> bool:
        row = self.s.blocks[poll.row]
        if len(poll.block.points) == 1 or row[at.GOOD_NS] >= 0 or poll.unit.splits == SPLITS_MAX:
            return False
        poll.unit.splits += 1
        half = int(self.s.links[0, at.BLOCKS])
        first, second = halved(poll.block)
        self._blocks[poll.row], self._blocks[half] = first, second
        at.fill_block(self.s, half, second, int(row[at.UNIT]))
        schedule.split(self.s, 0, poll.row, half, now_ns)
        at.rank(self.s, 0, range(half + 1))
        return True

    def wake_ns(self, now_ns: int) -> int:
        return int(schedule.wake_ns(self.s, 0, now_ns))


def run(seed: int, hours: float, compiled: bool) -> Trace:
    """Five units with faults, one with an address that it does not have, and three cuts of the connection."""
    random_ = random.Random(seed)
    end_ns = round(3_600 * hours) * NS_PER_S
    scripts = {unit: UnitScript(a_life(random_, end_ns)) for unit in range(1, 6)}
    scripts[5].refused = 2
    cuts = [(begin, begin + random_.randrange(60 * NS_PER_S)) for begin in (random_.randrange(end_ns) for _ in "123")]
    blocks = blocks_of(scripts, 4 * NS_PER_S, per_unit=2, registers=4)
    make = CompiledPoller if compiled else Poller
    return Bus(seed, blocks, scripts, cuts=cuts, response_timeout_ns=NS_PER_S, make=make).run(end_ns)


if __name__ == "__main__":
    one, other = (run(int(sys.argv[1]), float(sys.argv[2]), compiled) for compiled in (False, True))
    print(json.dumps({"poller": one.digest(), "compiled": other.digest(), "lines": [one.lines, other.lines]}))
