"""The demo's live view in the terminal: rates, latencies against their budgets, the loop's trend, the spool, events.

It fits 80 columns and 24 lines; more lines show more devices and events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

STARTING = "starting the gateway; the first time, its kernels are compiled, which takes some minutes"
BARS = "▁▂▃▄▅▆▇█"
TREND_POINTS = 200
NAME_WIDTH = 12
TREND_FROM = 46
"""The column where a trend begins; it takes the rest of the line."""
LINES_ALWAYS = 17
"""All but devices and events, with the cursor's line below."""
DEVICES_MIN, DEVICES_MAX = 3, 6
EVENTS_MAX = 12
SCORE_HIGH = 0.3


def sparkline(values: list[float], low: float, high: float) -> str:
    """One character a value, scaled to [low, high]."""
    span = max(high - low, 1e-9)
    return "".join(BARS[max(0, min(7, int(8 * (value - low) / span)))] for value in values)


class View:
    """Keeps trends and peaks; `update` takes each status answer, rendering draws the last one."""

    def __init__(self, page: str) -> None:
        self._page = page
        self._status: Mapping[str, Any] = {}
        self._phase = "starting"
        self._level: deque[float] = deque(maxlen=TREND_POINTS)
        self._valve: deque[float] = deque(maxlen=TREND_POINTS)
        self._highest: dict[str, float] = {}
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
        for device in status["devices"]["devices"]:
            name = device["name"]
            self._highest[name] = max(self._highest.get(name, 0.0), device["score"] or 0.0)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.draw(options.max_width, console.height)

    def draw(self, width: int, height: int) -> RenderableType:
        if not self._status:
            return Text(f"{self._waiting_s:3.0f} s  {STARTING}")
        devices = max(DEVICES_MIN, min(DEVICES_MAX, (height - LINES_ALWAYS) // 2))
        events = max(1, min(EVENTS_MAX, height - LINES_ALWAYS - devices))
        parts: list[RenderableType] = [self._head(), self._latencies(), self._uplink(), self._control(width)]
        parts += [self._devices(devices), self._events(events)]
        return Group(*[line for part in parts for line in (part, "")])

    def _head(self) -> Text:
        rate = self._status["rates"]["samples_per_s"]
        return Text.assemble(
            ("fieldgate ", "bold"),
            f" {rate or 0:,.0f} samples/s  {self._status['tags_total']} tags  {self._page}  ",
            (self._phase, "bold yellow" if "down" in self._phase else "green"),
            no_wrap=True,
            overflow="ellipsis",
        )

    def _latencies(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for column in ("latency", "p50", "p95", "p99", "p99.9", "budget"):
            table.add_column(column, justify="left" if column == "latency" else "right", no_wrap=True)
        for latency in self._status["latencies"]:
            recent = latency["recent"]
            cells = [_milliseconds(recent[key]) for key in ("p50_ms", "p95_ms", "p99_ms", "p999_ms")]
            budget = latency["budget_ms"]
            table.add_row(latency["title"], *cells, f"{budget:g} ms" if budget else "")
        return table

    def _uplink(self) -> Text:
        uplink = self._status["uplink"]
        connected = uplink["is_connected"]
        return Text.assemble(
            (f"{'uplink':<{NAME_WIDTH}}", "bold"),
            ("up  " if connected else "DOWN", "green" if connected else "bold red"),
            f"  {uplink['waiting_records']} records wait in the spool, {uplink['delivered_records']} delivered\n",
            (f"{'far end':<{NAME_WIDTH}}", "bold"),
            self._received,
            no_wrap=True,
            overflow="ellipsis",
        )

    def _control(self, width: int) -> Text:
        points = max(0, min(TREND_POINTS, width - TREND_FROM))
        lines = []
        for loop in self._status["loops"][:1]:
            level, valve = _number(loop["process_value"]), _number(loop["output"])
            setpoint, mode = f"setpoint {loop['setpoint']:g}", f"by PID, {loop['mode']}"
            for tag, value, unit, note, trend, low, high in (
                (loop["input"], level, loop["unit"], setpoint, self._level, 0, 80),
                (loop["output_tag"], valve, loop["output_unit"], mode, self._valve, 0, 100),
            ):
                drawn = sparkline(list(trend)[len(trend) - min(len(trend), points) :], low, high)
                lines.append(f"{tag:<{NAME_WIDTH}}{value} {unit:<3} {note:<20}"[: TREND_FROM - 1] + " " + drawn)
        return Text("\n".join(lines), no_wrap=True, overflow="crop")

    def _devices(self, count: int) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for column in ("anomaly score", "now", "highest", "tags", "quality"):
            table.add_column(column, justify="right" if column in ("now", "highest", "tags") else "left", no_wrap=True)
        devices = sorted(self._status["devices"]["devices"], key=lambda device: -self._highest[device["name"]])
        for device in devices[:count]:
            highest = self._highest[device["name"]]
            table.add_row(
                device["name"],
                "–" if device["score"] is None else f"{device['score']:.2f}",
                Text(f"{highest:.2f}", style="bold red" if highest >= SCORE_HIGH else ""),
                f"{device['tags_good']}/{device['tags']}",
                device["quality"]["reason"],
            )
        return table

    def _events(self, count: int) -> Text:
        lines = [f"{event['severity']:<8} {event['message']}" for event in self._status["events"][:count]]
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} ms"


def _number(value: float | None) -> str:
    return f"{'–':>7}" if value is None else f"{value:7.2f}"
