"""One value into both scores of a tag: the event score (`novelty`) and the persistent one (`persistence`), and both
into what they mean (`tail`).

They share the tag's clock and two signals, the residual to the hour of the day and the error of the prediction.
"""

from __future__ import annotations

import math

from numba import njit

from gateway.core.kernels.novelty import (
    EPSILON,
    SCALE_INTERVALS,
    WARM_UP_SCALES,
    advance,
    event_of,
    first_of,
    hour_residual,
    prediction_residual,
    record_of,
    shift_of,
)
from gateway.core.kernels.persistence import WARM_UP_SCALES as PERSISTENT_WARM_UP_SCALES
from gateway.core.kernels.persistence import persist, stillness_of
from gateway.core.kernels.tail import BLOCK_SCALES, blocks_until, eased, take_in
from gateway.core.state import BEGUN_EVENT_RATE, BEGUN_PERSISTENT_RATE
from gateway.core.types import Float32s, Float64s, Int64s, Samples
from gateway.core.view import REASON_SPIKE

SPIKE_AT = 0.5
"""An event score of at least this is told as a reason."""


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def ages_of(novelty: Samples, row: int, scale_ns: float) -> tuple[float, float]:
    """For how many scales there have been event and persistent scores."""
    age = novelty[row]["age_ns"] / scale_ns
    return age - WARM_UP_SCALES, age - PERSISTENT_WARM_UP_SCALES


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def once_in_ns(novelty: Samples, row: int, scale_ns: float, event: float, persistent: float) -> tuple[float, float]:
    """In how much time the tag reaches such scores once, by its own past; NaN where that is not known. Reads only."""
    memory = novelty[row]
    scale_ns = max(scale_ns, SCALE_INTERVALS * memory["interval_ns"])
    if scale_ns <= 0.0:
        return math.nan, math.nan
    event_age, persistent_age = ages_of(novelty, row, scale_ns)
    block_ns = BLOCK_SCALES * scale_ns
    event_blocks = persistent_blocks = math.nan
    if memory["begun"] & BEGUN_EVENT_RATE:
        event_blocks = blocks_until(
            event,
            float(memory["event_slack"]),
            float(memory["event_tail"]),
            float(memory["event_spread"]),
            event_age / BLOCK_SCALES,
        )
    if memory["begun"] & BEGUN_PERSISTENT_RATE:
        persistent_blocks = blocks_until(
            persistent,
            float(memory["persistent_slack"]),
            float(memory["persistent_tail"]),
            float(memory["persistent_spread"]),
            persistent_age / BLOCK_SCALES,
        )
    return block_ns * event_blocks, block_ns * persistent_blocks


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def score_value(
    novelty: Samples, hours: Float32s, row: int, value: float, time_ns: int, scale_ns: float, held: float
) -> tuple[float, float, int]:
    """Learn one value; returns event score, persistent score and reasons.

    `held` is the event score before; it fades with the tag's scale, and the result is the higher of the two. A score is
    NaN while it warms up. A value that is not newer than the last teaches nothing and fades nothing.
    """
    memory = novelty[row]
    if memory["begun"] == 0:
        memory["told"] = math.nan
        first_of(novelty, hours, row, value, time_ns)
        return math.nan, math.nan, 0
    if time_ns > memory["last_ns"]:
        step_ns = advance(novelty, row, time_ns)
        scale_ns = max(scale_ns, SCALE_INTERVALS * memory["interval_ns"])
        u = step_ns / scale_ns
        floor = EPSILON * max(abs(value), 1e-280)
        frozen = stillness_of(novelty, row, value != memory["value"], step_ns, scale_ns)
        residual = hour_residual(novelty, hours, row, value, step_ns)
        error = prediction_residual(novelty, row, value, u)
        x = record_of(novelty, row, residual, error, u, floor)
        persistent = persist(novelty, row, residual, error, frozen, u, scale_ns, floor)
        shift = shift_of(novelty, row, residual, u, scale_ns, floor)
        event = event_of(novelty, row, x, shift, u, scale_ns)
        take_in(novelty, row, event, persistent, u, ages_of(novelty, row, scale_ns))
        event = eased(event, float(memory["event_slack"]))
        memory["told"] = event
        held = held / (1.0 + u)
        if not held > event:
            held = event
    reasons = int(memory["reasons"])
    if held >= SPIKE_AT:
        reasons |= REASON_SPIKE
    return held, float(memory["persistent"]), reasons


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def score_rows(
    novelty: Samples, hours: Float32s, values: Float64s, time_ns: int, scale_ns: float, scores: Float64s
) -> None:
    """One value of each row, all of the same time; `scores` holds the event scores."""
    for row in range(len(values)):
        scores[row] = score_value(novelty, hours, row, values[row], time_ns, scale_ns, scores[row])[0]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def score_series(
    novelty: Samples, hours: Float32s, values: Float64s, times_ns: Int64s, scale_ns: float, out: Samples
) -> None:
    """A whole series of row 0 into SCORED records: `event` is held as in the live cell, `told` the sample's own."""
    held = math.nan
    for i in range(len(values)):
        held, persistent, reasons = score_value(novelty, hours, 0, values[i], times_ns[i], scale_ns, held)
        out[i]["told"] = novelty[0]["told"]
        out[i]["event"] = held
        out[i]["persistent"] = persistent
        out[i]["reasons"] = reasons
        event_once_ns, persistent_once_ns = once_in_ns(novelty, 0, scale_ns, held, persistent)
        out[i]["event_once_ns"] = event_once_ns
        out[i]["persistent_once_ns"] = persistent_once_ns
