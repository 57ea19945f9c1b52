"""Getting things ready in a thread while somebody works on those before.

Reading, decompressing and unshuffling hold no GIL, nor does the engine's fold: a replay that has its cycles made ready
takes as long as the slower of the two, and not as both together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

END: Final = object()


def ahead(items: Iterator[T], depth: int) -> Iterator[T]:
    """The same items, up to `depth` of them made ahead by a thread. What making one raises is raised in its place."""
    with ThreadPoolExecutor(1, "ahead") as pool:
        waiting = deque(pool.submit(next, items, END) for _ in range(depth))
        while (item := waiting.popleft().result()) is not END:
            waiting.append(pool.submit(next, items, END))
            yield item  # type: ignore[misc]
