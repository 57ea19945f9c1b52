"""Ranges of sequences behave as sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.runtime.reconcile import Range, _without

spans = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)).map(lambda pair: (pair[0], sum(pair))), max_size=12)


def members(ranges: list[Range]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


def disjoint(ranges: list[Range]) -> list[Range]:
    found: list[Range] = []
    for first, last in sorted(ranges):
        if not found or first > found[-1][1]:
            found.append((first, last))
    return found


@given(spans, spans)
def test_what_is_left_without_others_is_the_difference_of_sets(ranges: list[Range], others: list[Range]) -> None:
    minuend = disjoint(ranges)
    left = _without(minuend, sorted(others))
    assert members(left) == members(minuend) - members(others)
    assert left == disjoint(left)
