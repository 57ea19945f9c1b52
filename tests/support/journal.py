"""Cycles for tests of the journal, and a journal whose outcome can be looked at."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from gateway.core.cycle import Cycle
from gateway.core.events import Event
from gateway.core.record import Stamp
from gateway.core.spec import EngineSpec
from gateway.core.types import NS_PER_MS, SAMPLE, Bytes, Samples
from gateway.spool.journal.files import Reading
from gateway.spool.journal.format import FORMAT, Head
from gateway.spool.journal.writer import Journal, Keep
from tests.support.engine import T0, model, tag

ALL: Bytes = np.zeros(0, np.uint8)
KEEP = Keep(bytes_max=1 << 30, age_ns=10**18, commit_every_ns=5 * NS_PER_MS)


def spec(*names: str) -> EngineSpec:
    return EngineSpec(model(*(tag(name) for name in names or ("pump.flow",))), 10**9, 10**8, ())


def head(of: EngineSpec | None = None) -> Head:
    return Head(FORMAT, "plant", "code", (of or spec()).encoded, 0)


def samples(count: int, rng: np.random.Generator, rows: int = 1) -> Samples:
    batch: Samples = np.zeros(count, SAMPLE)
    batch["row"] = rng.integers(0, rows, count)
    batch["quality"] = 192
    batch["arrival_ns"] = T0 + np.sort(rng.integers(0, 10**9, count))
    batch["source_ns"] = batch["arrival_ns"] - rng.integers(0, 10**6, count)
    batch["value"] = rng.normal(50.0, 1.0, count)
    return batch


def cycle(number: int, batch: Samples, **changes: object) -> Cycle:
    known: dict[str, object] = {"stamp": Stamp(7 * number, number % 2 == 0), "positions": {"plc": number}}
    return Cycle(number, T0 + number * 10 * NS_PER_MS, batch, **(known | changes))  # type: ignore[arg-type]


class Witness:
    """A journal with what it said, released and passed."""

    def __init__(self, folder: Path, keep: Keep = KEEP) -> None:
        self.events: list[Event] = []
        self.released: list[tuple[int, bool]] = []
        self.passed: list[dict[str, int]] = []
        self._changed = threading.Condition()
        self.journal = Journal(folder, keep=keep, now_ns=lambda: T0, emit=self.events.append, passed=self.passed.append)
        self.journal.begin(head(), ALL)

    def put(self, one: Cycle) -> None:
        def release(is_covered: bool) -> None:
            self.released.append((one.number, is_covered))

        self.journal.put(one, release)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


def read(folder: Path, after: int = 0) -> list[Cycle]:
    """All cycles; nothing may be wrong."""
    reading = Reading(folder, after)
    found = [one for _, one in reading.cycles()]
    assert reading.found == []
    return found


def same(a: Cycle, b: Cycle) -> bool:
    return (
        (a.number, a.now_ns, a.stamp, a.influences) == (b.number, b.now_ns, b.stamp, b.influences)
    ) and a.samples.tobytes() == b.samples.tobytes()
