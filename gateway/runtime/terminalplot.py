"""A series with its scores in a terminal, in braille: eight dots a cell, two wide and four high (Unicode U+2800)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from gateway.core.types import NS_PER_S, Float64s, Int64s, Samples
from gateway.runtime.scoring import Stretch

WIDTH = 100
VALUE_LINES = 10
SCORE_LINES = 3
DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
BLANK = 0x2800


def plot(times_ns: Int64s, values: Float64s, scored: Samples, flagged: Iterable[Stretch]) -> Iterator[str]:
    """Lines of text: the value, the two scores, and a mark under each flagged stretch."""
    start, span = int(times_ns[0]), max(int(times_ns[-1] - times_ns[0]), 1)
    column = np.minimum(((times_ns - start) / span * 2 * WIDTH).astype(np.int64), 2 * WIDTH - 1)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    yield from panel("value", column, values, low, high, VALUE_LINES)
    yield from panel("event", column, scored["event"], 0.0, 1.0, SCORE_LINES)
    yield from panel("persistent", column, scored["persistent"], 0.0, 1.0, SCORE_LINES)
    marks = np.full(WIDTH, " ")
    for one in flagged:
        marks[column[one.first] // 2 : column[one.last] // 2 + 1] = "▲"
    yield " " * 12 + "".join(marks).rstrip()
    first, last = (
        datetime.fromtimestamp(at / NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M") for at in (start, start + span)
    )
    yield " " * 12 + first + " " * (WIDTH - len(first) - len(last)) + last


def panel(name: str, column: Int64s, y: Float64s, least: float, most: float, lines: int) -> Iterator[str]:
    dots = np.zeros((4 * lines, 2 * WIDTH), np.bool_)
    known = np.isfinite(y)
    height = (np.where(known, y, least) - least) / max(most - least, 1e-300)
    row = np.clip(((1.0 - height) * 4 * lines).astype(np.int64), 0, 4 * lines - 1)
    for x in np.unique(column[known]):
        inside = row[(column == x) & known]
        dots[inside.min() : inside.max() + 1, x] = True
    for line in range(lines):
        label = f"{most:.4g}" if line == 0 else f"{least:.4g}" if line == lines - 1 else name if line == 1 else ""
        yield f"{label:>11} " + braille(dots[4 * line : 4 * line + 4]).rstrip()


def braille(dots: npt.NDArray[np.bool_]) -> str:
    """One line of cells from [4, 2 × cells] dots."""
    cells = dots.reshape(4, -1, 2)
    codes = BLANK + np.einsum("rcd,rd->c", cells.astype(np.int64), DOTS)
    return "".join(map(chr, codes.tolist())).replace(chr(BLANK), " ")
