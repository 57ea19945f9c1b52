"""The receiver's book: which records a far end has, as ranges of sequences by segment.

A plant's record count does not matter, the number of its holes does: whoever reads a far end adds ranges in whatever
order it finds them, and adjacent ones run together while they come. `settle` puts them in order; what lies in two of
them was received twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec

from gateway.core.segments import KIND_LEDGER, Loss, LossReport
from gateway.protocol.records.position import Place
from gateway.spool.records import Key

Range: TypeAlias = tuple[int, int]
Ranges: TypeAlias = dict[Place, list[Range]]

LEDGER_MARK: Final = f'"record":"{KIND_LEDGER}"'.encode()
"""Stands in each loss report, and hardly in anything else."""


class ReceiverUnfit(Exception):
    """What is to be the receiver's cannot prove anything."""


@dataclass(frozen=True, slots=True)
class Part:
    """One range of one segment and what became of it."""

    stream: str
    segment: int
    first: int
    last: int

    def identities(self) -> Iterator[Key]:
        return (Key(self.stream, self.segment, number) for number in range(self.first, self.last + 1))

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        numbers = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.stream} {self.segment}/{numbers}"


@dataclass(slots=True)
class Received:
    """The receiver's book of one gateway at one moment; to be settled when all of it is read."""

    held: Ranges = field(default_factory=dict)
    ledgered: Ranges = field(default_factory=dict)
    """What the loss reports in it say."""
    taken_away: Ranges = field(default_factory=dict)
    """What it says it had, whether or not that is still there."""
    duplicates: list[Part] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    """Where something stands that is no record any more."""

    def add(self, stream: str, segment: int, first: int, last: int) -> None:
        add(self.held, (stream, segment), (first, last))

    def note_report(self, payload: bytes) -> None:
        """A record of the events stream that may be a loss report: what it explains."""
        self.note_content(msgspec.json.decode(payload, type=dict[str, Any]))

    def note_content(self, report: dict[str, Any]) -> None:
        """The same, read."""
        if report.get("record") == KIND_LEDGER:
            told = {"record": KIND_LEDGER, "dropped": report["dropped"]}
            for loss in msgspec.convert(told, LossReport).dropped:
                explain(self.ledgered, loss)

    def settle(self) -> None:
        for place, ranges in sorted(self.held.items()):
            self.held[place], twice = settled(ranges)
            self.duplicates += [Part(*place, *each) for each in twice]
        tidy(self.ledgered)
        for place, ranges in self.taken_away.items():
            self.taken_away[place], _ = settled(ranges)


Read: TypeAlias = Callable[[], Received]
"""One look at a far end, settled. Raises ReceiverUnfit."""


def explain(book: Ranges, loss: Loss) -> None:
    if loss.segment is not None and loss.from_sequence is not None and loss.to_sequence is not None:
        book.setdefault((loss.stream, loss.segment), []).append((loss.from_sequence, loss.to_sequence))


def add(book: Ranges, place: Place, each: Range) -> None:
    """Behind what is there, run together with the last one where it follows."""
    ranges = book.setdefault(place, [])
    if ranges and ranges[-1][1] + 1 == each[0]:
        ranges[-1] = (ranges[-1][0], each[1])
    else:
        ranges.append(each)


def tidy(book: Ranges) -> None:
    for ranges in book.values():
        ranges.sort()


def settled(ranges: Iterable[Range]) -> tuple[list[Range], list[Range]]:
    """All of them as few, in order; and what lies in more than one of them."""
    whole: list[Range] = []
    twice: list[Range] = []
    for first, last in sorted(ranges):
        if whole and first <= whole[-1][1]:
            _join(twice, (first, min(last, whole[-1][1])))
        _join(whole, (first, last))
    return whole, twice


def _join(ranges: list[Range], each: Range) -> None:
    """One that begins no earlier than the last one there."""
    if ranges and each[0] <= ranges[-1][1] + 1:
        ranges[-1] = (ranges[-1][0], max(ranges[-1][1], each[1]))
    else:
        ranges.append(each)


def size(ranges: Iterable[Range]) -> int:
    return sum(last - first + 1 for first, last in ranges)


def without(ranges: Iterable[Range], others: Iterable[Range]) -> list[Range]:
    """`ranges` less `others`; both in order, those of `others` may overlap."""
    left: list[Range] = []
    taken = list(others)
    place = 0
    for first, last in ranges:
        start = first
        while place < len(taken) and taken[place][1] < start:
            place += 1
        index = place
        while index < len(taken) and taken[index][0] <= last and start <= last:
            low, high = taken[index]
            if low > start:
                left.append((start, low - 1))
            start = max(start, high + 1)
            index += 1
        if start <= last:
            left.append((start, last))
    return left
