"""Recorded histories as people have them: CSV by whatever wrote it, for `fieldgate score`.

A time column first, then value columns. Comma, semicolon or tab between cells, whichever the header has most of; with
a semicolon or tab a number may have a decimal comma. UTF-8, or UTF-16 with its mark. Times are ISO 8601, or a number
since 1970 in the unit that the first row shows (9e9 seconds are the year 2255), or as a format says.
"""

from __future__ import annotations

import codecs
import csv
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

NS = 1_000_000_000
YEARS_MAX_S = 9e9
UNITS_NS = (NS, 1_000_000, 1_000, 1)
"""Seconds, and what a number can be that is too large for them: milli-, micro- and nanoseconds."""

DELIMITERS = ",;\t"
PROGRESS_ROWS = 10_000

Progress = Callable[[int], None]


class HistoryUnfit(Exception):
    """The file is no history; the message says where and what to do."""


def read_csv(path: Path, time_format: str | None, progress: Progress) -> tuple[list[int], dict[str, list[float]]]:
    """Times and columns. `progress` is told the bytes read so far. Raises HistoryUnfit, with file and line."""
    with open_text(path) as file:
        try:
            return parse(path, file, time_format, progress)
        except UnicodeError as error:
            raise HistoryUnfit(f"{path}: is no UTF-8 text; save it as CSV in UTF-8, or name it .parquet") from error
        except csv.Error as error:
            raise HistoryUnfit(f"{path}: is no CSV: {error}") from error


def open_text(path: Path) -> TextIO:
    with path.open("rb") as raw:
        begin = raw.read(2)
    encoding = "utf-16" if begin in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    return path.open(newline="", encoding=encoding)


def parse(
    path: Path, file: TextIO, time_format: str | None, progress: Progress
) -> tuple[list[int], dict[str, list[float]]]:
    first = file.readline()
    delimiter = max(DELIMITERS, key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    if len(header) < 2:
        raise HistoryUnfit(f"{path}:1: a time column and at least one value column are needed; separate them by commas")
    if len(set(header)) != len(header):
        raise HistoryUnfit(f"{path}:1: two columns have the same name; rename one")
    number = plain_number if delimiter == "," else number_with_comma
    times_ns: list[int] = []
    columns: dict[str, list[float]] = {name: [] for name in header[1:]}
    moment: Callable[[str], int] | None = None
    for line, row in rows_of(file, delimiter, progress):
        if len(row) != len(header):
            raise HistoryUnfit(f"{path}:{line}: {len(row)} cells, the header has {len(header)}")
        try:
            moment = moment or reader_of(row[0], time_format)
            times_ns.append(moment(row[0]))
        except (ValueError, OverflowError) as error:
            wanted = f"not of the format {time_format!r}" if time_format else "no time; write ISO 8601, a number since "
            raise HistoryUnfit(
                f"{path}:{line}: {row[0]!r} is {wanted}" + ("" if time_format else "1970, or give --time-format")
            ) from error
        for name, cell in zip(columns, row[1:], strict=True):
            columns[name].append(number(cell))
    if not times_ns:
        raise HistoryUnfit(f"{path}: no rows after the header")
    return times_ns, columns


def rows_of(file: TextIO, delimiter: str, progress: Progress) -> Iterator[tuple[int, list[str]]]:
    """Rows with their lines in the file, but for empty ones."""
    read = 0

    def lines() -> Iterator[str]:
        nonlocal read
        for number, text in enumerate(file):
            read += len(text)
            if number % PROGRESS_ROWS == 0:
                progress(read)
            yield text

    reader = csv.reader(lines(), delimiter=delimiter)
    for row in reader:
        if any(cell.strip() for cell in row):
            yield reader.line_num + 1, row


def reader_of(text: str, time_format: str | None) -> Callable[[str], int]:
    """How times are read, by the first of them. Raises ValueError."""
    if time_format is not None:
        return lambda cell: of_datetime(datetime.strptime(cell.strip(), time_format))
    try:
        first = float(text)
    except ValueError:
        return moment_ns
    for unit_ns in UNITS_NS:
        if abs(first) * unit_ns < YEARS_MAX_S * NS:
            return lambda cell: since_1970(cell, unit_ns)
    raise ValueError(text)


def since_1970(text: str, unit_ns: int) -> int:
    """Raises ValueError beyond the year 2255."""
    try:
        return bounded(int(text) * unit_ns, text)
    except ValueError:
        value = float(text) * unit_ns
        if not abs(value) < YEARS_MAX_S * NS:
            raise ValueError(text) from None
        return round(value)


def bounded(time_ns: int, text: str) -> int:
    if not abs(time_ns) < YEARS_MAX_S * NS:
        raise OverflowError(text)
    return time_ns


def moment_ns(text: str) -> int:
    """Raises ValueError when the text is neither a number of seconds nor ISO 8601."""
    try:
        seconds = float(text)
    except ValueError:
        return of_datetime(datetime.fromisoformat(text.strip()))
    if not abs(seconds) < YEARS_MAX_S:
        raise ValueError(text)
    return int(seconds * NS)


def of_datetime(moment: datetime) -> int:
    """UTC unless it says otherwise."""
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * NS)


def plain_number(text: str) -> float:
    """NaN for what is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def number_with_comma(text: str) -> float:
    """The same, with a decimal comma or point."""
    return plain_number(text.replace(",", ".", 1))
