"""From tags to reads: which registers are asked for together, and when in the period.

Tags of one device, unit, table and poll group lie in address order; a block grows while the next tag begins at most
`gap_registers_max` unused registers further on, no hole of the device lies between, and the read stays within what the
device and the specification allow. A read costs a round trip whatever its length, so a few unused registers are
cheaper than a second read.

Some devices refuse a read that touches an address they do not have, be it in a gap or because one tag is wrong.
`halved` cuts such a block where that costs least, so that in the end the wrong tag stands alone and costs its
neighbours nothing.

Reads are due on the grid of engine time: at multiples of their period, plus their phase. A phase that somebody chose
holds on every link alike, so that devices are sampled at one moment or one after the other. The others are spread: the
blocks of one period evenly over it, periods against each other by the golden section, links by their first device's
name; so a link is never asked for everything at once, nor all links at the same moment. A jitter moves each single
read back by up to so much, as a function of which one it is: what repeats inside a device is then not always met at
the same place.
"""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
import numpy as np

from gateway.core.backoff import mix
from gateway.core.types import Kind, Samples
from gateway.protocol.deadband import Deadband, rules_of
from gateway.protocol.modbus.codes import READ_BITS_MAX, READ_REGISTERS_MAX, Function
from gateway.protocol.modbus.frames import Request, read_request
from gateway.protocol.modbus.points import PLAIN, POINT, WORDS, Encoding, Padding, WireType

GAP_REGISTERS_MAX: Final = 8
BITS_PER_REGISTER: Final = 16
GOLDEN: Final = (math.sqrt(5) - 1) / 2

TABLES: Final[dict[Function, str]] = {
    Function.READ_COILS: "coil",
    Function.READ_DISCRETE_INPUTS: "discrete",
    Function.READ_HOLDING_REGISTERS: "holding",
    Function.READ_INPUT_REGISTERS: "input",
}

AS_THEY_ARE: Final = (
    *("big_words", "big_bytes", "scale", "offset", "first_bit", "bits", "encoding", "padding", "low", "high"),
)
"""What a decode table has of its points as it is."""


class Hole(NamedTuple):
    """Addresses, `first` to `last`, that a device must not be asked for."""

    function: Function
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """What one read of a device may be."""

    registers_max: int = READ_REGISTERS_MAX
    bits_max: int = READ_BITS_MAX
    gap_registers_max: int = GAP_REGISTERS_MAX
    """Unused registers that are read along; for bits the same bytes."""
    holes: tuple[Hole, ...] = ()


ANY_READ: Final = ReadLimits()


