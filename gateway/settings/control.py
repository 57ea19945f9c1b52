"""Control loops: what a loop reads and drives, and whether its numbers fit what its registers can carry.

What could move an actuator by accident is refused here: outputs without limits, limits that the register cannot hold,
one output under two loops, a fail-safe that is not declared.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from gateway.core import limits
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.settings.addresses import WIDTHS
from gateway.settings.devices import Devices
from gateway.settings.forms import says
from gateway.settings.instances import instances
from gateway.settings.links import Links
from gateway.settings.problems import did_you_mean
from gateway.settings.schema import FormulaPoint, ModbusLink, ModbusPoint, PidLoop, RegisterType, Table, Tag
from gateway.settings.section import Section
from gateway.settings.tags import read_bounds
from gateway.settings.units import WrongValueError, choice, duration, flag, number, positive, show, show_duration, text

EVERY = duration(NS_PER_MS, 60 * NS_PER_S)
TIME_CONSTANT = duration(NS_PER_MS, 24 * 3_600 * NS_PER_S)
WHEN_OLDER_THAN = duration(2 * NS_PER_MS, 3_600 * NS_PER_S)
EVERY_DEFAULT_NS = 100 * NS_PER_MS
STALE_PERIODS = 10
DERIVATIVE_FILTER_DEFAULT = 8.0
DERIVATIVE_FILTER_MIN, DERIVATIVE_FILTER_MAX = 1.0, 100.0
STALE_FLOOR_NS = 500 * NS_PER_MS

WORD_TABLES = (Table.HOLDING, Table.INPUT)
FLOAT32_MAX = 3.4e38
OUTPUT_RANGES: dict[RegisterType, tuple[float, float]] = {
    RegisterType.INT16: (-(2.0**15), 2.0**15 - 1),
    RegisterType.UINT16: (0.0, 2.0**16 - 1),
    RegisterType.INT32: (-(2.0**31), 2.0**31 - 1),
    RegisterType.UINT32: (0.0, 2.0**32 - 1),
    RegisterType.FLOAT32: (-FLOAT32_MAX, FLOAT32_MAX),
}
"""What the registers that a loop may drive can hold."""
LOOP_TYPES = (*OUTPUT_RANGES, RegisterType.INT64, RegisterType.UINT64, RegisterType.FLOAT64)
"""What the executive reads by itself."""
_NOT_PLAIN = (
    "is not a plain number in its registers, as loops need it; write a tag of int, uint or float type "
    "without bits, not_available and clamp"
)

PID_KEYS = 'write pid = { input = "device.tag", output = "device.tag", setpoint = 50.0, kp = 1.0, ti = "40s" }'
FAILSAFE_KEYS = 'write failsafe = { output = 0, when_older_than = "500ms" }, or output = "hold"'


class Action(StrEnum):
    """Reverse: the output rises when the input falls (heating). Direct: it rises with the input (cooling)."""

    REVERSE = "reverse"
    DIRECT = "direct"


class StartMode(StrEnum):
    AUTO = "auto"
    MANUAL = "manual"


ACTION = choice(Action)
START_MODE = choice(StartMode)


class Range(NamedTuple):
    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


ANY_OUTPUT = Range(-FLOAT32_MAX, FLOAT32_MAX)


class Loops(NamedTuple):
    """Each loop with the table it was written in, and the names of all, those that could not be read among them."""

    read: list[tuple[PidLoop, Section]]
    names: list[str]


def read_loops(root: Section, links: Links, devices: Devices, *, are_inhibited: bool) -> Loops:
    """`are_inhibited`: no loop may write, whatever its own table says."""
    loops = Loops([], [])
    driven: dict[tuple[str, int, int], str] = {}
    used: set[str] = set()
    link_of = {device.name: device.link for device in devices.devices}
    endpoint_of = {link.name: link.place for link in links.all() if isinstance(link, ModbusLink)}
    slow = {link.name: link.kind for link in links.all() if isinstance(link, ModbusLink) and not link.is_plain_tcp}
    for instance in instances(root, "control", limits.LOOPS_MAX):
        section = instance.section
        loops.names.append(instance.name)
        loop = _read_loop(section, instance.name, devices, are_inhibited=are_inhibited)
        if loop is None:
            continue
        output = devices.tags[loop.output]
        for register in _registers(output, endpoint_of.get(link_of[output.device], "")):
            other = driven.setdefault(register, instance.name)
            if other != instance.name:
                section.wrong("pid", f"drives {loop.output}, as loop {show(other)} does; give each output one loop")
        for tag in (loop.input, loop.output):
            if link_of[devices.tags[tag].device] in slow:
                kind = slow[link_of[devices.tags[tag].device]]
                section.wrong("pid", f"{tag} is behind {kind}; a loop's tags need a modbus_tcp link")
        used.update(link_of[devices.tags[tag].device] for tag in (loop.input, loop.output))
        if len(used) > limits.FAST_LINKS_MAX:
            section.wrong("pid", f"brings the loops to more than {limits.FAST_LINKS_MAX} links; share connections")
        loops.read.append((loop, section))
    return loops


def _registers(tag: Tag, endpoint: str) -> Iterator[tuple[str, int, int]]:
    """The registers behind a tag: two tags may well be names of one."""
    if isinstance(tag.point, ModbusPoint):
        for address in range(tag.point.address, tag.point.address + WIDTHS[tag.point.type]):
            yield endpoint, tag.point.unit, address


def check_setpoints(loops: Loops, writable: frozenset[str]) -> None:
    """A setpoint that SCADA may write has a range that somebody chose."""
    for loop, section in loops.read:
        if f"control.{loop.name}.setpoint" in writable and loop.setpoint_min == loop.setpoint_max:
            section.wrong(
                "setpoint_limits",
                "is missing although SCADA may write the setpoint; write setpoint_limits = { min = 0, max = 100 }, "
                "or give the input tag valid = { low = 0, high = 100 }",
            )


def _read_loop(section: Section, name: str, devices: Devices, *, are_inhibited: bool) -> PidLoop | None:
    """None when the tags are not known: every range depends on them."""
    pid = section.table("pid")
    if pid is None:
        if section.is_sound("pid"):
            section.wrong("pid", f"is missing; {PID_KEYS}")
        return None
    source = _tag(pid, "input", devices)
    target = _tag(pid, "output", devices)
    if source is not None:
        _check_input(pid, source)
    carried = ANY_OUTPUT if target is None else _check_output(pid, target)
    setpoint = pid.require("setpoint", number, 0.0, "write the value to hold, in the input's unit")
    kp = pid.require("kp", positive, 1.0, "write the gain, in output units for each input unit")
    ti_ns = pid.get("ti", TIME_CONSTANT, None)
    td_ns = pid.get("td", TIME_CONSTANT, None)
    every_ns = pid.get("every", EVERY, EVERY_DEFAULT_NS)
    action = pid.get("action", ACTION, Action.REVERSE)
    setpoint_weight, derivative_filter = _read_shape(pid, ti_ns, td_ns)
    pid.finish()
    bounds, rate = _read_limits(section, target, carried)
    setpoints = _read_setpoint_limits(section, source, setpoint)
    if setpoint not in setpoints and pid.is_sound("setpoint"):
        pid.wrong("setpoint", f"{setpoint:g} is outside the setpoint's limits; write one from {setpoints}")
    failsafe_output, stale_after_ns = _read_failsafe(section, bounds, every_ns)
    mode = section.get("mode", START_MODE, StartMode.AUTO)
    is_shadow = section.get("shadow", flag, False) or are_inhibited
    section.finish(dict.fromkeys(pid.content, f"belongs into pid; {PID_KEYS}"))
    if source is None or target is None:
        return None
    return PidLoop(
        name=name,
        input=source.name,
        output=target.name,
        setpoint=setpoint,
        setpoint_min=setpoints.low,
        setpoint_max=setpoints.high,
        kp=kp,
        ti_s=None if ti_ns is None else ti_ns / NS_PER_S,
        td_s=None if td_ns is None else td_ns / NS_PER_S,
        setpoint_weight=setpoint_weight,
        derivative_filter=derivative_filter,
        reverse_acting=action is Action.REVERSE,
        every_ns=every_ns,
        output_min=bounds.low,
        output_max=bounds.high,
        output_rate_max=rate,
        starts_in_auto=mode is StartMode.AUTO,
        failsafe_output=failsafe_output,
        stale_after_ns=stale_after_ns,
        is_shadow=is_shadow,
    )


def _read_shape(pid: Section, ti_ns: int | None, td_ns: int | None) -> tuple[float, float]:
    """Setpoint weight and derivative filter."""
    weight = pid.get("setpoint_weight", number, 1.0)
    if not 0.0 <= weight <= 1.0:
        pid.wrong("setpoint_weight", f"{weight:g} is out of range; write a number from 0 to 1")
    elif weight != 1.0 and ti_ns is None:
        pid.wrong(
            "setpoint_weight", "needs an integral part, or the setpoint is never reached; write ti, or take it out"
        )
    filtered = pid.get("derivative_filter", number, DERIVATIVE_FILTER_DEFAULT)
    if not DERIVATIVE_FILTER_MIN <= filtered <= DERIVATIVE_FILTER_MAX:
        within = f"{DERIVATIVE_FILTER_MIN:g} to {DERIVATIVE_FILTER_MAX:g}"
        pid.wrong("derivative_filter", f"{filtered:g} is out of range; write a number from {within}")
    elif pid.has("derivative_filter") and td_ns is None:
        pid.wrong("derivative_filter", "has no use without a derivative part; write td, or take it out")
    return weight, filtered


def _tag(pid: Section, key: str, devices: Devices) -> Tag | None:
    tags = devices.tags
    tag_name = pid.require(key, text, "", 'write a tag as "device.tag"')
    if not pid.is_sound(key):
        return None
    if tag_name not in tags:
        device = tag_name.partition(".")[0]
        if device in devices.incomplete:
            return None
        candidates = [name for name in tags if name.startswith(f"{device}.")] or tags
        remedy = did_you_mean(tag_name, candidates, 'write a tag as "device.tag"')
        pid.wrong(key, f"{show(tag_name)} is not a tag; {remedy}")
        return None
    return tags[tag_name]


def _comes(tag: Tag) -> str:
    return "is computed" if isinstance(tag.point, FormulaPoint) else "comes by MQTT"


def _check_input(pid: Section, tag: Tag) -> None:
    point = tag.point
    if not isinstance(point, ModbusPoint):
        pid.wrong("input", f"{tag.name} {_comes(tag)}; write a tag of a modbus_tcp link")
    elif point.table not in WORD_TABLES:
        pid.wrong("input", f"{tag.name} is a {point.table}; write a tag in holding or input registers")
    elif point.type not in LOOP_TYPES or not point.is_whole_and_plain:
        pid.wrong("input", f"{tag.name} {_NOT_PLAIN}")


def _check_output(pid: Section, tag: Tag) -> Range:
    """What the output's register can carry, in the tag's own unit."""
    point = tag.point
    if not isinstance(point, ModbusPoint):
        pid.wrong("output", f"{tag.name} {_comes(tag)}; write a tag of a modbus_tcp link")
        return ANY_OUTPUT
    if point.table is not Table.HOLDING:
        pid.wrong("output", f"{tag.name} is a {point.table}; write a tag in holding registers")
        return ANY_OUTPUT
    if point.type not in OUTPUT_RANGES:
        pid.wrong("output", f"{tag.name} is {point.type}; write a tag of {', '.join(OUTPUT_RANGES)}")
        return ANY_OUTPUT
    if not point.is_whole_and_plain:
        pid.wrong("output", f"{tag.name} {_NOT_PLAIN}")
    if not point.writable:
        pid.wrong("output", f"{tag.name} is read only; write write = true in that tag")
    ends = [end * point.scale + point.offset for end in OUTPUT_RANGES[point.type]]
    return Range(min(ends), max(ends))


def _read_limits(section: Section, output: Tag | None, carried: Range) -> tuple[Range, float | None]:
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


def _read_setpoint_limits(section: Section, source: Tag | None, setpoint: float) -> Range:
    """As written, else what is valid for the input, else nothing but the setpoint itself."""
    table = section.table("setpoint_limits")
    if table is None:
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


def _read_failsafe(section: Section, bounds: Range, every_ns: int) -> tuple[float | None, int]:
    stale_default_ns = max(STALE_PERIODS * every_ns, STALE_FLOOR_NS)
    table = section.table("failsafe")
    if table is None:
        if section.is_sound("failsafe"):
            section.wrong("failsafe", f"is missing: what is the output when the input fails? {FAILSAFE_KEYS}")
        return None, stale_default_ns
    output = table.require("output", _failsafe_output, None, FAILSAFE_KEYS)
    if output is not None and output not in bounds and section.is_sound("limits"):
        table.wrong("output", f'{output:g} is outside the output\'s limits; write one from {bounds}, or "hold"')
    stale_after_ns = table.get("when_older_than", WHEN_OLDER_THAN, stale_default_ns)
    if stale_after_ns < 2 * every_ns:
        table.wrong(
            "when_older_than", f'is less than two periods of the loop; write at least "{show_duration(2 * every_ns)}"'
        )
    table.finish()
    return output, stale_after_ns


def _failsafe_output(value: object) -> float | None:
    """None: hold the last output."""
    if value == "hold":
        return None
    try:
        return number(value)
    except WrongValueError:
        raise WrongValueError(f'{show(value)} is neither a number nor "hold"; {FAILSAFE_KEYS}') from None


says(_failsafe_output, 'a number in the output\'s unit, or "hold"', {"type": ["number", "string"]})
