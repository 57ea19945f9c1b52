"""One engine over many lives: the real spool, journal, checkpoints and recovery, fed with cycles made from a seed.

A life is a process of its own that may be killed at any moment; the next one asks how far the journal goes and feeds
the cycles from there on. At the end the spool must hold what one engine makes that was never interrupted.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import zstandard

from gateway.core.cycle import Cycle, Finished, run_cycle
from gateway.core.encode import Encoder
from gateway.core.engine import Engine
from gateway.core.events import Event
from gateway.core.lending import Parked
from gateway.core.record import Stream
from gateway.core.spec import EngineSpec
from gateway.core.symbols import Symbols, no_texts
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.runtime.clock import EngineClock
from gateway.runtime.continuity import Continuity
from gateway.runtime.eventbook import EventBook
from gateway.runtime.uplink import Way
from gateway.settings.schema import Journal, Settings, Tag
from gateway.spool.journal.files import Reading
from gateway.spool.store import Store
from tests.support.plants import cycle_of, plant

JOURNAL = Journal(bytes_max=1 << 30, age_ns=10**18, commit_every_ns=10 * NS_PER_MS)


def settings(folder: Path, journal: Journal | None = JOURNAL, tags: tuple[Tag, ...] = ()) -> Settings:
    return Settings(
        path=folder / "plant.toml",
        gateway_id="plant",
        state_dir=folder,
        log_level="info",
        panes_per_window=12,
        checkpoint_every_ns=NS_PER_S,
        links=(),
        devices=(),
        tags=tags,
        loops=(),
        journal=journal,
        uplinks=(),
        scada=None,
        http=None,
    )


class Life:
    """From `Life(...)`, which recovers, to `end`, or to a SIGKILL."""

    def __init__(
        self, folder: Path, spec: EngineSpec, *, journal: Journal | None = JOURNAL, tags: tuple[Tag, ...] = ()
    ) -> None:
        self.events: list[Event] = []
        self.spec = spec
        self._settings = settings(folder, journal, tags)
        clock = EngineClock(0)
        symbols = Symbols()
        store = Store(folder / "spool.db", bytes_max=1 << 30, goes_on=True)
        book = EventBook(self.events.append)
        self.way = Way(store, gateway_id="plant", clock=clock, book=book, text_of=symbols.text_of)
        self.way.worker.start()
        self.continuity = Continuity(
            self._settings,
            now_ns=clock,
            emit=book.emit,
            fan=self.way.fan,
            symbols=symbols,
            use=lambda model: asyncio.run(self.way.use(model)),
        )
        self.engine: Engine = spec.build()
        self.parked: list[Parked] = []
        """What left with the cycles that were done again."""
        self.continuity.recover(spec, self.engine, self.parked.append)
        self.reload(spec, self.engine)

    def reload(self, spec: EngineSpec, engine: Engine) -> None:
        self.continuity.flush()
        asyncio.run(self.way.use(spec.model))
        self.continuity.begin(spec, engine, self._settings)
        self.spec, self.engine = spec, engine

    @property
    def number(self) -> int:
        return self.continuity.number

    def feed(self, seed: int, last: int, *, pause_s: float = 0.0, tags: int = 40) -> None:
        """The cycles behind the present one."""
        for number in range(self.number + 1, last + 1):
            self.take(cycle_of(seed, number, tags))
            if pause_s:
                time.sleep(pause_s)

    def take(self, cycle: Cycle) -> None:
        self.continuity.take(cycle, run_cycle(self.engine, cycle))
        while not self.way.worker.has_room():
            time.sleep(0.001)

    def finish(self) -> None:
        """The last cycle, as at a stop."""
        last = cycle_of(0, self.number + 1)
        cycle = replace(last, samples=last.samples[:0], influences=(Finished(),))
        self.continuity.take(cycle, run_cycle(self.engine, cycle))

    def end(self) -> None:
        self.continuity.stop()
        assert self.way.worker.stop(20.0)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def reading(self, name: str) -> float:
        return next(each.value for part in self.continuity.measured() for each in part.readings() if each.name == name)  # type: ignore[union-attr]


def stored(folder: Path) -> dict[str, list[tuple[int, int, bytes]]]:
    """By stream, what the spool holds of the engine: segment, sequence and body, in the order of identities."""
    found: dict[str, list[tuple[int, int, bytes]]] = {stream.value: [] for stream in Stream}
    with closing(sqlite3.connect(folder / "spool.db")) as connection:
        rows = connection.execute(
            "SELECT stream, segment, sequence, body FROM records ORDER BY stream, segment, sequence"
        )
        for stream, segment, sequence, body in rows:
            found[stream].append((segment, sequence, zstandard.ZstdDecompressor().decompress(body)))
    return found


def memory(engine: Engine) -> dict[str, bytes]:
    """All that it remembers, but for the sequence locks, which count writes of one process."""
    state = engine.state
    arrays = dict(zip(range(99), state.arrays(), strict=False))
    locks = (state.tables.words, state.device_words)
    found = {f"array {n}": a.tobytes() for n, a in arrays.items() if not any(a is lock for lock in locks)}
    return found | {"rest": repr(engine.capture()).encode()}


def uninterrupted(
    spec: EngineSpec, seed: int, last: int, tags: int = 40, engine: Engine | None = None
) -> dict[str, list[bytes]]:
    """The bodies that one engine makes of the cycles 1 to `last`; `engine` is a fresh one to use."""
    encoded = Encoder(spec.model, no_texts)
    engine = engine or spec.build()
    found: dict[str, list[bytes]] = {stream.value: [] for stream in Stream}
    for number in range(1, last + 1):
        for draft in run_cycle(engine, cycle_of(seed, number, tags)).drafts:
            found[draft.stream].append(encoded(draft))
    return found


def live(folder: Path, seed: int, last: int, pause_s: float) -> None:
    """One life in a process of its own; tells by a file that it feeds, and appends what it met."""
    life = Life(folder, plant())
    exact = bool(life.reading("fieldgate_recovery_exact"))
    with (folder / "lives.log").open("a", encoding="utf-8") as log:
        told = " ".join(f"{event.kind}: {event.message};" for event in life.events)
        log.write(f"{life.number} {exact} {told}\n")
    life.feed(seed, min(last, life.number + 1))
    (folder / "feeding").touch()
    life.feed(seed, last, pause_s=pause_s)
    life.end()


LIFE_S_MAX = 0.8
"""Of a life, the square root: many are very short."""


def many_lives(folder: Path, kills: int, seed: int, *, pause_s: float = 0.001) -> dict[str, object]:
    """Kill the engine's process at seeded random moments, then let it end; what came of it."""
    chance = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.warm_lives"])
    last = 2**62
    feeding = folder / "feeding"
    # Two lives that may end, elsewhere: what they compile is cached, and the others are killed at something else.
    (folder / "warm").mkdir()
    for end in (150, 300):
        child = context.Process(target=live, args=(folder / "warm", seed, end, 0.0))
        child.start()
        child.join()
        assert child.exitcode == 0, f"the process ended with {child.exitcode}"
    for number in range(kills + 1):
        feeding.unlink(missing_ok=True)
        if number == kills:
            last = _reached(folder) + 500
        child = context.Process(target=live, args=(folder, seed, last, pause_s))
        child.start()
        # Also before it feeds: while it recovers.
        if chance.random() < 0.85:
            _wait_for(feeding, child)
        child.join(None if number == kills else chance.uniform(0.0, LIFE_S_MAX) ** 2)
        if number < kills:
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            child.join()
    assert child.exitcode == 0, f"seed {seed}: the last life ended with {child.exitcode}"
    lives = (folder / "lives.log").read_text(encoding="utf-8").splitlines()
    expected = uninterrupted(plant(), seed, last)
    found = stored(folder)
    return {
        "kills": kills,
        "seed": seed,
        "cycles": last,
        "inexact": sum(" True " not in f"{line} " for line in lives),
        "torn_tails": sum("journal.torn" in line for line in lives),
        "records": sum(map(len, expected.values())),
        "streams": sum(map(bool, expected.values())),
        "segments": len({(stream, segment) for stream, rows in found.items() for segment, _, _ in rows}),
        "gapless": all([s for _, s, _ in rows] == list(range(1, len(rows) + 1)) for rows in found.values()),
        "same": all([body for _, _, body in found[stream]] == bodies for stream, bodies in expected.items()),
    }


def is_whole(result: dict[str, object]) -> bool:
    return bool(
        result["same"] and result["gapless"] and result["segments"] == result["streams"] and not result["inexact"]
    )


def _reached(folder: Path) -> int:
    reading = Reading(folder / "journal")
    for _ in reading.cycles():
        pass
    return reading.last


def _wait_for(file: Path, child: BaseProcess) -> None:
    end_s = time.monotonic() + 60
    while not file.exists():
        assert child.is_alive(), f"the engine's process ended with {child.exitcode}"
        assert time.monotonic() < end_s, "the engine's process does not begin"
        time.sleep(0.002)
