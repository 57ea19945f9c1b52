"""How late control is: the executive, a bare periodic thread beside it, and the same loops on asyncio after it.

Each case (so many loops at one period) runs without and with ingest load: batched samples through inbox and engine in
this process, as the daemon's engine thread takes them. In each, the executive and its twin (`gateway.control.twin`:
same period, same priority, no work) run at the same time, so that their ratio is of one machine in one moment; then
the peer (`control_peer`) runs by itself under the same load. The device (`gateway.control.device`) is compiled and a
process of its own.

A *bare send* after it says what is possible: it answers a reply with one `send`, and computes nothing.

Input to output: from the complete reply with the input to the output handed to the socket. The first half second of
each run is not counted. Nothing is averaged; quantiles are bucket bounds, at most 6 % above the value.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway.control import layout as at
from gateway.control.handle import ControlExecutive
from gateway.control.twin import BareSend, Twin
from gateway.core.engine import Engine
from gateway.core.events import Event
from gateway.core.histogram import SIZE, quantile_ns
from gateway.core.kernels.histogram import observe
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Int64s
from gateway.core.warming import warm_up
from gateway.runtime.benches import pipeline
from gateway.runtime.benches.control_plant import Case
from gateway.runtime.benches.environment import environment

LOAD_TAGS = 20_000
SETTLE_S = 0.5
LINKS_UP_WITHIN_S = 10.0
DRAIN_EVERY_S = 0.02
BARE_SEND_S = 3.0
PEER_STARTUP_S = 3.0
QUANTILES = (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))

Progress = Callable[[str], None]


class BenchFailed(Exception):
    """The device or the peer did not do its part."""


@dataclass(frozen=True)
class Timing:
    """Lateness of wakes, and input to output; histograms of `gateway.core.histogram`."""

    lateness: Int64s
    reaction: Int64s

    def figures(self) -> dict[str, float]:
        return {
            f"{what}_{name}_ms": round(quantile_ns(counts, q) / NS_PER_MS, 4)
            for what, counts in (("wake_lateness", self.lateness), ("input_to_output", self.reaction))
            for name, q in QUANTILES
        }


@contextmanager
def child(module: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process of ours, gone afterwards."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise BenchFailed(f"{process.args!r} ended with code {process.wait()}; its message is above")
    return line


@contextmanager
def load(rate: int, seconds: float) -> Iterator[list[pipeline.Level]]:
    """Ingest at a rate beside the body, at least that long; the level reached is in the list afterwards."""
    reached: list[pipeline.Level] = []
    if rate == 0:
        yield reached
        return
    streams: frozenset[Any] = frozenset()
    engine = Engine(pipeline.plant(LOAD_TAGS), aggregates_every_ns=NS_PER_S, samples_every_ns=NS_PER_S, streams=streams)
    template = pipeline.shuffled_batch(LOAD_TAGS, np.random.default_rng(1))
    thread = threading.Thread(
        target=lambda: reached.append(pipeline.try_rate(engine, template, rate, seconds)), name="bench-load"
    )
    thread.start()
    try:
        yield reached
    finally:
        thread.join()


def run_executive(case: Case, port: int, seconds: float, events: list[Event]) -> tuple[Timing, Int64s, dict[str, int]]:
    """The executive and its twin at the same time: its timing, the twin's lateness, what was counted."""
    control = ControlExecutive(
        loops=case.loop_settings(),
        tags=case.tags(),
        links=case.link_settings(port),
        now_ns=time.monotonic_ns,
        emit=events.append,
    )
    twin = Twin(case.period_ns)
    out = np.zeros(at.SAMPLES, SAMPLE)
    control.start()
    try:
        wait_until_all_write(control, case.loops)
        twin.start()
        drain(control, out, SETTLE_S)
        twin_before, before = twin.counts.copy(), control.timing()
        misses = int(control.loops()["misses"].sum())
        cycles = int(control.loops()["cycles"].sum())
        drain(control, out, seconds)
        twin_counts, after = twin.counts - twin_before, control.timing()
        counted = {
            "cycles": int(control.loops()["cycles"].sum()) - cycles,
            "misses": int(control.loops()["misses"].sum()) - misses,
        }
        twin.stop()
    finally:
        control.stop(5.0)
    return Timing(after[0] - before[0], after[1] - before[1]), twin_counts, counted


