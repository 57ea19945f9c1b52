"""From tags to reads: which registers are asked for together, and when in the period.

Tags of one device, unit, table and period lie in address order; a block grows while the next tag begins at most
`gap_max` unused registers further on and the read stays within the specification's size. A read costs a round trip
whatever its length, so a few unused registers are cheaper than a second read.

Some devices refuse a read that touches an address they do not have, be it in a gap or because one tag is wrong.
`halved` cuts such a block where that costs least, so that in the end the wrong tag stands alone and costs its
neighbours nothing.

Phases spread the blocks of one period evenly over it: a link is never asked for everything at once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.core.types import Kind, Samples
from gateway.protocol.modbus.codes import READ_BITS_MAX, READ_REGISTERS_MAX, Function
from gateway.protocol.modbus.frames import Request, read_request
from gateway.protocol.modbus.points import POINT, RULE, WORDS, Encoding, Padding, WireType

GAP_REGISTERS_MAX: Final = 8
GAP_BITS_MAX: Final = 128
"""The same bytes as eight registers."""

TABLES: Final[dict[Function, str]] = {
    Function.READ_COILS: "coil",
    Function.READ_DISCRETE_INPUTS: "discrete",
    Function.READ_HOLDING_REGISTERS: "holding",
    Function.READ_INPUT_REGISTERS: "input",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadband:
    """When a reading of a tag is news (`gateway.protocol.modbus.report`)."""

    change: float = math.inf
    fraction: float = math.inf
    hold_ns: int = 0
    heartbeat_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One tag as the planner needs it. `function` is the read function of its table."""

    row: int
    name: str
    device: str
    unit: int
    function: Function
    address: int
    wire: WireType
    kind: Kind
    period_ns: int
    big_words: bool = True
    big_bytes: bool = True
    scale: float = 1.0
    offset: float = 0.0
    first_bit: int = 0
    bits: int = 0
    """Width of a bit field that begins at `first_bit`; 0: the whole value."""
    absent: tuple[int, ...] = ()
    """Patterns that mean "not available"."""
    low: float = -math.inf
    high: float = math.inf
    """What the value is clamped to."""
    text_registers: int = 0
    """Registers of a text, and how it lies there."""
    encoding: Encoding = Encoding.UTF_8
    padding: Padding = Padding.ANY
    deadband: Deadband | None = None
    """None: every reading is passed on."""

    @property
    def is_bit(self) -> bool:
        return self.function in (Function.READ_COILS, Function.READ_DISCRETE_INPUTS)

    @property
    def registers(self) -> int:
        return self.text_registers if self.wire is WireType.STRING else WORDS[self.wire]

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.address + (1 if self.is_bit else self.registers)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One read: what is asked for, when, and what becomes of the reply. `points` lie in address order."""

    device: str
    period_ns: int
    phase_ns: int
    points: tuple[Point, ...]
    request: Request
    table: Samples
    """The decode table (`gateway.protocol.modbus.decode.POINT`), one record a tag."""
    rules: Samples | None = None
    """What is news (`gateway.protocol.modbus.report.RULE`), one record a tag; None: every reading."""
    has_texts: bool = False
    """Whether `gateway.protocol.modbus.texts.decode_texts` has to come after `decode_block`."""

    @property
    def unit(self) -> int:
        return self.request.unit

    @property
    def place(self) -> str:
        """Where it lies, in the words of the configuration file: `holding 100-109`."""
        first, last = self.request.address, self.request.address + self.request.count - 1
        span = f"{first}" if first == last else f"{first}-{last}"
        return f"{TABLES[Function(self.request.function)]} {span}"

    @property
    def tags(self) -> str:
        names = [point.name for point in self.points[:4]]
        more = len(self.points) - len(names)
        return ", ".join(names) + (f" and {more} more" if more else "")


def plan(
    points: Iterable[Point], *, gap_registers_max: int = GAP_REGISTERS_MAX, gap_bits_max: int = GAP_BITS_MAX
) -> tuple[Block, ...]:
    """Blocks that cover every point exactly once, phases spread over each period."""
    runs = runs_of(points, gap_registers_max=gap_registers_max, gap_bits_max=gap_bits_max)
    return tuple(
        _block(run, period_ns * index // len(of_period))
        for period_ns, of_period in runs.items()
        for index, run in enumerate(of_period)
    )


def runs_of(
    points: Iterable[Point], *, gap_registers_max: int = GAP_REGISTERS_MAX, gap_bits_max: int = GAP_BITS_MAX
) -> dict[int, list[list[Point]]]:
    """By period: the tags that are read together, in address order."""
    groups: dict[tuple[str, int, Function, int], list[Point]] = defaultdict(list)
    for point in points:
        groups[point.device, point.unit, point.function, point.period_ns].append(point)
    runs: dict[int, list[list[Point]]] = defaultdict(list)
    for (_, _, _, period_ns), group in groups.items():
        group.sort(key=lambda point: (point.address, point.row))
        is_bit = group[0].is_bit
        gap_max, size_max = (gap_bits_max, READ_BITS_MAX) if is_bit else (gap_registers_max, READ_REGISTERS_MAX)
        runs[period_ns].extend(_runs(group, gap_max, size_max))
    return runs


def _runs(group: Sequence[Point], gap_max: int, size_max: int) -> list[list[Point]]:
    runs: list[list[Point]] = []
    start = end = 0
    for point in group:
        if runs and point.address - end <= gap_max and max(end, point.end) - start <= size_max:
            runs[-1].append(point)
            end = max(end, point.end)
        else:
            runs.append([point])
            start, end = point.address, point.end
    return runs


def _block(run: Sequence[Point], phase_ns: int) -> Block:
    first = run[0]
    start = first.address
    count = max(point.end for point in run) - start
    table = np.zeros(len(run), POINT)
    for record, point in zip(table, run, strict=True):
        is_float = point.wire in (WireType.FLOAT32, WireType.FLOAT64)
        assert (point.kind is Kind.SYMBOL) == (point.wire is WireType.STRING), f"{point.name}: a text needs a symbol"
        assert point.kind is Kind.F64 or not is_float, f"{point.name}: a float needs a float64 cell"
        assert point.kind is Kind.F64 or (point.scale, point.offset) == (1.0, 0.0), f"{point.name}: scaled integer"
        record["row"] = point.row
        record["at"] = point.address - start
        record["type"] = WireType.BOOL if point.is_bit else point.wire
        record["kind"] = point.kind
        record["words"] = point.registers
        record["is_bit"] = point.is_bit
        record["big_words"] = point.big_words
        record["big_bytes"] = point.big_bytes
        record["scale"] = point.scale
        record["offset"] = point.offset
        record["first_bit"] = point.first_bit
        record["bits"] = point.bits
        record["absents"] = len(point.absent)
        record["absent"][: len(point.absent)] = point.absent
        record["is_clamped"] = (point.low, point.high) != (-math.inf, math.inf)
        record["encoding"] = point.encoding
        record["padding"] = point.padding
        record["low"] = point.low
        record["high"] = point.high
    has_texts = any(point.wire is WireType.STRING for point in run)
    request = read_request(first.unit, first.function, start, count)
    return Block(first.device, first.period_ns, phase_ns, tuple(run), request, table, _rules(run), has_texts)


def _rules(run: Sequence[Point]) -> Samples | None:
    if all(point.deadband is None for point in run):
        return None
    rules = np.zeros(len(run), RULE)
    for record, point in zip(rules, run, strict=True):
        record["kind"] = point.kind
        if point.deadband is not None:
            record["is_ruled"] = True
            record["change"] = point.deadband.change
            record["fraction"] = point.deadband.fraction
            record["hold_ns"] = point.deadband.hold_ns
            record["heartbeat_ns"] = point.deadband.heartbeat_ns
    return rules


def halved(block: Block) -> tuple[Block, Block]:
    """Two blocks in place of one, cut at its widest gap, or in the middle when there is none."""
    points = block.points
    assert len(points) > 1
    cut, widest, end = len(points) // 2, 0, points[0].end
    for index in range(1, len(points)):
        gap = points[index].address - end
        if gap > widest:
            cut, widest = index, gap
        end = max(end, points[index].end)
    return _block(points[:cut], block.phase_ns), _block(points[cut:], block.phase_ns)
