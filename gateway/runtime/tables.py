"""Recorded tables as cycles of an engine: CSV, or Parquet where pyarrow is installed.

Two shapes are understood, told apart by their header, time always in the first column:

    wide   time, boiler.temperature, boiler.pressure, ...     a column for each tag, by its full name
    long   time, tag, value[, quality]                        a row for each sample; quality is an OPC DA code

An empty cell is no sample. Engine time is the table's time; rows within CYCLE_NS are one cycle. Between rows the grid
goes on, so that tags become stale as they would have, for at most GRID_POINTS_MAX points: what lies in a longer pause
is passed over as after a restart.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway.core.cycle import Cycle
from gateway.core.limits import CYCLE_NS, GRID_NS
from gateway.core.model import Model
from gateway.core.record import Stamp
from gateway.core.symbols import Symbols
from gateway.core.types import SAMPLE, Kind, Quality, Samples

GRID_POINTS_MAX: Final = 600
PARQUET: Final = (".parquet", ".pq")
LONG: Final = ("tag", "value")
CYCLE_SAMPLES: Final = 65_536

Moment = Callable[[str], int]
Found = tuple[int, int, object, int]
"""Time in ns, row, value, quality."""


class TableUnfit(Exception):
    """The table cannot be read; says where and what to do."""


class Table:
    """A file of recorded values for the tags of `model`. `unknown` are its columns or tags that the model has not."""

    def __init__(self, path: Path, model: Model, symbols: Symbols, moment: Moment) -> None:
        self._path = path
        self._model = model
        self._symbols = symbols
        self._moment = moment
        self.unknown: dict[str, int] = {}
        self.refused = 0

    def cycles(self) -> Iterator[Cycle]:
        """Raises TableUnfit."""
        number = 0
        now_ns = 0
        batch: list[Found] = []
        for found in self._samples():
            if batch and (found[0] - now_ns >= CYCLE_NS or len(batch) >= CYCLE_SAMPLES):
                number += 1
                yield self._cycle(number, now_ns, batch)
                for point_ns in grid_between(now_ns, found[0]):
                    number += 1
                    yield self._cycle(number, point_ns, [])
                batch = []
            if not batch:
                now_ns = max(now_ns, found[0])
            batch.append(found)
        if batch:
            yield self._cycle(number + 1, now_ns, batch)

    def _cycle(self, number: int, now_ns: int, batch: Sequence[Found]) -> Cycle:
        samples: Samples = np.zeros(len(batch), SAMPLE)
        for place, (time_ns, row, value, quality) in enumerate(batch):
            sample = samples[place]
            sample["row"], sample["quality"], sample["source_ns"], sample["arrival_ns"] = row, quality, time_ns, now_ns
            self._put(sample, self._model.tags[row].kind, value)
        return Cycle(number, now_ns, samples, stamp=Stamp(0, True))

    def _put(self, sample: Any, kind: Kind, value: object) -> None:
        try:
            if kind is Kind.SYMBOL:
                sample["bits"] = self._symbols.intern(str(value))
            elif kind is Kind.F64:
                sample["value"] = float(str(value))
            else:
                whole = int(float(str(value))) if "." in str(value) or "e" in str(value).lower() else int(str(value))
                sample["bits"] = whole - (1 << 64) if whole >= 1 << 63 else whole
        except (ValueError, OverflowError):
            self.refused += 1
            sample["quality"] = Quality.BAD_SENSOR_FAILURE

    def _samples(self) -> Iterator[Found]:
        rows = self._of_parquet() if self._path.suffix.lower() in PARQUET else self._of_csv()
        _, header = next(rows)
        if len(header) < 2:
            raise TableUnfit(f"{self._path}: a time column and at least one more are needed; separate them by commas")
        row_of = self._model.row_of
        is_long = tuple(name.lower() for name in header[1:3]) == LONG
        places = [row_of.get(name, -1) for name in header[1:]]
        if not is_long:
            self.unknown |= {name: 0 for name, place in zip(header[1:], places, strict=True) if place < 0}
            if max(places) < 0:
                raise TableUnfit(
                    f"{self._path}: no column is named like a tag of the configuration, {header[1]!r} for example; "
                    "write full names, device.tag, or the columns time, tag, value"
                )
        for line, cells in rows:
            if len(cells) != len(header):
                raise TableUnfit(f"{self._path}:{line}: {len(cells)} cells, the header has {len(header)}")
            time_ns = self._time(line, cells[0])
            if is_long:
                place = row_of.get(cells[1], -1)
                if place < 0:
                    self.unknown[cells[1]] = self.unknown.get(cells[1], 0) + 1
                elif cells[2] != "":
                    yield time_ns, place, cells[2], int(cells[3] or 192) if len(cells) > 3 else int(Quality.GOOD)
                continue
            for place, cell in zip(places, cells[1:], strict=True):
                if place >= 0 and cell != "":
                    yield time_ns, place, cell, int(Quality.GOOD)

    def _time(self, line: int, cell: str) -> int:
        try:
            return self._moment(cell)
        except (ValueError, OverflowError):
            raise TableUnfit(
                f"{self._path}:{line}: {cell!r} is no time; write ISO 8601 or seconds since 1970"
            ) from None

    def _of_csv(self) -> Iterator[tuple[int, list[str]]]:
        with self._path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            yield 1, next(rows, [])
            for row in rows:
                if row:
                    yield rows.line_num, row

    def _of_parquet(self) -> Iterator[tuple[int, list[str]]]:
        try:
            from pyarrow import parquet
        except ImportError:
            raise TableUnfit(f"{self._path}: Parquet needs pyarrow; pip install 'fieldgate[parquet]'") from None
        file = parquet.ParquetFile(self._path)
        yield 1, list(file.schema_arrow.names)
        line = 1
        for group in file.iter_batches(batch_size=CYCLE_SAMPLES):
            for row in zip(*(as_text(column.to_pylist()) for column in group.columns), strict=True):
                line += 1
                yield line, list(row)


def as_text(values: Iterable[object]) -> list[str]:
    """As a CSV has it: missing values empty, floats in full, times in ISO 8601."""
    return ["" if value is None else value if isinstance(value, str) else str(value) for value in values]


def grid_between(before_ns: int, after_ns: int) -> Iterator[int]:
    """Points of the grid between two times, the first GRID_POINTS_MAX of them."""
    first = before_ns // GRID_NS + 1
    last = (after_ns - 1) // GRID_NS
    for point in range(first, min(last, first + GRID_POINTS_MAX - 1) + 1):
        yield point * GRID_NS
