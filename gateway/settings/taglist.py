"""Tag lists: tags written once, as a table `[tag_lists.NAME]` or as a CSV file, and used by many devices.

A CSV has a header, one tag a line, and a column for each setting of a tag, named as in TOML (`alarm.low` for a setting
inside a table); `name` is the tag's name. Empty cells take the default, several windows or patterns are parted by
spaces, lines that begin with # are comments, cells may stand in double quotes. The separator is the comma, or the
semicolon where the header has one. Some come with the gateway (`shipped`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gateway.core.alarms import KINDS, AlarmKind
from gateway.settings import shipped
from gateway.settings.document import Text, read_text
from gateway.settings.problems import ConfigurationError, Position, Report, did_you_mean
from gateway.settings.section import Section
from gateway.settings.templates import has_placeholder
from gateway.settings.units import WrongValueError, name, show

COLUMNS = (
    "name",
    "register",
    "type",
    "scale",
    "offset",
    "unit",
    "every",
    "poll",
    "windows",
    "stale_after",
    "write",
    "verify",
    "scada",
    "word_order",
    "byte_order",
    "bits",
    "not_available",
    "labels",
    "registers",
    "encoding",
    "padding",
    "clamp.low",
    "clamp.high",
    "report.change",
    "report.percent",
    "report.hold",
    "report.heartbeat",
    *(f"alarm.{KINDS[kind].word}" for kind in AlarmKind),
    "alarm.deadband",
    "alarm.on_delay",
    "alarm.off_delay",
    "alarm.latch",
    "alarm.priority",
    "alarm.unless",
    "valid.low",
    "valid.high",
    "formula",
    "topic",
    "field",
    "time_field",
    "sequence_field",
    "qos",
    "durable",
    "priority",
)

_CELLS = {separator: re.compile(rf'[ \t]*"((?:[^"]|"")*)"[ \t]*|([^{separator}]*)') for separator in ",;"}
_FLAGS = {"true": True, "yes": True, "false": False, "no": False}


class TagEntry:
    """A tag as written, before it belongs to a device."""

    def __init__(self, name: str, section: Section) -> None:
        self.name = name
        self.section = section
        self.is_constant = not has_placeholder(section.content)
        """Whether it says the same for every device, and so needs to be read once only."""


class _Cell(NamedTuple):
    value: str
    column: int


@dataclass(frozen=True, slots=True)
class _CsvPlace:
    """`path` is the tag's name and then the column's name in parts."""

    text: Text
    line: int
    columns: dict[str, int]
    path: tuple[str, ...]

    def child(self, key: str) -> _CsvPlace:
        return _CsvPlace(self.text, self.line, self.columns, (*self.path, key))

    def position(self) -> Position:
        column = ".".join(self.path[1:]) or "name"
        return Position(self.text.file, self.line, self.columns.get(column, 1))

    @property
    def key(self) -> str:
        return ".".join(self.path)


def inline_entries(tags: Section | None) -> tuple[TagEntry, ...]:
    """The tags of a TOML table."""
    if tags is None:
        return ()
    found = []
    for key in tags.content:
        section = tags.table(key)
        if section is None:
            continue
        try:
            found.append(TagEntry(name(key), section))
        except WrongValueError as wrong:
            section.wrong_here(str(wrong))
    return tuple(found)


class TagLists:
    """Every tag list of a configuration, each read at most once."""

    def __init__(self, root: Section, directory: Path) -> None:
        self._report = root.report
        self._directory = directory
        self._sections = dict(root.tables("tag_lists"))
        self._named = {key: inline_entries(section) for key, section in self._sections.items()}
        self._files: dict[str, tuple[TagEntry, ...]] = {}
        self._used: set[str] = set()
        self.incomplete: set[str] = set()
        """Files of which not every line could be read."""

    def entries(self, reference: str) -> tuple[TagEntry, ...]:
        """The tags of a list by its name or its CSV file. Raises WrongValueError when there is none."""
        if reference.lower().endswith(".csv") or reference.startswith(shipped.PREFIX):
            if reference not in self._files:
                self._files[reference] = self._read_csv(reference)
            return self._files[reference]
        if reference not in self._named:
            remedy = did_you_mean(reference, self._named, "write the name of a [tag_lists.NAME] or the path of a .csv")
            raise WrongValueError(f"{show(reference)} is not a tag list; {remedy}")
        self._used.add(reference)
        return self._named[reference]

    def warn_of_unused(self) -> None:
        for key, section in self._sections.items():
            if key not in self._used:
                self._report.warn(section.place, "is used by no device")

    def _read_csv(self, reference: str) -> tuple[TagEntry, ...]:
        file = shipped.path_of(reference) or self._directory / reference
        if not file.is_file():
            raise WrongValueError(f'"{reference}": there is no file {file}; write a path relative to this file')
        problems_before = len(self._report)
        found: tuple[TagEntry, ...] = ()
        try:
            found = tuple(_csv_entries(read_text(file), self._report))
        except ConfigurationError as error:
            self._report.extend(error.problems)
        if len(self._report) > problems_before:
            self.incomplete.add(reference)
        return found


def _csv_entries(text: Text, report: Report) -> Iterator[TagEntry]:
    lines = [
        (number, line)
        for number, line in enumerate(text.text.split("\n"), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        report.problem(_CsvPlace(text, 1, {}, ("header",)), f"is missing; write {','.join(COLUMNS[:4])}")
        return
    header_line, header_text = lines[0]
    separator = ";" if ";" in header_text else ","
    header = [cell._replace(value=cell.value.strip()) for cell in _split(header_text, separator)]
    if not _is_header(header, _CsvPlace(text, header_line, {}, ("header",)), report):
        return
    seen: set[str] = set()
    for number, line in lines[1:]:
        cells = _split(line, separator)
        named = {title.value: cell for title, cell in zip(header, cells, strict=False)}
        columns = {title: cell.column for title, cell in named.items()}
        tag = named["name"].value.strip() if "name" in named else ""
        place = _CsvPlace(text, number, columns, (tag or f"line {number}",))
        if len(cells) > len(header):
            report.problem(place, f"has {len(cells)} cells under {len(header)} columns; quote cells with commas")
            continue
        try:
            name(tag)
        except WrongValueError as wrong:
            report.problem(place.child("name"), str(wrong))
            continue
        if tag in seen:
            report.problem(place, "stands there twice; give each tag its own name")
            continue
        seen.add(tag)
        yield TagEntry(tag, Section(report, place, _content(named)))


def _split(line: str, separator: str) -> list[_Cell]:
    cells = []
    at = 0
    while True:
        match = _CELLS[separator].match(line, at)
        assert match is not None
        quoted = match[1]
        if quoted is not None and line[match.end() : match.end() + 1] in ("", separator):
            cells.append(_Cell(quoted.replace('""', '"'), match.start() + 1))
            at = match.end()
        else:
            end = line.find(separator, at)
            end = len(line) if end < 0 else end
            cells.append(_Cell(line[at:end].strip(), at + 1))
            at = end
        if at >= len(line):
            return cells
        at += 1


def _is_header(header: list[_Cell], place: _CsvPlace, report: Report) -> bool:
    sound = True
    titles = [cell.value for cell in header]
    for index, cell in enumerate(header):
        here = _CsvPlace(place.text, place.line, {cell.value: cell.column}, ("header", cell.value))
        if cell.value not in COLUMNS:
            remedy = did_you_mean(cell.value, COLUMNS, f"write some of {', '.join(COLUMNS)}")
            report.problem(here, f"is not a column; {remedy}")
            sound = False
        elif cell.value in titles[:index]:
            report.problem(here, "stands there twice; write each column once")
            sound = False
    if "name" not in titles:
        report.problem(place.child("name"), 'is missing; write a column "name"')
        sound = False
    return sound


def _content(cells: dict[str, _Cell]) -> dict[str, object]:
    """The row as TOML would have given it."""
    content: dict[str, object] = {}
    for title, cell in cells.items():
        if title == "name" or not cell.value:
            continue
        value: object = cell.value
        if title in ("windows", "not_available"):
            value = cell.value.split()
        elif title in ("write", "verify", "scada"):
            value = _FLAGS.get(cell.value.lower(), cell.value)
        group, _, key = title.partition(".")
        if key:
            inner = content.setdefault(group, {})
            assert isinstance(inner, dict)
            inner[key] = value
        else:
            content[title] = value
    return content
