"""Function blocks: `[blocks.NAME]` with one key, the block's kind.

What each kind takes is one table here; what it does stands in `gateway.control.blocks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import pairwise

from gateway.core import limits
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.settings.instances import Instance
from gateway.settings.problems import did_you_mean
from gateway.settings.schema import Block, Signal
from gateway.settings.section import Section
from gateway.settings.signals import Signals
from gateway.settings.units import Parser, WrongValueError, duration, number, positive, show

INPUTS_MAX = 9
POINTS_MAX = 12
TIME = duration(0, 7 * 24 * 3_600 * NS_PER_S)
TIME_CONSTANT = duration(NS_PER_MS, 24 * 3_600 * NS_PER_S)


def seconds(parse: Parser[int]) -> Parser[float]:
    """A duration, in seconds."""

    def parsed(value: object) -> float:
        return parse(value) / NS_PER_S

    return parsed


Made = tuple[tuple[Signal, ...], tuple[float, ...]]
"""A block's inputs and parameters."""


@dataclass(frozen=True)
class Reading:
    """One block's table while it is read."""

    section: Section
    signals: Signals
    owner: str

    def one(self, key: str = "of") -> Signal:
        return self.section.require(key, self.signals.signal(), NOTHING, f'write {key} = "device.tag"')

    def several(self, key: str = "of", *, conditions: bool = False) -> tuple[Signal, ...]:
        each = self.signals.condition(self.owner) if conditions else self.signals.signal()

        def parse(value: object) -> tuple[Signal, ...]:
            if not isinstance(value, list) or not 1 <= len(value) <= INPUTS_MAX:
                raise WrongValueError(
                    f'{show(value)} is not an array of 1 to {INPUTS_MAX} signals; write ["device.a", "device.b"]'
                )
            return tuple(each(element) for element in value)

        return self.section.require(key, parse, (), f'write {key} = ["device.a", "device.b"]')

    def condition(self, key: str) -> Signal:
        remedy = f'write {key} = "device.tag", or "device.tag > 5"'
        return self.section.require(key, self.signals.condition(self.owner), NOTHING, remedy)

    def number(self, key: str, default: float) -> float:
        return self.section.get(key, number, default)

    def needed(self, key: str, parse: Parser[float], example: str) -> float:
        return self.section.require(key, parse, 1.0, f"write {key} = {example}")

    def seconds(self, key: str, default: float = 0.0) -> float:
        return self.section.get(key, seconds(TIME), default)

    def points(self, parse_x: Parser[float], example: str) -> tuple[float, ...]:
        """How many, then x and y of each."""

        def parse(value: object) -> tuple[float, ...]:
            if not isinstance(value, list) or not 2 <= len(value) <= POINTS_MAX:
                raise WrongValueError(f"{show(value)} is not an array of 2 to {POINTS_MAX} points; write {example}")
            if any(not isinstance(point, list) or len(point) != 2 for point in value):
                raise WrongValueError(f"has a point that is not a pair; write {example}")
            pairs = [(parse_x(point[0]), number(point[1])) for point in value]
            if any(before[0] >= after[0] for before, after in pairwise(pairs)):
                raise WrongValueError(f"has points that do not rise; write {example}")
            return (float(len(pairs)), *(part for pair in pairs for part in pair))

        return self.section.require("points", parse, (2.0, 0.0, 0.0, 1.0, 0.0), f"write points = {example}")


NOTHING = Signal(of="number")


def _scale(table: Reading) -> Made:
    return (table.one(),), (table.number("gain", 1.0), table.number("offset", 0.0))


def _sum(table: Reading) -> Made:
    inputs = table.several()

    def parse(value: object) -> tuple[float, ...]:
        if not isinstance(value, list) or len(value) != len(inputs):
            raise WrongValueError(f"{show(value)} is not one number for each input; write gains = [1, -1]")
        return tuple(number(element) for element in value)

    return inputs, table.section.get("gains", parse, (1.0,) * len(inputs))


def _lead_lag(table: Reading) -> Made:
    return (table.one(),), (table.seconds("lead"), table.needed("lag", seconds(TIME_CONSTANT), '"10s"'))


def _deadband(table: Reading) -> Made:
    return (table.one(),), (table.needed("band", positive, "0.5"),)


def _rate_limit(table: Reading) -> Made:
    up = table.needed("up", positive, "1.5")
    return (table.one(),), (up, table.section.get("down", positive, up))


def _profile(table: Reading) -> Made:
    run = table.condition("run")
    hold = table.section.get("hold", table.signals.condition(table.owner), None)
    return (run,) if hold is None else (run, hold), table.points(seconds(TIME), '[["0s", 20], ["30min", 80]]')


