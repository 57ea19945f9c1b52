"""Time-driven work, done at a point of the engine-time grid: staleness, the devices' roll-up, changes to announce.

Everything runs in row order over all rows. What changed is listed in arrays that the caller owns; when a list is full,
the rest keeps its old announced state and is found again at the next grid point.
"""

from __future__ import annotations

from numba import njit

from gateway.core.kernels.atomics import begin_write, end_write
from gateway.core.kernels.multivariate import add_to_rollup
from gateway.core.multivariate import MultivariateTables
from gateway.core.state import Tables
from gateway.core.types import QUALITY_GOOD_MIN, QUALITY_UNCERTAIN_MIN, Int64s, Quality, Samples
from gateway.core.view import REASON_MULTIVARIATE

STALE = int(Quality.UNCERTAIN_STALE)
GOOD = int(Quality.GOOD)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def class_of(quality: int) -> int:
    """0 bad, 1 uncertain, 2 good."""
    if quality < QUALITY_UNCERTAIN_MIN:
        return 0
    return 1 if quality < QUALITY_GOOD_MIN else 2


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def mark_stale(tables: Tables, stale_after_ns: Int64s, now_ns: int) -> None:
    """Values older than their tag allows become uncertain. Value and times stay; bad stays bad."""
    cells = tables.cells
    words = tables.words
    for row in range(len(cells)):
        quality = cells[row]["quality"]
        if quality < QUALITY_UNCERTAIN_MIN or quality == STALE:
            continue
        if now_ns - cells[row]["arrival_ns"] > stale_after_ns[row]:
            begin_write(words, row)
            cells[row]["quality"] = STALE
            end_write(words, row)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def roll_up(tables: Tables, multi: MultivariateTables, rollup: Samples, device_words: Int64s, devices: Samples) -> None:
    """All tags, and the multivariate scores, into their devices: summed up in `rollup`, then published in `devices`
    under each device's lock."""
    cells = tables.cells
    limits = tables.limits
    for d in range(len(rollup)):
        sums = rollup[d]
        sums["quality"] = GOOD
        sums["tags_good"] = 0
        sums["tags_bad"] = 0
        sums["tags"] = 0
        sums["samples"] = 0
        sums["score"] = 0.0
        sums["score_row"] = -1
        sums["alarms"] = 0
        sums["persistent"] = 0.0
        sums["reasons"] = 0
        sums["worst_row"] = -1
    for row in range(len(cells)):
        if limits[row]["device"] < 0:
            continue
        sums = rollup[limits[row]["device"]]
        cell = cells[row]
        quality = int(cell["quality"])
        quality_class = class_of(quality)
        if sums["worst_row"] < 0 or quality_class < class_of(sums["quality"]):
            sums["worst_row"] = row
        if quality < sums["quality"]:
            sums["quality"] = quality
        sums["tags"] += 1
        if quality_class == 2:
            sums["tags_good"] += 1
        elif quality_class == 0:
            sums["tags_bad"] += 1
        sums["samples"] += cell["samples"]
        if cell["score"] >= sums["score"] and (sums["score_row"] < 0 or cell["score"] > sums["score"]):
            sums["score"] = cell["score"]
            sums["score_row"] = row
        sums["alarms"] |= int(cell["alarms"])
        if cell["persistent"] > sums["persistent"]:
            sums["persistent"] = cell["persistent"]
        sums["reasons"] |= int(cell["reasons"])
    add_to_rollup(multi, rollup, REASON_MULTIVARIATE)
    for d in range(len(rollup)):
        begin_write(device_words, d)
        devices[d]["quality"] = rollup[d]["quality"]
        devices[d]["tags_good"] = rollup[d]["tags_good"]
        devices[d]["tags"] = rollup[d]["tags"]
        devices[d]["samples"] = rollup[d]["samples"]
        devices[d]["score"] = rollup[d]["score"]
        devices[d]["score_row"] = rollup[d]["score_row"]
        devices[d]["alarms"] = rollup[d]["alarms"]
        devices[d]["persistent"] = rollup[d]["persistent"]
        devices[d]["reasons"] = rollup[d]["reasons"]
        end_write(device_words, d)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def changed_devices(
    rollup: Samples, announced: Int64s, not_better_ns: Int64s, now_ns: int, hold_ns: int, out: Int64s
) -> int:
    """List the devices whose quality class is another than announced, and take it as announced; returns how many.

    A worse class is told at once, a better one when it has held for `hold_ns`, so that a device which comes and goes is
    announced once. `not_better_ns` is when a device's class was last no better than announced.
    """
    listed = 0
    for d in range(len(rollup)):
        if rollup[d]["tags"] == 0:
            continue
        now_class = class_of(rollup[d]["quality"])
        if now_class <= announced[d]:
            not_better_ns[d] = now_ns
        if now_class == announced[d] or listed == len(out):
            continue
        if now_class < announced[d] or now_ns - not_better_ns[d] >= hold_ns:
            announced[d] = now_class
            not_better_ns[d] = now_ns
            out[listed] = d
            listed += 1
    return listed
