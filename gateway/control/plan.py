"""From settings to the executive's memory: which requests there are, and every loop's row filled in.

Inputs of loops with the same period that lie side by side in the same table of the same unit become one read request;
nothing between them is read that nobody asked for. Pure: no socket, no clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.control import frames, pid
from gateway.control import layout as at
from gateway.core.limits import FAST_LINKS_MAX, LOOPS_MAX
from gateway.core.types import NS_PER_MS, NS_PER_S, Quality
from gateway.protocol.modbus.codes import READ_REGISTERS_MAX, Function
from gateway.protocol.modbus.points import WireType
from gateway.settings.schema import ModbusLink, ModbusPoint, MqttPoint, OutputBy, PidLoop, RegisterType, Table, Tag

SIGNAL_FIELDS = (
    *(at.TRACKS, at.SOURCE, at.SETPOINT_FROM, at.FEED_FORWARD),
    *(at.KP_FROM, at.TI_FROM, at.TD_FROM, at.INTERLOCK),
)
PERIOD_MIN_NS = NS_PER_MS
REFRESH_PERIODS = 50
"""After so many an unchanged output is written again: a device that was restarted meanwhile has it again."""
CARRIED_REFRESH_NS = NS_PER_S
"""An output that the loop thread carries is written so often at least: that is how a lost way is noticed."""
FUNCTIONS = {Table.INPUT: Function.READ_INPUT_REGISTERS, Table.HOLDING: Function.READ_HOLDING_REGISTERS}


@dataclass(frozen=True)
class Span:
    """Registers that are read together."""

    link: int
    unit: int
    table: Table
    period_ns: int
    address: int
    registers: int

    @property
    def end(self) -> int:
        return self.address + self.registers

    def joins(self, other: Span) -> bool:
        """Whether `other`, which starts no earlier, can go into the same request."""
        same = (self.link, self.unit, self.table, self.period_ns) == (
            other.link,
            other.unit,
            other.table,
            other.period_ns,
        )
        return same and other.address <= self.end and other.end - self.address <= READ_REGISTERS_MAX

    def joined(self, other: Span) -> Span:
        end = max(self.end, other.end)
        return Span(self.link, self.unit, self.table, self.period_ns, self.address, end - self.address)

    def holds(self, other: Span) -> bool:
        return self.joins(other) and other.address >= self.address and other.end <= self.end


def wanted_mode(loop: PidLoop) -> int:
    """The mode in which the settings have a loop start."""
    if not loop.starts_in_auto:
        return at.MANUAL
    return at.CASCADE if loop.setpoint_from is not None and loop.starts_in_cascade else at.AUTO


def merge(wanted: Sequence[Span]) -> list[Span]:
    """The fewest requests that read every wanted span."""
    merged: list[Span] = []
    for span in sorted(wanted, key=lambda s: (s.link, s.unit, s.table, s.period_ns, s.address)):
        if merged and merged[-1].joins(span):
            merged[-1] = merged[-1].joined(span)
        else:
            merged.append(span)
    return merged


def fill(
    b: at.Blocks,
    loops: Sequence[PidLoop],
    tags: Mapping[str, tuple[int, Tag]],
    links: Mapping[str, ModbusLink],
) -> tuple[ModbusLink, ...]:
    """Write an empty record of memory; the links in the order of their numbers.

    Raises ValueError, naming the loop, for what the executive cannot run.
    """
    if len(loops) > LOOPS_MAX:
        raise ValueError(f"control: {len(loops)} loops, but at most {LOOPS_MAX} are possible; remove some")
    sources = [_input_point(loop, tags) if loop.source is None else None for loop in loops]
    sinks = [_output_point(loop, tags) if _has_register(loop) else None for loop in loops]
    used: dict[str, ModbusLink] = {}
    for loop, *points in zip(loops, sources, sinks, strict=True):
        for point in points:
            if point is None:
                continue
            if point[1].device not in links:
                raise ValueError(f"control.{loop.name}: device {point[1].device!r} is not behind a Modbus TCP link")
            used.setdefault(links[point[1].device].name, links[point[1].device])
    if len(used) > FAST_LINKS_MAX:
        raise ValueError(f"control: {len(used)} links, but at most {FAST_LINKS_MAX} are possible; use fewer links")
    number = {name: index for index, name in enumerate(used)}

    wanted = {
        index: Span(
            number[links[source[1].device].name],
            source[2].unit,
            source[2].table,
            loop.every_ns,
            source[2].address,
            _registers(source[2]),
        )
        for index, (loop, source) in enumerate(zip(loops, sources, strict=True))
        if source is not None
    }
    spans = merge(list(wanted.values()))
    b.words[at.LOOPS], b.words[at.LINKS], b.words[at.BLOCKS] = len(loops), len(used), len(spans)
    for index, link in enumerate(used.values()):
        b.links[index, at.IN_FLIGHT_MAX] = min(max(link.requests_in_flight, 1), at.IN_FLIGHT_CAP)
        b.links[index, at.RESPONSE_TIMEOUT_NS] = link.response_timeout_ns
        b.links[index, at.REQUEST_GAP_NS] = link.request_gap_ns
    for index, span in enumerate(spans):
        _fill(b.read_frames[index], frames.read_request(span.unit, FUNCTIONS[span.table], span.address, span.registers))
        b.blocks[index, at.BLOCK_LINK] = span.link
        b.blocks[index, at.BLOCK_REGISTERS] = span.registers
    for index, (loop, source, sink) in enumerate(zip(loops, sources, sinks, strict=True)):
        _fill_loop(b, index, loop)
        if source is not None:
            block = next(i for i, span in enumerate(spans) if span.holds(wanted[index]))
            _fill_input(b, index, block, spans[block], source)
        if sink is not None:
            _fill_output(b, index, number[links[sink[1].device].name], sink)
        elif not loop.is_internal:
            _fill_carried(b, index, loop, tags)
    return tuple(used.values())


Point = tuple[int, Tag, ModbusPoint]


def _has_register(loop: PidLoop) -> bool:
    """Whether the executive writes the output itself."""
    return not loop.is_internal and loop.output_by is OutputBy.EXECUTIVE


def _input_point(loop: PidLoop, tags: Mapping[str, tuple[int, Tag]]) -> Point:
    row, tag, point = _point(loop, "input", loop.input, tags)
    if point.table not in FUNCTIONS:
        raise ValueError(f"control.{loop.name}: input {tag.name!r} is a {point.table}, not a register")
    return row, tag, point


def _output_point(loop: PidLoop, tags: Mapping[str, tuple[int, Tag]]) -> Point:
    row, tag, point = _point(loop, "output", loop.output, tags)
    if point.table is not Table.HOLDING or not point.writable:
        raise ValueError(f"control.{loop.name}: output {tag.name!r} must be a holding register with write = true")
    if point.scale == 0.0:
        raise ValueError(f"control.{loop.name}: output {tag.name!r} has scale 0, so nothing can be written to it")
    return row, tag, point


def _point(loop: PidLoop, role: str, name: str, tags: Mapping[str, tuple[int, Tag]]) -> Point:
    if name not in tags:
        raise ValueError(f"control.{loop.name}: {role} {name!r} is not a tag")
    row, tag = tags[name]
    if not isinstance(tag.point, ModbusPoint):
        raise ValueError(f"control.{loop.name}: {role} {name!r} is not a Modbus tag; fast loops need Modbus TCP")
    if WireType[tag.point.type.name] not in frames.NUMERIC:
        raise ValueError(f"control.{loop.name}: {role} {name!r} is {tag.point.type}, not a number")
    return row, tag, tag.point


def _type(point: ModbusPoint) -> int:
    return frames.NUMERIC.index(WireType[point.type.name])


def _registers(point: ModbusPoint) -> int:
    return frames.REGISTERS[_type(point)]


def _order(point: ModbusPoint) -> int:
    return (0 if point.big_endian_bytes else frames.SWAP_BYTES) | (0 if point.big_endian_words else frames.SWAP_WORDS)


def _fill(memory: at.Bytes, frame: bytes) -> None:
    memory[: len(frame)] = list(frame)


def _fill_input(b: at.Blocks, index: int, block: int, span: Span, source: Point) -> None:
    row, tag, point = source
    state = b.loops[index]
    state[at.BLOCK] = block
    state[at.IN_BYTE] = 2 * (point.address - span.address)
    state[at.IN_REGISTERS] = _registers(point)
    state[at.IN_TYPE] = _type(point)
    state[at.IN_ORDER] = _order(point)
    state[at.IN_ROW] = row
    state[at.IN_KIND] = tag.kind
    b.reals[index, at.IN_SCALE] = point.scale
    b.reals[index, at.IN_OFFSET] = point.offset
    b.reals[index, at.VALID_LOW] = -math.inf if tag.valid_low is None else tag.valid_low
    b.reals[index, at.VALID_HIGH] = math.inf if tag.valid_high is None else tag.valid_high


def _fill_output(b: at.Blocks, index: int, link: int, sink: Point) -> None:
    row, tag, point = sink
    state = b.loops[index]
    state[at.HAS_OUTPUT] = 1
    state[at.OUT_LINK] = link
    state[at.OUT_REGISTERS] = _registers(point)
    state[at.OUT_TYPE] = _type(point)
    state[at.OUT_ORDER] = _order(point)
    state[at.OUT_ROW] = row
    state[at.OUT_KIND] = tag.kind
    b.reals[index, at.OUT_SCALE] = point.scale
    b.reals[index, at.OUT_OFFSET] = point.offset
    registers = _registers(point)
    read = frames.read_request(point.unit, Function.READ_HOLDING_REGISTERS, point.address, registers)
    _fill(b.init_frames[index], read)
    _fill(b.write_frames[index], frames.write_request(point.unit, point.address, registers))


def _fill_carried(b: at.Blocks, index: int, loop: PidLoop, tags: Mapping[str, tuple[int, Tag]]) -> None:
    """An output that the loop thread carries. By MQTT it is a float64 in four registers of nobody, to the executive."""
    if loop.output_by is OutputBy.LINE:
        _fill_output(b, index, at.NOT_THERE, _output_point(loop, tags))
    else:
        if loop.output not in tags or not isinstance(tags[loop.output][1].point, MqttPoint):
            raise ValueError(f"control.{loop.name}: output {loop.output!r} is not a tag of an mqtt link")
        tag = tags[loop.output][1]
        assert isinstance(tag.point, MqttPoint)
        number = ModbusPoint(
            unit=0,
            table=Table.HOLDING,
            address=0,
            type=RegisterType.FLOAT64,
            every_ns=loop.every_ns,
            scale=tag.point.scale,
            offset=tag.point.offset,
        )
        _fill_output(b, index, at.NOT_THERE, (at.NOT_THERE, tag, number))
    b.loops[index, at.OUT_ROW] = at.NOT_THERE
    b.loops[index, at.IS_CARRIED] = 1
    periods = max(1, CARRIED_REFRESH_NS // loop.every_ns)
    b.loops[index, at.REFRESH_PERIODS] = min(b.loops[index, at.REFRESH_PERIODS], periods)


def _fill_loop(b: at.Blocks, index: int, loop: PidLoop) -> None:
    if loop.every_ns < PERIOD_MIN_NS:
        raise ValueError(f"control.{loop.name}: every is {loop.every_ns} ns; the shortest period is 1 ms")
    state = b.loops[index]
    state[at.PERIOD_NS] = loop.every_ns
    state[at.STALE_NS] = loop.stale_after_ns
    state[at.REFRESH_PERIODS] = REFRESH_PERIODS
    state[at.HAS_FAILSAFE] = loop.failsafe_output is not None
    state[at.SHADOW] = loop.is_shadow
    state[at.READ_BACK] = loop.reads_back
    state[at.DEAD_MAN_NS] = loop.dead_man_ns
    state[at.BUDGET_NS] = loop.output_budget_ns
    state[at.FOLLOWS] = loop.does_follow
    state[at.OUT_LINK] = at.NOT_THERE
    state[at.BLOCK] = at.NOT_THERE
    state[at.IN_ROW] = at.NOT_THERE
    state[at.OUT_ROW] = at.NOT_THERE
    for field in SIGNAL_FIELDS:
        state[field] = at.NOT_THERE
    state[at.QUALITY] = Quality.BAD_NOT_INITIALISED
    mode = wanted_mode(loop)
    state[at.MODE_ASKED] = mode
    b.commands[index * at.COMMANDS + at.MODE_WANTED] = mode
    if loop.failsafe_output is not None:
        b.reals[index, at.FAILSAFE_OUTPUT] = loop.failsafe_output
    b.reals[index, at.FAILSAFE_RATE] = loop.failsafe_rate or 0.0
    b.reals[index, at.SETPOINT_LOW] = loop.setpoint_min
    b.reals[index, at.SETPOINT_HIGH] = loop.setpoint_max
    b.reals[index, at.SETPOINT_RATE] = loop.setpoint_rate_max or 0.0
    b.reals[index, at.SETPOINT_WANTED] = loop.setpoint
    pid_state = b.pid[index]
    pid_state[pid.ACTION] = 1.0 if loop.reverse_acting else -1.0
    pid_state[pid.SETPOINT] = loop.setpoint
    pid_state[pid.KP] = loop.kp
    pid_state[pid.TI_S] = math.inf if loop.ti_s is None else loop.ti_s
    pid_state[pid.TD_S] = 0.0 if loop.td_s is None else loop.td_s
    pid_state[pid.OUTPUT_MIN] = loop.output_min
    pid_state[pid.OUTPUT_MAX] = loop.output_max
    pid_state[pid.RATE_MAX] = math.inf if loop.output_rate_max is None else loop.output_rate_max
    pid_state[pid.SETPOINT_WEIGHT] = loop.setpoint_weight
    pid_state[pid.DERIVATIVE_FILTER] = loop.derivative_filter
    pid_state[pid.TRACKING_S] = loop.back_calculation_s or 0.0
    if loop.is_internal:
        pid_state[pid.OUTPUT] = min(max(0.0, loop.output_min), loop.output_max)
    b.published[index]["setpoint"] = loop.setpoint
    b.published[index]["quality"] = Quality.BAD_NOT_INITIALISED
