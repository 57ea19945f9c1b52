"""What a loop may have besides its controller: gain schedule, interlocks, read-back, acting on arrival.

Gain schedules and interlocks become blocks of the loop's own, named after it.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.settings.schema import Block, Commands, Signal
from gateway.settings.section import Section
from gateway.settings.signals import Signals
from gateway.settings.units import Parser, WrongValueError, array_of, choice, duration, flag, number, positive, show

TIME_CONSTANT = duration(NS_PER_MS, 24 * 3_600 * NS_PER_S)
DEAD_MAN = duration(100 * NS_PER_MS, 24 * 3_600 * NS_PER_S)
HOLD = duration(0, 24 * 3_600 * NS_PER_S)
POINTS_MAX = 12
INTERLOCKS_MAX = 9
NO_PID = ("setpoint", "setpoint_from", "kp", "ki", "kd", "ti", "td", "form", "action", "gains", "feed_forward")
FOLLOW_KEYS = "belongs to pid; a loop that follows has input, output and every"
GAINS = (
    'write gains = { by = "device.tag", '
    'points = [{ at = 0, kp = 2.0, ti = "40s" }, { at = 100, kp = 1.0, ti = "20s" }] }'
)
INTERLOCKS = 'write interlocks = [{ when = "boiler.pressure > 8", output = 0 }]'


class Gains(NamedTuple):
    """kp, ti and td by signals, and their values at the first point."""

    signals: tuple[Signal, Signal, Signal]
    first: tuple[float, float | None, float | None]


class _Point(NamedTuple):
    at: float
    kp: float
    ti_s: float | None
    td_s: float | None


def read_gains(pid: Section, name: str, signals: Signals) -> Gains | None:
    table = pid.table("gains")
    if table is None:
        return None
    for key in ("kp", "ti", "td", "form", "ki", "kd"):
        if pid.has(key):
            pid.wrong(key, "stands beside gains, which say it for every point; take it out")
    by = table.require("by", signals.signal(), Signal(of="number"), GAINS)
    stand_in: tuple[_Point, ...] = (_Point(0.0, 1.0, None, None),)
    points = table.require("points", _points, stand_in, GAINS)
    table.finish()

    def block(what: str, values: list[float | None], otherwise: float) -> Signal:
        if values[0] is None:
            return Signal(of="number", number=otherwise)
        pairs = [part for point, value in zip(points, values, strict=True) for part in (point.at, value or 0.0)]
        of = f"control.{name}/{what}"
        signals.hidden.append(Block(name=of, kind="curve", inputs=(by,), parameters=(float(len(points)), *pairs)))
        return Signal(of="block", name=of)

    return Gains(
        (
            block("kp", [point.kp for point in points], 1.0),
            block("ti", [point.ti_s for point in points], math.inf),
            block("td", [point.td_s for point in points], 0.0),
        ),
        points[0][1:],
    )


def _points(value: object) -> tuple[_Point, ...]:
    if not isinstance(value, list) or not 2 <= len(value) <= POINTS_MAX:
        raise WrongValueError(f"{show(value)} is not an array of 2 to {POINTS_MAX} points; {GAINS}")
    points = []
    for point in value:
        if not isinstance(point, dict) or not {"at", "kp"} <= point.keys() <= {"at", "kp", "ti", "td"}:
            raise WrongValueError(f"has a point without at and kp, or with what is neither ti nor td; {GAINS}")
        points.append(_Point(number(point["at"]), positive(point["kp"]), _seconds(point, "ti"), _seconds(point, "td")))
    if any(a.at >= b.at for a, b in pairwise(points)):
        raise WrongValueError(f"has points whose at does not rise; {GAINS}")
    if len({(point.ti_s is None, point.td_s is None) for point in points}) > 1:
        raise WrongValueError(f"has ti or td at some points only; write them at all, or at none; {GAINS}")
    return tuple(points)


def _seconds(point: dict[str, object], key: str) -> float | None:
    return TIME_CONSTANT(point[key]) / NS_PER_S if key in point else None


def read_extras(section: Section, name: str, signals: Signals) -> dict[str, Any]:
    """Fields of the loop."""
    return {
        "interlock": _read_interlocks(section, name, signals),
        **_read_commands(section),
        "dead_man_ns": section.get("dead_man", DEAD_MAN, None) or 0,
        "reads_back": section.get("read_back", flag, False),
        "acts_on_arrival": section.get("on_arrival", flag, False),
    }


WAYS = array_of(choice(Commands), '["local", "scada"]', len(Commands), count_min=1)


def _read_commands(section: Section) -> dict[str, Any]:
    """Who may command the loop, and for how long a command holds it."""
    table = section.table("commands")
    if table is None:
        return {}
    ways = table.get("from", WAYS, tuple(Commands))
    found = {"commanders": tuple(way.value for way in ways), "command_hold_ns": table.get("hold", HOLD, 0)}
    table.finish()
    return found


def _read_interlocks(section: Section, name: str, signals: Signals) -> Signal | None:
    of = f"control.{name}/interlock"
    found = section.get("interlocks", _interlocks(signals.condition(of)), ())
    if not found:
        return None
    inputs, outputs = tuple(when for when, _ in found), tuple(output for _, output in found)
    signals.hidden.append(Block(name=of, kind="interlock", inputs=inputs, parameters=outputs))
    return Signal(of="block", name=of)


def _interlocks(condition: Parser[Signal]) -> Parser[tuple[tuple[Signal, float], ...]]:
    def parse(value: object) -> tuple[tuple[Signal, float], ...]:
        if not isinstance(value, list) or not 1 <= len(value) <= INTERLOCKS_MAX:
            raise WrongValueError(f"{show(value)} is not an array of 1 to {INTERLOCKS_MAX} interlocks; {INTERLOCKS}")
        if any(not isinstance(element, dict) or element.keys() != {"when", "output"} for element in value):
            raise WrongValueError(f"has one without when and output, or with more; {INTERLOCKS}")
        return tuple((condition(element["when"]), number(element["output"])) for element in value)

    return parse
