"""The multivariate score of a device: how far a tag is from what the others say of it.

Of each tag there is a residual r_k against what the others say, and of each error that a meter may have it is known
how it moves all residuals (`relations`). Short means of the residuals are held against their usual covariance, so what
the model does not explain counts as usual: whole = m' C⁻¹ m, and rest_j, what is left when tag j is put right. The
tag that leaves the least is named first, with the part of the whole that it explains alone; where two explain nearly
as much, the plant itself does not tell them apart. The largest sqrt(whole - rest_j), in USUAL, gives the score as in
`persistence`: z² / (z² + 1), 0.5 at USUAL deviations.

Values are counted from a centre, in a scale, both taken from the first CENTRE_SCALES; when the plant has moved far from
them, centre and scale follow, and what was learned is expressed in them. While the score is above 0.5 the model learns
next to nothing: what changed for good is learned under maintenance. A single far value has little weight in the short
means, and a tag is believed less where it leaves more than usual: what no single error explains is a place where the
model was never fitted.

A step is made on the grid, when the slowest of the tags has had time for a new value and all have a value that
counts; else the device keeps its score and the skip is counted.
"""

from __future__ import annotations

import math

from numba import njit

from gateway.core.kernels.atomics import begin_write, end_write
from gateway.core.kernels.number import as_float
from gateway.core.kernels.persistence import WARM_UP_SCALES, strength
from gateway.core.kernels.relations import (
    change_features,
    distance_of,
    features_of,
    invert,
    learn_features,
    left_by,
    residual_of,
    sensitivity_of,
)
from gateway.core.kernels.tail import BLOCK_SCALES, BLOCKS_MIN, HIGH_AT, blocks_until, odds_of, tail_after
from gateway.core.multivariate import (
    CENTRE,
    COVARIANCE,
    EXPLAINS,
    FACTOR,
    FEATURE_MEAN,
    MEAN,
    OFFSET,
    REST,
    SCALE,
    SENSITIVITY,
    SHORT,
    SIZE,
    SPREAD,
    SQUARE,
    SQUARE_PLACES,
    VALUE,
    MultivariateTables,
)
from gateway.core.state import BEGUN_EVENT, BEGUN_EVENT_RATE, FLAG_MAINTENANCE, Tables
from gateway.core.types import NS_PER_S, QUALITY_UNCERTAIN_MIN, Int64s, Quality, Samples

SCALE_STEPS = 30.0
GAP_STEPS_MAX = 2.0
BASE_SCALES = 1_000.0
CENTRE_SCALES = 10.0
CENTRE_OFF_MAX = 2.0
SCALE_TIMES_MAX = 3.0
"""The centre moved by more of its scale, or the scale by a larger factor: values are counted from elsewhere."""

FACTOR_MAX = 1e4
"""A scale that changed by more: learn anew."""

FIRST_INVERSE_SCALES = 10.0
INVERSE_SCALES = 1.0

SHORT_SCALES = 1.0
SPREAD_SCALES = 20.0
"""From then on the usual covariance of the short means is known well enough to see what is usually left."""

NEWER = 2.0
"""What is usual is averaged with weights that grow with age to this power less one: of the first hours, when the model
was poor, little stays."""

USUAL = 8.0
LEFT_TIMES = 4.0
"""A tag that leaves more than so many times what it usually leaves is believed less."""

FAR_SIZES = 6.0
SCORE_AT = 0.5
LEARN_SLOWLY = 1e-3
WARY_AT = 0.3
LEARN_LESS = 0.1
"""From a score of WARY_AT on the model learns LESS: a fault that grows is not to become usual while it is small."""

HOUR_NS = 3_600.0 * NS_PER_S
EPSILON = 1e-9

