"""Sections: one table of a configuration while it is being read.

The reader asks for each key it knows; `finish` then reports every key that nobody asked for. A value that is wrong is
reported at its place and answered with a stand-in, so that the rest is read too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from gateway.settings.problems import Place, Report, did_you_mean
from gateway.settings.templates import NO_VARIABLES, Variables, fill
from gateway.settings.units import Parser, WrongValueError, show

T = TypeVar("T")
D = TypeVar("D")


class Section:
    """`variables` replace `{name}` in every string inside; `note` ends each message (which instance of a template)."""

    __slots__ = ("_known", "_wrong", "content", "note", "place", "report", "variables")

    def __init__(
        self,
        report: Report,
        place: Place,
        content: Mapping[str, object],
        variables: Variables = NO_VARIABLES,
        note: str = "",
    ) -> None:
        self.report = report
        self.place = place
        self.content = content
        self.variables = variables
        self.note = note
        self._known: set[str] = set()
        self._wrong: set[str] = set()

    def get(self, key: str, parse: Parser[T], default: D) -> T | D:
        """The value of an optional key."""
        self._known.add(key)
        if key not in self.content:
            return default
        value = self.content[key]
        try:
            return parse(fill(value, self.variables) if self.variables else value)
        except WrongValueError as wrong:
            self.wrong(key, str(wrong))
            return default

    def require(self, key: str, parse: Parser[T], stand_in: T, remedy: str) -> T:
        """The value of a key that must be there; `remedy` says what to write when it is not."""
        if key not in self.content:
            self._known.add(key)
            self.wrong(key, f"is missing; {remedy}")
            return stand_in
        return self.get(key, parse, stand_in)

    def table(self, key: str) -> Section | None:
        """The table under an optional key."""
        self._known.add(key)
        if key not in self.content:
            return None
        content = self.content[key]
        if not isinstance(content, dict):
            self.wrong(key, f"{show(content)} is not a table; write {key} = {{ ... }} or [{key}]")
            return None
        return Section(self.report, self.place.child(key), content, self.variables, self.note)

    def tables(self, key: str) -> Iterator[tuple[str, Section]]:
        """The named tables under an optional key, as in `[links.NAME]`."""
        group = self.table(key)
        if group is not None:
            for name in group.content:
                section = group.table(name)
                if section is not None:
                    yield name, section

    def has(self, key: str) -> bool:
        self._known.add(key)
        return key in self.content

    def is_sound(self, *keys: str) -> bool:
        """Whether none of these keys had a problem so far: what depends on them may be checked."""
        return self._wrong.isdisjoint(keys)

    def wrong(self, key: str, message: str) -> None:
        self._wrong.add(key)
        self.report.problem(self.place.child(key), message + self.note)

    def wrong_here(self, message: str) -> None:
        self.report.problem(self.place, message + self.note)

    def warn(self, key: str, message: str) -> None:
        self.report.warn(self.place.child(key), message + self.note)

    def finish(self, elsewhere: Mapping[str, str] | None = None) -> None:
        """Report the keys that nobody asked for. `elsewhere` explains keys that are at home in other tables."""
        for key in self.content.keys() - self._known:
            if elsewhere is not None and key in elsewhere:
                self.wrong(key, elsewhere[key])
                continue
            known = sorted(self._known)
            remedy = did_you_mean(key, known, f"write one of {', '.join(known)}, or take it out")
            self.wrong(key, f"is not a setting here; {remedy}")