def wait_until_all_write(control: ControlExecutive, loops: int) -> None:
    deadline_s = time.monotonic() + LINKS_UP_WITHIN_S
    while int((control.timing()[1][:-1]).sum()) < loops:
        if time.monotonic() > deadline_s:
            raise BenchFailed(f"not all loops ran within {LINKS_UP_WITHIN_S:g} s")
        time.sleep(DRAIN_EVERY_S)


def drain(control: ControlExecutive, out: Any, seconds: float) -> None:
    """Take samples as the engine's thread does, for so long."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        control.take_samples(out)
        time.sleep(DRAIN_EVERY_S)


def run_peer(case: Case, port: int, seconds: float) -> Timing:
    """The same loops on asyncio, in a process of their own."""
    module = "gateway.runtime.benches.control_peer"
    with child(module, port, case.links, case.loops, case.period_ns, seconds) as process:
        told: dict[str, list[int]] = json.loads(first_line(process))
    return Timing(counted_in(told["lateness_ns"]), counted_in(told["reaction_ns"]))


def counted_in(values_ns: Sequence[int]) -> Int64s:
    counts: Int64s = np.zeros(SIZE, np.int64)
    for value_ns in values_ns:
        observe(counts, value_ns)
    return counts


def measure(case: Case, rate: int, seconds: float, has_peer: bool, events: list[Event]) -> dict[str, object]:
    """One case at one load."""
    with child("gateway.runtime.benches.control_device", case.links) as device:
        port = int(first_line(device))
        with load(rate, seconds + SETTLE_S) as reached:
            timing, twin, counted = run_executive(case, port, seconds, events)
        bare = BareSend(port, case.links, case.period_ns)
        bare_s = min(seconds, BARE_SEND_S)
        with load(rate, bare_s):
            bare.run(bare_s)
        peer = None
        if has_peer:
            with load(rate, seconds + PEER_STARTUP_S):
                peer = run_peer(case, port, seconds)
    own = timing.figures()
    twin_p99_ms = quantile_ns(twin, 0.99) / NS_PER_MS
    ratios: dict[str, float] = {"wake_p99_to_twin": round(own["wake_lateness_p99_ms"] / twin_p99_ms, 3)}
    sends = {name: quantile_ns(bare.counts, q) / NS_PER_MS for name, q in QUANTILES}
    ratios["input_to_output_p50_to_bare_send"] = round(own["input_to_output_p50_ms"] / sends["p50"], 2)
    found: dict[str, object] = {
        "loops": case.loops,
        "period_ms": case.period_ns / NS_PER_MS,
        "load_samples_per_s": rate,
        "load_held": all(level.dropped == 0 and level.unsent == 0 for level in reached),
        **counted,
        "executive": own,
        "twin": {f"wake_lateness_{name}_ms": round(quantile_ns(twin, q) / NS_PER_MS, 4) for name, q in QUANTILES},
        "bare_send": {f"input_to_output_{name}_ms": round(ms, 4) for name, ms in sends.items()},
        "ratios": ratios,
    }
    if peer is not None:
        theirs = peer.figures()
        found["asyncio_pymodbus_simple_pid"] = theirs
        ratios["peer_input_to_output_p99_to_bare_send"] = round(theirs["input_to_output_p99_ms"] / sends["p99"], 1)
        for what in ("input_to_output_p50_ms", "input_to_output_p99_ms", "wake_lateness_p99_ms"):
            ratios[f"peer_{what.removesuffix('_ms')}"] = round(theirs[what] / own[what], 1)
    return found


def run(*, cases: Sequence[Case], rate: int, seconds: float, progress: Progress) -> dict[str, object]:
    """The whole benchmark, as its JSON object. `seconds` is for all of it, about."""
    where = environment()
    has_peer = importlib.util.find_spec("simple_pid") is not None
    progress("loading or compiling kernels")
    warm_up()
    observe(np.zeros(SIZE, np.int64), 0)
    if not has_peer:
        progress("simple-pid is not installed, so the asyncio loop is left out; pip install 'fieldgate[dev]'")
    rates = (0, rate) if rate else (0,)
    each_s = max(1.0, seconds / (len(cases) * len(rates) * (1 + has_peer)) - SETTLE_S - 1.0)
    results = []
    events: list[Event] = []
    for case in cases:
        for each in rates:
            found = measure(case, each, each_s, has_peer, events)
            results.append(found)
            progress(
                f"{case.loops:>3} loops at {case.period_ns / NS_PER_MS:g} ms, {each:>8,} samples/s: {found['ratios']}"
            )
    return {
        "bench": "control",
        "environment": where,
        "real_time": not any(event.kind == "control.not_real_time" and "priority" in event.message for event in events),
        "cases": results,
    }
