"""Reference data: what other tables know of devices and tags, joined when they are read, never with a sample.

    [reference.assets]
    file = "assets.csv"                       # or a SQLite file, with table = "assets"

A row is of a `device`, of a `tag` (device.tag), or of a tag of a device (both columns). These columns mean something:

    criticality    low, normal, high, critical: what is left out last when too much comes, if the tag does not say it
    low, high      engineering limits: the tag's `valid`, if it does not say it
    curve          calibration, "0:0.2 50:49.1 100:100.4": shown:true, from the lowest on
    asset, path    what it is and where (ISA-95: enterprise/site/area/line/unit), shown first

All others are shown as they are. A row that cannot be used is left out with its place and reason, and the rest stands.
A file that is gone, or is no table any more, leaves what was read last, which the gateway keeps in its state directory.
"""

from __future__ import annotations

import csv
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

import msgspec

from gateway.core import limits
from gateway.core.types import Kind
from gateway.settings.document import read_text
from gateway.settings.problems import ConfigurationError
from gateway.settings.schema import (
    FormulaPoint,
    ModbusPoint,
    MqttPoint,
    Priority,
    ReferenceTable,
    Settings,
    Tag,
)
from gateway.settings.section import Section
from gateway.settings.units import WrongValueError, name, number, show, text

VALUE_MAX: Final = 256
"""Characters of one value."""
CRITICALITIES: Final[dict[str, Priority]] = {
    "low": Priority.LOW,
    "normal": Priority.NORMAL,
    "high": Priority.HIGH,
    "critical": Priority.HIGH,
}
OF_TAGS_ONLY: Final = ("low", "high", "curve")
SQLITE: Final = (".db", ".sqlite", ".sqlite3")

