"""Ranges of sequences behave as sets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.runtime.received import Range, settled, without

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
    left = without(minuend, sorted(others))
    assert members(left) == members(minuend) - members(others)
    assert left == disjoint(left)


@given(spans)
def test_what_is_settled_is_in_order_and_tells_what_lies_in_several(ranges: list[Range]) -> None:
    whole, twice = settled(ranges)
    assert members(whole) == members(ranges)
    assert members(twice) == {
        each for each in members(ranges) if sum(first <= each <= last for first, last in ranges) > 1
    }
    for found in (whole, twice):
        assert all(before[1] + 1 < after[0] for before, after in pairwise(found))
