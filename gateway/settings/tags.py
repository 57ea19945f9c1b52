"""Tags: what is written of a tag, checked (`ModbusSpec`, `MqttSpec`), and then bound to its device.

A tag list is read once and bound many times: what does not depend on the device lies in the spec, and binding adds
name, unit, word order and the shift of the address.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from gateway.core import limits
from gateway.core.alarms import AlarmDefinition
from gateway.core.calculations import CalculationDefinition
from gateway.core.types import NS_PER_MS, NS_PER_S, Kind
from gateway.settings.addresses import REGISTERS, WIDTHS, Register, register
from gateway.settings.alarms import bound, read_alarms
from gateway.settings.calculations import read_calculations
from gateway.settings.forms import form_of, says
from gateway.settings.reads import EVERY, PollGroup, Polls, check_reads
from gateway.settings.schema import (
    ModbusPoint,
    Point,
    Priority,
    ReadLimits,
    RegisterType,
    Report,
    Table,
    Tag,
    WriteWith,
)
from gateway.settings.section import Section
from gateway.settings.shapes import FLOATS, SIGNED, Shape, read_report, read_shape, register_type
from gateway.settings.texts import TextShape, check_labels, labels, read_text_shape
from gateway.settings.units import array_of, choice, duration, flag, integer, label, number, show_duration

HOUR_NS = 3_600 * NS_PER_S
STALE_AFTER_FLOOR_NS = 2 * NS_PER_S
STALE_AFTER_MQTT_NS = 30 * NS_PER_S
STALE_AFTER_PERIODS = 3

WINDOW = duration(NS_PER_S, 24 * HOUR_NS)
WINDOWS = array_of(WINDOW, '["10s", "5min"]', limits.WINDOWS_PER_TAG_MAX)
STALE_AFTER = duration(10 * NS_PER_MS, 7 * 24 * HOUR_NS)
QOS = integer(0, 2)
PRIORITY = choice(Priority)

BIT_TABLES = (Table.COIL, Table.DISCRETE)
ONE_REGISTER = (RegisterType.BOOL, RegisterType.INT16, RegisterType.UINT16)
"""Types of which a part can be written (function 22)."""
WRITABLE_TABLES = (Table.COIL, Table.HOLDING)

_MODBUS_ONLY = "belongs to tags of Modbus links, and this device's link is mqtt; take it out"
_MQTT_ONLY = "belongs to tags of mqtt links, and this device's link is Modbus; take it out"
MODBUS_ELSEWHERE = dict.fromkeys(
    (
        "topic",
        "field",
        "time_field",
        "sequence_field",
        "qos",
        "durable",
        "metric",
        "name",
        "quality_field",
        "bytes",
    ),
    _MQTT_ONLY,
)


class Order(StrEnum):
    """Which end comes first."""

    BIG = "big"
    LITTLE = "little"


ORDER = choice(Order)


class Defaults(NamedTuple):
    every_ns: int
    windows_ns: tuple[int, ...]
    stale_after_ns: int | None
    polls: Polls


class Common(NamedTuple):
    """What tags of all links have."""

    unit: str
    windows_ns: tuple[int, ...]
    stale_after_ns: int
    alarms: tuple[AlarmDefinition, ...]
    calculations: tuple[CalculationDefinition, ...]
    valid_low: float | None
    valid_high: float | None
    has_shape: bool
    labels: tuple[tuple[int, str], ...]
    scada: bool


class ModbusSpec(NamedTuple):
    section: Section
    common: Common
    kind: Kind
    table: Table
    address: int
    type: RegisterType
    shape: Shape
    text: TextShape
    big_endian_words: bool | None
    big_endian_bytes: bool | None
    scale: float
    offset: float
    poll: PollGroup
    writable: bool
    verify: bool
    priority: Priority
    report: Report | None


def read_defaults(root: Section) -> Defaults:
    section = root.table("defaults")
    polls = Polls(root)
    if section is None:
        return Defaults(NS_PER_S, (60 * NS_PER_S,), None, polls)
    defaults = Defaults(
        every_ns=section.get("every", EVERY, NS_PER_S),
        windows_ns=section.get("windows", WINDOWS, (60 * NS_PER_S,)),
        stale_after_ns=section.get("stale_after", STALE_AFTER, None),
        polls=polls,
    )
    section.finish()
    return defaults


def read_modbus(section: Section, defaults: Defaults) -> ModbusSpec:
    remedy = 'write register = "holding 100" (table and address from 0) or "40101"'
    place = section.require("register", register, Register(Table.HOLDING, 0), remedy)
    is_bit = place.table in BIT_TABLES
    wire = section.get("type", register_type, RegisterType.BOOL if is_bit else RegisterType.UINT16)
    scale, offset = read_scaling(section)
    poll = defaults.polls.of_tag(section, defaults.every_ns)
    every_ns = poll.every_ns
    writable = section.get("write", flag, False)
    shape = read_shape(section, place.table, wire)
    as_text = read_text_shape(section, place.table, wire)
    if section.is_sound("register", "type"):
        _check_register(section, place.table, wire, shape, writable)
    is_whole = wire not in FLOATS and scale == 1.0 and offset == 0.0 and not shape.is_clamped
    kind = Kind.SYMBOL if wire is RegisterType.STRING else Kind.F64
    if is_whole and kind is Kind.F64:
        kind = Kind.I64 if wire in SIGNED else Kind.U64
    stale_default_ns = max(STALE_AFTER_PERIODS * every_ns, defaults.stale_after_ns or STALE_AFTER_FLOOR_NS)
    common = read_common(section, defaults, stale_default_ns)
    if common.stale_after_ns <= every_ns and section.is_sound("every", "stale_after"):
        section.wrong(
            "stale_after",
            f"would make the value stale before it is read again, every {show_duration(every_ns)}; "
            f'write "{show_duration(STALE_AFTER_PERIODS * every_ns)}"',
        )
    if kind is Kind.SYMBOL:
        common = common._replace(windows_ns=())
    check_labels(section, common.labels, kind)
    report = read_report(section, every_ns, common.stale_after_ns)
    spec = ModbusSpec(
        section=section,
        common=common,
        kind=kind,
        table=place.table,
        address=place.address,
        type=wire,
        shape=shape,
        text=as_text,
        big_endian_words=read_order(section, "word_order", None),
        big_endian_bytes=read_order(section, "byte_order", None),
        scale=scale,
        offset=offset,
        poll=poll,
        writable=writable,
        verify=_read_verify(section, writable),
        priority=section.get("priority", PRIORITY, Priority.NORMAL),
        report=report,
    )
    section.finish(MODBUS_ELSEWHERE)
    return spec


def _check_register(section: Section, table: Table, wire: RegisterType, shape: Shape, writable: bool) -> None:
    if table in BIT_TABLES and wire is not RegisterType.BOOL:
        section.wrong("type", f'a {table} is one bit; write type = "bool", or leave it out')
    if writable and table not in WRITABLE_TABLES:
        section.wrong("write", f'Modbus cannot write to {table}; write a "holding" or "coil" register, or take it out')
    elif writable and shape.bits.width and wire not in ONE_REGISTER:
        section.wrong("write", f"a part of {wire} cannot be written; write to bits of uint16, or to the whole value")


def _read_verify(section: Section, writable: bool) -> bool:
    verify = section.get("verify", flag, False)
    if verify and not writable and section.is_sound("write"):
        section.wrong("verify", "has no use while the tag is not written; write write = true as well")
    return verify


def read_order(section: Section, key: str, default: bool | None) -> bool | None:
    """Whether the bigger end comes first."""
    return section.get(key, _is_big, default)


def _is_big(value: object) -> bool:
    return ORDER(value) is Order.BIG


says(_is_big, form_of(ORDER).words, form_of(ORDER).schema)


def read_scaling(section: Section) -> tuple[float, float]:
    scale = section.get("scale", number, 1.0)
    if scale == 0.0:
        section.wrong("scale", "would make every value 0; write a number other than 0")
        scale = 1.0
    return scale, section.get("offset", number, 0.0)


def read_common(section: Section, defaults: Defaults, stale_after_ns: int) -> Common:
    windows_ns = section.get("windows", WINDOWS, defaults.windows_ns)
    alarms = read_alarms(section.table("alarm"), windows_ns)
    valid_low = valid_high = None
    valid = section.table("valid")
    if valid is not None:
        valid_low, valid_high = read_bounds(valid, "low", "high")
        valid.finish()
    return Common(
        unit=section.get("unit", label, ""),
        windows_ns=windows_ns,
        stale_after_ns=section.get("stale_after", STALE_AFTER, stale_after_ns),
        alarms=alarms,
        calculations=read_calculations(section),
        valid_low=valid_low,
        valid_high=valid_high,
        labels=section.get("labels", labels, ()),
        has_shape=section.get("shape", flag, False),
        scada=section.get("scada", flag, True),
    )


def read_bounds(section: Section, low_key: str, high_key: str) -> tuple[float | None, float | None]:
    """Two optional bounds, the lower below the higher."""
    low = section.get(low_key, number, None)
    high = section.get(high_key, number, None)
    if low is not None and high is not None and low >= high:
        section.wrong(low_key, f"{low:g} is not below {high_key} = {high:g}; write the smaller number as {low_key}")
    return low, high


def bind_modbus(
    spec: ModbusSpec, device: str, tag: str, *, unit: int, shift: int, limits: ReadLimits, big_words: bool,
    big_bytes: bool, write_with: WriteWith,
) -> Tag:  # fmt: skip
    """`shift` is added to the address (`register_stride`)."""
    address = spec.address + shift
    registers = max(WIDTHS[spec.type], spec.text.registers)
    last = address + registers - 1
    if last >= REGISTERS and spec.section.is_sound("register"):
        spec.section.wrong(
            "register", f"reaches address {last} in device {device}; the last one is {REGISTERS - 1}, write a lower one"
        )
    check_reads(spec.section, limits, spec.table, address, registers)
    words, octets = spec.big_endian_words, spec.big_endian_bytes
    point = ModbusPoint(
        unit=unit,
        table=spec.table,
        address=address,
        type=spec.type,
        big_endian_words=big_words if words is None else words,
        big_endian_bytes=big_bytes if octets is None else octets,
        scale=spec.scale,
        offset=spec.offset,
        first_bit=spec.shape.bits.first,
        bits=spec.shape.bits.width,
        not_available=spec.shape.not_available,
        clamp_low=spec.shape.clamp_low,
        clamp_high=spec.shape.clamp_high,
        text_registers=spec.text.registers,
        encoding=spec.text.encoding,
        padding=spec.text.padding,
        every_ns=spec.poll.every_ns,
        phase_ns=spec.poll.phase_ns,
        jitter_ns=spec.poll.jitter_ns,
        priority=spec.priority,
        limits=limits,
        writable=spec.writable,
        verify=spec.verify,
        write_with=write_with,
        report=spec.report,
    )
    return tag_of(device, tag, point, spec.kind, spec.common)


def tag_of(device: str, tag: str, point: Point, kind: Kind, common: Common) -> Tag:
    return Tag(
        name=f"{device}.{tag}",
        device=device,
        point=point,
        kind=kind,
        unit=common.unit,
        windows_ns=common.windows_ns,
        stale_after_ns=common.stale_after_ns,
        alarms=bound(common.alarms, device),
        calculations=common.calculations,
        valid_low=common.valid_low,
        valid_high=common.valid_high,
        labels=common.labels,
        has_shape=common.has_shape,
        scada=common.scada,
    )
