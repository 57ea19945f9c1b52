"""The engine's state: a handful of record arrays, indexed by row, made whole at the start and never grown.

Each array is a `[row, field]` block whose fields stand in one table, its dtype; a record is one or two cache lines,
because a batch comes in no order and each line of a row costs one miss. Arrays begin at a line (`gateway.core.blank`).

    array    one per        bytes   what
    words    tag                8   the row's sequence lock (`gateway.core.kernels.atomics`)
    cells    tag               64   the live cell: quality, value, times, score, alarm bits
    limits   tag               64   what the fold must know of the tag; written again only when a row is lent
    novelty  tag              304   what both anomaly scores remember
    hours    tag               96   the tag's mean at each hour of the day
    shapes   tag that asks  9,024   its last values and courses (`gateway.core.shapes`), four arrays
    windows  window            64   pane clock, last sample, EWMA
    totals   window       2 × 64   the current pane, then all closed panes of the ring together
    ring     window       P × 64   the panes, one arena for all windows
    alarm_rules, alarms        64 + 40 for each alarm (`gateway.core.alarms`); those of a row stand together

What a tag remembers, and takes along when it leaves a row that was lent to it, is TAG_MEMORY and WINDOW_MEMORY.

A tag with one window of P = 30 panes takes 2,666 bytes. Every page is touched at construction: a page first touched
by a sample would cost it up to 5 µs.

Windows are panes in the tag's own source time. The P panes of a window include the current, partial one, so a window
of 60 s spans between 58 and 60 s. Pane boundaries are shifted by a phase that depends on the row: otherwise all
tags would recompute their totals at the same moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.core.alarmrules import free_rules, rule_in
from gateway.core.alarms import ALARM, ALARM_RULE
from gateway.core.blank import integers, records, unknowns
from gateway.core.calculationtables import CalculationTables, calculation_tables
from gateway.core.model import Model, TagDefinition
from gateway.core.multivariate import multivariate_tables
from gateway.core.phases import phases_ns
from gateway.core.shapes import shape_tables
from gateway.core.types import NS_PER_S, Float32s, Float64s, Int64s, Quality, Samples
from gateway.core.view import DEVICE
from gateway.core.virtual import virtual_tables

CELL = np.dtype(
    {
        "names": [
            "quality",
            "reasons",
            "alarms",
            "touched",
            "source_ns",
            "arrival_ns",
            "value",
            "bits",
            "score",
            "persistent",
            "samples",
            "newest_ns",
            "lag_ns",
        ],
        "formats": ["<u2", "u1", "u1", "u1", "<i8", "<i8", "<f8", "<i8", "<f4", "<f4", "<i8", "<i8", "<i8"],
        "offsets": [0, 2, 4, 7, 8, 16, 24, 24, 32, 36, 40, 48, 56],
        "itemsize": 64,
    }
)
"""`alarms`: bits as of the last grid point; `touched`: samples came since the last flush of aggregates. `newest_ns` is
the latest source time and `lag_ns` how much later that sample arrived."""

LIMIT = np.dtype(
    [
        ("kind", "<i4"),
        ("window_first", "<i4"),
        ("window_count", "<i4"),
        ("device", "<i4"),
        ("alarm_first", "<i4"),
        ("alarm_count", "<i4"),
        ("scale_ns", "<f8"),
        ("valid_low", "<f8"),
        ("valid_high", "<f8"),
        ("calculation_first", "<i4"),
        ("calculation_count", "<i4"),
        ("shape", "<i4"),
        ("spare", "<i4"),
    ],
    align=True,
)
"""NaN where there is no limit, since every comparison with NaN is false. `scale_ns`: the time scale of the score;
`shape`: the tag's place among the shape scores, -1 without one."""

