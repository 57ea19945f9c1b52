"""What tags say of each other: the algebra of the multivariate score.

The features of at most 8 tags are their values and all products of two of them, because pumps and fans are quadratic.
Mean and covariance of the features are kept (exponentially weighted); their correlation, shrunk a little towards
none, is inverted: P. With g the features' distances from their means in standard deviations, and J the features in
which tag j has a part, the residual of tag j is what it is beyond what all other features say,

    r_j = first element of (P_JJ)⁻¹ (P g)_J = w_j' g       (the regression on the others, read off the inverse)

An error b of tag j's own meter moves the residuals of all tags, in a way that follows from the same w: its features
change by b d_j(z) - b² q_j, so the residuals by b S_j - b² Q_j with S_kj = w_k' d_j and Q_kj = w_k' q_j. With C the
covariance of the residuals' short means m, what of the distance m' C⁻¹ m is left when tag j is put right is

    rest_j = min over b of (m - b S_j + b² Q_j)' C⁻¹ (m - b S_j + b² Q_j)

which is a quartic in b. This is the reconstruction-based contribution of Alcala and Qin (2009), and a generalised
likelihood ratio, for the errors that meters have. Contributions without the direction (what a tag's residual is, or
what its block of features explains) smear over its neighbours and name these too often.
"""

from __future__ import annotations

import math

from numba import njit

from gateway.core.kernels.persistence import clipped
from gateway.core.multivariate import (
    BLOCK,
    CENTRE,
    COVARIANCE,
    FACTOR,
    FEATURE_MEAN,
    INVERSE,
    NOW,
    OFFSET,
    PRECISION,
    SCALE,
    SENSITIVITY,
    SHORT,
    SPREAD,
    VALUE,
    MultivariateTables,
    Z,
)
from gateway.core.types import Float64s

SHRINKAGE = 1e-4
"""Of the correlation towards none: no residual is believed to be smaller than about 1 % of its tag's deviation."""

Z_MAX = 8.0
"""Further from its centre counts as so far, in its scale."""

PIVOT_MIN = 1e-9

RESIDUAL_MIN = 1e-3
"""No short mean of a residual is believed to be steadier than this part of its tag's deviation."""

