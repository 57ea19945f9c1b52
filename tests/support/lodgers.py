"""Cycles in which rows pass from one tag to another, made from a seed, and what one engine makes of them.

Each tag has a value of its own, so a window that holds another value holds a stranger's. What goes with a LEND comes
up to LEAD_MAX cycles before it, and tags that return bring what they remembered when they left.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from gateway.core.cycle import Cycle, Influence, Lent, run_cycle
from gateway.core.engine import Engine
from gateway.core.lending import Command, Lending, command, commands
from gateway.core.model import DeviceDefinition, Model, Pool
from gateway.core.record import Stamp, Stream
from gateway.core.spec import EngineSpec
from gateway.core.types import NS_PER_MS, NS_PER_S, RAW_SAMPLE, SAMPLE, Quality, Samples
from tests.support.engine import MINUTE_NS, T0, tag

ROWS = 40
GUESTS = 90
LEAD_MAX = 6
CYCLE_NS = 10 * NS_PER_MS
SAMPLES_MAX = 30
FIRST = 1
"""The first row that is lent."""


def house(rows: int = ROWS) -> EngineSpec:
    """One tag that is written down, and a pool in several shares behind it."""
    pool = Pool("floor", "broker", rows, rows, (tag(windows_ns=(2 * NS_PER_S, MINUTE_NS)),))
    model = Model((DeviceDefinition("hall", "broker"),), (tag("hall.door"),), panes_per_window=10, pools=(pool,))
    streams = tuple(sorted((Stream.AGGREGATES, Stream.EVENTS, Stream.SAMPLES)))
    return EngineSpec(model, aggregates_every_ns=NS_PER_S, samples_every_ns=100 * NS_PER_MS, streams=streams)


def guest(number: int) -> str:
    return f"g{number}.x"


def value_of(name: str) -> float:
    """What the tag always says."""
    return float(name[1 : name.index(".")])


@dataclass
class Lodgers:
    """A lender without a network: who comes and goes is drawn, and told to `engine` as a link's source would."""

    seed: int
    engine: Engine
    cycles: list[Cycle] = field(default_factory=list)
    _lent: dict[int, str] = field(default_factory=dict)
    _promised: deque[tuple[int, Lending]] = field(default_factory=deque)
    _generations: dict[int, int] = field(default_factory=dict)
    _parked: dict[str, bytes] = field(default_factory=dict)
    _left: set[str] = field(default_factory=set)
    """With the present cycle: what they remember is not known yet."""

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)
        self._free = list(range(FIRST, self.engine.model.rows))

    def run(self, last: int) -> None:
        while len(self.cycles) < last:
            self.next()

    def next(self) -> Cycle:
        number = len(self.cycles) + 1
        now_ns = T0 + number * CYCLE_NS
        lane: list[Samples] = []
        # For a while, every now and then, all leave and nobody comes.
        is_closing = number // 150 % 4 == 3
        self._evict(lane, now_ns, is_closing=is_closing)
        influences = () if is_closing else self._promise(number)
        self._lend(lane, number, now_ns)
        if self._lent:
            lane += [self._said(row, now_ns) for row in self._draw.choices(list(self._lent), k=SAMPLES_MAX)]
        samples = np.concatenate([np.zeros(0, RAW_SAMPLE), *(part.view(RAW_SAMPLE) for part in lane)]).view(SAMPLE)
        cycle = Cycle(number, now_ns, samples, influences, Stamp(10**18, True), {"broker": number})
        for parked in run_cycle(self.engine, cycle).parked:
            for name, state in zip(parked.names, parked.states, strict=True):
                self._parked[name] = state.tobytes()
        self.cycles.append(cycle)
        return cycle

    def _evict(self, lane: list[Samples], now_ns: int, *, is_closing: bool) -> None:
        leaving = [row for row in self._lent if is_closing or self._draw.random() < 0.05]
        self._left = {self._lent[row] for row in leaving}
        for row in leaving:
            del self._lent[row]
            lane.append(commands([command(Command.EVICT, row, self._generations[row], now_ns)]))
            self._generations[row] += 1
            self._free.append(row)

    def _promise(self, number: int) -> tuple[Influence, ...]:
        there = {*self._left, *self._lent.values(), *(lending.name for _, lending in self._promised)}
        outside = [guest(n) for n in range(GUESTS) if guest(n) not in there]
        names = self._draw.sample(outside, min(len(self._free), self._draw.randrange(4)))
        lendings = []
        for name in names:
            row = self._free.pop(self._draw.randrange(len(self._free)))
            self._generations[row] = self._generations.get(row, 0) + 1
            device = name.split(".")[0]
            lendings.append(
                Lending(row, self._generations[row], name, device, row, 0, f"plant/{name}", self._parked.get(name))
            )
        due = number + self._draw.randrange(LEAD_MAX + 1)
        self._promised += [(due, lending) for lending in lendings]
        return (Lent(tuple(lendings)),) if lendings else ()

    def _lend(self, lane: list[Samples], number: int, now_ns: int) -> None:
        for _ in range(len(self._promised)):
            due, lending = self._promised.popleft()
            if due > number:
                self._promised.append((due, lending))
                continue
            self._lent[lending.row] = lending.name
            lane.append(commands([command(Command.LEND, lending.row, lending.generation, now_ns)]))

    def _said(self, row: int, now_ns: int) -> Samples:
        said: Samples = np.zeros(1, SAMPLE)
        said["row"], said["quality"], said["arrival_ns"] = row, Quality.GOOD, now_ns
        said["source_ns"], said["value"] = now_ns - self._draw.randrange(NS_PER_MS), value_of(self._lent[row])
        return said
