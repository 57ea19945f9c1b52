"""The engine's thread: every 10 ms, what came in goes through the engine, and what comes out goes where it belongs.

Deadlines are absolute: a cycle that takes too long skips whole periods and counts them, so that a burst is worked off
in larger batches instead of ever later ones. The thread that dies takes the daemon with it: without its engine a
gateway has nothing to show, and systemd starts it anew.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from gateway.core.cycle import Cycle, Finished, Influence, Named, Noted, run_cycle
from gateway.core.engine import NO_SAMPLES, Engine, StepResult
from gateway.core.histogram import SIZE
from gateway.core.inbox import Inbox
from gateway.core.kernels.histogram import observe, observe_arrivals
from gateway.core.limits import CYCLE_NS, CYCLE_SAMPLES_MAX, INFLUENCES_WAITING_MAX
from gateway.core.ports import Clock
from gateway.core.readings import HistogramReading, Reading, histogram_reading
from gateway.core.record import NO_STAMP, Stamp
from gateway.core.symbols import Symbols
from gateway.core.types import SAMPLE, Samples
from gateway.runtime.eventbook import EventBook
from gateway.spool.thread import Died

HandOn: TypeAlias = Callable[[Cycle, StepResult], None]

METRICS = (
    ("fieldgate_sample_to_aggregate_seconds", "histogram", "From a sample's arrival until its aggregates hold it."),
    ("fieldgate_sample_to_score_seconds", "histogram", "From a sample's arrival until its anomaly score is there."),
    ("fieldgate_engine_cycle_seconds", "histogram", "Time that one engine cycle takes."),
    ("fieldgate_engine_cycles_total", "counter", "Engine cycles run."),
    ("fieldgate_engine_overruns_total", "counter", "Engine periods skipped because a cycle took too long."),
)


LAST_CYCLES_MAX = 4
"""What does not fit into one; more is not waited for, since sources that go on over a reload go on filling lanes."""


class EngineThread:
    """Owns the engine while it runs: nobody else may call `step`."""

    def __init__(
        self,
        *,
        engine: Engine,
        inbox: Inbox,
        now_ns: Clock,
        book: EventBook,
        hand_on: HandOn,
        stamp: Callable[[int], Stamp] = lambda now_ns: NO_STAMP,
        symbols: Symbols | None = None,
        before: Sequence[Callable[[], None]] = (),
        after: Sequence[Callable[[], None]] = (),
        died: Died,
    ) -> None:
        """`hand_on` takes each cycle with what came of it; `stamp` is the wall clock's at an engine time; `before` runs
        ahead of each drain (the executive's samples and state changes), `after` behind each cycle (its feeds)."""
        self.cycles = 0
        self.overruns = 0
        self._engine = engine
        self._inbox = inbox
        self._now_ns = now_ns
        self._book = book
        self._give = hand_on
        self._stamp = stamp
        self.number = 0
        """Of the last cycle."""
        self._symbols = symbols if symbols is not None else Symbols(1, 1)
        self._texts = 0
        self._before, self._after = tuple(before), tuple(after)
        self._died = died
        self._heartbeat_ns = 0
        self._asked: deque[Influence] = deque()
        self._stopping = threading.Event()
        self._batch = np.zeros(CYCLE_SAMPLES_MAX, SAMPLE)
        self._to_aggregate = np.zeros(SIZE, np.int64)
        self._cycle = np.zeros(SIZE, np.int64)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self, number: int = 0) -> None:
        """Go on after cycle `number`."""
        self.number = number
        self._texts = len(self._symbols)
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Run last cycles over what is in the inbox, then end. False when that took longer than the time-out."""
        self._stopping.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def ask(self, influence: Influence) -> bool:
        """Have the next cycle take this, from any thread. False, and nothing is taken, while too many wait."""
        if len(self._asked) >= INFLUENCES_WAITING_MAX:
            return False
        self._asked.append(influence)
        return True

    def heartbeat_ns(self) -> int:
        """Engine time at which the last cycle ended; 0 before the first."""
        return self._heartbeat_ns

    def cycle(self) -> None:
        """One cycle, on the caller's thread."""
        for prepare in self._before:
            prepare()
        started_ns = self._now_ns()
        batch = self._batch[: self._inbox.drain(self._batch)]
        asked = self._new_texts() + tuple(self._asked.popleft() for _ in range(len(self._asked)))
        self._turn(started_ns, batch, asked + tuple(Noted(event) for event in self._book.take_outgoing()))
        for follow in self._after:
            follow()
        ended_ns = self._now_ns()
        observe_arrivals(self._to_aggregate, batch, ended_ns)
        observe(self._cycle, ended_ns - started_ns)
        self.cycles += 1
        self._heartbeat_ns = ended_ns

    def _new_texts(self) -> tuple[Influence, ...]:
        """Those of the symbols in the batch, which was drained before, and maybe later ones."""
        if len(self._symbols) == self._texts:
            return ()
        texts = self._symbols.texts_since(self._texts)
        self._texts += len(texts)
        return (Named(texts),)

    def _turn(self, now_ns: int, batch: Samples, influences: tuple[Influence, ...]) -> None:
        """A turn in which nothing can happen has no number, and is handed on to nobody."""
        is_cycle = len(batch) > 0 or bool(influences) or self._engine.is_due(now_ns)
        self.number += is_cycle
        cycle = Cycle(self.number, now_ns, batch, influences, self._stamp(now_ns), self._inbox.positions())
        result = run_cycle(self._engine, cycle)
        if result.events:
            self._book.show(result.events)
        if is_cycle:
            self._give(cycle, result)

    def _run(self) -> None:
        try:
            self._keep_time()
        except BaseException as error:
            self._died(self._thread.name, error)
            raise

    def _keep_time(self) -> None:
        deadline_ns = time.monotonic_ns()
        while not self._stopping.is_set():
            self.cycle()
            deadline_ns += CYCLE_NS
            late_ns = time.monotonic_ns() - deadline_ns
            if late_ns > 0:
                skipped = late_ns // CYCLE_NS
                self.overruns += skipped
                deadline_ns += skipped * CYCLE_NS
            time.sleep(max(0, deadline_ns - time.monotonic_ns()) / 1e9)
        for _ in range(LAST_CYCLES_MAX):
            self.cycle()
            if len(self._inbox) == 0:
                break
        self._turn(self._now_ns(), NO_SAMPLES, (Finished(),))

    def readings(self) -> Iterator[Reading | HistogramReading]:
        yield histogram_reading("fieldgate_sample_to_aggregate_seconds", self._to_aggregate)
        # One fused kernel makes the aggregates and the score of a sample, so the two latencies are the same samples.
        yield histogram_reading("fieldgate_sample_to_score_seconds", self._to_aggregate)
        yield histogram_reading("fieldgate_engine_cycle_seconds", self._cycle)
        yield Reading("fieldgate_engine_cycles_total", self.cycles)
        yield Reading("fieldgate_engine_overruns_total", self.overruns)
