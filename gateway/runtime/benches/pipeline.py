"""How many batched samples a second the pipeline takes: producer, lane, inbox, engine cycle, as in the daemon.

A producer thread hands over a batch every millisecond, rows in an order that was shuffled once; a sample arrives, for
the latency, when its batch was due, even if the producer came late. The engine thread drains, steps and observes
every CYCLE_NS. The rate is raised level by level until a level is not held: a sample dropped, batches that were never
sent, or a p99 from arrival to aggregate of 50 ms or more. A level that is not held gets one second try, for a moment in
which the machine was busy elsewhere; every try is in the output.

Aggregates and score are made in the same pass, so their latencies are the same figure here.

Beside it, on the same batch and interleaved: the same statistics by NumPy alone (`numpy_peer`), and `np.add` of 100,000
gathered floats as the machine's own scale. The tags' time goes on by 100 ms a round, as at full scale.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gateway.core.engine import Engine
from gateway.core.histogram import SIZE, quantile_ns
from gateway.core.inbox import Inbox, Lane
from gateway.core.kernels.histogram import observe_arrivals
from gateway.core.limits import CYCLE_NS, CYCLE_SAMPLES_MAX, LANE_SAMPLES_MAX
from gateway.core.model import DeviceDefinition, Model, TagDefinition
from gateway.core.ports import Clock
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Kind, Quality, Samples
from gateway.core.warming import warm_up
from gateway.runtime.benches.environment import environment, resident_bytes
from gateway.runtime.benches.numpy_peer import NumpyPeer

BUDGET_NS = 50 * NS_PER_MS
SEND_EVERY_NS = NS_PER_MS
RATES = (100_000, 250_000, 500_000, 1_000_000, 1_500_000, 2_000_000, 3_000_000, 4_000_000, 6_000_000)
SETTLE_S = 0.5
WARM_ROUNDS = 5
PEER_ROUNDS = 41
UPDATE_EVERY_NS = 100 * NS_PER_MS
TAGS_PER_DEVICE = 100
WINDOW_NS = 60 * NS_PER_S

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Level:
    """One rate, tried."""

    rate: int
    sent: int
    dropped: int
    unsent: int
    p50_ns: int
    p99_ns: int
    p999_ns: int
    engine_cores: float
    step_ns_per_sample: float

    @property
    def is_held(self) -> bool:
        return self.dropped == 0 and self.unsent == 0 and self.p99_ns < BUDGET_NS


def plant(tags: int) -> Model:
    devices = -(-tags // TAGS_PER_DEVICE)
    return Model(
        tuple(DeviceDefinition(f"d{d}", "bench") for d in range(devices)),
        tuple(
            TagDefinition(
                f"d{row // TAGS_PER_DEVICE}.t{row}", row // TAGS_PER_DEVICE, Kind.F64, "", 10 * NS_PER_S, (WINDOW_NS,)
            )
            for row in range(tags)
        ),
    )


def shuffled_batch(tags: int, rng: np.random.Generator) -> Samples:
    """One sample of each tag, in no order."""
    batch: Samples = np.zeros(tags, SAMPLE)
    batch["row"] = rng.permutation(tags)
    batch["quality"] = Quality.GOOD
    batch["value"] = rng.normal(50.0, 1.0, tags)
    return batch


class Producer:
    """Sends at a rate into a lane until its time is over."""

    def __init__(self, lane: Lane, template: Samples, rate: int, start_ns: int, end_ns: int, clock: Clock) -> None:
        self._lane = lane
        self._template = template
        self._rate = rate
        self._start_ns = start_ns
        self._end_ns = end_ns
        self._clock = clock
        self.sent = 0

    def due(self, now_ns: int) -> int:
        """Samples that should have been sent by a time."""
        return (min(now_ns, self._end_ns) - self._start_ns) * self._rate // NS_PER_S

    def run(self) -> None:
        due_ns = self._start_ns
        while due_ns < self._end_ns:
            due_ns += SEND_EVERY_NS
            wait_ns = due_ns - self._clock()
            if wait_ns > 0:
                time.sleep(wait_ns / NS_PER_S)
            elif wait_ns < -NS_PER_S:
                return  # This machine cannot even make the samples: what is missing counts as unsent.
            self._send(self.due(due_ns) - self.sent, due_ns)

    def _send(self, count: int, arrival_ns: int) -> None:
        while count > 0:
            at = self.sent % len(self._template)
            part = self._template[at : at + count]
            part["arrival_ns"] = arrival_ns
            part["source_ns"] = arrival_ns
            self._lane.append(part)
            self.sent += len(part)
            count -= len(part)


def try_rate(engine: Engine, template: Samples, rate: int, seconds: float, clock: Clock = time.monotonic_ns) -> Level:
    """Run one level; the first half second is run but not counted."""
    lane = Lane("bench", LANE_SAMPLES_MAX)
    inbox = Inbox((lane,))
    batch: Samples = np.zeros(CYCLE_SAMPLES_MAX, SAMPLE)
    counts = np.zeros(SIZE, np.int64)
    start_ns = clock() + CYCLE_NS
    settled_ns = start_ns + int(SETTLE_S * NS_PER_S)
    end_ns = settled_ns + int(seconds * NS_PER_S)
    producer = Producer(lane, template, rate, start_ns, end_ns, clock)
    thread = threading.Thread(target=producer.run, name="bench-producer")
    busy_ns = 0
    step_ns = 0
    folded = 0
    thread.start()
    due_ns = start_ns
    while due_ns < end_ns or len(inbox):
        due_ns = max(due_ns + CYCLE_NS, clock() // CYCLE_NS * CYCLE_NS)
        time.sleep(max(0, due_ns - clock()) / NS_PER_S)
        cpu_ns = time.thread_time_ns()
        taken = inbox.drain(batch)
        before_ns = time.thread_time_ns()
        engine.step(clock(), batch[:taken])
        done_ns = clock()
        stepped_ns = time.thread_time_ns()
        if done_ns > settled_ns:
            observe_arrivals(counts, batch[:taken], done_ns)
            busy_ns += time.thread_time_ns() - cpu_ns
            step_ns += stepped_ns - before_ns
            folded += taken
    thread.join()
    return Level(
        rate=rate,
        sent=producer.sent,
        dropped=lane.dropped,
        unsent=producer.due(end_ns) - producer.sent,
        p50_ns=quantile_ns(counts, 0.5),
        p99_ns=quantile_ns(counts, 0.99),
        p999_ns=quantile_ns(counts, 0.999),
        engine_cores=busy_ns / (end_ns - settled_ns),
        step_ns_per_sample=step_ns / max(1, folded),
    )


def climb(engine: Engine, template: Samples, seconds: float, progress: Progress) -> list[Level]:
    """Level after level up to the first that is not held, then once halfway back."""
    level_seconds = max(0.5, seconds / (len(RATES) + 2) - SETTLE_S)
    levels: list[Level] = []
    for rate in RATES:
        levels.append(tried(engine, template, rate, level_seconds, progress))
        if not levels[-1].is_held:
            levels.append(tried(engine, template, rate, level_seconds, progress))
        if not levels[-1].is_held:
            break
    held = [level.rate for level in levels if level.is_held]
    if held and not levels[-1].is_held:
        between = (levels[-1].rate + held[-1]) // 2
        levels.append(tried(engine, template, between, level_seconds, progress))
    return levels


def tried(engine: Engine, template: Samples, rate: int, seconds: float, progress: Progress) -> Level:
    level = try_rate(engine, template, rate, seconds)
    progress(
        f"{rate:>9,} samples/s: p99 {level.p99_ns / NS_PER_MS:6.1f} ms, {level.engine_cores:4.2f} cores, "
        f"{'held' if level.is_held else f'not held ({level.dropped:,} dropped, {level.unsent:,} unsent)'}"
    )
    return level


def against_peers(engine: Engine, template: Samples) -> tuple[float, float, float]:
    """ns a sample of the engine's step, of NumPy's statistics, and of one gathered addition: medians, interleaved."""
    tags = len(template)
    peer = NumpyPeer(tags, WINDOW_NS, engine.model.panes_per_window)
    numbers = np.arange(float(tags))
    order = template["row"].copy()
    own: list[float] = []
    theirs: list[float] = []
    scale: list[float] = []
    start_ns = time.monotonic_ns() - (WARM_ROUNDS + PEER_ROUNDS) * UPDATE_EVERY_NS
    for turn in range(WARM_ROUNDS + PEER_ROUNDS):
        now_ns = start_ns + turn * UPDATE_EVERY_NS
        template["arrival_ns"] = now_ns
        template["source_ns"] = now_ns
        own.append(elapsed_ns(lambda now_ns=now_ns: engine.step(now_ns, template)) / tags)  # type: ignore[misc]
        theirs.append(elapsed_ns(lambda: peer.fold(template)) / tags)
        scale.append(elapsed_ns(lambda: np.add(numbers[order], 1.0)) / tags)
    return (
        statistics.median(own[WARM_ROUNDS:]),
        statistics.median(theirs[WARM_ROUNDS:]),
        statistics.median(scale[WARM_ROUNDS:]),
    )


def elapsed_ns(work: Callable[[], object]) -> int:
    before_ns = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - before_ns


def run(*, tags: int, seconds: float, progress: Progress) -> dict[str, object]:
    """The whole benchmark, as its JSON object."""
    where = environment()
    progress("loading or compiling kernels")
    warm_up()
    observe_arrivals(np.zeros(SIZE, np.int64), np.zeros(1, SAMPLE), 0)
    progress(f"building a plant of {tags:,} tags")
    engine = Engine(plant(tags), aggregates_every_ns=NS_PER_S, samples_every_ns=NS_PER_S, streams=frozenset())
    template = shuffled_batch(tags, np.random.default_rng(1))
    own, numpy_at, gather = against_peers(engine, template)
    levels = climb(engine, template, seconds, progress)
    held = [level for level in levels if level.is_held]
    best = max(held, key=lambda level: level.rate) if held else levels[0]
    return {
        "bench": "pipeline",
        "environment": where,
        "figures": {
            "tags": tags,
            "rate_held_samples_per_s": best.rate if held else 0,
            "sample_to_aggregate_p50_ms": best.p50_ns / NS_PER_MS,
            "sample_to_aggregate_p99_ms": best.p99_ns / NS_PER_MS,
            "sample_to_aggregate_p999_ms": best.p999_ns / NS_PER_MS,
            "sample_to_score_p99_ms": best.p99_ns / NS_PER_MS,
            "engine_cpu_cores": round(best.engine_cores, 3),
            "engine_cpu_ns_per_sample": round(best.step_ns_per_sample, 1),
            "step_ns_per_sample": round(own, 1),
            "state_bytes_per_tag": engine.state.memory_bytes() / tags,
            "resident_bytes": resident_bytes(),
        },
        "levels": [
            {
                "rate_samples_per_s": level.rate,
                "p99_ms": level.p99_ns / NS_PER_MS,
                "dropped": level.dropped,
                "unsent": level.unsent,
                "held": level.is_held,
            }
            for level in levels
        ],
        "peers": {"numpy_at_ns_per_sample": round(numpy_at, 1), "numpy_gathered_add_ns_per_sample": round(gather, 2)},
        "ratios": {
            "ratio_to_numpy_at": round(numpy_at / own, 2),
            "ratio_to_numpy_gathered_add": round(gather / own, 4),
        },
    }
