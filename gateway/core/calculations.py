"""Calculations: what a tag computes over a span of its own past, beside its windows.

A calculation is one span and a list of functions. The span decides which samples count, the functions are read out of
one accumulator, so ten functions over one span cost one update.

    span       the samples                                   a result
    ROLLING    of the last `length`                          whenever it is read
    COUNT      the last so many                              whenever it is read
    TUMBLING   of an interval of `length`, aligned           when the interval is over
    HOPPING    of the last `length`, every `hop`             at every hop
    SESSION    that follow each other within `gap`           when the gap has passed
    CALENDAR   of a shift, a day, a month of local time      at its end
    TOTAL      all there ever were                           whenever it is read

Event time is the source's. An interval is over when the tag's own present has passed its end by `late`; what comes
later still is counted. Where corrections are asked for (TUMBLING, HOPPING, SESSION) it is taken as long as the
interval is known, and what was given of that is given once more:

    an interval is named by its start and end    the highest `revision` of a name is what holds
    `revision` 0, or how often it was corrected   it may begin above 0: nothing had been known of the interval before
    `count` 0 at a SESSION, with bad quality      taken back: a late sample made the session longer, or one with the
                                                  next; its samples are in another interval, given beside or later

Late samples that come between two grid points are one correction. They enter what follows from the values; what
follows from their order (integral, increase, edges, on_time) stays as it was when they had not come.

Between two samples a value holds (last observation carried forward), but for no longer than the tag's `stale_after`:
what nobody knows enters no integral. `coverage` is the share of the span for which a value was known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np


class Span(IntEnum):
    """Which samples count. A number keeps its meaning for ever: checkpoints have it."""

    ROLLING = 0
    COUNT = 1
    TUMBLING = 2
    HOPPING = 3
    SESSION = 4
    CALENDAR = 5
    TOTAL = 6


class Function(IntEnum):
    """What is read out of an accumulator; `FUNCTIONS` says each in words."""

    COUNT = 0
    SUM = 1
    MEAN = 2
    SD = 3
    VARIANCE = 4
    MIN = 5
    MAX = 6
    RANGE = 7
    FIRST = 8
    LAST = 9
    DELTA = 10
    RATE = 11
    TIME_MEAN = 12
    INTEGRAL = 13
    INCREASE = 14
    RMS = 15
    CREST = 16
    SLOPE = 17
    ON_TIME = 18
    EDGES = 19
    COVERAGE = 20
    QUANTILE = 21


FUNCTIONS: Final[dict[str, Function]] = {
    "count": Function.COUNT,
    "sum": Function.SUM,
    "mean": Function.MEAN,
    "sd": Function.SD,
    "variance": Function.VARIANCE,
    "min": Function.MIN,
    "max": Function.MAX,
    "range": Function.RANGE,
    "first": Function.FIRST,
    "last": Function.LAST,
    "delta": Function.DELTA,
    "rate": Function.RATE,
    "time_mean": Function.TIME_MEAN,
    "integral": Function.INTEGRAL,
    "increase": Function.INCREASE,
    "rms": Function.RMS,
    "crest": Function.CREST,
    "slope": Function.SLOPE,
    "on_time": Function.ON_TIME,
    "edges": Function.EDGES,
    "coverage": Function.COVERAGE,
}
"""By the word in a configuration; quantiles are p1 to p99.9 and median.

rate: (last - first) / time between, per second. time_mean: the mean over time instead of samples. integral: over
seconds. increase: what a counter rose by, over resets and rollovers. crest: peak / rms. slope: of the least squares
line, per second. on_time: seconds for which the value was not zero, or was `state`. edges: how often it became so."""


@dataclass(frozen=True, slots=True)
class Output:
    """One function of a calculation. `quantile` in (0, 1), of QUANTILE only."""

    name: str
    function: Function
    quantile: float = 0.0


@dataclass(frozen=True, slots=True)
class CalculationDefinition:
    """One span of one tag. What a span does not have is 0. `calendar` is "day", "month" or "06:00 14:00"."""

    name: str
    span: Span
    outputs: tuple[Output, ...]
    length_ns: int = 0
    hop_ns: int = 0
    gap_ns: int = 0
    late_ns: int = 0
    samples: int = 0
    calendar: str = ""
    corrects: bool = False
    state: float | None = None
    rollover: float | None = None
    ring_samples: int = 0
    """Samples kept for quantiles. Beyond, the oldest go, and the result is uncertain."""


ACCUMULATOR = np.dtype(
    [
        ("pane", "<i8"),
        ("count", "<i8"),
        ("mean", "<f8"),
        ("m2", "<f8"),
        ("min", "<f8"),
        ("max", "<f8"),
        ("first_ns", "<i8"),
        ("first", "<f8"),
        ("last_ns", "<i8"),
        ("last", "<f8"),
        ("integral", "<f8"),
        ("covered_ns", "<i8"),
        ("on_ns", "<i8"),
        ("edges", "<i8"),
        ("increase", "<f8"),
        ("base_ns", "<i8"),
        ("time_mean", "<f8"),
        ("time_m2", "<f8"),
        ("co_m2", "<f8"),
        ("revision", "<i8"),
    ],
    align=True,
)
"""160 bytes. The first eight fields are a PANE's (`gateway.core.state`). `time_mean` is in s after `base_ns`; `time_m2`
and `co_m2` are the sums of squared deviations of time, and of products of time and value. `revision`: corrections so
far; its complement while one waits to be given (`gateway.core.kernels.hops`)."""

CALCULATION_RULE = np.dtype(
    [
        ("row", "<i4"),
        ("first", "<i4"),
        ("accumulators", "<i4"),
        ("ring_first", "<i4"),
        ("ring_size", "<i4"),
        ("output_first", "<i4"),
        ("output_count", "<i4"),
        ("samples", "<i4"),
        ("span", "u1"),
        ("corrects", "u1"),
        ("has_state", "u1"),
        ("spare", "u1", 5),
        ("length_ns", "<i8"),
        ("hop_ns", "<i8"),
        ("pane_ns", "<i8"),
        ("late_ns", "<i8"),
        ("gap_ns", "<i8"),
        ("hold_ns", "<i8"),
        ("state", "<f8"),
        ("rollover", "<f8"),
    ],
    align=True,
)
"""Never written after construction. `pane_ns`: an accumulator's length in spans of time."""

