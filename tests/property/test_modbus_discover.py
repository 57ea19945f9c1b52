"""The search for readable registers finds exactly what is there, whatever is missing, however short reads are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.modbus.discover import Readable, find_readable


def search(
    there: set[int], last: int, *, longest: int = 125, size_max: int = 125, requests_max: int = 10_000
) -> Readable:
    steps = find_readable(0, last, size_max=size_max, requests_max=requests_max)
    address, count = next(steps)
    while True:
        assert 1 <= count <= size_max
        assert 0 <= address <= address + count - 1 <= last
        is_read = count <= longest and all(at in there for at in range(address, address + count))
        try:
            address, count = steps.send(is_read)
        except StopIteration as ended:
            found: Readable = ended.value
            return found


def ranges_of(there: set[int]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for at in sorted(there):
        if ranges and ranges[-1][1] == at - 1:
            ranges[-1] = (ranges[-1][0], at)
        else:
            ranges.append((at, at))
    return tuple(ranges)


SPANS = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 90)), max_size=6)


@given(SPANS, st.integers(1, 125), st.integers(1, 125), st.integers(0, 480))
def test_what_is_found_is_what_is_there(spans: list[tuple[int, int]], longest: int, size_max: int, last: int) -> None:
    there = {at for first, count in spans for at in range(first, first + count) if at <= last}
    found = search(there, last, longest=longest, size_max=size_max)
    assert found.ranges == ranges_of(there)
    assert found.is_complete
    assert found.longest <= min(longest, size_max)
    assert not (found.is_limited and longest >= size_max and there == set(range(last + 1)))


def test_a_device_that_gives_few_registers_at_a_time_is_found_out_soon() -> None:
    found = search(set(range(1_000)), 999, longest=32)
    assert (found.is_limited, found.ranges) == (True, ((0, 999),))
    assert found.longest in range(16, 33)
    assert found.requests < 2 * 1_000 // found.longest


def test_a_search_that_costs_too_much_says_that_it_is_not_complete() -> None:
    found = search(set(range(0, 100, 2)), 999, requests_max=50)
    assert (found.requests, found.is_complete) == (50, False)
    assert set(found.ranges) < {(at, at) for at in range(0, 100, 2)}


def test_an_empty_table_costs_two_requests_an_address_at_most() -> None:
    found = search(set(), 499)
    assert (found.ranges, found.is_complete) == ((), True)
    assert found.requests < 2 * 500
