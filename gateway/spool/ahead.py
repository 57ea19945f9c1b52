"""Getting things ready in a thread while somebody works on those before.

Reading, decompressing and unshuffling hold no GIL, nor does the engine's fold: a replay that has its cycles made ready
takes as long as the slower of the two, and not as both together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

A = TypeVar("A")
T = TypeVar("T")

TURNS: Final = 4
"""So many times a few are under way or made."""


def ahead(items: Iterator[T], depth: int) -> Iterator[T]:
    """The same items, some `depth` of them made ahead by a thread, a few at a time: to hand one over costs as much as
    to make a small one. What making one raises is raised in its place."""
    count = max(1, depth // TURNS)

    def begin() -> tuple[list[T], Future[None]]:
        made: list[T] = []
        return made, pool.submit(_put_some, items, count, made)

    with ThreadPoolExecutor(1, "ahead") as pool:
        waiting = deque(begin() for _ in range(TURNS))
        while True:
            made, done = waiting.popleft()
            error = done.exception()  # waits
            waiting.append(begin())
            yield from made
            if error is not None:
                raise error
            if not made:
                return


def ahead_of(make: Callable[[A], T], wanted: Sequence[A], depth: int) -> Iterator[T]:
    """What `make` makes of each, in their order, up to `depth` of them made ahead by two threads, which begin at once.
    What making one raises is raised in its place."""
    pool = ThreadPoolExecutor(2, "ahead")
    rest = iter(wanted)
    return _in_order(pool, deque(pool.submit(make, one) for one in islice(rest, depth)), make, rest)


def _in_order(
    pool: ThreadPoolExecutor, waiting: deque[Future[T]], make: Callable[[A], T], rest: Iterator[A]
) -> Iterator[T]:
    try:
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(make, one) for one in islice(rest, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _put_some(items: Iterator[T], count: int, made: list[T]) -> None:
    """The next ones; none at the end."""
    for item in islice(items, count):
        made.append(item)