_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,31}")
_POINT = re.compile(r"([^:\s]+):([^:\s]+)")


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One row with its place in its file: a line, or the number of a row. Empty values are not in it."""

    place: int
    values: dict[str, str]


class TableUnusable(Exception):
    """A whole table cannot be used; says why."""


class Own(NamedTuple):
    """What a tag takes from its rows."""

    context: dict[str, str]
    low: float | None = None
    high: float | None = None
    curve: tuple[tuple[float, float], ...] = ()


def read_reference(root: Section, directory: Path, state_dir: Path) -> tuple[ReferenceTable, ...]:
    found = []
    for key, section in root.tables("reference"):
        try:
            name(key)
        except WrongValueError as wrong:
            section.wrong_here(str(wrong))
        file = directory / section.require("file", text, "", 'write file = "assets.csv", or a SQLite file')
        table = section.get("table", text, None) or ""
        if section.is_sound("file", "table"):
            is_sqlite = file.suffix.lower() in SQLITE
            if is_sqlite and not table:
                section.wrong("table", 'is missing; write the table of the SQLite file, table = "assets"')
            elif table and not is_sqlite:
                section.wrong("table", f"belongs to SQLite files ({', '.join(SQLITE)}), and this is none; take it out")
            elif not file.is_file() and not kept_file(state_dir, key).is_file():
                section.wrong("file", f"{show(str(file))} does not exist; write the path of the table")
        section.finish()
        found.append(ReferenceTable(name=key, file=file, table=table))
    if len(found) > limits.REFERENCE_TABLES_MAX:
        root.wrong("reference", f"has {len(found)} tables; write at most {limits.REFERENCE_TABLES_MAX}")
    return tuple(found)


def kept_file(state_dir: Path, table: str) -> Path:
    """Where what was read last of a table is kept."""
    return state_dir / "reference" / f"{table}.json"


def rows_of(table: ReferenceTable) -> list[Row]:
    """Raises TableUnusable."""
    rows = list(_of_sqlite(table) if table.table else _of_csv(table.file))
    if len(rows) > limits.REFERENCE_ROWS_MAX:
        raise TableUnusable(f"{table.file}: has {len(rows)} rows; {limits.REFERENCE_ROWS_MAX} are the most")
    return rows


def _of_csv(file: Path) -> Iterator[Row]:
    try:
        source = read_text(file).text
    except ConfigurationError as error:
        raise TableUnusable(str(error)) from None
    header = source.partition("\n")[0]
    reader = csv.reader(source.split("\n"), delimiter=";" if ";" in header else ",")
    try:
        columns = _columns([cell.strip().lower() for cell in next(reader, [])], f"{file}:1")
        for cells in reader:
            if not cells or cells[0].lstrip().startswith("#"):
                continue
            if len(cells) > len(columns):
                yield Row(reader.line_num, {"": f"{len(cells)} cells, and the header has {len(columns)}"})
                continue
            yield Row(reader.line_num, _filled(zip(columns, cells, strict=False)))
    except csv.Error as error:
        raise TableUnusable(f"{file}:{reader.line_num}: {error}; save it as CSV again") from None


def _of_sqlite(table: ReferenceTable) -> Iterator[Row]:
    quoted = table.table.replace('"', '""')
    try:
        uri = f"file:{quote(str(table.file))}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=1.0)) as connection:
            cursor = connection.execute(f'SELECT * FROM "{quoted}" LIMIT {limits.REFERENCE_ROWS_MAX + 1}')
            columns = _columns([column[0].lower() for column in cursor.description], f"{table.file}: {table.table}")
            for place, cells in enumerate(cursor, start=1):
                yield Row(
                    place, _filled(zip(columns, ("" if cell is None else str(cell) for cell in cells), strict=True))
                )
    except sqlite3.Error as error:
        raise TableUnusable(f"{table.file}: {error}; check the file and the name of the table") from None


def _columns(titles: list[str], where: str) -> list[str]:
    if "tag" not in titles and "device" not in titles:
        raise TableUnusable(f"{where}: has no column tag or device, so its rows belong to nothing; add one")
    if len(titles) > limits.REFERENCE_COLUMNS_MAX:
        raise TableUnusable(f"{where}: has {len(titles)} columns; {limits.REFERENCE_COLUMNS_MAX} are the most")
    wrong = [title for title in titles if not _COLUMN.fullmatch(title)]
    if wrong or len(set(titles)) < len(titles):
        raise TableUnusable(f"{where}: {show((wrong or titles)[0])} is no column; write each once, in a-z, 0-9 and _")
    return titles


def _filled(cells: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {title: cell.strip() for title, cell in cells if cell.strip()}


def joined(settings: Settings) -> Settings:
    """The settings with what their tables say now; `reference_findings` tells what could not be used."""
    if not settings.reference:
        return settings
    tags = settings.unjoined or settings.tags
    join = _Join(settings, tags)
    for table in settings.reference:
        join.take(table)
    return msgspec.structs.replace(
        settings, unjoined=tags, tags=join.tags(), reference_findings=tuple(join.findings), reference_rows=join.rows
    )


class _Join:
    def __init__(self, settings: Settings, tags: tuple[Tag, ...]) -> None:
        self._state_dir = settings.state_dir
        self._tags = {tag.name: tag for tag in tags}
        self._devices = {device.name for device in settings.devices}
        self._of_loops = settings.executive_tags
        self._of_device: dict[str, dict[str, str]] = {}
        self._of_tag: dict[str, Own] = {}
        self.findings: list[str] = []
        self.rows: dict[str, tuple[tuple[int, dict[str, str]], ...]] = {}

    def find(self, message: str) -> None:
        if len(self.findings) < limits.REFERENCE_FINDINGS_MAX:
            self.findings.append(message)

    def take(self, table: ReferenceTable) -> None:
        try:
            rows = rows_of(table)
            self.rows[table.name] = tuple((row.place, row.values) for row in rows)
        except TableUnusable as error:
            rows = self._kept(table.name)
            self.find(f"{error}; what was read of it last ({len(rows)} rows) stays in force")
        for row in rows:
            try:
                self._take_row(row.values)
            except WrongValueError as wrong:
                self.find(f"{table.file}:{row.place}: {wrong}; the row is left out")

    def _kept(self, table: str) -> list[Row]:
        try:
            return msgspec.json.decode(kept_file(self._state_dir, table).read_bytes(), type=list[Row])
        except (OSError, msgspec.DecodeError):
            return []

    def _take_row(self, values: Mapping[str, str]) -> None:
        """Raises WrongValueError. Rows of devices and tags that this gateway has not are somebody else's."""
        if "" in values:
            raise WrongValueError(values[""])
        device, tag = values.get("device", ""), values.get("tag", "")
        if not device and not tag:
            raise WrongValueError("names neither tag nor device")
        long = next((column for column, value in values.items() if len(value) > VALUE_MAX), None)
        if long is not None:
            raise WrongValueError(f"{long} has more than {VALUE_MAX} characters")
        if values.get("criticality", "normal") not in CRITICALITIES:
            raise WrongValueError(f"criticality {show(values['criticality'])}: write {', '.join(CRITICALITIES)}")
        shown = {key: value for key, value in values.items() if key not in ("device", "tag", *OF_TAGS_ONLY)}
        if not tag:
            wrong = next((column for column in OF_TAGS_ONLY if column in values), None)
            if wrong is not None:
                raise WrongValueError(f"{wrong} is of one tag, and the row names a whole device")
            if device in self._devices:
                self._of_device.setdefault(device, {}).update(shown)
            return
        tag_name = f"{device}.{tag}" if device and not tag.startswith(f"{device}.") else tag
        if tag_name not in self._tags:
            return
        own = self._own(values)
        if own.curve:
            self._check_curve(self._tags[tag_name])
        before = self._of_tag.get(tag_name, Own({}))
        self._of_tag[tag_name] = Own(
            before.context | shown,
            before.low if own.low is None else own.low,
            before.high if own.high is None else own.high,
            own.curve or before.curve,
        )

    def _own(self, values: Mapping[str, str]) -> Own:
        low = _named("low", values)
        high = _named("high", values)
        if low is not None and high is not None and low >= high:
            raise WrongValueError(f"low {low:g} is not below high {high:g}")
        return Own({}, low, high, curve_of(values["curve"]) if "curve" in values else ())

    def _check_curve(self, tag: Tag) -> None:
        point = tag.point
        if tag.kind is Kind.SYMBOL or tag.labels:
            raise WrongValueError(f"curve: {tag.name} is no measured quantity")
        if isinstance(point, FormulaPoint):
            raise WrongValueError(f"curve: {tag.name} is computed; write it into the formula")
        if tag.name in self._of_loops:
            raise WrongValueError(f"curve: {tag.name} belongs to a loop, which reads the device itself")
        if isinstance(point, ModbusPoint) and point.writable:
            raise WrongValueError(f"curve: {tag.name} is written as well, and what is written is not calibrated")

    def tags(self) -> tuple[Tag, ...]:
        return tuple(self._joined(tag) for tag in self._tags.values())

    def _joined(self, tag: Tag) -> Tag:
        own = self._of_tag.get(tag.name, Own({}))
        context = self._of_device.get(tag.device, {}) | own.context
        if not context and own == Own({}):
            return tag
        point = tag.point
        may_have = isinstance(point, ModbusPoint | MqttPoint) and point.priority is Priority.NORMAL
        if may_have and "criticality" in context:
            point = msgspec.structs.replace(point, priority=CRITICALITIES[context["criticality"]])
        return msgspec.structs.replace(
            tag,
            point=point,
            kind=Kind.F64 if own.curve else tag.kind,
            valid_low=own.low if tag.valid_low is None else tag.valid_low,
            valid_high=own.high if tag.valid_high is None else tag.valid_high,
            curve=own.curve,
            context=tuple(sorted(context.items())),
        )


def _named(column: str, values: Mapping[str, str]) -> float | None:
    try:
        return number(values[column]) if column in values else None
    except WrongValueError as wrong:
        raise WrongValueError(f"{column}: {wrong}") from None


def curve_of(written: str) -> tuple[tuple[float, float], ...]:
    """`"0:0.2 50:49.1"`: points, what is shown and what is there. Raises WrongValueError."""
    points = []
    for word in written.split():
        match = _POINT.fullmatch(word)
        if match is None:
            raise WrongValueError(f'curve: {show(word)} is no point; write shown:true, like "0:0.2 50:49.1 100:100.4"')
        points.append((number(match[1]), number(match[2])))
    if not 2 <= len(points) <= limits.CURVE_POINTS_MAX:
        raise WrongValueError(f"curve: has {len(points)} points; write 2 to {limits.CURVE_POINTS_MAX}")
    if any(a[0] >= b[0] for a, b in pairwise(points)):
        raise WrongValueError("curve: what is shown must rise from point to point")
    return tuple(points)
