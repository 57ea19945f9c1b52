"""What is made ahead comes in its order, and so does what goes wrong in making it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from gateway.spool.ahead import ahead, ahead_of


class OutOfOrderError(Exception):
    pass


def some(count: int, then: Exception | None = None) -> Iterator[int]:
    yield from range(count)
    if then is not None:
        raise then


@pytest.mark.parametrize("depth", [1, 4, 32])
@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_items_come_in_their_order_and_an_error_behind_those_before_it(count: int, depth: int) -> None:
    assert list(ahead(some(count), depth)) == list(range(count))
    got = []
    with pytest.raises(OutOfOrderError):
        for item in ahead(some(count, OutOfOrderError()), depth):
            got.append(item)
    assert got == list(range(count))


@pytest.mark.parametrize("depth", [1, 4, 32])
def test_what_two_threads_make_comes_in_the_order_in_which_it_is_wanted(depth: int) -> None:
    second_is_made = threading.Event()

    def make(number: int) -> int:
        if number == 0 and depth > 1:
            assert second_is_made.wait(10.0), "the other thread makes the next one meanwhile"
        if number == 1:
            second_is_made.set()
        if number == 50:
            raise OutOfOrderError
        return number * number

    got = []
    with pytest.raises(OutOfOrderError):
        for made in ahead_of(make, range(100), depth):
            got.append(made)
    assert got == [number * number for number in range(50)]
    assert list(ahead_of(make, [], depth)) == []
