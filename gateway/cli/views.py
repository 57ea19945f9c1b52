"""How a gateway looks in a terminal: the parts that `status`, `top` and `tags` are put together from.

Names and messages come from devices and brokers and so may hold anything: nothing but printable characters is shown.
A missing number is a dash, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.serving.http.alarms import AlarmStatus
from gateway.serving.http.status import (
    EventStatus,
    LatencyStatus,
    LinksStatus,
    LoopStatus,
    Status,
    TagStatus,
    UplinkStatus,
)
from gateway.settings.units import show_size

DASH = "–"
LEVEL_STYLES = {"good": "green", "uncertain": "yellow", "bad": "red"}
SEVERITY_STYLES = {"error": "red", "warning": "yellow", "notice": "", "info": "dim"}
MODE_STYLES = {"auto": "green", "failsafe": "red"}


def console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def clean(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else "�" for c in text)


def number(value: float | None, unit: str = "") -> str:
    if value is None:
        return DASH
    return f"{value:.6g} {clean(unit)}".rstrip()


def milliseconds(value: float | None) -> str:
    return DASH if value is None else f"{value:.3g} ms" if value < 1_000 else f"{value / 1_000:.3g} s"


def span(seconds: float | None) -> str:
    """A length of time, in the two largest units at most."""
    if seconds is None:
        return DASH
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest_s} s" if minutes else f"{rest_s} s"


def clock(time_ms: int) -> str:
    """Local time of day, to the millisecond."""
    return datetime.fromtimestamp(time_ms / 1_000).strftime("%H:%M:%S.%f")[:-3]


def moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1_000).strftime("%Y-%m-%d %H:%M:%S")


def plain_table(*columns: str, right: Iterable[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    numbers = frozenset(right)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def health_line(status: Status) -> Text:
    word, style = ("healthy", "green") if status.is_healthy else ("NOT HEALTHY", "bold red")
    if status.is_healthy and not status.is_ready:
        word, style = status.phase.value, "yellow"
    line = Text.assemble(
        (clean(status.gateway_id), "bold"),
        f"  fieldgate {clean(status.version)}  ",
        (word, style),
        f"  up {span(status.uptime_s)}",
    )
    for reason in status.reasons:
        line.append(f"\n  {clean(reason)}", "yellow" if status.is_healthy else "red")
    if status.configuration:
        line.append(f"\n  the configuration is {clean(status.configuration)}", "yellow")
    if not status.wall_is_synchronised:
        line.append("\n  the clock is not synchronised: records say so", "yellow")
    return line


def rate_line(status: Status) -> Text:
    rates = status.rates
    per_s = DASH if rates.samples_per_s is None else f"{rates.samples_per_s:,.0f}"
    line = Text(f"{status.tags_total:,} tags of {status.devices.total:,} devices, {per_s} samples/s")
    if rates.dropped_samples_total:
        line.append(f", {rates.dropped_samples_total:,} dropped", "yellow")
    return line


def latency_table(latencies: Iterable[LatencyStatus]) -> Table:
    """The last minute; a p99 over its budget is red."""
    table = plain_table("latency, last minute", "budget", "p50", "p95", "p99", "p99.9", right=("p50", "p95", "p99"))
    for stage in latencies:
        recent = stage.recent
        over = stage.budget_ms is not None and recent.p99_ms is not None and recent.p99_ms > stage.budget_ms
        table.add_row(
            clean(stage.title),
            DASH if stage.budget_ms is None else f"{stage.budget_ms:g} ms",
            milliseconds(recent.p50_ms),
            milliseconds(recent.p95_ms),
            Text(milliseconds(recent.p99_ms), "red" if over else ""),
            milliseconds(recent.p999_ms),
        )
    return table


def link_table(links: LinksStatus, rows_max: int) -> Table:
    table = plain_table(f"links, {links.up} of {links.total} up", "", "since", "")
    for link in links.links[:rows_max]:
        state = Text("up", "green") if link.is_up else Text("down", "red")
        table.add_row(clean(link.name), state, span(link.since_s), clean(link.detail))
    _count_rest(table, links.total, rows_max)
    return table


def loop_table(loops: tuple[LoopStatus, ...], rows_max: int) -> Table:
    """Those that are not in automatic mode come first."""
    table = plain_table(
        "loops",
        "mode",
        "setpoint",
        "value",
        "output",
        "misses",
        "commander",
        "last fault",
        right=("setpoint", "value", "output"),
    )
    for loop in sorted(loops, key=lambda loop: loop.mode == "auto")[:rows_max]:
        table.add_row(
            clean(loop.name),
            Text(loop.mode, MODE_STYLES.get(loop.mode, "yellow")),
            number(loop.setpoint, loop.unit),
            number(loop.process_value, loop.unit),
            number(loop.output, loop.output_unit),
            f"{loop.misses:,} of {loop.cycles:,}" + (f", {loop.misses_in_row} in a row" if loop.misses_in_row else ""),
            clean(loop.commander),
            clean(loop.output_fault or loop.last_miss),
        )
    _count_rest(table, len(loops), rows_max)
    return table


def uplink_line(uplink: UplinkStatus) -> Text:
    state = Text("up", "green") if uplink.is_connected else Text("down", "red")
    line = Text.assemble("uplink ", (clean(uplink.name), "bold"), " ", state, f" for {span(uplink.since_s)}")
    if not uplink.is_connected:
        line.append(f" ({clean(uplink.detail)})")
    line.append(f"; {uplink.waiting_records:,} records wait")
    line.append(f", {show_bytes(uplink.waiting_bytes)} of {show_size(uplink.bytes_max)}")
    if uplink.oldest_age_s is not None:
        line.append(f", the oldest for {span(uplink.oldest_age_s)}")
    if uplink.dropped_records:
        line.append(f"; {uplink.dropped_records:,} dropped", "red")
    if uplink.pressure_step:
        line.append(
            f"; pressure {uplink.pressure:.0%}, step {uplink.pressure_step}: {clean(uplink.pressure_does)}", "red"
        )
    return line


def show_bytes(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def tag_table(tags: Iterable[TagStatus]) -> Table:
    table = plain_table("tag", "value", "unit", "quality", "age", "score", "alarms", right=("value", "age", "score"))
    for tag in tags:
        table.add_row(
            clean(tag.name),
            tag.text or DASH,
            clean(tag.unit),
            Text(tag.quality.reason, LEVEL_STYLES[tag.quality.level]),
            span(tag.age_s),
            number(None if tag.score is None else round(tag.score, 2)),
            Text(", ".join(tag.alarms), "red"),
        )
    return table


ALARM_STYLES = {"active": "bold red", "acknowledged": "red", "returned": "yellow"}


def alarm_table(alarms: Iterable[AlarmStatus]) -> Table:
    table = plain_table("alarm", "priority", "state", "since", "raised by", "condition", right=("raised by",))
    for alarm in alarms:
        state = alarm.state
        if alarm.shelved_for_s is not None:
            state += f", shelved for {span(alarm.shelved_for_s)}"
        elif alarm.suppressed:
            state += ", suppressed"
        table.add_row(
            clean(alarm.name),
            alarm.priority,
            Text(state, ALARM_STYLES.get(state, "dim")),
            DASH if alarm.raised_ms is None else moment(alarm.raised_ms),
            number(alarm.value),
            clean(alarm.condition),
        )
    return table


def event_line(event: EventStatus) -> Text:
    style = SEVERITY_STYLES.get(event.severity, "")
    return Text.assemble(
        (moment(event.time_ms), "dim"),
        " ",
        (f"{event.severity:<8}", style),
        f"{clean(event.kind)}  ",
        (clean(event.subject), "bold"),
        f"  {clean(event.message)}",
    )


def _count_rest(table: Table, total: int, rows_max: int) -> None:
    if total > rows_max:
        table.add_row(f"and {total - rows_max} more", *[""] * (len(table.columns) - 1))
