"""What was lost, by tag: bounded, and never less than all of it.

A line of the loss ledger says how many samples of which tags it stands for. Its names are, from exact to coarse:

    boiler.temperature   this tag
    boiler.*             other tags of this device, together
    *                    tags of other devices, or that nobody knows any more

More than LOSS_TAGS_MAX names are drawn together by device, more devices than that into one `*`. The counts of a line
add up to its samples whatever was drawn together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from gateway.core.limits import LOSS_TAGS_MAX
from gateway.core.segments import Loss
from gateway.core.types import Int32s, Int64s

OTHERS: Final = "*"
Tags = Mapping[str, int]


def device_of(name: str) -> str:
    """The name under which a tag's device stands for its tags."""
    device, dot, _ = name.rpartition(".")
    return f"{device}.{OTHERS}" if dot else OTHERS


def bounded(tags: Tags, most: int = LOSS_TAGS_MAX) -> dict[str, int]:
    """The same counts under at most so many names."""
    if len(tags) > most:
        tags = added(({device_of(name): count} for name, count in tags.items()))
    if len(tags) > most:
        tags = {OTHERS: sum(tags.values())}
    return dict(tags)


def added(several: Iterable[Tags]) -> dict[str, int]:
    total: dict[str, int] = {}
    for tags in several:
        for name, count in tags.items():
            total[name] = total.get(name, 0) + count
    return total


def merged(first: Loss, second: Loss) -> Loss:
    """Two lines of one stream and reason as one; the place is the first's."""
    return msgspec.structs.replace(
        first,
        records=first.records + second.records,
        samples=first.samples + second.samples,
        first_ns=min(first.first_ns, second.first_ns),
        last_ns=max(first.last_ns, second.last_ns),
        dropped_ns=max(first.dropped_ns, second.dropped_ns),
        tags=bounded(added((first.tags, second.tags))),
    )


class Devices:
    """Which device each row's tag belongs to: found once for the same names, as a large plant's takes some 50 ms."""

    def __init__(self) -> None:
        self._names: Sequence[str] = ()
        self._found: tuple[list[str], Int64s] = ([OTHERS], np.zeros(1, np.int64))

    def of(self, names: Sequence[str]) -> tuple[list[str], Int64s]:
        """Their titles, and by row a place among them; behind the last row that of rows without a name."""
        if names is not self._names:
            places: dict[str, int] = {}
            of_row = [places.setdefault(device_of(name), len(places)) for name in (*names, "")]
            self._names, self._found = names, (list(places), np.array(of_row, np.int64))
        return self._found


class Counted:
    """Samples left out, by row, of tags that have the same names all the time."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._counts: Int64s = np.zeros(len(names) + 1, np.int64)

    def add(self, rows: Int32s) -> None:
        """One for each of these; those without a name count as others."""
        known = np.where((rows >= 0) & (rows < len(self.names)), rows, len(self.names))
        self._counts += np.bincount(known, minlength=len(self._counts))

    def by_name(self, devices: Devices) -> dict[str, int]:
        counts = self._counts
        used = np.flatnonzero(counts)
        if len(used) > LOSS_TAGS_MAX:
            titles, device_of_row = devices.of(self.names)
            counts = np.bincount(device_of_row[used], weights=counts[used], minlength=len(titles)).astype(np.int64)
            used = np.flatnonzero(counts)
            return bounded({titles[place]: int(counts[place]) for place in used.tolist()})
        return added({self._name(place): int(counts[place])} for place in used.tolist())

    def _name(self, place: int) -> str:
        return (self.names[place] or OTHERS) if place < len(self.names) else OTHERS


class Losses:
    """Lines that wait to be written down: one for each stream and reason that has no place of its own."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], Loss] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def note(self, loss: Loss) -> None:
        key = loss.stream, loss.reason
        before = self._lines.get(key)
        self._lines[key] = loss if before is None else merged(before, loss)

    def take(self) -> list[Loss]:
        lines = list(self._lines.values())
        self._lines.clear()
        return lines
