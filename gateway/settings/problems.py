"""Problems: what is wrong with a configuration, where, and what to write instead.

Reading goes on after a problem with a stand-in value, so that one run finds them all; `load` raises them together,
and nothing made from a stand-in ever leaves the reader. A template repeats its text over many devices: a problem is
kept once for each place in a file, and says which instance met it first.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
SUGGESTION_CANDIDATES_MAX = 5_000
"""Names that are compared to find a near one; comparing all tags of a big plant would take seconds."""


class Position(NamedTuple):
    """`line` and `column` count from 1; a column is a character."""

    file: Path
    line: int
    column: int


class Problem(NamedTuple):
    """One thing that is wrong. `key` is the path of the setting, written as in TOML."""

    file: Path
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.key}: {self.message}"


class ConfigurationError(Exception):
    """A configuration that cannot be run, with everything that is wrong with it."""

    def __init__(self, problems: tuple[Problem, ...], warnings: tuple[Problem, ...] = ()) -> None:
        super().__init__(problems, warnings)
        self.problems = problems
        self.warnings = warnings

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class Place(Protocol):
    """Where something stands: a key of a TOML file, a cell of a CSV file."""

    def child(self, key: str) -> Place: ...

    def position(self) -> Position: ...

    @property
    def key(self) -> str: ...


class Report:
    """Collects problems and warnings of one reading."""

    def __init__(self) -> None:
        self._problems: dict[tuple[Position, str], Problem] = {}
        self._warnings: set[Problem] = set()

    def __len__(self) -> int:
        """Problems so far."""
        return len(self._problems)

    def problem(self, place: Place, message: str) -> None:
        self.extend([_problem(place, message)])

    def extend(self, problems: Iterable[Problem]) -> None:
        for found in problems:
            self._problems.setdefault((Position(found.file, found.line, found.column), found.key), found)

    def warn(self, place: Place, message: str) -> None:
        self._warnings.add(_problem(place, message))

    def problems(self, main: Path) -> tuple[Problem, ...]:
        return _in_reading_order(self._problems.values(), main)

    def warnings(self, main: Path) -> tuple[Problem, ...]:
        return _in_reading_order(self._warnings, main)


def _problem(place: Place, message: str) -> Problem:
    """What a file says may reach a terminal by its messages: nothing but printable characters does."""
    return Problem(*place.position(), _printable(place.key), _printable(message))


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _in_reading_order(problems: Iterable[Problem], main: Path) -> tuple[Problem, ...]:
    """The main file first, each file from top to bottom."""
    return tuple(sorted(problems, key=lambda found: (found.file != main, *found)))


def show_key(path: Iterable[str | int]) -> str:
    """A key path as TOML writes it; what stands in an array has its index in brackets."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        text += "." if text else ""
        text += part if BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False)
    return text


def did_you_mean(word: str, candidates: Iterable[str], otherwise: str) -> str:
    """`did you mean "…"?`, or what to say when no candidate is near."""
    near = difflib.get_close_matches(word[:100], islice(candidates, SUGGESTION_CANDIDATES_MAX), n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else otherwise
