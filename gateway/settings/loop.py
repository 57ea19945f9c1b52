"""One loop's table: what it reads and drives, and whether its numbers fit what its registers can carry.

What could move an actuator by accident is refused here: outputs without limits, limits that the register cannot hold, a
fail-safe that is not declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.settings.devices import Devices
from gateway.settings.loopbounds import (
    ANY_OUTPUT,
    FLOAT32_MAX,
    Range,
    output_by,
    read_failsafe,
    read_limits,
    read_output_within,
    read_setpoint_limits,
)
from gateway.settings.loopextras import FOLLOW_KEYS, NO_PID, read_extras, read_gains
from gateway.settings.problems import did_you_mean
from gateway.settings.schema import (
    ModbusPoint,
    MqttPoint,
    OutputBy,
    PidLoop,
    RegisterType,
    Signal,
    Table,
    Tag,
)
from gateway.settings.section import Section
from gateway.settings.signals import Signals
from gateway.settings.units import choice, duration, flag, number, positive, show, text

EVERY = duration(NS_PER_MS, 60 * NS_PER_S)
TIME_CONSTANT_MIN_S, TIME_CONSTANT_MAX_S = 0.001, 24 * 3_600.0
TIME_CONSTANT = duration(NS_PER_MS, 24 * 3_600 * NS_PER_S)
EVERY_DEFAULT_NS = 100 * NS_PER_MS
DERIVATIVE_FILTER_DEFAULT = 8.0
DERIVATIVE_FILTER_MIN, DERIVATIVE_FILTER_MAX = 1.0, 100.0

WORD_TABLES = (Table.HOLDING, Table.INPUT)
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
NOT_PLAIN = (
    "is not a plain number in its registers, as loops need it; write a tag of int, uint or float type "
    "without bits, not_available and clamp"
)

PID_KEYS = 'write pid = { input = "device.tag", output = "device.tag", setpoint = 50.0, kp = 1.0, ti = "40s" }'


class Action(StrEnum):
    """Reverse: the output rises when the input falls (heating). Direct: it rises with the input (cooling)."""

    REVERSE = "reverse"
    DIRECT = "direct"


class StartMode(StrEnum):
    AUTO = "auto"
    MANUAL = "manual"
    CASCADE = "cascade"


class Form(StrEnum):
    """ISA: kp, ti, td. Parallel: kp, ki, kd."""

    ISA = "isa"
    PARALLEL = "parallel"


ACTION = choice(Action)
START_MODE = choice(StartMode)
FORM = choice(Form)
AS_SIGNAL = "signal"
"""What is written as output of a loop that drives no register and no setpoint."""
FOLLOWING: Mapping[str, Any] = {
    "setpoint": 0.0,
    "setpoint_min": 0.0,
    "setpoint_max": 0.0,
    "kp": 1.0,
    "does_follow": True,
}
"""The controller that a loop with `follow` does not have."""


class Read(NamedTuple):
    """A loop, its table, and the loop whose setpoint its output is (empty: none)."""

    loop: PidLoop
    section: Section
    drives: str


@dataclass(frozen=True)
class Plant:
    """What a loop may name. `slow` has the devices that are not behind plain Modbus TCP, and behind what they are."""

    devices: Devices
    signals: Signals
    loops: frozenset[str]
    slow: Mapping[str, str]
    are_inhibited: bool


class Input(NamedTuple):
    """`tag` where the executive reads its register itself, else `source`; neither when it is wrong."""

    name: str
    tag: Tag | None
    source: Signal | None


class Output(NamedTuple):
    """`tag`, or the loop that it drives, or neither: a signal only."""

    name: str
    tag: Tag | None
    drives: str


def read_loop(section: Section, name: str, plant: Plant) -> Read | None:
    """None when the tags are not known: every range depends on them."""
    pid, follow = section.table("pid"), section.table("follow")
    table = pid if pid is not None else follow
    if table is None or (pid is not None and follow is not None):
        if section.is_sound("pid", "follow"):
            message = f"is missing; {PID_KEYS}" if table is None else "stands beside follow; write one of them"
            section.wrong("pid", message)
        return None
    source = _read_input(table, plant)
    target = _read_output(table, plant)
    carried = ANY_OUTPUT if target is None or target.tag is None else _check_output(table, target.tag)
    every_ns = table.get("every", EVERY, EVERY_DEFAULT_NS)
    bounds, rate = read_limits(section, target.tag if target is not None else None, carried)
    controller = _read_controller(section, table, name, plant, source) if pid is not None else dict(FOLLOWING)
    table.finish(None if pid is not None else dict.fromkeys(NO_PID, FOLLOW_KEYS))
    output_failed, stale_after_ns, failsafe_rate = read_failsafe(section, bounds, every_ns)
    mode = section.get("mode", START_MODE, None)
    if mode is StartMode.CASCADE and "setpoint_from" not in table.content:
        section.wrong("mode", 'needs a setpoint from elsewhere; write setpoint_from in pid, or mode = "auto"')
    extras = read_extras(section, name, plant.signals)
    by = output_by(target.tag if target is not None else None, plant.slow)
    budget_ns = read_output_within(section, by)
    if by is OutputBy.MQTT and extras["reads_back"] and section.is_sound("read_back"):
        section.wrong("read_back", "is for Modbus: by MQTT the tag itself tells what the device has; take it out")
    is_shadow = section.get("shadow", flag, False) or plant.are_inhibited
    section.finish(dict.fromkeys(table.content, f"belongs into pid; {PID_KEYS}"))
    if source is None or target is None:
        return None
    loop = PidLoop(
        name=name,
        input=source.name,
        output=target.name,
        source=source.source,
        is_internal=target.tag is None,
        every_ns=every_ns,
        output_min=bounds.low,
        output_max=bounds.high,
        output_rate_max=rate,
        starts_in_auto=mode is not StartMode.MANUAL,
        starts_in_cascade=mode is not StartMode.AUTO,
        failsafe_output=output_failed,
        failsafe_rate=failsafe_rate,
        stale_after_ns=stale_after_ns,
        is_shadow=is_shadow,
        output_by=by,
        output_budget_ns=budget_ns,
        tracks=target.drives,
        **controller,
        **extras,
    )
    return Read(loop, section, target.drives)


def _read_controller(section: Section, pid: Section, name: str, plant: Plant, source: Input | None) -> dict[str, Any]:
    """What of a loop the pid table says."""
    setpoint = pid.require("setpoint", number, 0.0, "write the value to hold, in the input's unit")
    gains = read_gains(pid, name, plant.signals)
    if gains is None:
        kp, ti_s, td_s = _read_gains(pid)
    else:
        kp, ti_s, td_s = gains.first
    weight, filtered = _read_shape(pid, ti_s, td_s)
    action = pid.get("action", ACTION, Action.REVERSE)
    setpoints, rate = read_setpoint_limits(section, source.tag if source is not None else None, setpoint)
    if setpoint not in setpoints and pid.is_sound("setpoint"):
        pid.wrong("setpoint", f"{setpoint:g} is outside the setpoint's limits; write one from {setpoints}")
    anti_windup_ns = pid.get("back_calculation", TIME_CONSTANT, None)
    return {
        "setpoint": setpoint,
        "setpoint_min": setpoints.low,
        "setpoint_max": setpoints.high,
        "setpoint_rate_max": rate,
        "kp": kp,
        "ti_s": ti_s,
        "td_s": td_s,
        "setpoint_weight": weight,
        "derivative_filter": filtered,
        "back_calculation_s": None if anti_windup_ns is None else anti_windup_ns / NS_PER_S,
        "reverse_acting": action is Action.REVERSE,
        "setpoint_from": pid.get("setpoint_from", plant.signals.signal(), None),
        "feed_forward": pid.get("feed_forward", plant.signals.signal(), None),
        "gains": None if gains is None else gains.signals,
    }


def _read_gains(pid: Section) -> tuple[float, float | None, float | None]:
    """kp, ti and td in seconds; the parallel form is made into this one: u = kp · e + ki · ∫e dt + kd · de/dt."""
    form = pid.get("form", FORM, Form.ISA)
    kp = pid.require("kp", positive, 1.0, "write the gain, in output units for each input unit")
    if form is Form.ISA:
        ti_ns = pid.get("ti", TIME_CONSTANT, None)
        td_ns = pid.get("td", TIME_CONSTANT, None)
        return kp, None if ti_ns is None else ti_ns / NS_PER_S, None if td_ns is None else td_ns / NS_PER_S
    ki = pid.get("ki", positive, None)
    kd = pid.get("kd", positive, None)
    for key, limits, found_s in (("ki", "kp / ki", ki and kp / ki), ("kd", "kd / kp", kd and kd / kp)):
        if found_s and not TIME_CONSTANT_MIN_S <= found_s <= TIME_CONSTANT_MAX_S:
            pid.wrong(key, f"makes {limits} {found_s:g} s; it must be 0.001 s to 24 h")
    return kp, None if ki is None else kp / ki, None if kd is None else kd / kp


def _read_shape(pid: Section, ti_s: float | None, td_s: float | None) -> tuple[float, float]:
    """Setpoint weight and derivative filter."""
    weight = pid.get("setpoint_weight", number, 1.0)
    if not 0.0 <= weight <= 1.0:
        pid.wrong("setpoint_weight", f"{weight:g} is out of range; write a number from 0 to 1")
    elif weight != 1.0 and ti_s is None:
        pid.wrong(
            "setpoint_weight", "needs an integral part, or the setpoint is never reached; write ti, or take it out"
        )
    filtered = pid.get("derivative_filter", number, DERIVATIVE_FILTER_DEFAULT)
    if not DERIVATIVE_FILTER_MIN <= filtered <= DERIVATIVE_FILTER_MAX:
        within = f"{DERIVATIVE_FILTER_MIN:g} to {DERIVATIVE_FILTER_MAX:g}"
        pid.wrong("derivative_filter", f"{filtered:g} is out of range; write a number from {within}")
    elif pid.has("derivative_filter") and td_s is None:
        pid.wrong("derivative_filter", "has no use without a derivative part; write td, or take it out")
    return weight, filtered


def _read_input(table: Section, plant: Plant) -> Input | None:
    """A register of a plain Modbus TCP link that is a plain number is the executive's own."""
    parse = plant.signals.signal()
    written: list[object] = []

    def noted(value: object) -> Signal:
        written.append(value)
        return parse(value)

    device = str(table.content.get("input", "")).partition(".")[0]
    if device in plant.devices.incomplete:
        table.has("input")
        return None
    signal = table.require("input", noted, None, 'write a tag as "device.tag"')
    if signal is None or not table.is_sound("input"):
        return None
    tag = plant.devices.tags.get(signal.name) if signal.of == "tag" and signal.what == "value" else None
    if tag is None or not _is_readable(tag) or tag.device in plant.slow:
        return Input(str(written[0]), None, signal)
    return Input(tag.name, tag, None)


