"""How long the engine takes to go on after a crash, and what its checkpoints and its journal cost the disk.

For each rate a plant of many tags with a 60 s window is fed for some seconds of engine time, as fast as it goes, with
journal and a checkpoint every second; then it is left as a crash leaves it, but that what was put is on the disk, and
recovered by another one. Recovery is: open the spool, build the engine, install the checkpoint, replay the journal
behind its oldest image; the rates give journals of three lengths. Importing and loading kernels come first in a real
start, and are measured apart.

The disk's bytes are those of the whole process as the kernel counts them (`/proc/self/io`), less the journal's.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from gateway.core.cycle import Cycle, run_cycle
from gateway.core.readings import Reading
from gateway.core.record import Stream
from gateway.core.spec import EngineSpec
from gateway.core.symbols import Symbols
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.core.warming import warm_up
from gateway.runtime.benches.environment import environment
from gateway.runtime.benches.pipeline import plant, shuffled_batch
from gateway.runtime.clock import EngineClock
from gateway.runtime.continuity import Continuity
from gateway.runtime.eventbook import EventBook
from gateway.runtime.uplink import Way
from gateway.settings import schema
from gateway.spool.store import Store

RATES_HZ: Final = (1, 3, 10)
TICK_NS: Final = 100 * NS_PER_MS
SETTLED_AFTER: Final = 0.6
"""Of the engine time fed: then each share was written once and only what changed is written."""


@dataclass(frozen=True, slots=True)
class Case:
    rate_hz: int
    checkpoint_bytes_per_s: float
    checkpoint_disk_bytes_per_s: float
    journal_bytes_per_sample: float
    journal_cycles: int
    journal_samples: int
    recovery_s: float
    build_s: float
    is_exact: bool


class Run:
    """One process's engine over a folder."""

    def __init__(self, folder: Path, spec: EngineSpec) -> None:
        began_s = time.perf_counter()
        clock, symbols = EngineClock(0), Symbols()
        store = Store(folder / "spool.db", bytes_max=1 << 34, goes_on=True)
        book = EventBook(lambda event: None)
        self.way = Way(store, gateway_id="bench", clock=clock, book=book, text_of=symbols.text_of)
        self.way.worker.start()
        self.continuity = Continuity(
            _settings(folder),
            now_ns=clock,
            emit=book.emit,
            fan=self.way.fan,
            symbols=symbols,
            use=lambda model: asyncio.run(self.way.use(model)),
        )
        building_s = time.perf_counter()
        self.engine = spec.build()
        self.build_s = time.perf_counter() - building_s
        self.continuity.recover(spec, self.engine, lambda parked: None)
        self.continuity.begin(spec, self.engine, _settings(folder))
        self.recovery_s = time.perf_counter() - began_s

    def feed(self, rate_hz: int, seconds: int, tags: int) -> tuple[float, float]:
        """Bytes of checkpoints, and bytes that the disk took for them, a second of engine time once it is settled."""
        batch = shuffled_batch(tags, np.random.default_rng(1))
        ticks = seconds * NS_PER_S // TICK_NS
        settled = int(ticks * SETTLED_AFTER)
        per_tick = tags * rate_hz * TICK_NS // NS_PER_S
        marks: list[tuple[int, int]] = []
        rng = np.random.default_rng(2)
        for tick in range(ticks):
            now_ns = (tick + 1) * TICK_NS
            at = tick * per_tick % tags
            part = batch[at : at + per_tick]
            part["arrival_ns"] = part["source_ns"] = now_ns
            part["value"] = rng.normal(50.0, 1.0, len(part)).round(2)
            cycle = Cycle(self.continuity.number + 1, now_ns, part)
            self.continuity.take(cycle, run_cycle(self.engine, cycle))
            if (tick + 1) * TICK_NS % NS_PER_S == 0:
                self._settle()
            if tick in (settled, ticks - 1):
                marks.append((int(self.read("fieldgate_checkpoint_written_bytes_total")), self._disk_bytes()))
        span_s = (ticks - 1 - settled) * TICK_NS / NS_PER_S
        (first, disk_first), (last, disk_last) = marks
        return (last - first) / span_s, (disk_last - disk_first) / span_s

    def end(self) -> None:
        self.continuity.stop()
        self.way.worker.stop(60.0)

    def _settle(self) -> None:
        """All is on the disk, as it would be if the engine ran no faster than time."""
        self.continuity.flush()
        before = self.read("fieldgate_checkpoints_total")
        end_s = time.monotonic() + 2.0
        while self.read("fieldgate_checkpoints_total") == before and time.monotonic() < end_s:
            time.sleep(0.005)

    def _disk_bytes(self) -> int:
        counted = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return int(counted["write_bytes"]) - int(self.read("fieldgate_journal_written_bytes_total"))

    def read(self, name: str) -> float:
        for part in self.continuity.measured():
            for reading in part.readings():
                if isinstance(reading, Reading) and reading.name == name:
                    return float(reading.value)
        raise KeyError(name)


