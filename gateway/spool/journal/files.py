"""The journal's files: `<number of the first cycle>.journal` in one folder, written one after the other.

A file is only ever appended to, by the run that made it. What a crash left half written at the end of the last file is
a torn tail: it was never synced, so nothing that it holds was told to anybody, and it is cut off. Bytes that are wrong
elsewhere are damage: reading goes on at the next sound block, and says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.core.cycle import Cycle
from gateway.spool.journal.format import MAGIC, Block, BlockDamaged, Head, decode_cycles, decode_head, open_block

SUFFIX: Final = ".journal"
DIGITS: Final = 20


@dataclass(frozen=True, slots=True)
class Found:
    """Something wrong with a file. `is_torn`: an end that was never synced, after which nothing follows."""

    path: Path
    offset: int
    what: str
    is_torn: bool

    def __str__(self) -> str:
        return f"{self.path}: the block at byte {self.offset} {self.what}"


@dataclass(frozen=True, slots=True)
class Part:
    """One file, its head and the cycles that it begins and (as far as it is sound) ends with."""

    path: Path
    head: Head
    first: int
    bytes: int


def path_of(folder: Path, first: int) -> Path:
    return folder / f"{first:0{DIGITS}}{SUFFIX}"


def paths(folder: Path) -> list[Path]:
    """The files in their order."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdigit())


def first_of(path: Path) -> int:
    return int(path.stem)


class Reading:
    """Reads a folder from a cycle on. `found` has what was wrong, once it was met; `head` is the present file's."""

    def __init__(self, folder: Path, after: int = 0) -> None:
        self.folder = folder
        self.found: list[Found] = []
        self.head: Head | None = None
        self.last = after
        self.bytes = 0
        self._after = after
        self._paths = paths(folder)

    @property
    def total_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._paths[self._begin() :])

    def cycles(self) -> Iterator[tuple[Head, Cycle]]:
        """Every cycle behind `after`, with the head of its file. Cycles missing between are seen by their numbers."""
        for place in range(self._begin(), len(self._paths)):
            path = self._paths[place]
            data = path.read_bytes()
            for block in self._blocks(path, data, is_last=place == len(self._paths) - 1):
                if block.last <= self._after or self.head is None:
                    continue
                try:
                    for cycle in decode_cycles(block):
                        if cycle.number > self._after:
                            self.last = cycle.number
                            yield self.head, cycle
                except BlockDamaged as error:
                    self.found.append(Found(path, block.end, f"{error}", is_torn=False))
            self.bytes += len(data)

    def _begin(self) -> int:
        """Place of the file that holds the cycle behind `after`, or the first."""
        earlier = [place for place, path in enumerate(self._paths) if first_of(path) <= self._after + 1]
        return earlier[-1] if earlier else 0

    def _blocks(self, path: Path, data: bytes, *, is_last: bool) -> Iterator[Block]:
        """The sound blocks of cycles; heads are taken note of."""
        at = 0
        self.head = None
        while at < len(data):
            try:
                block = open_block(data, at)
                if self.head is None:
                    self.head = decode_head(block)
                else:
                    yield block
                at = block.end
            except BlockDamaged as error:
                following = self._resume(data, at + 1)
                self.found.append(Found(path, at, str(error), is_torn=is_last and following == len(data)))
                if self.head is None:
                    return
                at = following

    @staticmethod
    def _resume(data: bytes, at: int) -> int:
        """Where the next sound block begins; the end of the data when there is none."""
        while (at := data.find(MAGIC, at)) >= 0:
            try:
                open_block(data, at)
            except BlockDamaged:
                at += 1
            else:
                return at
        return len(data)


def cut_torn(found: Found) -> None:
    """Take a torn tail off its file. A file that has not even a head goes."""
    if found.offset == 0:
        found.path.unlink()
        return
    with found.path.open("r+b") as file:
        file.truncate(found.offset)


def head_of(path: Path) -> Head:
    """The head of one file. Raises BlockDamaged."""
    return decode_head(open_block(path.read_bytes(), 0))
