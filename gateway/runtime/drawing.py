"""A series with its scores as an SVG: the value above, the two scores below, flagged stretches shaded behind all."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

import numpy as np

from gateway.core.types import NS_PER_S, Float64s, Int64s, Samples
from gateway.runtime.scoring import Stretch

WIDTH = 1200
LEFT = 70
RIGHT = 1180
TIME_LABELS = 6
PANELS = ((30, 300), (330, 420), (450, 540))
"""Top and bottom of value, event score and persistent score, in pixels."""

THRESHOLD = 0.5
"""The default one; dashed in the scores."""

BLUE, ORANGE, PURPLE, SHADE, GREY = "#1f6feb", "#d9480f", "#7048e8", "#ffe3e3", "#666"


def draw(name: str, times_ns: Int64s, values: Float64s, scored: Samples, flagged: Iterable[Stretch]) -> str:
    """The whole SVG. Samples are placed by time; each pixel shows the lowest and highest of its samples."""
    start, span = int(times_ns[0]), max(int(times_ns[-1] - times_ns[0]), 1)
    x = LEFT + (times_ns - start) / span * (RIGHT - LEFT)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 580" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="580" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="15">{escape(name)}</text>',
    ]
    flagged = list(flagged)
    parts.append(f'<text x="{RIGHT}" y="20" text-anchor="end" fill="{GREY}">{legend(len(flagged))}</text>')
    for one in flagged:
        width = max(x[one.last] - x[one.first], 2.0)
        words = escape(", ".join(one.reasons))
        parts.append(
            f'<rect x="{x[one.first]:.1f}" y="30" width="{width:.1f}" height="510" fill="{SHADE}">'
            f"<title>{words}</title></rect>"
        )
    series = (
        (values, low, high, BLUE, "value"),
        (scored["event"], 0.0, 1.0, ORANGE, "event score"),
        (scored["persistent"], 0.0, 1.0, PURPLE, "persistent score"),
    )
    for (top, bottom), (y, least, most, colour, label) in zip(PANELS, series, strict=True):
        parts.append(f'<path d="M{LEFT},{top}V{bottom}H{RIGHT}" fill="none" stroke="{GREY}"/>')
        parts.append(f'<text x="{LEFT + 6}" y="{top + 12}" fill="{colour}">{label}</text>')
        parts.append(f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{most:.4g}</text>')
        parts.append(f'<text x="{LEFT - 6}" y="{bottom}" text-anchor="end">{least:.4g}</text>')
        if label != "value":
            middle = bottom - THRESHOLD * (bottom - top)
            parts.append(f'<path d="M{LEFT},{middle}H{RIGHT}" stroke="{GREY}" stroke-dasharray="2 4"/>')
        height = bottom - (y - least) / max(most - least, 1e-300) * (bottom - top)
        parts.append(f'<path d="{line(x, height)}" fill="none" stroke="{colour}" stroke-width="1"/>')
    for place in range(TIME_LABELS):
        at = start + span * place // (TIME_LABELS - 1)
        moment = datetime.fromtimestamp(at / NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M")
        anchor = "start" if place == 0 else "end" if place == TIME_LABELS - 1 else "middle"
        pixel = LEFT + (RIGHT - LEFT) * place / (TIME_LABELS - 1)
        parts.append(f'<text x="{pixel:.0f}" y="562" text-anchor="{anchor}">{moment}</text>')
    return "\n".join([*parts, "</svg>", ""])


def legend(count: int) -> str:
    return f"shaded: {count} stretches flagged; dashed: the threshold"


def line(x: Float64s, y: Float64s) -> str:
    """An SVG path through the lowest and highest point of each pixel."""
    is_known = np.isfinite(y)
    points: list[str] = []
    pixel = x[is_known].astype(np.int64)
    known = y[is_known]
    if len(known) == 0:
        return ""
    for part in np.split(np.arange(len(known)), np.flatnonzero(np.diff(pixel)) + 1):
        column = int(pixel[part[0]])
        ends = sorted({int(part[np.argmin(known[part])]), int(part[np.argmax(known[part])])})
        points += [f"{column},{known[end]:.1f}" for end in ends]
    return "M" + "L".join(points)
