"""The inbox: one bounded lane a source, drained by weight, so that one noisy publisher evicts nobody else.

A lane is a ring of samples with one producer thread and one consumer thread. Both sides hold the GIL when they
move an index, and an index is moved only after the samples behind it are copied; that is all the locking there is.

Overflow rule, `drop_newest`: what does not fit is refused, counted in `dropped`, and told to the producer, which
is the one that can slow its device down (`is_past_mark`).

Every sample of a lane has a position, counted from 1: the lane's `taken` is that of the last one drained. A lane whose
source keeps its samples on disk until they are safe further on (`core.ports.Intake`) goes on after a restart at
the position that was safe, so that position, stored in the same transaction as what became of the samples, is all
that it takes to neither lose nor double one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from gateway.core.kernels.lanes import SharedLane, SharedLanes
from gateway.core.moving import Moved
from gateway.core.readings import Reading
from gateway.core.types import RAW_SAMPLE, Samples

METRICS = (
    ("fieldgate_inbox_accepted_samples_total", "counter", "Samples taken into a lane."),
    ("fieldgate_inbox_dropped_samples_total", "counter", "Samples refused because their lane was full."),
    ("fieldgate_inbox_depth_samples", "gauge", "Samples that wait in a lane."),
    ("fieldgate_inbox_capacity_samples", "gauge", "Samples that a lane holds."),
)


class Lane:
    """A bounded ring of samples from one source.

    `capacity` is in samples; `weight` is its share of a drain when all lanes are full.
    """

    def __init__(self, name: str, capacity: int, weight: int = 1) -> None:
        assert capacity > 0
        assert weight > 0
        self.name = name
        self.capacity = capacity
        self.weight = weight
        self.accepted = 0
        self.dropped = 0
        self.depth_max = 0
        self.moved = Moved()
        self._ring = np.zeros(capacity, RAW_SAMPLE)
        self._head = 0  # position of the last sample appended: the producer's
        self._tail = 0  # position of the last sample taken: the consumer's

    def __len__(self) -> int:
        return self._head - self._tail

    def begin(self, position: int) -> None:
        """Go on behind this position; only while the lane is empty and nobody uses it."""
        assert len(self) == 0
        self._head = self._tail = position

    @property
    def appended(self) -> int:
        """Position of the last sample appended."""
        return self._head

    @property
    def taken(self) -> int:
        """Position of the last sample taken."""
        return self._tail

    @property
    def room(self) -> int:
        return self.capacity - len(self)

    @property
    def is_past_mark(self) -> bool:
        """Three quarters full: the producer should pause its socket or skip a poll."""
        return 4 * len(self) > 3 * self.capacity

    def append(self, samples: Samples) -> int:
        """Copy samples in; returns how many fitted. Only the producer's thread calls this."""
        wanted = len(samples)
        fits = min(wanted, self.room)
        start = self._head % self.capacity
        first = min(fits, self.capacity - start)
        raw = samples.view(RAW_SAMPLE)
        self._ring[start : start + first] = raw[:first]
        if fits > first:
            self._ring[: fits - first] = raw[first:fits]
        self._head += fits
        self.accepted += fits
        self.dropped += wanted - fits
        self.depth_max = max(self.depth_max, len(self))
        return fits

    def take_into(self, out: Samples) -> int:
        """Move up to `len(out)` samples out; returns how many, without those of tags that are gone. Only the consumer's
        thread calls this."""
        n = min(len(out), len(self))
        start = self._tail % self.capacity
        first = min(n, self.capacity - start)
        raw = out.view(RAW_SAMPLE)
        raw[:first] = self._ring[start : start + first]
        if n > first:
            raw[first:n] = self._ring[: n - first]
        self._tail += n
        return self.moved.put_right(out[:n])


class Drained(Protocol):
    """A lane as its consumer sees it: one of these, or one that a thread without the GIL fills."""

    name: str
    capacity: int
    weight: int

    def __len__(self) -> int: ...

    @property
    def accepted(self) -> int: ...

    @property
    def dropped(self) -> int: ...

    @property
    def taken(self) -> int: ...

    def take_into(self, out: Samples) -> int: ...


class Inbox:
    """All lanes, and the order in which they are emptied. `leaving` are lanes of sources that others take the place of:
    what they hold comes first."""

    def __init__(self, lanes: Sequence[Drained], leaving: Sequence[Drained] = ()) -> None:
        self.lanes = tuple(lanes)
        self._leaving = tuple(leaving)
        self._have_left = False
        self._turn = 0
        self._lay_out()

    def _lay_out(self) -> None:
        emptied = self._emptied = (*self._leaving, *self.lanes)
        groups = {id(lane.group): lane.group for lane in emptied if isinstance(lane, SharedLane)}
        self._wholes: tuple[Drained | SharedLanes, ...] = (
            *(lane for lane in emptied if not isinstance(lane, SharedLane)),
            *groups.values(),
        )

    def have_left(self) -> None:
        """Nothing fills the leaving lanes any more: let go of them once they are empty. Any thread."""
        self._have_left = True

    def __len__(self) -> int:
        return sum(len(whole) for whole in self._wholes)

    def drain(self, out: Samples) -> int:
        """Fill `out` from the lanes: each its share by weight first, then what room is left, in turn."""
        taken = 0
        size = len(out)
        if self._have_left and not any(len(lane) for lane in self._leaving):
            self._leaving, self._have_left = (), False
            self._lay_out()
        if len(self) <= size:
            for whole in self._wholes:
                taken += whole.take_into(out[taken:])
            return taken
        # Looked at once: a producer without the GIL fills its lane between two looks.
        waiting = [lane for lane in self._emptied if len(lane)]
        weights = sum(lane.weight for lane in waiting)
        for lane in waiting:
            share = size * lane.weight // weights
            taken += lane.take_into(out[taken : min(size, taken + share)])
        for offset in range(len(self._emptied)):
            if taken == size:
                break
            lane = self._emptied[(self._turn + offset) % len(self._emptied)]
            taken += lane.take_into(out[taken:])
        self._turn += 1
        return taken

    def positions(self) -> dict[str, int]:
        """By lane, the position of the last sample drained."""
        return {lane.name: lane.taken for lane in self.lanes}

    def readings(self) -> Iterator[Reading]:
        for lane in self.lanes:
            labels = (("lane", lane.name),)
            yield Reading("fieldgate_inbox_accepted_samples_total", lane.accepted, labels)
            yield Reading("fieldgate_inbox_dropped_samples_total", lane.dropped, labels)
            yield Reading("fieldgate_inbox_depth_samples", len(lane), labels)
            yield Reading("fieldgate_inbox_capacity_samples", lane.capacity, labels)