OUT_OF_RANGE = int(Quality.UNCERTAIN_OUT_OF_RANGE)
STALE = int(Quality.UNCERTAIN_STALE)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def collect(tables: Tables, multi: MultivariateTables, m: int) -> bool:
    """The tags' values, and the slowest one's interval; false when one has no value that counts."""
    record = multi.records[m]
    interval_ns = 0.0
    ready = True
    for j in range(record["count"]):
        row = multi.rows[m, j]
        cell = tables.cells[row]
        quality = int(cell["quality"])
        own_ns = float(tables.novelty[row]["interval_ns"])
        if own_ns == 0.0 or quality < QUALITY_UNCERTAIN_MIN or quality in (STALE, OUT_OF_RANGE):
            ready = False
        interval_ns = max(interval_ns, own_ns)
        multi.tags[m, VALUE, j] = as_float(cell["value"], cell["bits"], tables.limits[row]["kind"])
    record["interval_ns"] = interval_ns
    return ready


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def follow(multi: MultivariateTables, m: int, base: float) -> None:
    """The values into their running means and mean squares."""
    for j in range(multi.records[m]["count"]):
        distance = multi.tags[m, VALUE, j] - multi.tags[m, MEAN, j]
        multi.tags[m, MEAN, j] += base * distance
        multi.tags[m, SQUARE, j] += base * ((1.0 - base) * distance * distance - multi.tags[m, SQUARE, j])


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def has_moved(multi: MultivariateTables, m: int) -> bool:
    """Whether some tag is now far from the centre, or in another scale."""
    for j in range(multi.records[m]["count"]):
        scale = multi.tags[m, SCALE, j]
        now = math.sqrt(multi.tags[m, SQUARE, j])
        if abs(multi.tags[m, MEAN, j] - multi.tags[m, CENTRE, j]) > CENTRE_OFF_MAX * scale:
            return True
        if now > SCALE_TIMES_MAX * scale or now * SCALE_TIMES_MAX < scale:
            return True
    return False


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def scale_of(multi: MultivariateTables, m: int, j: int) -> float:
    floor = max(EPSILON * abs(multi.tags[m, MEAN, j]), 1e-280)
    return max(math.sqrt(multi.tags[m, SQUARE, j]), floor)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def centre(multi: MultivariateTables, m: int) -> None:
    """Take mean and deviation as centre and scale, of nothing learned yet."""
    record = multi.records[m]
    count = record["count"]
    for j in range(count):
        multi.tags[m, SCALE, j] = scale_of(multi, m, j)
        multi.tags[m, CENTRE, j] = multi.tags[m, MEAN, j]
        multi.tags[m, SIZE, j] = 0.0
        multi.tags[m, SHORT, j] = 0.0
        multi.tags[m, EXPLAINS, j] = 0.0
        multi.tags[m, REST, j] = 0.0
        for place in range(SQUARE_PLACES):
            for k in range(count):
                multi.squares[m, place, k, j] = 0.0
    size = features_of(count)
    for f in range(size):
        multi.features[m, FEATURE_MEAN, f] = 0.0
        for g in range(size):
            multi.matrices[m, COVARIANCE, f, g] = 0.0
    record["centred_ns"] = 0.0
    record["inverse_due"] = 0.0
    record["begun"] &= ~BEGUN_EVENT


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def centre_anew(multi: MultivariateTables, m: int) -> bool:
    """Take mean and deviation of now as centre and scale, and what was learned along; false when they are too far from
    what they were for that."""
    count = multi.records[m]["count"]
    for j in range(count):
        factor = multi.tags[m, SCALE, j] / scale_of(multi, m, j)
        if not 1.0 / FACTOR_MAX < factor < FACTOR_MAX:
            return False
        multi.tags[m, FACTOR, j] = factor
        offset = (multi.tags[m, CENTRE, j] - multi.tags[m, MEAN, j]) / scale_of(multi, m, j)
        multi.tags[m, OFFSET, j] = offset
    for j in range(count):
        multi.tags[m, SCALE, j] = scale_of(multi, m, j)
        multi.tags[m, CENTRE, j] = multi.tags[m, MEAN, j]
        for k in range(count):
            multi.squares[m, SENSITIVITY, k, j] /= multi.tags[m, FACTOR, j]
    change_features(multi, m)
    return True


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def shorten(multi: MultivariateTables, m: int, u: float, base: float) -> None:
    """Residuals, and what errors would add to them, into their short means; these into their usual products."""
    count = multi.records[m]["count"]
    weight = plain = u / (u + SHORT_SCALES)
    for k in range(count):
        residual = abs(residual_of(multi, m, k))
        usual = multi.tags[m, SIZE, k]
        if usual > 0.0 and residual > FAR_SIZES * usual:
            weight = min(weight, plain * FAR_SIZES * usual / residual)
            residual = FAR_SIZES * usual
        multi.tags[m, SIZE, k] = usual + base * (residual - usual)
    for k in range(count):
        multi.tags[m, SHORT, k] += weight * (residual_of(multi, m, k) - multi.tags[m, SHORT, k])
        for j in range(count):
            before = multi.squares[m, SENSITIVITY, k, j]
            multi.squares[m, SENSITIVITY, k, j] = before + weight * (sensitivity_of(multi, m, k, j) - before)
    for k in range(count):
        for j in range(count):
            product = multi.tags[m, SHORT, k] * multi.tags[m, SHORT, j]
            multi.squares[m, SPREAD, k, j] += base * (product - multi.squares[m, SPREAD, k, j])


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def judge(multi: MultivariateTables, m: int, whole: float, base: float) -> float:
    """What each tag explains of the whole distance; returns the largest that one explains, in USUAL deviations."""
    largest = 0.0
    for j in range(multi.records[m]["count"]):
        rest = left_by(multi, m, j, whole)
        usual_rest = multi.tags[m, REST, j]
        explained = whole - rest
        ratio = math.sqrt(explained) / USUAL
        if rest > LEFT_TIMES * usual_rest:
            ratio *= math.sqrt(LEFT_TIMES * usual_rest / rest)
        multi.tags[m, EXPLAINS, j] = explained
        multi.tags[m, REST, j] = usual_rest + base * (rest - usual_rest)
        largest = max(largest, ratio)
    return largest


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def trust_in(count: int, age: float) -> float:
    """By how much a distance counts less because the covariance is of few independent short means (its expectation by
    the F distribution of Hotelling's T²)."""
    means = 0.5 * min(BASE_SCALES, age - FIRST_INVERSE_SCALES) / SHORT_SCALES
    return math.sqrt(max(means - count - 2.0, 0.0) / (means + 1.0))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def place_of_largest(multi: MultivariateTables, m: int, but: int, and_but: int) -> int:
    """Which tag explains the most but for two, -1 when there is no other."""
    best = -1
    for j in range(multi.records[m]["count"]):
        if j in (but, and_but):
            continue
        if best < 0 or multi.tags[m, EXPLAINS, j] > multi.tags[m, EXPLAINS, best]:
            best = j
    return best


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def tell(multi: MultivariateTables, m: int, score: float, once_h: float, whole: float) -> None:
    """Score and the first three tags into the record."""
    record = multi.records[m]
    first = place_of_largest(multi, m, -1, -1)
    second = place_of_largest(multi, m, first, -1)
    third = place_of_largest(multi, m, first, second)
    record["score"] = score
    record["once_h"] = once_h
    record["row_first"] = multi.rows[m, first]
    record["row_second"] = multi.rows[m, second] if second >= 0 else -1
    record["row_third"] = multi.rows[m, third] if third >= 0 else -1
    for place in range(3):
        j = first if place == 0 else (second if place == 1 else third)
        share = 0.0
        if j >= 0 and whole > 0.0:
            share = multi.tags[m, EXPLAINS, j] / whole
        if place == 0:
            record["share_first"] = share
        elif place == 1:
            record["share_second"] = share
        else:
            record["share_third"] = share


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def rarity(multi: MultivariateTables, m: int, score: float, u: float, age: float, scale_ns: float) -> float:
    """In how many hours such a score comes once (`tail`), NaN where that is not known; then the block takes it in."""
    record = multi.records[m]
    blocks = (age - WARM_UP_SCALES) / BLOCK_SCALES
    record["top"] = max(record["top"], odds_of(score))
    record["block_left"] -= u
    if record["block_left"] <= 0.0 and score < HIGH_AT:
        record["block_left"] = BLOCK_SCALES
        tail, spread = tail_after(record["top"], record["tail"], record["spread"], blocks)
        record["tail"] = tail
        record["spread"] = spread
        record["top"] = 0.0
        if blocks >= BLOCKS_MIN:
            record["begun"] |= BEGUN_EVENT_RATE
    if record["begun"] & BEGUN_EVENT_RATE == 0:
        return math.nan
    return BLOCK_SCALES * scale_ns / HOUR_NS * blocks_until(score, 0.0, record["tail"], record["spread"], blocks)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def step_device(multi: MultivariateTables, device_words: Int64s, m: int, now_ns: int) -> None:
    """One step of a device whose values are collected."""
    record = multi.records[m]
    elapsed_ns = float(now_ns - record["last_ns"])
    record["last_ns"] = now_ns
    record["steps"] += 1
    if record["steps"] == 1:
        for j in range(record["count"]):
            multi.tags[m, MEAN, j] = multi.tags[m, VALUE, j]
        return
    step_ns = min(elapsed_ns, GAP_STEPS_MAX * record["interval_ns"])
    scale_ns = max(record["scale_ns"], SCALE_STEPS * record["interval_ns"])
    u = step_ns / scale_ns
    before = record["age_ns"] / scale_ns
    record["age_ns"] += step_ns
    slowly = 1.0
    if record["flags"] & FLAG_MAINTENANCE == 0:
        if record["score"] >= SCORE_AT:  # false while it is NaN
            slowly = LEARN_SLOWLY
        elif record["score"] >= WARY_AT:
            slowly = LEARN_LESS
    follow(multi, m, slowly * u / (u + min(BASE_SCALES, before)))
    if before + u < CENTRE_SCALES:
        return
    if before < CENTRE_SCALES:
        centre(multi, m)
    age = record["centred_ns"] / scale_ns
    record["centred_ns"] += step_ns
    base = slowly * u / (u + min(BASE_SCALES, age))
    learn_features(multi, m, base)
    if age < FIRST_INVERSE_SCALES:
        return
    record["inverse_due"] -= u
    if record["inverse_due"] <= 0.0:
        record["inverse_due"] = INVERSE_SCALES
        if slowly == 1.0 and has_moved(multi, m):
            record["restarts"] += 1
            record["inverse_due"] = 0.0
            if not centre_anew(multi, m):
                centre(multi, m)
                forget(multi, device_words, m)
            return
        invert(multi, m)
    shorten(multi, m, u, slowly * u / (u + min(BASE_SCALES, (age - FIRST_INVERSE_SCALES) / NEWER)))
    if age < SPREAD_SCALES:
        return
    whole = distance_of(multi, m)
    largest = trust_in(record["count"], age) * judge(
        multi, m, whole, slowly * u / (u + min(BASE_SCALES, (age - SPREAD_SCALES) / NEWER))
    )
    if age >= WARM_UP_SCALES:
        record["begun"] |= BEGUN_EVENT
    if record["begun"] & BEGUN_EVENT:
        score = strength(largest)
        once_h = rarity(multi, m, score, u, age, scale_ns)
        begin_write(device_words, record["device"])
        tell(multi, m, score, once_h, whole)
        end_write(device_words, record["device"])


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def forget(multi: MultivariateTables, device_words: Int64s, m: int) -> None:
    """No score until it is learned anew."""
    record = multi.records[m]
    begin_write(device_words, record["device"])
    record["score"] = math.nan
    record["once_h"] = math.nan
    end_write(device_words, record["device"])


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def step_multivariate(tables: Tables, multi: MultivariateTables, device_words: Int64s, now_ns: int) -> None:
    """A step of each device that is due at a grid point."""
    for m in range(len(multi.records)):
        record = multi.records[m]
        if now_ns < record["next_ns"]:
            continue
        if collect(tables, multi, m):
            step_device(multi, device_words, m, now_ns)
        else:
            record["skipped"] += 1
        record["next_ns"] = now_ns + int(record["interval_ns"])


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def add_to_rollup(multi: MultivariateTables, rollup: Samples, reason_bit: int) -> None:
    """The reason into the devices' sums."""
    for m in range(len(multi.records)):
        record = multi.records[m]
        if record["score"] >= SCORE_AT:
            rollup[record["device"]]["reasons"] |= reason_bit
