"""One life of a gateway on the clock of a simulation: engine, journal, checkpoints, recovery, spools, deliveries,
parking and history as the daemon wires them, over one folder. The engine's cycles are the caller's.

A crash throws away what the memory holds: cycles that the journal had not written, drafts and acknowledgements that no
spool had, and answers that were on their way.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec

from gateway.core.cycle import Cycle, Finished, run_cycle
from gateway.core.encode import envelope
from gateway.core.engine import StepResult
from gateway.core.events import Event
from gateway.core.lending import Parked
from gateway.core.pacing import Pace
from gateway.core.record import Stamp, Stream
from gateway.core.spec import EngineSpec
from gateway.core.symbols import Symbols
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.runtime.continuity import Continuity
from gateway.runtime.delivery import Delivery
from gateway.runtime.eventbook import EventBook
from gateway.runtime.historian import STEP_NS, Historian
from gateway.runtime.uplink import Way, open_first
from gateway.settings.schema import FileAddress, Journal, Uplink
from gateway.spool.parking import Parking, Question
from tests.simulation.farends import FarEnd
from tests.support.lives import settings

T = TypeVar("T")
PATIENCE_S = 60.0
CYCLES_AHEAD = 1_000
"""How far the engine may be ahead of the journal's disk, which has an hour's cycles in a moment."""
RETRY_NS = 20 * NS_PER_MS


class SimulatedClock:
    """As `gateway.runtime.clock.EngineClock`; who plays moves it."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.stamp = Stamp()

    def __call__(self) -> int:
        return self.now_ns

    def lease_ns(self) -> int:
        return self.now_ns

    def wall_offset_ns(self) -> int:
        return self.stamp.wall_offset_ns


class Loop:
    """The loop's thread, which outlives the lives."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="loop", daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_S)

    def call(self, work: Callable[[], T]) -> T:
        async def called() -> T:
            return work()

        return self.do(called())

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@dataclass(frozen=True)
class Caps:
    """Bytes that may be taken: by what waits for the first far end, by the journal, the parking and the history."""

    spool: int = 4_000_000
    journal: int = 24_000_000
    parking: int = 6_000
    history: int = 4_000_000
    history_every_s: int = 30
    """A third of what the historian writes: it would take half of the time."""


def uplink(name: str, folder: Path, streams: Sequence[Stream], bytes_max: int) -> Uplink:
    """How it is delivered is the caller's: the address is never used."""
    return Uplink(
        name=name, address=FileAddress(path=folder / name, rotate_bytes=1), topic="", streams=tuple(sorted(streams)),
        aggregates_every_ns=NS_PER_S, samples_every_ns=NS_PER_S, buffer_bytes_max=bytes_max,
        grace_ns=600 * NS_PER_S, grace_bytes_max=200_000, drain_records_per_s=100_000, acknowledge_timeout_ns=NS_PER_S,
    )  # fmt: skip