NOVELTY = np.dtype(
    [
        ("last_ns", "<i8"),
        ("begun", "u1"),
        ("reasons", "u1"),
        ("flags", "<u2"),
        ("spare", "<i4"),
        ("age_ns", "<f8"),
        ("interval_ns", "<f8"),
        ("quiet_until_ns", "<f8"),
        ("anchor", "<f8"),
        ("value", "<f8"),
        ("fast", "<f8"),
        ("slow", "<f8"),
        ("var", "<f8"),
        ("cov", "<f8"),
        ("low_value", "<f8"),
        ("high_value", "<f8"),
        ("low_residual", "<f8"),
        ("high_residual", "<f8"),
        ("low_trend", "<f8"),
        ("high_trend", "<f8"),
        ("low_error", "<f8"),
        ("high_error", "<f8"),
        ("near", "<f8"),
        ("far", "<f8"),
        ("far_var", "<f8"),
        ("level", "<f8"),
        ("drift", "<f8"),
        ("base", "<f8"),
        ("level_spread", "<f8"),
        ("drift_spread", "<f8"),
        ("noise", "<f8"),
        ("noise_base", "<f8"),
        ("still_ns", "<f8"),
        ("still_ns_max", "<f4"),
        ("noise_spread", "<f4"),
        ("peak", "<f4"),
        ("heat", "<f4"),
        ("told", "<f4"),
        ("persistent", "<f4"),
        ("block_left", "<f4"),
        ("learned", "<f4"),
        ("event_top", "<f4"),
        ("event_tail", "<f4"),
        ("event_spread", "<f4"),
        ("event_slack", "<f4"),
        ("persistent_top", "<f4"),
        ("persistent_tail", "<f4"),
        ("persistent_spread", "<f4"),
        ("persistent_slack", "<f4"),
    ],
    align=True,
)
"""What both scores remember (`gateway.core.kernels.novelty`, `.persistence`, `.tail`). `age_ns` is the time that
counted, `told` the event score of the latest sample itself. `flags` are FLAG bits; `learned` the scales of a baseline
under way; the odds of a score are divided by 1 + its slack (feedback)."""

BEGUN = 1
BEGUN_EVENT = 2
BEGUN_PERSISTENT = 4
BEGUN_EVENT_RATE = 8
BEGUN_PERSISTENT_RATE = 16
"""Bits of `begun`: there was a value; event score, persistent score, and what each means, are past their warm-up."""

FLAG_MAINTENANCE = 1
"""Learn, but raise no alarm from scores."""
FLAG_LEARNING = 2
"""A baseline is being learned: every sample since then has the same weight in the reference."""
FLAG_BASELINE = 4
"""The reference is a baseline in force: it is held against, and learns nothing."""

WINDOW = np.dtype(
    [
        ("window_ns", "<i8"),
        ("pane_ns", "<i8"),
        ("phase_ns", "<i8"),
        ("pane", "<i8"),
        ("last_ns", "<i8"),
        ("last", "<f8"),
        ("ewma", "<f8"),
        ("samples", "<i8"),
    ],
    align=True,
)
"""`pane` is the current pane: pane i holds the source times t with i = (t + phase_ns) // pane_ns. `last` is the value
with the latest source time, `last_ns`; `samples` all that ever entered."""

PANE = np.dtype(
    [
        ("pane", "<i8"),
        ("count", "<i8"),
        ("mean", "<f8"),
        ("m2", "<f8"),
        ("min", "<f8"),
        ("max", "<f8"),
        ("first_ns", "<i8"),
        ("first", "<f8"),
    ],
    align=True,
)
"""`m2` is the sum of squared distances from the mean. With count 0 the rest means nothing."""

ROLLUP = np.dtype([*DEVICE.descr, ("tags_bad", "<i8"), ("worst_row", "<i8")], align=True)
"""A device under work: DEVICE, with the first tag of the worst quality class."""


class Counter(IntEnum):
    """Places in the array of counters."""

    SAMPLES = 0
    REJECTED = 1
    BAD = 2
    OUT_OF_RANGE = 3
    TIME_REPLACED = 4
    LATE = 5
    CALCULATIONS_LATE = 6
    RESULTS = 7
    """Results of calculations that wait in `results`."""
    RESULTS_LOST = 8
    CALCULATIONS_WAITING = 9
    """Values put aside by the fold for the calculations."""
    HISTORICAL = 10


