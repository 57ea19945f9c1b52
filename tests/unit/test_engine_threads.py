"""Readers beside a writer, and the same bytes with the JIT off."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from gateway.core.engine import Engine
from gateway.core.kernels.fold import fold
from gateway.core.record import Stream
from gateway.core.types import NS_PER_S, SAMPLE, Kind
from gateway.core.warming import warm_up
from tests.support.engine import T0, alarms, engine, tag

READS = 30_000
MOMENTS = 100


def test_no_reader_ever_sees_half_of_a_sample() -> None:
    """Each sample has value = source time = arrival time, so a row that mixes two of them shows it."""
    gate = engine(tag(kind=Kind.I64, windows_ns=(NS_PER_S,)), panes=3)
    warm_up()
    batch = np.zeros(500_000, SAMPLE)
    batch["quality"] = 192
    none = np.zeros(0, SAMPLE)
    stop = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        start_ns = T0
        while not stop.is_set():
            batch["bits"] = batch["source_ns"] = batch["arrival_ns"] = start_ns + 10_000 * np.arange(len(batch))
            fold(gate.state.tables, gate.state.panes, batch, 0, none)
            start_ns += 10_000 * len(batch)
            written += len(batch)

    writer = threading.Thread(target=write)
    writer.start()
    rows = np.zeros(100, np.int32)
    reads = 0
    deadline = time.monotonic() + 20
    seen = set()
    try:
        while written == 0:
            time.sleep(0.001)
        while (reads < READS or len(seen) < MOMENTS) and time.monotonic() < deadline:
            reads += len(rows)
            live = gate.view.live(rows)
            assert (live["bits"] == live["source_ns"]).all()
            assert (live["bits"] == live["arrival_ns"]).all()
            seen.update(live["bits"].tolist())
            windows = gate.view.aggregates(rows)
            assert (windows["max"] - windows["min"] < 1.01e9).all(), "no more than the window"
            assert (np.abs(windows["rate"] - 1e9) < 1e3).all(), "the ramp's own slope"
            assert (windows["ewma"] <= windows["max"]).all()
    finally:
        stop.set()
        writer.join()
    assert reads >= READS
    assert len(seen) >= MOMENTS, "the writer was really moving"


def run_short() -> str:
    """A short plant's life, and the digest of all that it left."""
    rng = np.random.default_rng(11)
    gate: Engine = engine(
        tag("a.a", windows_ns=(NS_PER_S, 5 * NS_PER_S), alarms=alarms(high=2.0, score=0.4)),
        tag("a.b", kind=Kind.U64, windows_ns=(2 * NS_PER_S,)),
        tag("b.a", device=1, valid_low=-1.0, stale_after_ns=NS_PER_S // 2),
        panes=4,
        streams=Stream,
    )
    digest = hashlib.sha256()
    now_ns = T0
    for _ in range(120):
        size = int(rng.integers(0, 12))
        now_ns += int(rng.integers(0, NS_PER_S // 2))
        batch = np.zeros(size, SAMPLE)
        batch["row"] = rng.integers(-1, 4, size)
        batch["quality"] = rng.choice([192, 192, 192, 64, 24], size)
        batch["arrival_ns"] = now_ns
        batch["source_ns"] = now_ns - rng.integers(-2 * NS_PER_S, 8 * NS_PER_S, size)
        batch["value"] = rng.normal(size=size)
        integers = batch["row"] == 1
        batch["bits"][integers] = rng.integers(-(2**62), 2**62, size)[integers]
        result = gate.step(now_ns, batch)
        for draft in result.drafts:
            digest.update(repr(draft.rows).encode() if isinstance(draft.rows, tuple) else draft.rows.tobytes())
        digest.update(repr(result.events).encode())
        digest.update(gate.view.aggregates(np.arange(3, dtype=np.int32)).tobytes())
    for array in gate.state.arrays():
        digest.update(array.tobytes())
    return digest.hexdigest()


def test_the_state_has_the_same_bytes_with_the_jit_off() -> None:
    command = [sys.executable, "-W", "error", "-c"]
    command += ["from tests.unit.test_engine_threads import run_short; print(run_short())"]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    root = Path(__file__).parents[2]
    plain = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=60)
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.strip() == run_short()
