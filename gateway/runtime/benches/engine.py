"""What one update of one tag costs: tags × operators × arrival order, through `Engine.step`.

The default operators are mean, standard deviation, minimum, maximum, rate and EWMA over 60 s rolling, and both anomaly
scores. A batch has one sample of each tag, either in the order of the rows or in one that was shuffled once. Before
anything is timed, every tag has its windows full and its scores past their warm-up: a beginning is cheaper. Rounds
are interleaved: both orders, NumPy's statistics on the same batches (`numpy_peer`), river and pandas a piece each
(`engine_peers`), and `numpy.add` over as many float64 in the shuffled order as the machine's own scale.

The aggregates of some tags are held against NumPy's of the very values, so that what was timed was right. Then ten
million samples more must leave the memory as large as it was.

At the end 1,000,000 updates a second go through lane, inbox and engine as in the daemon, while an event loop in the
main thread notes how late each of its wake-ups is.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import uvloop
from msgspec.structs import replace

from gateway.core.alarms import AlarmDefinition, AlarmKind
from gateway.core.calculations import CalculationDefinition, Function, Output, Span
from gateway.core.engine import Engine
from gateway.core.histogram import SIZE, quantile_ns
from gateway.core.kernels.histogram import observe, observe_arrivals
from gateway.core.model import Model, TagDefinition
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Float64s, Int64s, Samples
from gateway.core.warming import warm_up
from gateway.runtime.benches.engine_peers import peers, reference
from gateway.runtime.benches.environment import environment, resident_bytes
from gateway.runtime.benches.numpy_peer import NumpyPeer
from gateway.runtime.benches.pipeline import Level, elapsed_ns, plant, shuffled_batch, try_rate
from gateway.runtime.clock import EngineClock

BEGIN_NS = 10**15
EVERY_NS = 100 * NS_PER_MS
WINDOW_NS = 60 * NS_PER_S
WARM_EVERY_NS = 2 * NS_PER_S
WARM_ROUNDS = 1_100
"""At 2 s each: the persistent score warms up for 30 windows of 30 such samples, what it means for some more."""

FULL_ROUNDS = 31
"""At 2 s each: every pane of a window of 60 s."""

ROUNDS = 61
CASE_ROUNDS = 15
SMALL = 1_000
CHECKED = 50
HISTORY = 700
"""Batches kept: a window has 600 of them."""
FLAT_SAMPLES = 10_000_000
FLAT_BATCHES_MAX = 1_000

RATE = 1_000_000
LOOP_EVERY_S = 0.001
LOOP_BUDGET_NS = 10 * NS_PER_MS

Progress = Callable[[str], None]
Change = Callable[[TagDefinition], TagDefinition]


def minute(tag: TagDefinition) -> TagDefinition:
    functions = (Function.TIME_MEAN, Function.INTEGRAL, Function.RMS, Function.SLOPE)
    outputs = tuple(Output(function.name.lower(), function) for function in functions)
    return replace(tag, calculations=(CalculationDefinition("minute", Span.TUMBLING, outputs, length_ns=WINDOW_NS),))


OPERATORS: dict[str, Change] = {
    "scores alone": lambda tag: replace(tag, windows_ns=()),
    "default": lambda tag: tag,
    "three windows": lambda tag: replace(tag, windows_ns=(WINDOW_NS // 6, WINDOW_NS, 5 * WINDOW_NS)),
    "two alarms more": lambda tag: replace(
        tag, alarms=(AlarmDefinition(AlarmKind.LOW, 30.0), AlarmDefinition(AlarmKind.HIGH, 70.0))
    ),
    "a minute's time mean, integral, RMS, slope more": minute,
}


def changed(model: Model, change: Change) -> Model:
    return Model(model.devices, tuple(map(change, model.tags)))


@dataclass(frozen=True, slots=True)
class Case:
    tags: int
    operators: str
    row_order_ns_per_update: float
    shuffled_ns_per_update: float
    state_bytes_per_tag: float


class Bench:
    """One engine, fed whole batches whose time goes on."""

    def __init__(self, model: Model, seed: int, warmed: Bench | None = None) -> None:
        self.engine = Engine(model, aggregates_every_ns=NS_PER_S, samples_every_ns=NS_PER_S, streams=frozenset())
        self.tags = len(model.tags)
        self._rng = np.random.default_rng(seed)
        self.shuffled = shuffled_batch(self.tags, self._rng)
        self.in_order = np.sort(self.shuffled, order="row")
        self.now_ns = BEGIN_NS
        self.history: deque[tuple[int, Float64s]] = deque(maxlen=HISTORY)
        if warmed is not None:
            self.now_ns = warmed.now_ns
            tables, known = self.engine.state.tables, warmed.engine.state.tables
            tables.novelty[:] = known.novelty[: self.tags]
            tables.hours[:] = known.hours[: len(tables.hours)]

    def next(self, batch: Samples, every_ns: int = EVERY_NS) -> Samples:
        """The batch, with new values at a later time."""
        self.now_ns += every_ns
        batch["arrival_ns"] = batch["source_ns"] = self.now_ns
        batch["value"] = self._rng.normal(50.0, 1.0, self.tags)
        return batch

    def step_ns(self, batch: Samples) -> int:
        """How long one step takes."""
        values = np.empty(CHECKED)
        checked = batch["row"] < CHECKED
        values[batch["row"][checked]] = batch["value"][checked]
        self.history.append((self.now_ns, values))
        return elapsed_ns(lambda: self.engine.step(self.now_ns, batch))

    def fill(self, rounds: int) -> None:
        for _ in range(rounds):
            self.step_ns(self.next(self.in_order, WARM_EVERY_NS))

    def is_right(self) -> bool:
        """Whether the windows hold what NumPy says of the values that are inside."""
        state = self.engine.state
        rows: Int64s = np.arange(min(self.tags, CHECKED))
        found = self.engine.view.aggregates(rows.astype(np.int32))
        for row, got in zip(rows, found, strict=True):
            window = state.tables.windows[row]
            oldest = window["pane"] - state.panes + 1
            inside = [(t, v[row]) for t, v in self.history if (t + window["phase_ns"]) // window["pane_ns"] >= oldest]
            times, values = np.array(inside).T
            for name, want in reference(values, times).items():
                if not np.isclose(got[name], want, rtol=1e-9, atol=1e-9):
                    return False
        return True


def case(tags: int, operators: str, bench: Bench) -> Case:
    bench.fill(FULL_ROUNDS)
    row, shuffled = [], []
    for _ in range(CASE_ROUNDS):
        row.append(bench.step_ns(bench.next(bench.in_order)))
        shuffled.append(bench.step_ns(bench.next(bench.shuffled)))
    memory, row_ns, shuffled_ns = bench.engine.state.memory_bytes(), statistics.median(row), statistics.median(shuffled)
    return Case(tags, operators, round(row_ns / tags, 1), round(shuffled_ns / tags, 1), round(memory / tags, 1))


def headline(bench: Bench, progress: Progress) -> dict[str, list[float]]:
    """Interleaved rounds: milliseconds a batch in `row` and `shuffled`, ns an update of everything else."""
    tags = bench.tags
    peer = NumpyPeer(tags, WINDOW_NS, bench.engine.model.panes_per_window)
    others = peers(np.random.default_rng(3))
    numbers, order = np.arange(float(tags)), bench.shuffled["row"].astype(np.int64)
    took: dict[str, list[float]] = {name: [] for name in ("row", "shuffled", "numpy_row", "numpy_shuffled", "add")}
    took |= {name: [] for name in others}
    for turn in range(ROUNDS):
        for batch, name in ((bench.in_order, "row"), (bench.shuffled, "shuffled")):
            bench.next(batch)
            took[name].append(bench.step_ns(batch) / NS_PER_MS)
            took[f"numpy_{name}"].append(elapsed_ns(lambda batch=batch: peer.fold(batch)) / tags)  # type: ignore[misc]
        took["add"].append(elapsed_ns(lambda: np.add(numbers[order], 1.0)) / tags)
        if turn % 10 == 0:
            progress(f"round {turn + 1} of {ROUNDS}: row order {took['row'][-1]:.1f} ms, shuffled "
                     f"{took['shuffled'][-1]:.1f} ms for {tags:,} tags")  # fmt: skip
            for name, other in others.items():
                took[name].append(other.turn())
    return took


def stays_flat(bench: Bench) -> dict[str, object]:
    """Many samples more, and how the memory grew over them."""
    rounds = min(-(-FLAT_SAMPLES // bench.tags), FLAT_BATCHES_MAX)
    state, resident = bench.engine.state.memory_bytes(), resident_bytes()
    for _ in range(rounds):
        bench.step_ns(bench.next(bench.shuffled))
    return {
        "samples": rounds * bench.tags,
        "state_bytes_per_tag": state / bench.tags,
        "state_bytes_grown": bench.engine.state.memory_bytes() - state,
        "resident_bytes_grown": resident_bytes() - resident,
    }


class LoopWatch:
    """An event loop that does nothing but wake up, and how late it does."""

    def __init__(self) -> None:
        self.counts: Int64s = np.zeros(SIZE, np.int64)
        self.late = 0
        self.worst_ns = 0

    async def run(self) -> None:
        while True:
            due_ns = time.monotonic_ns() + int(LOOP_EVERY_S * NS_PER_S)
            await asyncio.sleep(LOOP_EVERY_S)
            late_ns = time.monotonic_ns() - due_ns
            observe(self.counts, late_ns)
            self.worst_ns = max(self.worst_ns, late_ns)
            self.late += late_ns > LOOP_BUDGET_NS


def hold(bench: Bench, rate: int, seconds: float) -> tuple[Level, LoopWatch]:
    """The rate held through the engine in a thread, with a loop in this one."""
    watch = LoopWatch()
    clock = EngineClock(bench.now_ns + NS_PER_S - time.monotonic_ns())

    async def both() -> Level:
        watching = asyncio.create_task(watch.run())
        try:
            return await asyncio.to_thread(try_rate, bench.engine, bench.shuffled, rate, seconds, clock)
        finally:
            watching.cancel()

    return uvloop.run(both()), watch


def run(*, tags: int, seconds: float, costs: bool, holds: bool, progress: Progress) -> dict[str, object]:
    """The benchmark, or a part of it, as its JSON object."""
    where = environment()
    progress("loading or compiling kernels")
    warm_up()
    observe_arrivals(np.zeros(SIZE, np.int64), np.zeros(1, SAMPLE), 0)
    model = plant(tags)
    progress(f"warming up the scores of {tags:,} tags")
    bench = Bench(model, 1)
    bench.fill(WARM_ROUNDS)
    result: dict[str, object] = {"bench": "engine", "environment": where, "figures": {"tags": tags}}
    if costs:
        result |= costs_of(bench, headline(bench, progress))
        result |= {"is_right": bench.is_right(), "memory": stays_flat(bench)}
        result["cases"] = [asdict(one) for one in cases_of(bench, model, progress)]
    if holds:
        progress(f"{RATE:,} updates/s for {seconds:.0f} s, with an event loop beside")
        result["held"] = held_of(*hold(bench, RATE, seconds))
    return result


def cases_of(bench: Bench, model: Model, progress: Progress) -> Iterator[Case]:
    for size in dict.fromkeys((min(SMALL, bench.tags), bench.tags)):
        of_size = model if size == bench.tags else plant(size)
        for operators, change in OPERATORS.items():
            progress(f"{size:,} tags, {operators}")
            yield case(size, operators, Bench(changed(of_size, change), 2, bench))


def costs_of(bench: Bench, took: dict[str, list[float]]) -> dict[str, object]:
    middle = {name: statistics.median(values) for name, values in took.items()}
    row_ns, shuffled_ns = (middle[name] * NS_PER_MS / bench.tags for name in ("row", "shuffled"))
    own = {"numpy_row": row_ns}
    others = {name: ns for name, ns in middle.items() if name not in ("row", "shuffled", "add")}
    return {
        "figures": {
            "tags": bench.tags,
            "row_order_ms_per_batch": round(middle["row"], 2),
            "shuffled_ms_per_batch": round(middle["shuffled"], 2),
            "row_order_ms_worst": round(max(took["row"]), 2),
            "shuffled_ms_worst": round(max(took["shuffled"]), 2),
            "row_order_ns_per_update": round(row_ns, 1),
            "shuffled_ns_per_update": round(shuffled_ns, 1),
            "state_bytes_per_tag": round(bench.engine.state.memory_bytes() / bench.tags, 1),
        },
        "peers": {
            **{f"{name}_ns_per_update": round(ns, 1) for name, ns in others.items()},
            "numpy_add_in_random_order_ns_per_value": round(middle["add"], 2),
            "numpy_add_in_random_order_ms": round(middle["add"] * bench.tags / NS_PER_MS, 3),
        },
        "ratios": {
            **{f"ratio_to_{name}": round(ns / own.get(name, shuffled_ns), 2) for name, ns in others.items()},
            "ratio_to_numpy_add": round(middle["add"] / shuffled_ns, 4),
        },
    }


def held_of(level: Level, watch: LoopWatch) -> dict[str, object]:
    return {
        "rate_updates_per_s": level.rate,
        "updates": level.sent,
        "dropped": level.dropped,
        "unsent": level.unsent,
        "sample_to_aggregate_p50_ms": level.p50_ns / NS_PER_MS,
        "sample_to_aggregate_p99_ms": level.p99_ns / NS_PER_MS,
        "sample_to_aggregate_p999_ms": level.p999_ns / NS_PER_MS,
        "sample_to_score_p99_ms": level.p99_ns / NS_PER_MS,
        "engine_cpu_cores": round(level.engine_cores, 3),
        "loop_late_p99_ms": quantile_ns(watch.counts, 0.99) / NS_PER_MS,
        "loop_late_worst_ms": round(watch.worst_ns / NS_PER_MS, 2),
        "loop_late_over_10_ms": watch.late,
    }
