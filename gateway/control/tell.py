"""What the executive tells others: samples for the engine, and each loop's record under its sequence lock."""

from __future__ import annotations

import numpy as np

from gateway.control import frames, pid, queue
from gateway.control import layout as at
from gateway.control.layout import Blocks
from gateway.core.kernels.atomics import begin_write, end_write, load_acquire
from gateway.core.types import Quality
from gateway.native.jit import inner, whole

GOOD = whole(Quality.GOOD)
_NAN_BITS = np.float64("nan").view(np.int64)
_ZERO_BITS = whole(0)


@inner
def put_output(b: Blocks, loop: int, bits: int, time_ns: int) -> None:
    state = b.loops[loop]
    kind = state[at.OUT_TYPE]
    scale = b.reals[loop, at.OUT_SCALE]
    offset = b.reals[loop, at.OUT_OFFSET]
    value = frames.number_of(bits, kind) * scale + offset
    put_sample(
        b, state[at.OUT_ROW], GOOD, time_ns, frames.cell_of(value, bits, kind, scale, offset, state[at.OUT_KIND])
    )


@inner
def put_sample(b: Blocks, row: int, quality: int, monotonic_ns: int, bits: int) -> None:
    """Nothing of a tag that somebody else acquires: it has no row here."""
    if row < 0:
        return
    queue.put(b.ring, b.samples, row, quality, monotonic_ns + load_acquire(b.words, at.ENGINE_OFFSET), bits)


@inner
def put_nothing(b: Blocks, row: int, quality: int, monotonic_ns: int, kind: int) -> None:
    """A sample that says only that there is no value, and why."""
    put_sample(b, row, quality, monotonic_ns, _NAN_BITS if kind == frames.KIND_F64 else _ZERO_BITS)


@inner
def publish(b: Blocks, loop: int) -> None:
    """The loop as others see it, under its sequence lock."""
    state = b.loops[loop]
    state[at.DIRTY] = 0
    begin_write(b.sequence, loop)
    record = b.published[loop]
    record["setpoint"] = b.pid[loop, pid.SETPOINT]
    record["process_value"] = b.reals[loop, at.PROCESS_VALUE]
    record["output"] = b.pid[loop, pid.OUTPUT]
    record["mode"] = state[at.MODE]
    record["quality"] = state[at.QUALITY]
    offset_ns = load_acquire(b.words, at.ENGINE_OFFSET)
    record["input_ns"] = state[at.INPUT_NS] + offset_ns if state[at.INPUTS] > 0 else 0
    record["cycles"] = state[at.CYCLES]
    record["misses"] = state[at.MISSES]
    record["overruns"] = state[at.OVERRUNS]
    for i in range(at.COUNTERS):
        b.counters[loop, i] = state[at.COUNTERS_FROM + i]
    end_write(b.sequence, loop)
