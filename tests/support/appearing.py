"""Devices that come and go in one thread, over many lives: the stream's real ingest and lender, and the engine's real
journal, checkpoints and recovery. Everything that two threads might do in another order is drawn.

What a kill leaves is what was on the disk: the cycles up to some one, and what the parking had written up to some
eviction. So a life is told when it begins how many of its last cycles nobody will have written down.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gateway.core.cycle import Cycle, Lent, run_cycle
from gateway.core.inbox import Lane
from gateway.core.lending import Lending, Parked
from gateway.core.record import Stamp
from gateway.core.types import NS_PER_S, SAMPLE, Kind, Samples
from gateway.protocol.mqtt.appearing import AppearingIngest
from gateway.protocol.mqtt.lender import Lender, Offer, Terms, Wanted
from gateway.protocol.mqtt.newcomers import Answer, Newcomers
from gateway.protocol.mqtt.patterns import parse
from gateway.protocol.mqtt.table import Feed
from tests.support.engine import T0
from tests.support.lives import Life
from tests.support.lodgers import CYCLE_NS, guest, house, value_of
from tests.support.mqtt import message

CONNACK = b"\x20\x02\x00\x00"
LANE_SAMPLES = 256


@dataclass
class World:
    """What outlives a kill: the folder, the parking's file, and who was sent how often."""

    folder: Path
    seed: int
    rows: int = 40
    guests: int = 90
    sent: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    """Samples of each in cycles that were written down."""
    parked: dict[str, bytes] = field(default_factory=dict)
    lagged: bool = False

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.spec = house(self.rows)

    def park(self, leaving: Sequence[Parked]) -> None:
        for parked in leaving:
            self.parked.update(zip(parked.names, (state.tobytes() for state in parked.states), strict=True))

    def live(self, cycles: int, unwritten: int, lag: int) -> None:
        """One life of so many cycles; the last `unwritten` are lost, and the parking is `lag` cycles behind.

        What it is behind is lost when a checkpoint is taken right then: such a tag goes on with older windows.
        """
        self.lagged |= lag > 0
        gateway = _Gateway(self, lag)
        self.check(gateway)
        for left in range(cycles, 0, -1):
            gateway.receive()
            gateway.cycle(is_written=left > unwritten)
        gateway.life.end()

    def check(self, gateway: _Gateway) -> None:
        """Nobody has a stranger's values, and nothing that was written down is missing in anybody's windows."""
        engine = gateway.life.engine
        assert gateway.life.reading("fieldgate_recovery_exact") == 1 or not gateway.life.number, gateway.life.events
        for name, row in engine.directory.rows():
            if name == "hall.door":
                continue
            window = engine.view.aggregates_at(np.array([row], np.int32), engine.view.now_ns)[-1]
            if window["count"]:
                assert {window["min"], window["mean"], window["max"]} == {value_of(name)}, f"seed {self.seed}: {name}"
            least = 0 if self.lagged else self.kept[name]
            assert least <= window["count"] <= self.sent[name], f"seed {self.seed}: {name} has {window}, not {least}"
        rejected = [each.value for each in engine.readings() if each.name == "fieldgate_engine_rejected_samples_total"]
        assert rejected == [0], f"seed {self.seed}"


class _Gateway:
    def __init__(self, world: World, lag: int) -> None:
        self._world = world
        self._draw = world.draw
        self._lag = lag
        self.life = Life(world.folder, world.spec)
        world.park(self.life.parked)
        model, engine = world.spec.model, self.life.engine
        terms = Terms(
            "floor", 0, (parse("plant/{device}/{tag}", None),), (Offer("*", 0, Feed("", -1, "", Kind.F64)),),
            model.pool_rows[0], model.pool_devices[0], 4, 3_600 * NS_PER_S,
        )  # fmt: skip
        lender = Lender(
            terms,
            seen_ns=engine.state.tables.cells["arrival_ns"],
            taken=frozenset({"hall.door"}),
            numbers={"hall": 0},
        )
        self._newcomers = Newcomers([lender], self._lend)
        self._lane = Lane("broker", LANE_SAMPLES)
        written = [Feed("plant/hall/door", 0, "hall", Kind.F64)]
        self._wanted: list[Wanted] = []
        self._ingest = AppearingIngest(written, 4, newcomers=self._newcomers, ask=self._wanted.extend)
        self._newcomers.adopt(engine.directory.lendings, engine.state.generations, engine.tenancy.evictions)
        self._evictions = engine.tenancy.evictions[0]
        self._influences: list[Lent] = []
        self._leaving: list[tuple[Parked, ...]] = []
        self._is_written = True
        self._number = self.life.number
        self._take(CONNACK)

    def receive(self) -> None:
        """Some messages, each a packet or all in one."""
        said = [guest(self._draw.randrange(self._world.guests)) for _ in range(self._draw.randrange(12))]
        if self._ingest.must_wait:
            return
        packets = []
        for name in said:
            self._world.sent[name] += 1
            device, tag = name.split(".")
            packets.append(message(f"plant/{device}/{tag}", str(value_of(name)).encode()))
        self._take(b"".join(packets))

    def cycle(self, *, is_written: bool) -> None:
        self._is_written = is_written
        self._answer()
        self._turn()

    def _take(self, data: bytes) -> None:
        self._ingest.free_space()[: len(data)] = data
        self._ingest.received(len(data), self._now_ns)
        while self._ingest.step(self._lane, 0).is_full:
            self._turn()

    @property
    def _now_ns(self) -> int:
        return T0 + self._number * CYCLE_NS

    def _lend(self, lendings: tuple[Lending, ...]) -> bool:
        """The engine may take this in a cycle before the one that drains what goes with it."""
        self._influences.append(Lent(lendings))
        if self._draw.random() < 0.3:
            self._turn()
        return True

    def _answer(self) -> None:
        ready = [each for each in self._wanted if each.after_evictions <= self._evictions]
        self._draw.shuffle(ready)
        ready = ready[: self._draw.randrange(len(ready) + 1)]
        self._wanted[:] = [each for each in self._wanted if each not in ready]
        known = self._world.parked
        self._newcomers.answer([Answer(0, each.row, each.generation, known.get(each.name)) for each in ready])
        self._ingest.advance(self._lane, 0)

    def _turn(self) -> None:
        batch: Samples = np.zeros(self._draw.choice([4, 20, LANE_SAMPLES]), SAMPLE)
        batch = batch[: self._lane.take_into(batch)]
        influences, self._influences = tuple(self._influences), []
        self._number = number = self._number + 1
        cycle = Cycle(number, T0 + number * CYCLE_NS, batch, influences, Stamp(10**18, True), {"broker": number})
        result = run_cycle(self.life.engine, cycle)
        self._leaving.append(result.parked)
        if self._is_written:
            self.life.continuity.take(cycle, result)
            said = batch["value"][batch["row"] >= 0]
            self._world.kept.update(guest(int(value)) for value in said.tolist())
        while len(self._leaving) > self._lag:
            leaving = self._leaving.pop(0)
            self._world.park(leaving)
            self._evictions = max([self._evictions, *(parked.evictions for parked in leaving)])
