"""Histories in Parquet files, for `fieldgate score`: as in CSV, a time column first, then value columns.

Needs pyarrow (`fieldgate[parquet]`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gateway.core.types import NS_PER_S, Float64s, Int64s

if TYPE_CHECKING:
    import pyarrow

YEARS_MAX_S = 9e9
UNITS_NS = {"s": NS_PER_S, "ms": 1_000_000, "us": 1_000, "ns": 1}


class HistoryInvalid(Exception):
    """The file is no history; the message says where and what to do."""


def read_parquet(path: Path) -> tuple[Int64s, dict[str, Float64s]]:
    """Times in ns and the columns that are numbers; what is null is NaN. Raises HistoryInvalid, and ImportError where
    pyarrow is missing."""
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise HistoryInvalid(f"{path}: no Parquet file that can be read: {error}") from error
    if table.num_columns < 2:
        raise HistoryInvalid(f"{path}: a time column and at least one value column are needed")
    if table.num_rows == 0:
        raise HistoryInvalid(f"{path}: no rows")
    columns: dict[str, Float64s] = {}
    for name in table.column_names[1:]:
        kind = table.schema.field(name).type
        if pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_boolean(kind):
            columns[name] = table.column(name).cast(pyarrow.float64()).to_numpy()
    if not columns:
        raise HistoryInvalid(f"{path}: no column after the first holds numbers")
    return times_of(path, table.column_names[0], table.column(0)), columns


def times_of(path: Path, name: str, column: pyarrow.ChunkedArray) -> Int64s:
    """Timestamps, or seconds since 1970."""
    import pyarrow

    kind = column.type
    if column.null_count:
        raise HistoryInvalid(f"{path}: column {name!r} has rows without a time; take them out")
    if pyarrow.types.is_timestamp(kind):
        counts = column.cast(pyarrow.int64()).to_numpy()
        unit_ns = UNITS_NS[kind.unit]
        if np.abs(counts / (NS_PER_S / unit_ns)).max() >= YEARS_MAX_S:
            raise HistoryInvalid(f"{path}: column {name!r} has times beyond the year 2255")
        return np.asarray(counts * unit_ns, np.int64)
    if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)):
        raise HistoryInvalid(f"{path}: the first column, {name!r}, is {kind}; write timestamps or seconds since 1970")
    seconds = column.cast(pyarrow.float64()).to_numpy()
    if not (np.abs(seconds) < YEARS_MAX_S).all():
        raise HistoryInvalid(f"{path}: column {name!r} has numbers that are no seconds since 1970")
    times_ns: Int64s = np.round(seconds * NS_PER_S).astype(np.int64)
    return times_ns