class Flood(IntEnum):
    """Places in the array that counts the alarms of a minute."""

    BEGAN_NS = 0
    RAISED = 1
    IS_ON = 2
    UNTOLD = 3
    UNTOLD_EVER = 4


HOURS = 24
"""Of a day: places of a tag in `hours`."""

SCALE_NS_DEFAULT = 60 * NS_PER_S
"""Time scale of the score of a tag without windows."""


class Tables(NamedTuple):
    """The arrays that the kernels share."""

    words: Int64s
    cells: Samples
    limits: Samples
    novelty: Samples
    hours: Float32s
    windows: Samples
    totals: Samples
    ring: Samples
    alarm_rules: Samples
    alarms: Samples
    shapes: Samples
    lags: Float64s
    prototypes: Float64s
    used: Int64s
    counters: Int64s
    calculations: CalculationTables


TAG_MEMORY = ("cells", "novelty", "hours")
"""Tables with as many bytes for each row, that are the tag's own."""

WINDOW_MEMORY = ("windows", "totals", "ring")
"""The same for each window."""

NOT_LENT = -1
"""Device number in `limits` of a row that nobody has."""


class State:
    """All memory of the engine for one model."""

    def __init__(self, model: Model) -> None:
        tags = model.rows
        devices = model.device_numbers
        windows = sum(len(windows_ns) for windows_ns in model.windows_of_rows())
        alarms = len(model.alarms) + sum(len(of_pool) for of_pool in model.pool_alarms)
        self.panes = model.panes_per_window
        self.tables = Tables(
            words=integers(tags),
            cells=records(tags, CELL),
            limits=records(tags, LIMIT),
            novelty=records(tags, NOVELTY),
            hours=unknowns(tags * HOURS),
            windows=records(windows, WINDOW),
            totals=records(2 * windows, PANE),
            ring=records(windows * self.panes, PANE),
            alarm_rules=records(alarms, ALARM_RULE),
            alarms=records(alarms, ALARM),
            **shape_tables(len(model.shape_rows)),
            counters=integers(len(Counter)),
            calculations=calculation_tables(model),
        )
        self.multivariate = multivariate_tables(model, SCALE_NS_DEFAULT)
        self.tables.alarms["since_ns"] = -1
        self.stale_after_ns: Int64s = integers(tags)
        self.generations: Int64s = integers(tags)
        self.device_words: Int64s = integers(devices)
        self.devices: Samples = records(devices, DEVICE)
        self.rollup: Samples = records(devices, ROLLUP)
        self.announced_class: Int64s = integers(devices)
        self.not_better_ns: Int64s = integers(devices)
        self.flood: Int64s = integers(len(Flood))
        self.wall: Int64s = integers(2)
        """Whether the wall clock's offset is known, and it: what intervals are aligned by."""

        self._know_nothing()
        np.add.at(self.devices["tags"], [tag.device for tag in model.tags], 1)
        enter_limits(self.tables.limits[: len(model.tags)], model.tags)
        alarms_of = self.tables.limits["alarm_first"].tolist()
        windows_of = self.tables.limits["window_first"].tolist()
        for row, tag in enumerate(model.tags):
            for place, definition in enumerate(tag.alarms, alarms_of[row]):
                self.tables.alarm_rules[place] = rule_in(model, row, tag, definition, windows_of[row])
        first = sum(len(tag.windows_ns) for tag in model.tags)
        self.tables.limits["shape"][list(model.shape_rows)] = np.arange(len(model.shape_rows))
        self.stale_after_ns[: len(model.tags)] = [tag.stale_after_ns for tag in model.tags]
        for pool, of_pool, places in zip(model.pools, model.pool_rows, model.pool_alarms, strict=True):
            free, windows = limit_of(pool.shapes[0], NOT_LENT, 0, 0, 0), len(pool.shapes[0].windows_ns)
            numbers = np.arange(pool.rows)
            limits_of_pool = self.tables.limits[of_pool.start : of_pool.stop]
            limits_of_pool[:] = free
            limits_of_pool["window_first"] = first + windows * numbers
            limits_of_pool["alarm_first"] = places.start + pool.alarms * numbers
            self.tables.alarm_rules[places.start : places.stop] = free_rules(np.repeat(of_pool, pool.alarms))
            first += windows * pool.rows
        self.generations[: len(model.tags)] = 1
        self._divide_time(model)
        self.virtual = virtual_tables(model, self.tables.limits["window_first"].tolist(), PANE)

    def _know_nothing(self) -> None:
        self.tables.cells["quality"] = Quality.BAD_NOT_INITIALISED
        self.tables.cells["value"] = np.nan
        self.tables.cells["score"] = np.nan
        self.tables.cells["persistent"] = np.nan
        self.tables.novelty["persistent"] = np.nan
        self.devices["quality"] = Quality.BAD_NOT_INITIALISED
        self.devices["score_row"] = -1

    def _divide_time(self, model: Model) -> None:
        """The clock of each window's panes."""
        of_rows = list(model.windows_of_rows())
        windows = self.tables.windows
        windows["window_ns"] = [window_ns for windows_ns in of_rows for window_ns in windows_ns]
        windows["pane_ns"] = np.maximum(1, -(-windows["window_ns"] // self.panes))
        rows = np.repeat(np.arange(len(of_rows)), [len(windows_ns) for windows_ns in of_rows])
        windows["phase_ns"] = phases_ns(rows, windows["pane_ns"])

    def arrays(self) -> Iterator[npt.NDArray[np.generic]]:
        """Every array, in a fixed order: what a checkpoint would store and a determinism test compares."""
        yield from self.tables[:-1]
        yield from self.tables.calculations[:-3]
        yield from self.multivariate
        yield from (self.virtual.states, self.virtual.seen)
        yield from (self.stale_after_ns, self.generations, self.device_words, self.devices, self.rollup)
        yield from (self.announced_class, self.not_better_ns, self.flood, self.wall)

    def memory_bytes(self) -> int:
        return sum(array.nbytes for array in self.arrays())


def enter_limits(limits: Samples, tags: Sequence[TagDefinition]) -> None:
    """As `limit_of` of each tag, whose windows, alarms and calculations stand one behind the other. By columns: a large
    plant has a hundred thousand rows, and is built at every start."""
    for name, counts in (
        ("window", [len(tag.windows_ns) for tag in tags]),
        ("alarm", [len(tag.alarms) for tag in tags]),
        ("calculation", [len(tag.calculations) for tag in tags]),
    ):
        limits[f"{name}_count"] = counts
        limits[f"{name}_first"] = np.cumsum(limits[f"{name}_count"]) - limits[f"{name}_count"]
    limits["kind"] = [tag.kind for tag in tags]
    limits["device"] = [tag.device for tag in tags]
    limits["scale_ns"] = [tag.windows_ns[0] if tag.windows_ns else SCALE_NS_DEFAULT for tag in tags]
    # NumPy makes NaN of None.
    limits["valid_low"] = np.array([tag.valid_low for tag in tags], np.float64)
    limits["valid_high"] = np.array([tag.valid_high for tag in tags], np.float64)
    limits["shape"] = -1


def limit_of(
    tag: TagDefinition, device: int, window_first: int, alarm_first: int, calculation_first: int
) -> tuple[object, ...]:
    return (
        int(tag.kind),
        window_first,
        len(tag.windows_ns),
        device,
        alarm_first,
        len(tag.alarms),
        float(tag.windows_ns[0] if tag.windows_ns else SCALE_NS_DEFAULT),
        number(tag.valid_low),
        number(tag.valid_high),
        calculation_first,
        len(tag.calculations),
        -1,
        0,
    )


def number(limit: float | None) -> float:
    return float("nan") if limit is None else limit
