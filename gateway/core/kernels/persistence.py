"""The persistent score: that a tag is, and stays, other than it was. Four faults, each held against its own past.

    level    the mean of the last half scale left the mean of the last hundred, in usual such distances
    drift    the same for the mean of the last ten scales: a change too slow for the level
    noise    the tag's unpredictable part (what AR(1) leaves) grew or fell by a factor that is unusual for it
    frozen   the tag has been repeating one value for much longer than it ever did

Level and drift are told of the residual to the hour of the day. Each fault's strength z is mapped to
z^2 / (z^2 + 1): 0.5 at the usual distance times a factor (`LEVEL_USUAL` and so on). The score is the largest of
the four. Outliers are clipped before they enter a mean, so a spike is no shift. What a usual distance is, is learned
on and on, but at half the speed while the score is above 0.5: a fault stays visible for some hundred scales,
until it is the new normal. A tag that is different from its first sample on is normal by definition.

A **baseline** takes the place of the running reference. While it is learned, every sample since its begin has the same
weight; once it is in force the base, the usual distances, the noise and the longest stillness stay as they are, and so
do the hours: a fault never becomes normal, and a slow drift is seen in the end.

Level and drift are EWMA charts (Roberts 1959) of two lengths whose limits are learned, in mean absolute deviations.

Reasons are bits: a fault's bit is set while its own strength gives at least `REASON_AT`. After a step the slow mean
follows too, and a drift ends as a level; so of level and drift the one that came first stays. `SPIKE` is the event
score's bit, `OUT_OF_RANGE` the fold's.
"""

from __future__ import annotations

import math

from numba import njit

from gateway.core.kernels.tail import eased
from gateway.core.state import BEGUN_PERSISTENT, FLAG_BASELINE, FLAG_LEARNING
from gateway.core.types import Samples
from gateway.core.view import REASON_DRIFT, REASON_FROZEN, REASON_LEVEL, REASON_NOISE

LEVEL_SCALES = 0.5
DRIFT_SCALES = 10.0
BASE_SCALES = 100.0
NOISE_SCALES = 2.0
WARM_UP_SCALES = 30.0

LEVEL_USUAL = 6.0
DRIFT_USUAL = 6.0
NOISE_USUAL = 6.0
NOISE_FACTOR_MIN = 1.5
"""A noise that grew or fell by less than this is no fault, however steady it was."""

FROZEN_USUAL = 4.0
FROZEN_SCALES_MIN = 1.0
"""A tag stands still for this long before it counts as frozen, however restless it was."""

CLIP_SDS = 4.0
CLIP_NOISES = 8.0
"""What is further from a mean enters it as if it were no further."""

FACTOR_MAX = 100.0

