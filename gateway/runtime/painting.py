"""A series with its scores as a PNG: the picture of `gateway.runtime.drawing` for places that show no SVG.

Needs Pillow (`fieldgate[plot]`). It is painted at twice the size and made smaller, which smooths the lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gateway.core.types import NS_PER_S, Float64s, Int64s, Samples
from gateway.runtime.drawing import (
    BLUE,
    GREY,
    LEFT,
    ORANGE,
    PANELS,
    PURPLE,
    RIGHT,
    SHADE,
    THRESHOLD,
    TIME_LABELS,
    WIDTH,
    legend,
)  # fmt: skip
from gateway.runtime.scoring import Stretch

HEIGHT = 580
TIMES = 2
BOTTOM = PANELS[-1][1]


def paint(
    path: Path, name: str, times_ns: Int64s, values: Float64s, scored: Samples, flagged: Iterable[Stretch]
) -> None:
    """Write the PNG. Each pixel shows the lowest and highest of its samples."""
    image = Image.new("RGB", (TIMES * WIDTH, TIMES * HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    small, large = ImageFont.load_default(TIMES * 12), ImageFont.load_default(TIMES * 15)
    start, span = int(times_ns[0]), max(int(times_ns[-1] - times_ns[0]), 1)
    x = TIMES * (LEFT + (times_ns - start) / span * (RIGHT - LEFT))
    draw.text((TIMES * LEFT, TIMES * 6), name, "black", large)
    flagged = list(flagged)
    draw.text((TIMES * RIGHT, TIMES * 8), legend(len(flagged)), GREY, small, anchor="rt")
    for one in flagged:
        right = max(x[one.last], x[one.first] + 2 * TIMES)
        draw.rectangle((x[one.first], TIMES * PANELS[0][0], right, TIMES * BOTTOM), SHADE)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    series = (
        (values, low, high, BLUE, "value"),
        (scored["event"], 0.0, 1.0, ORANGE, "event score"),
        (scored["persistent"], 0.0, 1.0, PURPLE, "persistent score"),
    )
    for (top, bottom), (y, least, most, colour, label) in zip(PANELS, series, strict=True):
        corner = [(TIMES * LEFT, TIMES * top), (TIMES * LEFT, TIMES * bottom), (TIMES * RIGHT, TIMES * bottom)]
        draw.line(corner, GREY, TIMES)
        draw.text((TIMES * (LEFT + 6), TIMES * (top + 2)), label, colour, small)
        draw.text((TIMES * (LEFT - 6), TIMES * top), f"{most:.4g}", GREY, small, anchor="rt")
        draw.text((TIMES * (LEFT - 6), TIMES * bottom), f"{least:.4g}", GREY, small, anchor="rb")
        if label != "value":
            middle = bottom - THRESHOLD * (bottom - top)
            for dash in range(LEFT, RIGHT, 6):
                draw.line((TIMES * dash, TIMES * middle, TIMES * (dash + 2), TIMES * middle), GREY, TIMES)
        height = TIMES * (bottom - (y - least) / max(most - least, 1e-300) * (bottom - top))
        for points in pieces(x, height):
            draw.line(points, colour, TIMES)
    for place in range(TIME_LABELS):
        at = start + span * place // (TIME_LABELS - 1)
        moment = datetime.fromtimestamp(at / NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M")
        anchor = "lt" if place == 0 else "rt" if place == TIME_LABELS - 1 else "mt"
        where = LEFT + (RIGHT - LEFT) * place / (TIME_LABELS - 1)
        draw.text((TIMES * where, TIMES * (BOTTOM + 8)), moment, GREY, small, anchor=anchor)
    image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).save(path, "PNG", optimize=True)


def pieces(x: Float64s, y: Float64s) -> Iterable[list[tuple[float, float]]]:
    """The points of a line, lowest and highest of each pixel, broken where there is no number."""
    known = np.isfinite(y)
    column = np.where(known, x.astype(np.int64), -1)
    edges = np.flatnonzero(np.diff(column)) + 1
    points: list[tuple[float, float]] = []
    for group in np.split(np.arange(len(x)), edges):
        if len(group) == 0 or column[group[0]] < 0:
            if points:
                yield points
            points = []
            continue
        least, most = group[np.argmin(y[group])], group[np.argmax(y[group])]
        points += [(float(x[i]), float(y[i])) for i in sorted({int(least), int(most)})]
    if points:
        yield points
