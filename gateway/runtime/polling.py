"""The poll threads of a plant: one, and after reloads one more for the links that are new or others.

A thread's memory is laid out for its links once. So a reload leaves the links that did not change with their thread,
connections and all, and gives the others a thread of their own; a thread that has lost its last link has ended. When
there would be more threads than `THREADS_MAX`, the links of those with the fewest are polled anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from gateway.core.kernels.lanes import SharedLane
from gateway.core.ports import Clock
from gateway.core.readings import HistogramReading, Labels, Reading
from gateway.core.symbols import Symbols
from gateway.core.types import Int32s
from gateway.sources.modbus.fast_thread import PollThread, Share

THREADS_MAX: Final = 4


class Place(NamedTuple):
    """Which link of which thread."""

    thread: PollThread
    at: int

    @property
    def lane(self) -> SharedLane:
        return self.thread.lanes[self.at]


Places: TypeAlias = Mapping[str, Place]


def those_of_most(places: Places, *, wants_another: bool) -> Places:
    """As many of these links as may go on as they are; with room for another thread, where one is wanted."""
    links = Counter(place.thread for place in places.values())
    kept = {thread for thread, _ in links.most_common(THREADS_MAX - wants_another)}
    return {name: place for name, place in places.items() if place.thread in kept}


class Polling:
    """`carried` are links that threads of the plant before go on polling."""

    def __init__(self, shares: Sequence[Share], carried: Places, symbols: Symbols, now_ns: Clock) -> None:
        self._carried = dict(carried)
        self.places = dict(carried)
        if shares:
            thread = PollThread(shares, symbols, now_ns)
            self.places |= {share.name: Place(thread, at) for at, share in enumerate(shares)}

    @property
    def threads(self) -> tuple[PollThread, ...]:
        return tuple(dict.fromkeys(place.thread for place in self.places.values()))

    def move(self, rows: Int32s, leaving: Places) -> None:
        """The engine before has ended; where its rows are now. `leaving` are links that the plant before polls on until
        this one begins."""
        in_use = {*self._carried.values(), *leaving.values()}
        for thread in {place.thread for place in in_use}:
            for at, lane in enumerate(thread.lanes):
                if (thread, at) not in in_use:
                    lane.clear()
            thread.waiting.moved.move(rows)

    def heartbeat_ns(self) -> int | None:
        """Of the thread that woke longest ago; None when none runs."""
        return min((thread.heartbeat_ns() for thread in self.threads if thread.is_running), default=None)

    def readings(self) -> Iterator[Reading | HistogramReading]:
        """Of all threads together."""
        values: dict[tuple[str, Labels], float] = {}
        histograms: dict[tuple[str, Labels], HistogramReading] = {}
        for thread in self.threads:
            for each in thread.readings():
                key = each.name, each.labels
                if isinstance(each, Reading):
                    values[key] = values.get(key, 0) + each.value
                elif key in histograms:
                    before = histograms[key]
                    counts, total_ns = np.add(before.counts, each.counts), before.sum_ns + each.sum_ns
                    histograms[key] = HistogramReading(each.name, counts, total_ns, each.labels)
                else:
                    histograms[key] = each
        yield from (Reading(name, value, labels) for (name, labels), value in values.items())
        yield from histograms.values()