LEARN_SLOWLY = 0.5
REASON_AT = 0.5


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def strength(z: float) -> float:
    """z from 0 up to a score below 1, 0.5 at z = 1."""
    square = min(z, 1e6) * min(z, 1e6)
    return square / (square + 1.0)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def clipped(x: float, limit: float) -> float:
    return min(max(x, -limit), limit)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def stillness_of(novelty: Samples, row: int, moved: bool, step_ns: float, scale_ns: float) -> float:
    """How frozen the tag is. It must have moved for longer than it has stood still: else stillness is its nature."""
    memory = novelty[row]
    is_held = memory["flags"] & FLAG_BASELINE
    if moved:
        if not is_held:
            memory["still_ns_max"] = max(float(memory["still_ns_max"]), memory["still_ns"])
        memory["still_ns"] = 0.0
        return 0.0
    still_ns = memory["still_ns"] + step_ns
    memory["still_ns"] = still_ns
    if not is_held and 2.0 * still_ns > memory["age_ns"]:
        return 0.0
    return strength(still_ns / max(FROZEN_USUAL * float(memory["still_ns_max"]), FROZEN_SCALES_MIN * scale_ns))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def change_of_noise(novelty: Samples, row: int, error: float, u: float, base: float, floor: float) -> float:
    """How unusual the size of the unpredictable part is, larger or smaller."""
    memory = novelty[row]
    usual = max(memory["noise_base"], floor)
    size = abs(error)
    if memory["noise_base"] > 0.0:
        size = min(size, CLIP_NOISES * usual)
    memory["noise"] += max(base, u / (u + NOISE_SCALES)) * (size - memory["noise"])
    noise = max(memory["noise"], floor)
    factor = min(max(noise / usual, usual / noise) - 1.0, FACTOR_MAX)
    spread = float(memory["noise_spread"])
    z = factor / max(NOISE_USUAL * spread, NOISE_FACTOR_MIN - 1.0)
    memory["noise_base"] += base * (size - memory["noise_base"])
    memory["noise_spread"] = spread + base * (factor - spread)
    return strength(z)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def shift_from_base(
    novelty: Samples, row: int, residual: float, u: float, base: float, floor: float
) -> tuple[float, float]:
    """How unusual the distances of level and drift mean from the base are."""
    memory = novelty[row]
    limit = max(CLIP_SDS * math.sqrt(memory["far_var"]), floor)
    level = memory["level"] + max(base, u / (u + LEVEL_SCALES)) * clipped(residual - memory["level"], limit)
    drift = memory["drift"] + max(base, u / (u + DRIFT_SCALES)) * clipped(residual - memory["drift"], limit)
    memory["level"] = level
    memory["drift"] = drift
    level_off = abs(level - memory["base"])
    drift_off = abs(drift - memory["base"])
    level_z = level_off / (LEVEL_USUAL * max(memory["level_spread"], floor))
    drift_z = drift_off / (DRIFT_USUAL * max(memory["drift_spread"], floor))
    memory["base"] += base * clipped(residual - memory["base"], limit)
    memory["level_spread"] += base * (level_off - memory["level_spread"])
    memory["drift_spread"] += base * (drift_off - memory["drift_spread"])
    return strength(level_z), strength(drift_z)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def weight_of_base(novelty: Samples, row: int, u: float, age: float) -> float:
    """How much of a step of u scales the reference takes in."""
    memory = novelty[row]
    if memory["flags"] & FLAG_BASELINE:
        return 0.0
    if memory["flags"] & FLAG_LEARNING:
        learned = float(memory["learned"])
        memory["learned"] = learned + u
        return u / (u + learned)
    base = u / (u + min(BASE_SCALES, age))
    if memory["persistent"] >= REASON_AT:  # false while it is NaN
        base *= LEARN_SLOWLY
    return base


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def is_warm(novelty: Samples, row: int, age: float) -> bool:
    """Whether the reference is old enough to be held against."""
    memory = novelty[row]
    if memory["flags"] & FLAG_LEARNING:
        return memory["learned"] >= WARM_UP_SCALES
    if age >= WARM_UP_SCALES:
        memory["begun"] = int(memory["begun"]) | BEGUN_PERSISTENT
    return memory["begun"] & BEGUN_PERSISTENT != 0 or memory["flags"] & FLAG_BASELINE != 0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def persist(
    novelty: Samples, row: int, residual: float, error: float, frozen: float, u: float, scale_ns: float, floor: float
) -> float:
    """The persistent score and its reasons into the memory; returns the score before any slack. Both are 0 to 1, NaN
    while the tag warms up."""
    memory = novelty[row]
    age = memory["age_ns"] / scale_ns
    base = weight_of_base(novelty, row, u, age)
    level, drift = shift_from_base(novelty, row, residual, u, base, floor)
    noise = change_of_noise(novelty, row, error, u, base, floor)
    if not is_warm(novelty, row, age):
        memory["persistent"] = math.nan
        memory["reasons"] = 0
        return math.nan
    strongest = max(max(level, drift), max(noise, frozen))
    slack = float(memory["persistent_slack"])
    frozen = eased(frozen, slack)
    noise = eased(noise, slack)
    level = eased(level, slack)
    drift = eased(drift, slack)
    before = memory["reasons"]
    reasons = 0
    if frozen >= REASON_AT:
        reasons |= REASON_FROZEN
    elif noise >= REASON_AT:
        reasons |= REASON_NOISE
    if level >= REASON_AT and not (before & REASON_DRIFT and drift >= REASON_AT):
        reasons |= REASON_LEVEL
    elif drift >= REASON_AT:
        reasons |= REASON_LEVEL if before & REASON_LEVEL else REASON_DRIFT
    memory["reasons"] = reasons
    memory["persistent"] = eased(strongest, slack)
    return strongest
