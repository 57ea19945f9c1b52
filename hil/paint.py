"""A trend as a PNG: value and setpoint above, actuator below, one mark for each entry of the timeline. Needs Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from hil.figures import Point

WIDTH, HEIGHT, LEFT, RIGHT = 900, 400, 70, 885
UPPER, LOWER = (36, 246), (270, 366)
TIMES = 2
SETPOINT, VALUE, OUTPUT, MARK, AXIS = "#cc6600", "#0066cc", "#339933", "#999999", "#555555"


def paint(path: Path, title: str, points: Sequence[Point], marks: Sequence[tuple[float, str]]) -> None:
    """Painted at twice the size and made smaller, which smooths the lines."""
    image = Image.new("RGB", (TIMES * WIDTH, TIMES * HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    small, large = ImageFont.load_default(TIMES * 12), ImageFont.load_default(TIMES * 15)
    end_s = points[-1].at_s or 1.0
    numbers = [point.value for point in points] + [point.setpoint for point in points]
    low, high = min(numbers), max(numbers)
    margin = 0.05 * (high - low) or 1.0
    low, high = low - margin, high + margin

    def x(at_s: float) -> float:
        return TIMES * (LEFT + (RIGHT - LEFT) * at_s / end_s)

    def y(value: float, bottom: float, top: float, band: tuple[int, int]) -> float:
        return TIMES * (band[1] - (band[1] - band[0]) * (value - bottom) / (top - bottom))

    draw.text((TIMES * LEFT, TIMES * 8), title, "black", large)
    for row, (at_s, text) in enumerate(marks):
        draw.line([(x(at_s), TIMES * UPPER[0]), (x(at_s), TIMES * LOWER[1])], MARK, TIMES)
        draw.text((x(at_s) + 4 * TIMES, TIMES * (UPPER[0] + 14 * (row % 3))), text, AXIS, small)
    for band, bottom, top in ((UPPER, low, high), (LOWER, 0.0, 100.0)):
        draw.rectangle((TIMES * LEFT, TIMES * band[0], TIMES * RIGHT, TIMES * band[1]), outline=MARK)
        for value in (bottom, (bottom + top) / 2, top):
            at = (TIMES * (LEFT - 6), y(value, bottom, top, band))
            draw.text(at, f"{value:.4g}", AXIS, small, anchor="rm")
    for at_s in range(0, int(end_s) + 1, max(1, round(end_s / 8))):
        draw.text((x(at_s), TIMES * (LOWER[1] + 6)), f"{at_s} s", AXIS, small, anchor="ma")
    legend = ((SETPOINT, "setpoint"), (VALUE, "value"), (OUTPUT, "actuator %"))
    for place, (colour, text) in enumerate(legend):
        draw.text((TIMES * (RIGHT - 250 + 85 * place), TIMES * 10), text, colour, small)
    above = [(x(p.at_s), y(p.setpoint, low, high, UPPER)) for p in points]
    draw.line(above, SETPOINT, 2 * TIMES)
    draw.line([(x(p.at_s), y(p.value, low, high, UPPER)) for p in points], VALUE, 2 * TIMES)
    draw.line([(x(p.at_s), y(p.output, 0.0, 100.0, LOWER)) for p in points], OUTPUT, 2 * TIMES)
    image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).quantize(32).save(path, optimize=True)
