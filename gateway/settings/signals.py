"""Signals: how the file says where a block or a loop takes a number from.

"boiler.temperature"            a tag's value
"boiler.temperature/score"      its event score; "/persistent" the persistent one
"boiler.temperature/10s/mean"   what of one of its windows: count, mean, sd, min, max, rate, ewma
"blocks.warmup"                 a block's output
"control.flow.output"           a loop's output, setpoint or input
20.0                            a number
"boiler.pressure > 8"           where a condition is wanted: 1 or 0; also <
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.core.types import Kind
from gateway.settings.devices import Devices
from gateway.settings.forms import says
from gateway.settings.problems import did_you_mean
from gateway.settings.schema import Block, Signal, Tag
from gateway.settings.tags import WINDOW
from gateway.settings.units import Parser, WrongValueError, number, show, show_duration

LOOP_SIGNALS = ("output", "setpoint", "input")
SCORES = ("score", "persistent")
WINDOW_FIELDS = ("count", "mean", "sd", "min", "max", "rate", "ewma")
_CONDITION = re.compile(r"(.+?)\s*([<>])=?\s*(-?[0-9]+(?:\.[0-9]+)?)")
REMEDY = 'write a tag as "device.tag", "blocks.NAME", "control.NAME.output" or a number'


class Signals:
    """What may be named; `hidden` collects the blocks that conditions make."""

    def __init__(self, devices: Devices, blocks: frozenset[str], loops: frozenset[str]) -> None:
        self.hidden: list[Block] = []
        self._devices = devices
        self._blocks = blocks
        self._loops = loops

    def signal(self) -> Parser[Signal]:
        def parse(value: object) -> Signal:
            return self._parse(value)

        return says(parse, "where a number comes from: " + REMEDY, {"type": ["string", "number"]})

    def condition(self, owner: str) -> Parser[Signal]:
        """As `signal`, or a comparison; a block of the owner's makes 1 or 0 of that."""

        def parse(value: object) -> Signal:
            match = _CONDITION.fullmatch(value) if isinstance(value, str) else None
            if match is None:
                return self._parse(value)
            of = self._parse(match[1])
            name = f"{owner}#{len(self.hidden)}"
            parameters = (float(match[3]), 0.0, 1.0 if match[2] == ">" else -1.0)
            self.hidden.append(Block(name=name, kind="compare", inputs=(of,), parameters=parameters))
            return Signal(of="block", name=name)

        return says(parse, 'a signal, or a condition like "boiler.pressure > 8"', {"type": ["string", "number"]})

    def _parse(self, value: object) -> Signal:
        if not isinstance(value, str):
            return Signal(of="number", number=number(value))
        if value in self._devices.tags:
            return self._of_tag(self._devices.tags[value], "value")
        group, _, rest = value.partition(".")
        if group == "blocks":
            if rest not in self._blocks:
                remedy = did_you_mean(rest, self._blocks, "write the name of a table under [blocks]")
                raise WrongValueError(f"{show(value)} is not a block; {remedy}")
            return Signal(of="block", name=rest)
        if group == "control":
            return self._of_loop(value, *rest.rpartition(".")[::2])
        name, _, what = value.partition("/")
        if name in self._devices.tags:
            return self._of_tag(self._devices.tags[name], what)
        device = name.partition(".")[0]
        candidates = [known for known in self._devices.tags if known.startswith(f"{device}.")] or self._devices.tags
        raise WrongValueError(f"{show(value)} is not a tag; {did_you_mean(name, candidates, REMEDY)}")

    def _of_loop(self, value: str, name: str, what: str) -> Signal:
        if name not in self._loops or what not in LOOP_SIGNALS:
            raise WrongValueError(
                f'{show(value)} is no signal of a loop; write "control.NAME.output", ".setpoint" or ".input"'
            )
        return Signal(of="loop", name=name, what=what)

    def _of_tag(self, tag: Tag, what: str) -> Signal:
        if tag.kind is Kind.SYMBOL:
            raise WrongValueError(f"{tag.name} is a text; write a tag that is a number")
        if what == "value" or what in SCORES:
            return Signal(of="tag", name=tag.name, what=what)
        length, _, field = what.partition("/")
        windows = {show_duration(window_ns): window_ns for window_ns in tag.windows_ns}
        try:
            window_ns = WINDOW(length)
        except WrongValueError:
            window_ns = 0
        if window_ns not in tag.windows_ns or field not in WINDOW_FIELDS:
            has = f"its windows are {', '.join(windows)}" if windows else "it has no windows"
            raise WrongValueError(
                f"{show(f'{tag.name}/{what}')} is neither score, persistent nor WINDOW/FIELD with one of "
                f"{', '.join(WINDOW_FIELDS)}; {has}"
            )
        return Signal(of="tag", name=tag.name, what=f"{window_ns}/{field}")


def path_in_circle(edges: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Names along a circle, the first one again at the end; empty when there is none."""
    done: set[str] = set()
    for start in edges:
        path: list[str] = []
        waiting = [(start, 0)]
        while waiting:
            name, depth = waiting.pop()
            del path[depth:]
            if name in path:
                return [*path[path.index(name) :], name]
            if name in done or name not in edges:
                continue
            path.append(name)
            waiting += [(after, depth + 1) for after in edges[name]]
        done.update(_reached(start, edges))
    return []


def _reached(start: str, edges: Mapping[str, tuple[str, ...]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += edges.get(name, ())
    return found
