"""What tags say of each other: the algebra of the multivariate score.

The features of at most 8 tags are their values and all products of two of them, because pumps and fans are quadratic.
Mean and covariance of the features are kept (exponentially weighted); their correlation, shrunk a little towards
none, is inverted: P. With g the features' distances from their means in standard deviations, and J the features in
which tag j has a part, what g_J is beyond what all other features say is

    e_J = (P_JJ)⁻¹ (P g)_J            (the regression on the others, read off the inverse)
    c_j = (P g)_J' (P_JJ)⁻¹ (P g)_J   (what of Hotelling's g' P g would go if tag j alone were wrong)

The first element of e_J is tag j's residual. The terms c_j are those of the decomposition of T² by Mason, Young and
Tracy (1995), for a tag with all its products at once.
"""

from __future__ import annotations

import math

from numba import njit

from gateway.core.kernels.persistence import clipped
from gateway.core.multivariate import (
    CENTRE,
    COVARIANCE,
    FEATURE_MEAN,
    INVERSE,
    NOW,
    PRODUCT,
    SCALE,
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
        for a in range(count + 1):
            for b in range(count + 1):
                f, g = own_feature(j, a, count), own_feature(j, b, count)
                multi.blocks[m, j, a, b] = multi.matrices[m, INVERSE, f, g]
        invert_block(multi.blocks, m, j, count + 1)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def invert_block(blocks: Float64s, m: int, j: int, size: int) -> None:
    """Gauss-Jordan in place; the block is positive definite, so without pivots."""
    for p in range(size):
        pivot = 1.0 / max(blocks[m, j, p, p], PIVOT_MIN)
        blocks[m, j, p, p] = 1.0
        for g in range(size):
            blocks[m, j, p, g] *= pivot
        for f in range(size):
            if f != p:
                factor = blocks[m, j, f, p]
                blocks[m, j, f, p] = 0.0
                for g in range(size):
                    blocks[m, j, f, g] -= factor * blocks[m, j, p, g]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def multiply(multi: MultivariateTables, m: int, place: int) -> None:
    """PRODUCT = the inverse times the features at `place`."""
    size = features_of(multi.records[m]["count"])
    for f in range(size):
        total = 0.0
        for g in range(size):
            total += multi.matrices[m, INVERSE, f, g] * multi.features[m, place, g]
        multi.features[m, PRODUCT, f] = total


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def residual_of(multi: MultivariateTables, m: int, j: int) -> float:
    """Tag j's part beyond what the others say, from PRODUCT."""
    count = multi.records[m]["count"]
    total = 0.0
    for b in range(count + 1):
        total += multi.blocks[m, j, 0, b] * multi.features[m, PRODUCT, own_feature(j, b, count)]
    return total


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def explained_by(multi: MultivariateTables, m: int, j: int) -> float:
    """What of the whole distance would go if tag j alone were wrong, from PRODUCT."""
    count = multi.records[m]["count"]
    total = 0.0
    for a in range(count + 1):
        part = 0.0
        for b in range(count + 1):
            part += multi.blocks[m, j, a, b] * multi.features[m, PRODUCT, own_feature(j, b, count)]
        total += part * multi.features[m, PRODUCT, own_feature(j, a, count)]
    return max(total, 0.0)