NEWTON_STEPS = 4
SQUARE_MIN = 1e-12


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def features_of(count: int) -> int:
    return count + count * (count + 1) // 2


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def own_feature(j: int, n: int, count: int) -> int:
    """Feature n of tag j's own: itself for 0, else its product with tag n - 1."""
    if n == 0:
        return j
    low = min(j, n - 1)
    high = max(j, n - 1)
    return count + low * count - low * (low - 1) // 2 + high - low


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def learn_features(multi: MultivariateTables, m: int, base: float) -> None:
    """The features of the values into their mean and covariance; leaves their distances, in deviations, in NOW."""
    count = multi.records[m]["count"]
    size = features_of(count)
    for j in range(count):
        z = (multi.tags[m, VALUE, j] - multi.tags[m, CENTRE, j]) / multi.tags[m, SCALE, j]
        multi.tags[m, Z, j] = clipped(z, Z_MAX)
        multi.features[m, NOW, j] = multi.tags[m, Z, j]
    f = count
    for i in range(count):
        for j in range(i, count):
            multi.features[m, NOW, f] = multi.tags[m, Z, i] * multi.tags[m, Z, j]
            f += 1
    for f in range(size):
        distance = multi.features[m, NOW, f] - multi.features[m, FEATURE_MEAN, f]
        multi.features[m, NOW, f] = distance
        multi.features[m, FEATURE_MEAN, f] += base * distance
    for f in range(size):
        for g in range(f + 1):
            product = multi.features[m, NOW, f] * multi.features[m, NOW, g]
            before = multi.matrices[m, COVARIANCE, f, g]
            multi.matrices[m, COVARIANCE, f, g] = before + base * ((1.0 - base) * product - before)
    for f in range(size):
        sd = math.sqrt(multi.matrices[m, COVARIANCE, f, f])
        multi.features[m, NOW, f] = multi.features[m, NOW, f] / sd if sd > 0.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def part_of(multi: MultivariateTables, m: int, f: int, part: int) -> tuple[int, float]:
    """Part 0, 1 or 2 of what feature f becomes when z becomes OFFSET + FACTOR z: a feature, and its factor."""
    count = multi.records[m]["count"]
    if f < count:
        return f, (multi.tags[m, FACTOR, f] if part == 0 else 0.0)
    i, j = 0, f - count
    while j >= count - i:
        j -= count - i
        i += 1
    j += i
    if part == 0:
        return f, multi.tags[m, FACTOR, i] * multi.tags[m, FACTOR, j]
    if part == 1:
        return i, multi.tags[m, FACTOR, i] * multi.tags[m, OFFSET, j]
    return j, multi.tags[m, FACTOR, j] * multi.tags[m, OFFSET, i]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def covariance_of(multi: MultivariateTables, m: int, f: int, g: int) -> float:
    return multi.matrices[m, COVARIANCE, max(f, g), min(f, g)]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def change_features(multi: MultivariateTables, m: int) -> None:
    """Mean and covariance of the features when every z becomes OFFSET + FACTOR z: exactly, for the new products of two
    are sums of the old ones and of the old z. Needs INVERSE for room."""
    count = multi.records[m]["count"]
    size = features_of(count)
    for f in range(size):
        for g in range(size):
            total = 0.0
            for part in range(3):
                of, factor = part_of(multi, m, f, part)
                total += factor * covariance_of(multi, m, of, g)
            multi.matrices[m, INVERSE, f, g] = total
    for f in range(size):
        for g in range(f + 1):
            total = 0.0
            for part in range(3):
                of, factor = part_of(multi, m, g, part)
                total += factor * multi.matrices[m, INVERSE, f, of]
            multi.matrices[m, COVARIANCE, f, g] = total
    for f in range(size - 1, -1, -1):  # products first: they need the means of the z there were
        total = 0.0
        for part in range(3):
            of, factor = part_of(multi, m, f, part)
            total += factor * multi.features[m, FEATURE_MEAN, of]
        multi.features[m, FEATURE_MEAN, f] = total
    for i in range(count):
        multi.features[m, FEATURE_MEAN, i] += multi.tags[m, OFFSET, i]
    f = count
    for i in range(count):
        for j in range(i, count):
            multi.features[m, FEATURE_MEAN, f] += multi.tags[m, OFFSET, i] * multi.tags[m, OFFSET, j]
            f += 1


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def invert(multi: MultivariateTables, m: int) -> None:
    """The inverse of the shrunk correlation, then of each tag's own part of it."""
    count = multi.records[m]["count"]
    size = features_of(count)
    for f in range(size):
        for g in range(f + 1):
            both = math.sqrt(multi.matrices[m, COVARIANCE, f, f]) * math.sqrt(multi.matrices[m, COVARIANCE, g, g])
            correlation = multi.matrices[m, COVARIANCE, f, g] / both if both > 0.0 else 0.0
            shrunk = 1.0 if f == g else (1.0 - SHRINKAGE) * clipped(correlation, 1.0)
            multi.matrices[m, INVERSE, f, g] = shrunk
            multi.matrices[m, INVERSE, g, f] = shrunk
    for p in range(size):
        pivot = 1.0 / max(multi.matrices[m, INVERSE, p, p], SHRINKAGE)
        multi.matrices[m, INVERSE, p, p] = 1.0
        for g in range(size):
            multi.matrices[m, INVERSE, p, g] *= pivot
        for f in range(size):
            if f != p:
                factor = multi.matrices[m, INVERSE, f, p]
                multi.matrices[m, INVERSE, f, p] = 0.0
                for g in range(size):
                    multi.matrices[m, INVERSE, f, g] -= factor * multi.matrices[m, INVERSE, p, g]
    for j in range(count):
        weigh(multi, m, j)
    for k in range(count):
        for j in range(count):
            floor = RESIDUAL_MIN * RESIDUAL_MIN if k == j else 0.0
            multi.squares[m, PRECISION, k, j] = multi.squares[m, SPREAD, k, j] + floor
    invert_square(multi.squares, m, PRECISION, count)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def weigh(multi: MultivariateTables, m: int, j: int) -> None:
    """The weights of tag j's residual, from INVERSE."""
    count = multi.records[m]["count"]
    for a in range(count + 1):
        for b in range(count + 1):
            f, g = own_feature(j, a, count), own_feature(j, b, count)
            multi.squares[m, BLOCK, a, b] = multi.matrices[m, INVERSE, f, g]
    invert_square(multi.squares, m, BLOCK, count + 1)
    for g in range(features_of(count)):
        total = 0.0
        for b in range(count + 1):
            total += multi.squares[m, BLOCK, 0, b] * multi.matrices[m, INVERSE, own_feature(j, b, count), g]
        multi.weights[m, j, g] = total


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def invert_square(squares: Float64s, m: int, place: int, size: int) -> None:
    """Gauss-Jordan in place; the square is positive definite, so without pivots."""
    for p in range(size):
        pivot = 1.0 / max(squares[m, place, p, p], PIVOT_MIN)
        squares[m, place, p, p] = 1.0
        for g in range(size):
            squares[m, place, p, g] *= pivot
        for f in range(size):
            if f != p:
                factor = squares[m, place, f, p]
                squares[m, place, f, p] = 0.0
                for g in range(size):
                    squares[m, place, f, g] -= factor * squares[m, place, p, g]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def residual_of(multi: MultivariateTables, m: int, k: int) -> float:
    """What tag k is beyond what the others say, now."""
    total = 0.0
    for f in range(features_of(multi.records[m]["count"])):
        total += multi.weights[m, k, f] * multi.features[m, NOW, f]
    return total


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def deviation_of(multi: MultivariateTables, m: int, f: int) -> float:
    return math.sqrt(multi.matrices[m, COVARIANCE, f, f])


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def sensitivity_of(multi: MultivariateTables, m: int, k: int, j: int) -> float:
    """S: what an error of tag j adds to the residual of tag k, where the plant is now."""
    count = multi.records[m]["count"]
    total = 0.0
    for n in range(count + 1):
        f = own_feature(j, n, count)
        sd = deviation_of(multi, m, f)
        if sd > 0.0:
            slope = 1.0 if n == 0 else (2.0 if n - 1 == j else 1.0) * multi.tags[m, Z, n - 1]
            total += multi.weights[m, k, f] * slope / sd
    return total


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def curvature_of(multi: MultivariateTables, m: int, k: int, j: int) -> float:
    """Q: what the square of that error takes off again."""
    f = own_feature(j, j + 1, multi.records[m]["count"])
    sd = deviation_of(multi, m, f)
    return multi.weights[m, k, f] / sd if sd > 0.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def distance_of(multi: MultivariateTables, m: int) -> float:
    """The short means of all residuals together, in usual deviations, squared."""
    total = 0.0
    for k in range(multi.records[m]["count"]):
        for i in range(multi.records[m]["count"]):
            total += multi.tags[m, SHORT, k] * multi.squares[m, PRECISION, k, i] * multi.tags[m, SHORT, i]
    return total


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def left_by(multi: MultivariateTables, m: int, j: int, whole: float) -> float:
    """rest_j: what of the whole distance is left when tag j is put right."""
    count = multi.records[m]["count"]
    ms = mq = ss = sq = qq = 0.0
    for k in range(count):
        s_k = multi.squares[m, SENSITIVITY, k, j]
        q_k = curvature_of(multi, m, k, j)
        for i in range(count):
            weight = multi.squares[m, PRECISION, k, i]
            s_i = multi.squares[m, SENSITIVITY, i, j]
            ms += s_k * weight * multi.tags[m, SHORT, i]
            mq += q_k * weight * multi.tags[m, SHORT, i]
            ss += s_k * weight * s_i
            sq += q_k * weight * s_i
            qq += q_k * weight * curvature_of(multi, m, i, j)
    b = 0.0
    least = whole
    for _ in range(NEWTON_STEPS):
        slope = ms - b * ss + b * b * sq - 2.0 * b * (mq - b * sq + b * b * qq)
        steepness = ss - 4.0 * b * sq + 4.0 * b * b * qq
        b = clipped(b + slope / max(steepness, SQUARE_MIN), Z_MAX)
        rest = whole - 2.0 * b * ms + b * b * (ss + 2.0 * mq) - 2.0 * b * b * b * sq + b * b * b * b * qq
        least = min(least, rest)
    return max(least, 0.0)