def _is_readable(tag: Tag) -> bool:
    point = tag.point
    return (
        isinstance(point, ModbusPoint)
        and point.table in WORD_TABLES
        and point.type in LOOP_TYPES
        and point.is_whole_and_plain
    )


def _read_output(table: Section, plant: Plant) -> Output | None:
    name = table.require("output", text, "", 'write a tag as "device.tag"')
    if not table.is_sound("output"):
        return None
    tags = plant.devices.tags
    if name in tags:
        return Output(name, tags[name], "")
    if name == AS_SIGNAL:
        return Output(name, None, "")
    group, _, rest = name.partition(".")
    loop, _, what = rest.rpartition(".")
    if group == "control" and what == "setpoint" and loop in plant.loops:
        return Output(name, None, loop)
    device = name.partition(".")[0]
    if device in plant.devices.incomplete:
        return None
    candidates = [known for known in tags if known.startswith(f"{device}.")] or tags
    otherwise = 'write a tag as "device.tag", "control.NAME.setpoint", or "signal"'
    table.wrong("output", f"{show(name)} is not a tag; {did_you_mean(name, candidates, otherwise)}")
    return None


def _check_output(pid: Section, tag: Tag) -> Range:
    """What the output's register can carry, in the tag's own unit."""
    point = tag.point
    if isinstance(point, MqttPoint) and point.write_topic:
        return ANY_OUTPUT
    if not isinstance(point, ModbusPoint):
        if pid.is_sound("output"):
            pid.wrong("output", f"{tag.name} {point.comes}; write a tag of a Modbus link, or write_topic in this one")
        return ANY_OUTPUT
    if point.table is not Table.HOLDING:
        pid.wrong("output", f"{tag.name} is a {point.table}; write a tag in holding registers")
        return ANY_OUTPUT
    if point.type not in OUTPUT_RANGES:
        pid.wrong("output", f"{tag.name} is {point.type}; write a tag of {', '.join(OUTPUT_RANGES)}")
        return ANY_OUTPUT
    if not point.is_whole_and_plain:
        pid.wrong("output", f"{tag.name} {NOT_PLAIN}")
    if not point.writable:
        pid.wrong("output", f"{tag.name} is read only; write write = true in that tag")
    ends = [end * point.scale + point.offset for end in OUTPUT_RANGES[point.type]]
    return Range(min(ends), max(ends))
