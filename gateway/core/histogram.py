"""Latency histograms: log-linear buckets in one int64 array, so that a jitted function can count into them.

Bucket bounds: 16 linear steps in each power of two, from 1 µs to about 137 s, so a quantile is read with at most
6.25 % error (the scheme of HdrHistogram, with 4 significant bits). Nothing averages a latency.

Layout: `counts[0:BUCKETS]` are the buckets, `counts[BUCKETS]` the sum of all values in ns.
"""

from __future__ import annotations

from gateway.core.types import Int64s

SUB_BITS = 4
SUB = 1 << SUB_BITS
UNIT_BITS = 10
"""Values are counted in units of 2**10 ns (about a microsecond)."""
EXPONENTS = 23
BUCKETS = SUB + EXPONENTS * SUB
SIZE = BUCKETS + 1


def bucket_upper_ns(index: int) -> int:
    """The exclusive upper bound of a bucket in ns."""
    if index < SUB:
        return (index + 1) << UNIT_BITS
    exponent, step = divmod(index - SUB, SUB)
    return (SUB + step + 1) << (exponent + UNIT_BITS)


def total(counts: Int64s) -> int:
    return int(counts[:BUCKETS].sum())


def quantile_ns(counts: Int64s, q: float) -> int:
    """The upper bound, in ns, of the bucket in which the q-quantile lies; 0 when nothing was counted."""
    n = total(counts)
    if n == 0:
        return 0
    want = max(1, int(-(-q * n // 1)))
    seen = 0
    for index in range(BUCKETS):
        seen += int(counts[index])
        if seen >= want:
            return bucket_upper_ns(index)
    return bucket_upper_ns(BUCKETS - 1)
