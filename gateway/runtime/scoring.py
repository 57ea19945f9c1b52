"""The daemon's scores over a whole series at once: the same kernel, one series after the other, default settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gateway.core.blank import records
from gateway.core.kernels.score import score_series
from gateway.core.kernels.shape import SHAPE_AT, shape_series
from gateway.core.shapes import LAGS, PROTOTYPES, SHAPE
from gateway.core.state import HOURS, NOVELTY, SCALE_NS_DEFAULT
from gateway.core.types import NS_PER_S, Float64s, Int64s, Samples
from gateway.core.view import REASON_SHAPE, REASONS

SCORED = np.dtype(
    [
        ("told", "<f8"),
        ("event", "<f8"),
        ("persistent", "<f8"),
        ("reasons", "<i8"),
        ("event_once_ns", "<f8"),
        ("persistent_once_ns", "<f8"),
    ],
    align=True,
)
"""`told` is the event score of the sample itself, `event` as it is held and fades; `…_once_ns`: so extreme once in."""

BYTES_PER_TAG = NOVELTY.itemsize + 4 * HOURS
HOUR_NS = 3_600 * NS_PER_S
VALUE_MAX = 1e140
"""As in the fold: what is beyond is a fault of the sensor, and teaches nothing."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Samples `first` to `last` in which a score was at or above its threshold; `peak` the highest of both, `once_h`
    the rarest (NaN where the past is too short to tell)."""

    first: int
    last: int
    peak: float
    once_h: float
    reasons: tuple[str, ...]


def score(values: Float64s, times_ns: Int64s, scale_ns: float = SCALE_NS_DEFAULT, *, shape: bool = False) -> Samples:
    """SCORED records, one a sample, with `shape` also of waveforms. A value that is no number has the scores of the
    sample before."""
    out: Samples = np.zeros(len(values), SCORED)
    is_number = np.abs(values) <= VALUE_MAX
    novelty = records(1, NOVELTY)
    novelty["persistent"] = np.nan
    known: Samples = np.zeros(int(is_number.sum()), SCORED)
    hours = np.full(HOURS, np.nan, np.float32)
    score_series(novelty, hours, values[is_number], times_ns[is_number], float(scale_ns), known)
    if shape:
        add_shape(values[is_number], known)
    before = np.cumsum(is_number) - 1
    out[before >= 0] = known[before[before >= 0]]
    for name in ("told", "event", "persistent", "event_once_ns", "persistent_once_ns"):
        out[name][before < 0] = np.nan
    out["told"][~is_number] = np.nan
    return out


def add_shape(values: Float64s, scored: Samples) -> None:
    """The shape's score where it is the higher one."""
    shapes, out = records(1, SHAPE), np.full(len(values), np.nan)
    lags, prototypes = np.zeros(2 * LAGS), np.zeros(LAGS * PROTOTYPES)
    shape_series(shapes, lags, prototypes, np.zeros(PROTOTYPES, np.int64), values, out)
    higher = out > np.nan_to_num(scored["event"], nan=-1.0)
    scored["event"][higher] = scored["told"][higher] = out[higher]
    scored["event_once_ns"][higher] = np.nan
    scored["reasons"][higher & (out >= SHAPE_AT)] |= REASON_SHAPE


def stretches(scored: Samples, event_at: float, persistent_at: float, join_samples: int) -> Iterator[Stretch]:
    """Where a score is at or above its threshold; what is fewer than `join_samples` apart is one stretch."""
    hot = np.flatnonzero((scored["event"] >= event_at) | (scored["persistent"] >= persistent_at))
    if len(hot) == 0:
        return
    for group in np.split(hot, np.flatnonzero(np.diff(hot) >= join_samples) + 1):
        inside = scored[group[0] : group[-1] + 1]
        bits = int(np.bitwise_or.reduce(inside["reasons"]))
        peak = float(max(np.nanmax(inside["event"]), np.nanmax(np.nan_to_num(inside["persistent"]))))
        once = np.nan_to_num(np.fmax(inside["event_once_ns"], inside["persistent_once_ns"]), nan=-1.0).max()
        once_h = float(once) / HOUR_NS if once >= 0 else np.nan
        yield Stretch(
            int(group[0]), int(group[-1]), peak, once_h, tuple(word for bit, word in REASONS.items() if bits & bit)
        )
