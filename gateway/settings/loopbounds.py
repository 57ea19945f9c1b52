"""How far and how fast a loop's output and setpoint may go, and where the output goes when the input fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.settings.forms import says
from gateway.settings.schema import MqttPoint, OutputBy, Tag
from gateway.settings.section import Section
from gateway.settings.tags import read_bounds
from gateway.settings.units import WrongValueError, duration, number, positive, show, show_duration

WHEN_OLDER_THAN = duration(2 * NS_PER_MS, 3_600 * NS_PER_S)
OUTPUT_WITHIN = duration(10 * NS_PER_MS, 60 * NS_PER_S)
OUTPUT_WITHIN_NS = {
    OutputBy.EXECUTIVE: 10 * NS_PER_MS,
    OutputBy.LINE: 250 * NS_PER_MS,
    OutputBy.MQTT: 500 * NS_PER_MS,
}
"""Unless somebody says otherwise. A frame at 9,600 baud takes 10 ms, and a read may be under way before it."""
STALE_PERIODS = 10
STALE_FLOOR_NS = 500 * NS_PER_MS
FLOAT32_MAX = 3.4e38
FAILSAFE_KEYS = 'write failsafe = { output = 0, when_older_than = "500ms" }, or output = "hold"'


class Range(NamedTuple):
    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


ANY_OUTPUT = Range(-FLOAT32_MAX, FLOAT32_MAX)


def read_limits(section: Section, output: Tag | None, carried: Range) -> tuple[Range, float | None]:
    """Bounds of the output and the fastest it may change, in units a second."""
    remedy = "write limits = { min = 0, max = 100 }"
    table = section.table("limits")
    low = high = rate = None
    if table is not None:
        low, high = read_bounds(table, "min", "max")
        rate = table.get("rate", positive, None)
        table.finish()
        sound = table.is_sound("min", "max")
    else:
        sound = section.is_sound("limits")
    if output is not None:
        low = output.valid_low if low is None else low
        high = output.valid_high if high is None else high
    if not sound:
        return carried, rate
    if low is None or high is None or low >= high:
        section.wrong("limits", f"do not say how far the output may go; {remedy}")
        return carried, rate
    if not (carried.low <= low and high <= carried.high):
        section.wrong("limits", f"{low:g} to {high:g} does not fit the output's register; write within {carried}")
        return carried, rate
    return Range(low, high), rate


def output_by(output: Tag | None, slow: Mapping[str, str]) -> OutputBy:
    """Who brings it to its device; `slow` has the devices that are not behind plain Modbus TCP."""
    if output is None:
        return OutputBy.EXECUTIVE
    if isinstance(output.point, MqttPoint):
        return OutputBy.MQTT
    return OutputBy.LINE if output.device in slow else OutputBy.EXECUTIVE


def read_output_within(section: Section, by: OutputBy) -> int:
    """The budget from input to output."""
    if section.has("output_within") and by is OutputBy.EXECUTIVE and section.is_sound("output_within"):
        section.wrong(
            "output_within", "is for outputs by serial lines and by MQTT; by Modbus TCP it is 10 ms; take it out"
        )
    return section.get("output_within", OUTPUT_WITHIN, OUTPUT_WITHIN_NS[by])


def read_setpoint_limits(section: Section, source: Tag | None, setpoint: float) -> tuple[Range, float | None]:
    """As written, else what is valid for the input, else nothing but the setpoint itself; and its fastest change."""
    table = section.table("setpoint_limits")
    rate = None if table is None else table.get("rate", positive, None)
    return _read_setpoint_range(section, table, source, setpoint), rate


def _read_setpoint_range(section: Section, table: Section | None, source: Tag | None, setpoint: float) -> Range:
    if table is None or (table.has("rate") and not (table.has("min") or table.has("max"))):
        if table is not None:
            table.finish()
        if source is not None and source.valid_low is not None and source.valid_high is not None:
            return Range(source.valid_low, source.valid_high)
        return Range(setpoint, setpoint)
    low, high = read_bounds(table, "min", "max")
    table.finish()
    if low is None or high is None or not table.is_sound("min", "max"):
        if table.is_sound("min", "max"):
            section.wrong("setpoint_limits", "needs both ends; write { min = 0, max = 100 }")
        return Range(min(setpoint, -1e300), max(setpoint, 1e300))
    return Range(low, high)


def read_failsafe(section: Section, bounds: Range, every_ns: int) -> tuple[float | None, int, float | None]:
    """The output, when, and how fast the output goes there."""
    stale_default_ns = max(STALE_PERIODS * every_ns, STALE_FLOOR_NS)
    table = section.table("failsafe")
    if table is None:
        if section.is_sound("failsafe"):
            section.wrong("failsafe", f"is missing: what is the output when the input fails? {FAILSAFE_KEYS}")
        return None, stale_default_ns, None
    output = table.require("output", failsafe_output, None, FAILSAFE_KEYS)
    if output is not None and output not in bounds and section.is_sound("limits"):
        table.wrong("output", f'{output:g} is outside the output\'s limits; write one from {bounds}, or "hold"')
    stale_after_ns = table.get("when_older_than", WHEN_OLDER_THAN, stale_default_ns)
    if stale_after_ns < 2 * every_ns:
        table.wrong(
            "when_older_than", f'is less than two periods of the loop; write at least "{show_duration(2 * every_ns)}"'
        )
    rate = table.get("rate", positive, None)
    if rate is not None and output is None and table.is_sound("output"):
        table.wrong("rate", "has no use where the output is held; write output = 0, say, or take it out")
    table.finish()
    return output, stale_after_ns, rate


def failsafe_output(value: object) -> float | None:
    """None: hold the last output."""
    if value == "hold":
        return None
    try:
        return number(value)
    except WrongValueError:
        raise WrongValueError(f'{show(value)} is neither a number nor "hold"; {FAILSAFE_KEYS}') from None


says(failsafe_output, 'a number in the output\'s unit, or "hold"', {"type": ["number", "string"]})