def _curve(table: Reading) -> Made:
    return (table.one(),), table.points(number, "[[0, 0], [50, 100]]")


def _on_off(table: Reading) -> Made:
    on_at, off_at = table.needed("on_at", number, "18"), table.needed("off_at", number, "22")
    if on_at == off_at and table.section.is_sound("on_at", "off_at"):
        table.section.wrong("off_at", "is on_at as well; write two numbers, the band between which it stays as it is")
    return (table.one(),), (on_at, off_at, table.seconds("min_on"), table.seconds("min_off"))


def _compare(table: Reading) -> Made:
    section = table.section
    if section.has("above") == section.has("below"):
        section.wrong_here("needs one of above and below; write above = 80")
    sign = 1.0 if section.has("above") else -1.0
    limit = section.get("above", number, 0.0) if sign > 0 else section.get("below", number, 0.0)
    return (table.one(),), (limit, table.number("hysteresis", 0.0), sign)


def _logic(table: Reading) -> Made:
    return table.several(conditions=True), ()


def _latch(table: Reading) -> Made:
    return (table.condition("set"), table.condition("reset")), ()


def _timer(table: Reading) -> Made:
    return (table.condition("of"),), (table.seconds("on_delay"), table.seconds("off_delay"))


def _sequence(table: Reading) -> Made:
    run = table.condition("run")
    condition = table.signals.condition(table.owner)
    example = '[{ until = "plc.valve_open", within = "30s" }]'

    def parse(value: object) -> tuple[tuple[Signal, float], ...]:
        if not isinstance(value, list) or not 1 <= len(value) < INPUTS_MAX:
            raise WrongValueError(f"{show(value)} is not an array of 1 to {INPUTS_MAX - 1} steps; write {example}")
        if any(not isinstance(step, dict) or step.keys() != {"until", "within"} for step in value):
            raise WrongValueError(f"has a step without until and within, or with more; write {example}")
        return tuple((condition(step["until"]), seconds(TIME_CONSTANT)(step["within"])) for step in value)

    none: tuple[tuple[Signal, float], ...] = ()
    steps = table.section.require("steps", parse, none, f"write steps = {example}")
    return (run, *(until for until, _ in steps)), tuple(within for _, within in steps)


def _choose(table: Reading) -> Made:
    values = table.several("values")
    if len(values) == INPUTS_MAX:
        table.section.wrong("values", f"has {INPUTS_MAX} elements; write at most {INPUTS_MAX - 1}")
    return (table.one("by"), *values[: INPUTS_MAX - 1]), ()


def _counter(table: Reading) -> Made:
    every_s = table.section.get("every", seconds(TIME_CONSTANT), 1.0)
    return (), (every_s, table.section.get("end", positive, 65_535.0))


KINDS: dict[str, Callable[[Reading], Made]] = {
    "scale": _scale,
    "sum": _sum,
    **dict.fromkeys(("product", "minimum", "maximum", "median", "mean", "first"), lambda table: (table.several(), ())),
    "lead_lag": _lead_lag,
    "deadband": _deadband,
    "rate_limit": _rate_limit,
    "profile": _profile,
    "curve": _curve,
    "on_off": _on_off,
    "compare": _compare,
    **dict.fromkeys(("all", "any", "none"), _logic),
    "latch": _latch,
    "timer": _timer,
    "sequence": _sequence,
    "choose": _choose,
    "counter": _counter,
}


def read_blocks(found: Iterable[Instance], signals: Signals) -> list[tuple[Block, Section]]:
    """In the file's order, each with its table."""
    read = []
    for instance in found:
        section = instance.section
        kinds = [key for key in section.content if key in KINDS]
        table = section.table(kinds[0]) if len(kinds) == 1 else None
        if len(kinds) != 1:
            written = [key for key in section.content if section.has(key) and key != "each"]
            otherwise = f"write one of {', '.join(KINDS)}"
            remedy = did_you_mean(written[0], KINDS, otherwise) if written and not kinds else otherwise
            section.wrong_here(f"has {len(kinds)} kinds of block; {remedy}")
        elif table is not None:
            inputs, parameters = KINDS[kinds[0]](Reading(table, signals, instance.name))
            table.finish()
            block = Block(name=instance.name, kind=kinds[0], inputs=inputs, parameters=parameters)
            read.append((block, section))
        section.finish()
    return read


def in_order(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Each after those whose outputs it takes; only for blocks without a circle."""
    by_name = {block.name: block for block in blocks}
    graph = {block.name: [s.name for s in block.inputs if s.of == "block"] for block in blocks}
    ordered = [by_name[name] for name in TopologicalSorter(graph).static_order()]
    return tuple(ordered[: limits.BLOCKS_MAX])
