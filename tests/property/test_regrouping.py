"""Fine histogram buckets told to Prometheus as coarse ones."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.histogram import BUCKETS, SIZE
from gateway.core.kernels.histogram import observe
from gateway.serving.http.metrics import BOUNDS_NS, regroup

durations_ns = st.lists(
    st.one_of(
        st.integers(0, 20_000_000_000),
        st.sampled_from([bound + nudge for bound in BOUNDS_NS for nudge in (-1, 0, 1)]),
    ),
    max_size=60,
)


@given(durations_ns)
def test_a_latency_is_never_told_as_better_than_it_was_and_by_a_sixteenth_at_most_as_worse(values: list[int]) -> None:
    counts = np.zeros(SIZE, np.int64)
    for value in values:
        observe(counts, value)
    *below, count = regroup(counts)
    assert count == len(values)
    assert below == sorted(below)
    for bound_ns, told in zip(BOUNDS_NS, below, strict=True):
        assert told <= sum(value <= bound_ns for value in values)
        assert told >= sum(value <= bound_ns * 15 // 16 for value in values)


@given(st.lists(st.integers(0, 5), min_size=BUCKETS, max_size=BUCKETS))
def test_the_parts_of_a_regrouped_histogram_add_up_to_the_whole(counts: list[int]) -> None:
    assert regroup(np.array(counts, np.int64))[-1] == sum(counts)