class Point(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One tag as the planner needs it. `function` is the read function of its table. A struct, since a large plant
    makes a hundred thousand at every start."""

    row: int
    name: str
    device: str
    unit: int
    function: Function
    address: int
    wire: WireType
    kind: Kind
    period_ns: int
    phase_ns: int | None = None
    """When in the period, on the grid of engine time; None: wherever there is room."""
    jitter_ns: int = 0
    eased_ns: int = 0
    """The period while polls of low priority are slowed down; 0: the same as ever."""
    limits: ReadLimits = ANY_READ
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
    """The read number n is due at engine time n * period_ns + phase_ns, and what the jitter adds."""
    points: tuple[Point, ...]
    request: Request
    table: Samples
    """The decode table (`gateway.protocol.modbus.decode.POINT`), one record a tag."""
    rules: Samples | None = None
    """What is news (`gateway.protocol.deadband.RULE`), one record a tag; None: every reading."""
    has_texts: bool = False
    """Whether `gateway.protocol.modbus.texts.decode_texts` has to come after `decode_block`."""
    jitter_ns: int = 0
    slow_ns: int = 0
    """The period while polls of low priority are slowed down, a multiple of `period_ns`."""

    @property
    def unit(self) -> int:
        return self.request.unit

    def moved_ns(self, number: int) -> int:
        """What the jitter adds to the read with this number, less than `jitter_ns`."""
        return self.jitter_ns * (mix(self.request.address * 0x10001 + number) % 1024) // 1024

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


class Run(NamedTuple):
    """Tags that are read together, in address order, and when in their period."""

    points: tuple[Point, ...]
    phase_ns: int


def plan(points: Iterable[Point]) -> tuple[Block, ...]:
    """Blocks that cover every point exactly once, phases spread over each period."""
    return tuple(_block(run.points, run.phase_ns) for run in runs_of(points))


def runs_of(points: Iterable[Point]) -> list[Run]:
    """By ascending period: the tags that are read together, and when."""
    groups: dict[tuple[object, ...], list[Point]] = defaultdict(list)
    for point in points:
        when = (point.period_ns, point.phase_ns, point.jitter_ns, point.eased_ns)
        groups[point.device, point.unit, point.function, *when].append(point)
    free: dict[int, list[list[Point]]] = defaultdict(list)
    fixed: list[Run] = []
    for group in groups.values():
        group.sort(key=lambda point: (point.address, point.row))
        phase_ns = group[0].phase_ns
        if phase_ns is None:
            free[group[0].period_ns].extend(_cut(group))
        else:
            fixed += [Run(tuple(run), phase_ns % group[0].period_ns) for run in _cut(group)]
    runs = [run for order, period_ns in enumerate(sorted(free)) for run in _spread(free[period_ns], period_ns, order)]
    return sorted(runs + fixed, key=lambda run: run.points[0].period_ns)


def _spread(runs: Sequence[list[Point]], period_ns: int, order: int) -> list[Run]:
    """One after the other through the period. `order` is the period's among those of the link."""
    share = zlib.crc32(runs[0][0].device.encode()) / 2**32
    step_ns = period_ns / len(runs)
    begin_ns = math.floor(share * period_ns + order * GOLDEN % 1.0 * step_ns)
    return [Run(tuple(run), (begin_ns + index * period_ns // len(runs)) % period_ns) for index, run in enumerate(runs)]


def _cut(group: Sequence[Point]) -> list[list[Point]]:
    """The tags of one group, in address order, as runs that are read at once."""
    limits = group[0].limits
    gap_max, size_max = limits.gap_registers_max, min(limits.registers_max, READ_REGISTERS_MAX)
    if group[0].is_bit:
        gap_max, size_max = BITS_PER_REGISTER * gap_max, min(limits.bits_max, READ_BITS_MAX)
    holes = [hole for hole in limits.holes if hole.function == group[0].function]
    runs: list[list[Point]] = []
    start = end = 0
    is_bit = group[0].is_bit
    for point in group:
        address = point.address
        stop = address + 1 if is_bit else address + point.registers
        fits = bool(runs) and address - end <= gap_max and max(end, stop) - start <= size_max
        if fits and not any(hole.last >= end and hole.first < address for hole in holes):
            runs[-1].append(point)
            end = max(end, stop)
        else:
            runs.append([point])
            start, end = address, stop
    return runs


def _block(run: Sequence[Point], phase_ns: int) -> Block:
    first = run[0]
    start = first.address
    count = max(point.end for point in run) - start
    table = _decode_table(run, start)
    has_texts = any(point.wire is WireType.STRING for point in run)
    request = read_request(first.unit, first.function, start, count)
    when = first.jitter_ns, first.eased_ns or first.period_ns
    return Block(first.device, first.period_ns, phase_ns, tuple(run), request, table, _rules(run), has_texts, *when)


def _decode_table(run: Sequence[Point], start: int) -> Samples:
    """By columns. All points are of one table of the device."""
    for point in run:
        is_float = point.wire in (WireType.FLOAT32, WireType.FLOAT64)
        assert (point.kind is Kind.SYMBOL) == (point.wire is WireType.STRING), f"{point.name}: a text needs a symbol"
        assert point.kind is Kind.F64 or not is_float, f"{point.name}: a float needs a float64 cell"
        assert point.kind is Kind.F64 or (point.scale, point.offset) == (1.0, 0.0), f"{point.name}: scaled integer"
    is_bit = run[0].is_bit
    table = np.zeros(len(run), POINT)
    table["row"] = [point.row for point in run]
    table["at"] = [point.address - start for point in run]
    table["type"] = WireType.BOOL if is_bit else [point.wire for point in run]
    table["kind"] = [point.kind for point in run]
    table["words"] = [point.registers for point in run]
    table["is_bit"] = is_bit
    for name in AS_THEY_ARE:
        table[name] = [getattr(point, name) for point in run]
    table["absents"] = [len(point.absent) for point in run]
    for place in np.flatnonzero(table["absents"]).tolist():
        absent = run[place].absent
        table[place]["absent"][: len(absent)] = absent
    table["is_clamped"] = (table["low"] != -math.inf) | (table["high"] != math.inf)
    is_number = [point.wire in PLAIN and point.kind is Kind.F64 for point in run]
    is_whole = (table["bits"] == 0) & (table["absents"] == 0) & (table["is_clamped"] == 0)
    table["is_plain"] = np.array(is_number) & is_whole & (not is_bit)
    return table


def _rules(run: Sequence[Point]) -> Samples | None:
    if all(point.deadband is None for point in run):
        return None
    return rules_of([(point.kind, point.deadband) for point in run])


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
