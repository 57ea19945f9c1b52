"""Columns of records as arrays: which type each has, and the mixed values of samples taken apart and put together.

A sample's value is a number (null where it has none), a whole number of up to 64 bits for integer tags, or a text.
Typed encodings have the numbers in one column, NaN or null where there is none, and beside it the others: the rows
that have one, and their values.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Value: TypeAlias = float | int | str | None
Doubles: TypeAlias = npt.NDArray[np.float64]

INT64_MAX: Final = (1 << 63) - 1


class Kind(Enum):
    COUNT = "uint64"
    """Whole and not negative."""
    TIME = "sfixed64"
    """Nanoseconds."""
    NUMBER = "double"
    """A float; null where it has no number."""
    VALUE = "value"
    """What a sample may be."""
    TEXT = "string"


class Column(NamedTuple):
    """`number` is that of its field in the stream's Protocol Buffers message."""

    number: int
    name: str
    kind: Kind


_SCORES: Final = (
    (4, "count", Kind.COUNT),
    (5, "mean", Kind.NUMBER),
    (6, "sd", Kind.NUMBER),
    (7, "min", Kind.NUMBER),
    (8, "max", Kind.NUMBER),
    (9, "rate", Kind.NUMBER),
    (10, "ewma", Kind.NUMBER),
    (11, "score", Kind.NUMBER),
    (12, "persistent", Kind.NUMBER),
    (13, "reasons", Kind.COUNT),
    (14, "score_once_h", Kind.NUMBER),
    (15, "persistent_once_h", Kind.NUMBER),
    (16, "score_quality", Kind.COUNT),
)


def _table(*columns: tuple[int, str, Kind]) -> tuple[Column, ...]:
    return tuple(Column(*each) for each in columns)


STREAMS: Final[dict[str, tuple[Column, ...]]] = {
    "samples": _table(
        (1, "tag", Kind.COUNT), (2, "time_ns", Kind.TIME), (3, "value", Kind.VALUE), (4, "quality", Kind.COUNT)
    ),
    "aggregates": _table((1, "tag", Kind.COUNT), (2, "window_ns", Kind.TIME), (3, "quality", Kind.COUNT), *_SCORES),
    "calculations": _table(
        (1, "tag", Kind.COUNT),
        (2, "calculation", Kind.COUNT),
        (3, "start_ns", Kind.TIME),
        (4, "end_ns", Kind.TIME),
        (5, "value", Kind.NUMBER),
        (6, "count", Kind.COUNT),
        (7, "coverage", Kind.NUMBER),
        (8, "revision", Kind.COUNT),
        (9, "quality", Kind.COUNT),
    ),
    "multivariate": _table(
        (1, "tag", Kind.COUNT),
        (2, "rank", Kind.COUNT),
        (3, "share", Kind.NUMBER),
        (4, "score", Kind.NUMBER),
        (5, "score_once_h", Kind.NUMBER),
    ),
    "events": _table(
        (1, "time_ns", Kind.TIME),
        (2, "severity", Kind.COUNT),
        (3, "kind", Kind.TEXT),
        (4, "subject", Kind.TEXT),
        (5, "message", Kind.TEXT),
    ),
}
"""Which columns the records of a stream have, in version 1."""


class Apart(NamedTuple):
    """Values of samples by type. Rows are places in `numbers`, which is NaN there."""

    numbers: Doubles
    integer_rows: list[int]
    integers: list[int]
    unsigned_rows: list[int]
    unsigneds: list[int]
    text_rows: list[int]
    texts: list[str]


def doubles(values: Sequence[Any]) -> Doubles:
    """Floats; None becomes NaN."""
    return np.array(values, np.float64)


def nullable(numbers: Doubles) -> list[float | None]:
    """The other way round."""
    values: list[float | None] = numbers.tolist()
    for row in np.flatnonzero(np.isnan(numbers)).tolist():
        values[row] = None
    return values


def take_apart(values: Sequence[Value]) -> Apart:
    if set(map(type, values)) <= {float, type(None)}:
        return Apart(doubles(values), [], [], [], [], [], [])
    numbers = [value if isinstance(value, float) else None for value in values]
    whole = [(row, value) for row, value in enumerate(values) if isinstance(value, int)]
    integers = [(row, value) for row, value in whole if value <= INT64_MAX]
    unsigneds = [(row, value) for row, value in whole if value > INT64_MAX]
    texts = [(row, value) for row, value in enumerate(values) if isinstance(value, str)]
    return Apart(
        doubles(numbers),
        [row for row, _ in integers],
        [value for _, value in integers],
        [row for row, _ in unsigneds],
        [value for _, value in unsigneds],
        [row for row, _ in texts],
        [text for _, text in texts],
    )


def put_together(apart: Apart) -> list[Value]:
    """Raises IndexError where a row is none."""
    values: list[Value] = list(nullable(apart.numbers))
    kinds: tuple[tuple[list[int], Sequence[Value]], ...] = (
        (apart.integer_rows, apart.integers),
        (apart.unsigned_rows, apart.unsigneds),
        (apart.text_rows, apart.texts),
    )
    for rows, found in kinds:
        for row, value in zip(rows, found, strict=True):
            values[row] = value
    return values
