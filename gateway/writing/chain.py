"""The chain of the audit trail: each line has the SHA-256 of the one before it, so that none can be changed unseen.

    {"time":...,"what":...,"number":7,"before":"9f86d0..."}

`before` is the hash of the whole line before, without its line end, also over files that were put aside. Who changes,
removes or adds a line must make anew all that follow. What nobody can see in the files alone is a trail cut off at
its end, or made anew as a whole: for that the head (number and hash of the last line) is told as an event every hour,
which leaves the machine by journal and uplink, and `verify` takes one. Old files that made room show as a first number
above 1.

Lines from before there was a chain have neither; the first one after them holds on to the last of them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

FIRST: Final = "0" * 64
"""`before` of the very first line."""


class Head(NamedTuple):
    """The last line: its number, 0 when there is none, and its hash."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


NO_HEAD: Final = Head(0, FIRST)
NEEDED: Final = frozenset(("time", "who", "way", "what", "result"))
"""What each line of the trail has, with or without a chain."""


def chained(line: bytes, head: Head) -> tuple[bytes, Head]:
    """A line, `{...}` without its end, as it stands in the file, and the head after it."""
    whole = line[:-1] + f',"number":{head.number + 1},"before":"{head.hash}"}}'.encode()
    return whole + b"\n", Head(head.number + 1, _hash(whole))


def trail_files(path: Path) -> list[Path]:
    """The files of a trail that are there, the oldest first."""
    aside = sorted(path.parent.glob(f"{path.stem}.*{path.suffix}"))
    return [*aside, path] if path.exists() else aside


def head_of(path: Path) -> Head:
    """Where the trail has come to. Raises OSError."""
    for file in reversed(trail_files(path)):
        lines = file.read_bytes().splitlines()
        if lines:
            number, _ = _link(lines[-1])
            return Head(number or 0, _hash(lines[-1]))
    return NO_HEAD


def cut_torn_end(path: Path) -> int:
    """Take away a last line without its end, which a power cut left and nobody waited for. Returns its bytes."""
    try:
        with path.open("r+b") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                file.truncate(whole)
                os.fsync(file.fileno())
            return len(content) - whole
    except FileNotFoundError:
        return 0


class Verified(NamedTuple):
    """`unchained`: lines from before there was a chain."""

    files: int
    lines: int
    unchained: int
    first: int
    head: Head
    problems: tuple[str, ...]


def verify(path: Path, expected: Head | None = None) -> Verified:
    """Go through all files of a trail. `expected`: a head of earlier, which must be in it. Raises OSError."""
    problems: list[str] = []
    files = trail_files(path)
    before: Head | None = None
    lines = unchained = first = 0
    is_found = expected is None or expected.number == 0
    for file in files:
        for place, line in _lines(file):
            lines += 1
            number, wanted = _link(line)
            if number is None and (before is None or before.number == 0):
                unchained += 1
                before = Head(0, _hash(line))
                if _object(line) is None:
                    problems.append(f"{place}: is no line of the trail")
                continue
            if number is None:
                problems.append(f"{place}: is no line of the trail")
                continue
            first = first or number
            if before is not None and wanted != before.hash:
                problems.append(
                    f"{place}: does not follow on the line before it: one of them was changed, added or removed"
                )
            elif before is not None and number != before.number + 1:
                problems.append(f"{place}: has number {number}, and {before.number + 1} was due")
            elif before is None and number == 1 and wanted != FIRST:
                problems.append(f"{place}: is the first line and names another before it")
            before = Head(number, _hash(line))
            if expected is not None and number == expected.number:
                is_found = before.hash == expected.hash
                if not is_found:
                    problems.append(f"{place}: is not the line {number} that was expected")
    head = before or NO_HEAD
    if expected is not None and not is_found and not any("expected" in each for each in problems):
        where = "was deleted with its file" if expected.number < first else "is cut off"
        problems.append(f"{path}: line {expected.number}, which was expected, {where}")
    return Verified(len(files), lines, unchained, first, head, tuple(problems))


def _lines(file: Path) -> Iterator[tuple[str, bytes]]:
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        yield f"{file}:{number}", line


def _link(line: bytes) -> tuple[int | None, str]:
    """A line's number and what it says of the line before; None for a line without."""
    found = _object(line)
    if found is None or not isinstance(found.get("number"), int):
        return None, ""
    return found["number"], str(found.get("before"))


def read_line(line: bytes) -> dict[str, Any] | None:
    """What a line says; None for one that nobody but a damaged disk, or another hand, wrote."""
    found = _object(line)
    return found if found is not None and found.keys() >= NEEDED else None


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