CALCULATION_STATE = np.dtype(
    [
        ("begun", "u1"),
        ("is_on", "u1"),
        ("is_open", "u1"),
        ("spare", "u1", 5),
        ("pane", "<i8"),
        ("closed", "<i8"),
        ("samples", "<i8"),
        ("recorded", "<i8"),
        ("last", "<f8"),
        ("last_ns", "<i8"),
        ("held_ns", "<i8"),
        ("phase_ns", "<i8"),
        ("start_ns", "<i8"),
        ("end_ns", "<i8"),
        ("next_end_ns", "<i8"),
        ("late", "<i8"),
    ],
    align=True,
)
"""`pane`: the newest accumulator's number. `closed`: of TUMBLING and HOPPING, hops that are over.
`recorded`: `samples` as of the last record. `held_ns`: up to where
the last value was taken to hold. `phase_ns` aligns intervals to the wall clock. `start_ns`, `end_ns`, `next_end_ns`: of
CALENDAR, the present interval and the end of the next. Of the others, `start_ns`: late samples before it are not taken;
`end_ns`: of TUMBLING and HOPPING, the earliest end of an interval whose correction waits."""

FOR_EVER: Final = 1 << 62
"""An end that nobody knows yet."""

OUTPUT = np.dtype([("calculation", "<i4"), ("function", "<i4"), ("quantile", "<f8")], align=True)

KEPT_SAMPLE = np.dtype([("time_ns", "<i8"), ("value", "<f8")], align=True)

VALUE_ASIDE = np.dtype([("row", "<i8"), ("time_ns", "<i8"), ("value", "<f8")], align=True)

RESULT = np.dtype(
    [
        ("row", "<i4"),
        ("output", "<i4"),
        ("start_ns", "<i8"),
        ("end_ns", "<i8"),
        ("value", "<f8"),
        ("count", "<i8"),
        ("coverage", "<f8"),
        ("revision", "<i4"),
        ("quality", "<u4"),
    ],
    align=True,
)
"""One output over one interval. `output` is its place in the state's table of outputs; `revision` 0, or a correction's;
`coverage` the share of the interval for which a value was known. A session that is taken back has `count` 0."""

ACCUMULATORS_MAX: Final = 240
"""Of one span: `length` divided by what `length` and `hop` have in common."""
CLOSED_KEPT: Final = 3
"""Accumulators of TUMBLING, SESSION and CALENDAR: the present one, one that waits for late samples, one to correct."""
SESSIONS_KEPT: Final = 8
"""Accumulators of SESSION with corrections: the present one, and those before it that late samples may join."""


def accumulators_of(definition: CalculationDefinition, panes: int) -> tuple[int, int]:
    """How many accumulators a calculation needs, and the length of one: ns, of COUNT samples, else 0."""
    match definition.span:
        case Span.ROLLING:
            return panes + 1, max(1, -(-definition.length_ns // panes))
        case Span.HOPPING:
            pane_ns = int(np.gcd(definition.length_ns, definition.hop_ns))
            waiting = -(-definition.late_ns // pane_ns)
            corrected = definition.length_ns // pane_ns if definition.corrects else 0
            return definition.length_ns // pane_ns + waiting + corrected + 2, pane_ns
        case Span.TUMBLING:
            return CLOSED_KEPT + -(-definition.late_ns // definition.length_ns), definition.length_ns
        case Span.COUNT:
            each = -(-definition.samples // panes)
            return -(-definition.samples // each) + 1, each
        case Span.SESSION:
            return SESSIONS_KEPT if definition.corrects else CLOSED_KEPT, 0
        case Span.CALENDAR:
            return CLOSED_KEPT, 0
    return 1, 0


def calculation_rule(
    one: CalculationDefinition,
    row: int,
    hold_ns: int,
    first: int,
    accumulators: int,
    ring_first: int,
    output_first: int,
    pane_ns: int,
) -> tuple[object, ...]:
    """The CALCULATION_RULE record; `first` and the like are places in the state's arrays."""
    hop_ns = one.length_ns if one.span is Span.TUMBLING else one.hop_ns
    return (
        row,
        first,
        accumulators,
        ring_first,
        one.ring_samples,
        output_first,
        len(one.outputs),
        one.samples,
        int(one.span),
        int(one.corrects),
        int(one.state is not None),
        (0,) * 5,
        one.length_ns,
        hop_ns,
        pane_ns,
        one.late_ns,
        one.gap_ns,
        hold_ns,
        math.nan if one.state is None else one.state,
        math.nan if one.rollover is None else one.rollover,
    )