class Life:
    """From a start, which goes on from what is in `folder`, to `crash` or `end`."""

    def __init__(
        self,
        folder: Path,
        spec: EngineSpec,
        *,
        clock: SimulatedClock,
        loop: Loop,
        ends: Sequence[FarEnd],
        caps: Caps,
        told: Callable[[Event], None],
    ) -> None:
        self.folder = folder
        self.spec = spec
        self._clock, self._loop, self._caps = clock, loop, caps
        self.book = EventBook(told)
        self.symbols = Symbols()
        everything, some = tuple(Stream), (Stream.CALCULATIONS, Stream.EVENTS)
        uplinks = [
            uplink(end.name, folder, streams, caps.spool) for end, streams in zip(ends, (everything, some), strict=True)
        ]
        journal = Journal(bytes_max=caps.journal, age_ns=6 * 3_600 * NS_PER_S, commit_every_ns=20 * NS_PER_MS)
        self._settings = msgspec.structs.replace(settings(folder, journal), checkpoint_every_ns=300 * NS_PER_S)
        self.way = Way(
            open_first(folder, uplinks), gateway_id="plant", clock=clock, book=self.book, text_of=self.symbols.text_of
        )
        self.way.worker.died = self._died
        self.way.worker.start()
        loop.do(self.way.open(uplinks))
        self.continuity = Continuity(
            self._settings,
            now_ns=clock,
            emit=self.book.emit,
            fan=self.way.fan,
            symbols=self.symbols,
            use=lambda model: loop.do(self.way.use(model)),
            died=self._died,
        )
        self.engine = spec.build()
        left: list[Parked] = []
        self.continuity.recover(spec, self.engine, left.append)
        self._begin(left)
        self.historian = Historian(
            folder, caps.history, lambda: SimpleNamespace(engine=self.engine), clock, self.book.emit
        )
        self._history_turn = 0
        self._deliveries = [loop.call(lambda end=end: self._deliver(end)) for end in ends]

    @property
    def number(self) -> int:
        return self.continuity.number

    def take(self, cycle: Cycle) -> StepResult:
        """One cycle, and what is done beside it."""
        result = run_cycle(self.engine, cycle)
        for parked in result.parked:
            self.parking.put(parked)
        if result.events:
            self.book.show(result.events)
        self.continuity.take(cycle, result)
        wall_ns = cycle.now_ns + cycle.stamp.wall_offset_ns
        if wall_ns // (self._caps.history_every_s * NS_PER_S) != self._history_turn:
            self._history_turn = wall_ns // (self._caps.history_every_s * NS_PER_S)
            self.historian.step(wall_ns - wall_ns % STEP_NS - STEP_NS)
        return result

    def wait_for_room(self) -> None:
        """An hour in a second is more than any disk takes: not the gateway's limits are to be tried here."""
        assert self.continuity.journal is not None
        while len(self.continuity.journal._queue) > CYCLES_AHEAD or not self.way.fan.has_room():
            time.sleep(0.0005)

    def flush(self) -> None:
        """Returns when all that was made is in the journal and in the spools."""
        self.continuity.flush()
        for branch in self.way.fan.branches:
            self._loop.do(branch.worker.flush())

    def remembered(self, names: tuple[str, ...]) -> list[bytes | None]:
        """What the parking has of these tags."""
        answered, found = threading.Event(), list[bytes | None]()

        def answer(states: list[bytes | None]) -> None:
            found.extend(states)
            answered.set()

        self.parking.ask(Question(0, names, self.engine.tenancy.evictions[0], answer))
        assert answered.wait(PATIENCE_S)
        return found

    def reload(self, spec: EngineSpec, now_ns: int) -> None:
        """Another configuration, as from a file that was changed."""
        last = Cycle(self.number + 1, now_ns, influences=(Finished(),), stamp=self._clock.stamp)
        self.continuity.take(last, run_cycle(self.engine, last))
        assert self.parking.stop(PATIENCE_S)
        self.spec, self.engine = spec, spec.build()
        self._begin([])

    def crash(self) -> None:
        self._stop_deliveries()
        journal = self.continuity.journal
        assert journal is not None
        with journal._changed:
            journal._queue.clear()
        assert journal.stop(PATIENCE_S)
        for branch in self.way.fan.branches:
            with branch.worker._changed:
                branch.worker._queue.take(len(branch.worker._queue))
                branch.worker._acknowledged.clear()
                branch.worker._companion = None
        self._stop_threads()

    def end(self) -> None:
        self.continuity.stop()
        self._stop_deliveries()
        self._stop_threads()

    def _stop_threads(self) -> None:
        for branch in reversed(self.way.fan.branches):
            assert branch.worker.stop(PATIENCE_S)
        assert self.parking.stop(PATIENCE_S)
        if self.historian._store is not None:
            self.historian._store.close()

    def _stop_deliveries(self) -> None:
        async def stop() -> None:
            for task in self._deliveries:
                task.cancel()
            await asyncio.gather(*self._deliveries, return_exceptions=True)

        self._loop.do(stop())

    def _deliver(self, end: FarEnd) -> asyncio.Task[None]:
        delivery = Delivery(
            gateway_id="plant",
            name=end.name,
            spool=self.way._branches[end.name].worker,
            connect=end.connect,
            envelope=envelope,
            retry_after_ns=lambda failures: RETRY_NS,
            pace=Pace(100_000),
            now_ns=self._clock,
            emit=self.book.emit,
        )
        return self._loop.loop.create_task(delivery.run())

    def _begin(self, left: Sequence[Parked]) -> None:
        """The engine's first cycle is the next one; `left` are tags that left while the disk was read."""
        self.continuity.flush()
        self._loop.do(self.way.use(self.spec.model))
        self.continuity.begin(self.spec, self.engine, self._settings)
        self.parking = Parking(
            self.folder / "parking.db",
            bytes_max=self._caps.parking,
            layouts=self.engine.tenancy.layouts,
            now_ns=self._clock,
            emit=self.book.emit,
        )
        self.parking.go_on_from(self.engine.tenancy.evictions)
        self.parking.start()
        for parked in left:
            self.parking.put(parked)

    def _died(self, thread: str, error: BaseException) -> None:
        raise AssertionError(f"{thread} died") from error