def _settings(folder: Path) -> schema.Settings:
    return schema.Settings(
        path=folder / "bench.toml",
        gateway_id="bench",
        state_dir=folder,
        log_level="error",
        panes_per_window=30,
        checkpoint_every_ns=NS_PER_S,
        links=(),
        devices=(),
        tags=(),
        loops=(),
        journal=schema.Journal(bytes_max=1 << 34, age_ns=10**18, commit_every_ns=50 * NS_PER_MS),
        uplinks=(),
        scada=None,
        http=None,
    )


def run(*, tags: int, seconds: int, folder: Path | None, progress: Callable[[str], None]) -> dict[str, object]:
    where = environment()
    began_s = time.perf_counter()
    warm_up()
    kernels_s = time.perf_counter() - began_s
    spec = EngineSpec(plant(tags), NS_PER_S, NS_PER_S, (Stream.EVENTS,))
    cases = []
    for rate_hz in RATES_HZ:
        with tempfile.TemporaryDirectory(prefix="fieldgate-restart-", dir=folder) as made:
            cases.append(one(Path(made), spec, rate_hz, seconds, tags))
        case = cases[-1]
        progress(
            f"{tags * rate_hz:>9,} samples/s: recovery {case.recovery_s:.2f} s with {case.journal_samples:,} samples "
            f"replayed; checkpoints {case.checkpoint_bytes_per_s / 1e6:.1f} MB/s, on the disk "
            f"{case.checkpoint_disk_bytes_per_s / 1e6:.1f}; journal {case.journal_bytes_per_sample:.1f} B a sample"
        )
    figures: dict[str, object] = {"tags": tags, "kernels_s": round(kernels_s, 3), "fed_s": seconds}
    for case in cases:
        figures |= {f"{name}_at_{case.rate_hz}_hz": value for name, value in asdict(case).items() if name != "rate_hz"}
    return {"bench": "restart", "environment": where, "figures": figures, "peers": {}, "ratios": {}}


def one(folder: Path, spec: EngineSpec, rate_hz: int, seconds: int, tags: int) -> Case:
    first = Run(folder, spec)
    written, on_disk = first.feed(rate_hz, seconds, tags)
    first.end()
    samples = max(1.0, first.read("fieldgate_journal_samples_total"))
    size = first.read("fieldgate_journal_written_bytes_total") / samples
    del first
    second = Run(folder, spec)
    found = second.continuity.recovered
    second.end()
    return Case(
        rate_hz=rate_hz,
        checkpoint_bytes_per_s=round(written),
        checkpoint_disk_bytes_per_s=round(on_disk),
        journal_bytes_per_sample=round(size, 2),
        journal_cycles=found.cycles,
        journal_samples=found.samples,
        recovery_s=round(second.recovery_s, 3),
        build_s=round(second.build_s, 3),
        is_exact=found.is_exact,
    )
