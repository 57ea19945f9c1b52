"""The demo's live view in the terminal: rates, latencies against their budgets, the loop's trend, the spool, events."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

STARTING = "starting the gateway; the first time, its kernels are compiled, which takes up to a minute"
BARS = "▁▂▃▄▅▆▇█"
TREND_POINTS = 60
EVENTS_SHOWN = 6


def sparkline(values: deque[float], low: float, high: float) -> str:
    """One character a value, scaled to [low, high]."""
    span = max(high - low, 1e-9)
    return "".join(BARS[max(0, min(7, int(8 * (value - low) / span)))] for value in values)


class View:
    """Keeps the trend; `update` takes each status answer, `render` draws the last one."""

    def __init__(self, page: str) -> None:
        self._page = page
        self._status: Mapping[str, Any] = {}
        self._phase = "starting"
        self._level: deque[float] = deque(maxlen=TREND_POINTS)
        self._valve: deque[float] = deque(maxlen=TREND_POINTS)
        self._received = ""
        self._waiting_s = 0.0

    def waiting(self, seconds: float) -> None:
        """Nothing to show yet; the time passes."""
        self._waiting_s = seconds

    def update(self, status: Mapping[str, Any], *, phase: str, received: str) -> None:
        self._status = status
        self._phase = phase
        self._received = received
        for loop in status["loops"]:
            if loop["process_value"] is not None and loop["output"] is not None:
                self._level.append(loop["process_value"])
                self._valve.append(loop["output"])

    def render(self) -> RenderableType:
        if not self._status:
            return Text(f"{self._waiting_s:3.0f} s  {STARTING}")
        rate = self._status["rates"]["samples_per_s"]
        head = Text.assemble(
            ("fieldgate demo  ", "bold"),
            f"{rate or 0:,.0f} samples/s   {self._status['tags_total']} tags   page: {self._page}   ",
            (self._phase, "bold yellow" if "down" in self._phase else "green"),
        )
        return Group(
            head, Columns([self._latencies(), self._uplink()]), self._control(), self._devices(), self._events()
        )

    def _latencies(self) -> Table:
        table = Table(title="latency", title_justify="left", box=None, padding=(0, 2))
        for column in ("", "p50", "p95", "p99", "p99.9", "budget"):
            table.add_column(column, justify="left" if not column else "right")
        for latency in self._status["latencies"]:
            recent = latency["recent"]
            cells = [_milliseconds(recent[key]) for key in ("p50_ms", "p95_ms", "p99_ms", "p999_ms")]
            budget = latency["budget_ms"]
            table.add_row(latency["title"], *cells, f"{budget:g} ms" if budget else "")
        return table

    def _uplink(self) -> Table:
        uplink = self._status["uplink"]
        table = Table(title="uplink", title_justify="left", box=None, show_header=False, padding=(0, 2))
        connected = uplink["is_connected"]
        table.add_row("link", Text("up" if connected else "DOWN", style="green" if connected else "bold red"))
        table.add_row("waiting", f"{uplink['waiting_records']} records, {uplink['waiting_bytes'] / 1e6:.2f} MB")
        table.add_row("delivered", f"{uplink['delivered_records']}")
        table.add_row("received", self._received)
        return table

    def _control(self) -> RenderableType:
        lines = []
        for loop in self._status["loops"][:1]:
            level, valve = _number(loop["process_value"]), _number(loop["output"])
            lines = [
                f"{loop['input']:<14} {level} {loop['unit']:<3} setpoint {loop['setpoint']:<8g} "
                f"{sparkline(self._level, 55, 70)}",
                f"{loop['output_tag']:<14} {valve} {loop['output_unit']:<3} {loop['mode']:<17} "
                f"{sparkline(self._valve, 0, 100)}",
            ]
        return Panel("\n".join(lines), title="control, every 20 ms", title_align="left")

    def _devices(self) -> Table:
        table = Table(title="anomaly scores, highest first", title_justify="left", box=None, padding=(0, 2))
        for column in ("device", "quality", "tags", "score", "tag"):
            table.add_column(column)
        devices = sorted(self._status["devices"]["devices"], key=lambda device: -(device["score"] or 0.0))
        for device in devices[:5]:
            score = device["score"] or 0.0
            bar = "█" * round(10 * score)
            style = "red" if score > 0.9 else ""
            table.add_row(
                device["name"],
                device["quality"]["reason"],
                f"{device['tags_good']}/{device['tags']}",
                Text(f"{score:4.2f} {bar}", style=style),
                device["score_tag"] or "",
            )
        return table

    def _events(self) -> RenderableType:
        events = self._status["events"][:EVENTS_SHOWN]
        lines = [f"{event['severity']:<8} {event['kind']:<18} {event['message']}" for event in events]
        return Panel(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), title="events", title_align="left")


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} ms"


def _number(value: float | None) -> str:
    return f"{'–':>7}" if value is None else f"{value:7.2f}"
