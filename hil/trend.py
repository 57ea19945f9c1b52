"""A trend as a small SVG: value and setpoint above, actuator below, one mark for each entry of the timeline."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hil.figures import Point

WIDTH, HEIGHT, LEFT, TOP = 760, 300, 60, 30
UPPER, LOWER, GAP = 150, 70, 20


def svg(title: str, points: Sequence[Point], marks: Sequence[tuple[float, str]]) -> str:
    """The picture as text."""
    end_s = points[-1].at_s or 1.0
    values = [point.value for point in points] + [point.setpoint for point in points]
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 1.0
    low, high = low - margin, high + margin

    def x(at_s: float) -> float:
        return LEFT + (WIDTH - LEFT - 10) * at_s / end_s

    def line(ys: Sequence[float], style: str) -> str:
        path = " ".join(f"{x(point.at_s):.1f},{y:.1f}" for point, y in zip(points, ys, strict=True))
        return f'<polyline points="{path}" fill="none" {style}/>'

    def above(value: float) -> float:
        return TOP + UPPER * (high - value) / (high - low)

    floor = TOP + UPPER + GAP + LOWER
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"',
        ' font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18" font-size="13">{escape(title)}</text>',
    ]
    for at_s, text in marks:
        parts.append(f'<path d="M{x(at_s):.1f} {TOP}V{floor}" stroke="#bbb" stroke-dasharray="3 3"/>')
        parts.append(f'<text x="{x(at_s) + 3:.1f}" y="{TOP + UPPER + 13}" fill="#666">{escape(text)}</text>')
    for label, y in (
        (f"{high:.4g}", TOP + 8),
        (f"{low:.4g}", TOP + UPPER),
        ("100 %", floor - LOWER + 8),
        ("0 %", floor),
    ):
        parts.append(f'<text x="{LEFT - 6}" y="{y}" text-anchor="end">{label}</text>')
    parts.append(f'<text x="{WIDTH - 10}" y="{floor + 16}" text-anchor="end">{end_s:.1f} s</text>')
    parts.append(line([above(point.setpoint) for point in points], 'stroke="#c60" stroke-dasharray="6 3"'))
    parts.append(line([above(point.value) for point in points], 'stroke="#06c" stroke-width="1.6"'))
    parts.append(line([floor - LOWER * point.output / 100.0 for point in points], 'stroke="#393" stroke-width="1.2"'))
    return "\n".join([*parts, "</svg>", ""])
