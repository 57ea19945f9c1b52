"""Which records somebody holds: ranges of sequences by segment, so that a plant's record count does not matter.

Bounded: of more than SEGMENTS_MAX segments those are forgotten that grew longest ago, and of more than RANGES_MAX
ranges of a segment the first. What is forgotten counts as not held.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, TypeAlias

from gateway.core.record import Identity

Span: TypeAlias = tuple[str, str, int, int, int]
"""Gateway, stream, segment; first and last sequence, both inside."""

SEGMENTS_MAX: Final = 2_000
"""A spool has at most 64 segments of each of five streams that wait."""
RANGES_MAX: Final = 1_000


class Held:
    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._segments: OrderedDict[tuple[str, str, int], list[tuple[int, int]]] = OrderedDict()
        for span in spans:
            self.add_span(span)

    def __contains__(self, identity: Identity) -> bool:
        ranges = self._segments.get((identity.gateway, identity.stream, identity.segment), [])
        at = bisect_right(ranges, identity.sequence, key=_first)
        return at > 0 and identity.sequence <= ranges[at - 1][1]

    def add(self, identity: Identity) -> None:
        self.add_span((identity.gateway, identity.stream, identity.segment, identity.sequence, identity.sequence))

    def add_span(self, span: Span) -> None:
        gateway, stream, segment, first, last = span
        key = (gateway, stream, segment)
        ranges = self._segments.setdefault(key, [])
        self._segments.move_to_end(key)
        begin = bisect_right(ranges, first - 1, key=_last_before)
        end = bisect_right(ranges, last + 1, key=_first)
        if begin < end:
            first, last = min(first, ranges[begin][0]), max(last, ranges[end - 1][1])
        ranges[begin:end] = [(first, last)]
        if len(ranges) > RANGES_MAX:
            del ranges[0]
        if len(self._segments) > SEGMENTS_MAX:
            self._segments.popitem(last=False)

    def spans(self) -> list[Span]:
        """The segment that grew last is the last one."""
        return [(*place, *each) for place, ranges in self._segments.items() for each in ranges]


def _first(each: tuple[int, int]) -> int:
    return each[0]


def _last_before(each: tuple[int, int]) -> int:
    """Ranges that end ahead of `first - 1` do not touch one that begins with `first`."""
    return each[1] + 1
