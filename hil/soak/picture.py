"""The soak as one SVG: small multiples over time, faults shaded behind all of them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from hil.soak.script import Fault, Kind

WIDTH: Final = 1200
LEFT, RIGHT = 110, 1180
TOP: Final = 60
HEIGHT, GAP = 90, 26
MARKS: Final = 6
GREY: Final = "#666"
SHADES: Final = {
    Kind.UPLINK_CUT: "#ffd8d8",
    Kind.UPLINK_BLACK_HOLE: "#ffe3c8",
    Kind.UPLINK_RESET: "#ffb3b3",
    Kind.UPLINK_BROKER_RESTART: "#f3c9ff",
    Kind.METERS_DEAD: "#d9ecff",
    Kind.METERS_SLOW: "#e6f2ff",
    Kind.FAN_CUT: "#d3f5e4",
    Kind.PLC_CUT: "#fff3bf",
    Kind.RELOAD: "#bbbbbb",
}


@dataclass(frozen=True, slots=True)
class Panel:
    """One small graph. `scale` divides; a budget is a dashed line."""

    title: str
    lines: Mapping[str, str]
    """By the figure's name, the colour."""
    scale: float = 1.0
    budget: float | None = None


PANELS: Final = (
    Panel("samples taken in, thousands a second", {"samples_per_s": "#1f6feb"}, 1e3),
    Panel("sample to aggregate, ms: p50, p99", {"aggregate_p50_ms": "#1f6feb", "aggregate_p99_ms": "#d9480f"}, 1, 50),
    Panel("control input to output, ms: p50, p99", {"control_p50_ms": "#1f6feb", "control_p99_ms": "#d9480f"}, 1, 10),
    Panel("resident memory, MB", {"resident_bytes": "#1f6feb"}, 1e6),
    Panel("CPU, cores", {"cpu_cores": "#1f6feb"}),
    Panel("threads; descriptors without viewers", {"threads": "#1f6feb", "descriptors": "#7048e8"}),
    Panel(
        "disk, MB: all, spool, journal, history",
        {"disk_bytes": "#1f6feb", "spool_bytes": "#d9480f", "journal_bytes": "#7048e8", "history_bytes": "#2b8a3e"},
        1e6,
    ),
    Panel("records that wait for the upstream", {"waiting_records": "#1f6feb"}),
    Panel("viewers of the page", {"viewers": "#1f6feb"}),
)


def draw(title: str, at_s: Sequence[float], figures: Mapping[str, Sequence[float]], faults: Sequence[Fault]) -> str:
    """The whole SVG; a figure that was not there (NaN) leaves a hole."""
    height = TOP + len(PANELS) * (HEIGHT + GAP) + 30
    bottom = TOP + len(PANELS) * (HEIGHT + GAP) - GAP
    end_s = max(at_s[-1], 1e-9) if at_s else 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="15">{escape(title)}</text>',
    ]
    for fault in faults:
        x, width = _x(fault.at_s, end_s), max(2.0, _x(fault.end_s, end_s) - _x(fault.at_s, end_s))
        parts.append(
            f'<rect x="{x:.1f}" y="{TOP}" width="{width:.1f}" height="{bottom - TOP}" fill="{SHADES[fault.kind]}">'
            f"<title>{fault.kind}, {fault.at_s:g} s</title></rect>"
        )
    for place, kind in enumerate(Kind):
        x = LEFT + place * (RIGHT - LEFT) / len(Kind)
        parts.append(f'<rect x="{x:.0f}" y="32" width="12" height="12" fill="{SHADES[kind]}"/>')
        parts.append(f'<text x="{x + 16:.0f}" y="42" font-size="10">{kind}</text>')
    for place, panel in enumerate(PANELS):
        parts += _panel(panel, TOP + place * (HEIGHT + GAP), at_s, end_s, figures)
    for place in range(MARKS + 1):
        moment_s = end_s * place / MARKS
        told = f"{moment_s / 60:.0f} min" if end_s > 300 else f"{moment_s:.0f} s"
        parts.append(f'<text x="{_x(moment_s, end_s):.0f}" y="{bottom + 20}" text-anchor="middle">{told}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _x(moment_s: float, end_s: float) -> float:
    return LEFT + (RIGHT - LEFT) * min(moment_s, end_s) / end_s


def _panel(
    panel: Panel, top: float, at_s: Sequence[float], end_s: float, figures: Mapping[str, Sequence[float]]
) -> list[str]:
    known = [value / panel.scale for name in panel.lines for value in figures[name] if math.isfinite(value)]
    high = max([*known, panel.budget or 0.0]) * 1.05 or 1.0
    bottom = top + HEIGHT

    def y(value: float) -> float:
        return bottom - HEIGHT * value / high

    parts = [
        f'<path d="M{LEFT},{top}V{bottom}H{RIGHT}" fill="none" stroke="{GREY}"/>',
        f'<text x="{LEFT + 6}" y="{top - 4}" fill="{GREY}">{escape(panel.title)}</text>',
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{high:.4g}</text>',
        f'<text x="{LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
    ]
    if panel.budget is not None:
        parts.append(f'<path d="M{LEFT},{y(panel.budget):.1f}H{RIGHT}" stroke="{GREY}" stroke-dasharray="3 4"/>')
    for name, colour in panel.lines.items():
        path, is_down = "", False
        for moment_s, value in zip(at_s, figures[name], strict=True):
            if math.isfinite(value):
                path += f"{'L' if is_down else 'M'}{_x(moment_s, end_s):.1f},{y(value / panel.scale):.1f}"
            is_down = math.isfinite(value)
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.2"/>')
    return parts
