"""Which registers a device lets be read, found by bisection. No I/O: what to ask next is yielded, the answer sent in.

A device refuses a read that touches a single address it does not have, so a refused read is halved until what can be
read and what cannot lie apart. A device may also refuse a read only because it is long: when both halves of a refused
one are read, later reads are no longer than those, and the length is told, for `registers_per_read`.

Refusals cost: an empty table of 1,000 addresses takes 2,000 requests. So the search has a number of requests that it
may make; past it, it tells what it found and that it is not complete.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Readable:
    """`ranges` are (first, last) addresses, ascending and apart. `longest` is what one read was seen to give."""

    ranges: tuple[tuple[int, int], ...]
    longest: int
    is_limited: bool
    """Whether longer reads are refused for their length."""
    requests: int
    is_complete: bool


Search: TypeAlias = Generator[tuple[int, int], bool, Readable]
"""Yields (address, count) to read, is sent whether it could be read, returns what was found."""


@dataclass(slots=True)
class _Part:
    address: int
    count: int
    whole: _Part | None
    read: int = 0
    """Halves of it that were read."""


def find_readable(first: int, last: int, *, size_max: int, requests_max: int) -> Search:
    """Search addresses `first` to `last` with reads of at most `size_max`."""
    assert 0 <= first <= last
    ranges: list[list[int]] = []
    requests = longest = 0
    limit = size_max
    todo = [_Part(at, min(limit, last + 1 - at), None) for at in range(first, last + 1, limit)]
    todo.reverse()
    while todo and requests < requests_max:
        part = todo.pop()
        if part.count > limit:
            todo += reversed(_cut(part, limit))
            continue
        requests += 1
        if (yield part.address, part.count):
            longest = max(longest, part.count)
            if ranges and ranges[-1][1] == part.address - 1:
                ranges[-1][1] = part.address + part.count - 1
            else:
                ranges.append([part.address, part.address + part.count - 1])
            if part.whole is not None:
                part.whole.read += 1
                if part.whole.read == 2:
                    # One half may be the shorter: reads of the longer one's length are known to pass.
                    limit = min(limit, (part.whole.count + 1) // 2)
        elif part.count > 1:
            half = part.count // 2
            todo.append(_Part(part.address + half, part.count - half, part))
            todo.append(_Part(part.address, half, part))
    found = tuple((low, high) for low, high in ranges)
    return Readable(found, longest, limit < size_max, requests, not todo)


def _cut(part: _Part, limit: int) -> list[_Part]:
    end = part.address + part.count
    return [_Part(at, min(limit, end - at), None) for at in range(part.address, end, limit)]
