"""From settings to the Modbus planner: tags as its points, and how loaded each link will be."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from gateway.core.types import NS_PER_MS
from gateway.protocol.deadband import Deadband
from gateway.protocol.modbus import plan
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.load import BITS_PER_CHARACTER, BusLoad, Timing, bus_load
from gateway.protocol.modbus.plan import Point
from gateway.protocol.modbus.points import Encoding, Padding, WireType
from gateway.settings.schema import (
    ModbusLink,
    ModbusPoint,
    Priority,
    ReadLimits,
    RegisterType,
    Report,
    Settings,
    Table,
    Tag,
    TextEncoding,
    TextPadding,
)
from gateway.settings.schema_modbus import Framing

ROUND_TRIP_ASSUMED_NS: Final = 10 * NS_PER_MS
"""What a device behind TCP, or a turnaround on a serial bus, takes unless somebody has measured it."""
LOAD_WARNED: Final = 0.8
EASED_PERIODS_MAX: Final = 10
"""How much more seldom a block of low priority is read under pressure, as far as its values do not become stale."""

READ_FUNCTIONS: Final[dict[Table, Function]] = {
    Table.COIL: Function.READ_COILS,
    Table.DISCRETE: Function.READ_DISCRETE_INPUTS,
    Table.INPUT: Function.READ_INPUT_REGISTERS,
    Table.HOLDING: Function.READ_HOLDING_REGISTERS,
}

WIRES: Final = {each: WireType[each.name] for each in RegisterType}
ENCODINGS: Final = {each: Encoding[each.name] for each in TextEncoding}
PADDINGS: Final = {each: Padding[each.name] for each in TextPadding}


@lru_cache(1_024)
def limits_of(limits: ReadLimits) -> plan.ReadLimits:
    """As the planner takes them; the tags of a device share one."""
    return plan.ReadLimits(
        registers_max=limits.registers_max,
        bits_max=limits.bits_max,
        gap_registers_max=limits.gap_registers_max,
        holes=tuple(plan.Hole(READ_FUNCTIONS[hole.table], hole.first, hole.last) for hole in limits.holes),
    )


def point_of(row: int, tag: Tag) -> Point:
    """A tag of the settings as the planner takes it."""
    at = tag.point
    assert isinstance(at, ModbusPoint)
    return Point(
        row=row,
        name=tag.name,
        device=tag.device,
        unit=at.unit,
        function=READ_FUNCTIONS[at.table],
        address=at.address,
        wire=WIRES[at.type],
        kind=tag.kind,
        period_ns=at.every_ns,
        phase_ns=at.phase_ns,
        jitter_ns=at.jitter_ns,
        eased_ns=_eased_ns(tag, at) if at.priority is Priority.LOW else 0,
        limits=limits_of(at.limits),
        big_words=at.big_endian_words,
        big_bytes=at.big_endian_bytes,
        scale=at.scale,
        offset=at.offset,
        first_bit=at.first_bit,
        bits=at.bits,
        absent=at.not_available,
        low=-math.inf if at.clamp_low is None else at.clamp_low,
        high=math.inf if at.clamp_high is None else at.clamp_high,
        text_registers=at.text_registers,
        encoding=ENCODINGS[at.encoding],
        padding=PADDINGS[at.padding],
        deadband=None if at.report is None else deadband_of(at.report),
    )


def _eased_ns(tag: Tag, at: ModbusPoint) -> int:
    """As many periods as leave the value fresh, even when a reading comes late."""
    return at.every_ns * max(1, min(EASED_PERIODS_MAX, 2 * tag.stale_after_ns // (3 * at.every_ns)))


def deadband_of(report: Report) -> Deadband:
    """Without a deadband any difference counts."""
    is_any = report.change is None and report.percent is None
    return Deadband(
        change=(0.0 if is_any else math.inf) if report.change is None else report.change,
        fraction=math.inf if report.percent is None else report.percent / 100.0,
        hold_ns=report.hold_ns,
        heartbeat_ns=report.heartbeat_ns,
    )


def timing_of(link: ModbusLink, round_trip_ns: int = ROUND_TRIP_ASSUMED_NS) -> Timing:
    return Timing(
        round_trip_ns=round_trip_ns,
        response_timeout_ns=link.response_timeout_ns,
        request_gap_ns=link.request_gap_ns,
        requests_in_flight=link.requests_in_flight,
        baud=link.baud,
        character_bits=BITS_PER_CHARACTER if link.serial is None else link.serial.character_bits,
        is_ascii=link.framing is Framing.ASCII,
    )


def loads(settings: Settings, round_trip_ns: int = ROUND_TRIP_ASSUMED_NS) -> dict[str, BusLoad]:
    """How busy each Modbus link will be, by the link's name."""
    link_of = settings.link_of
    tags: dict[str, list[Tag]] = defaultdict(list)
    for tag in settings.tags:
        if isinstance(tag.point, ModbusPoint):
            tags[link_of[tag.device]].append(tag)
    return {
        link.name: bus_load(points_of(tags[link.name]), timing_of(link, round_trip_ns))
        for link in settings.links
        if isinstance(link, ModbusLink)
    }


def points_of(tags: Iterable[Tag]) -> list[Point]:
    return [point_of(row, tag) for row, tag in enumerate(tags)]
