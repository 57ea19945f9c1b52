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
from gateway.settings.addresses import REGISTERS, WIDTHS, Register, field_path, register, topic
from gateway.settings.alarms import bound, read_alarms
from gateway.settings.calculations import read_calculations
from gateway.settings.forms import form_of, says
from gateway.settings.reads import EVERY, PollGroup, Polls, check_reads
from gateway.settings.schema import ModbusPoint, MqttPoint, Priority, ReadLimits, RegisterType, Report, Table, Tag
from gateway.settings.section import Section
from gateway.settings.shapes import FLOATS, SIGNED, Shape, read_report, read_shape, register_type
from gateway.settings.sparkplug import metric
from gateway.settings.texts import TextShape, check_labels, labels, read_text_shape
from gateway.settings.units import array_of, choice, duration, flag, integer, label, number, show_duration

HOUR_NS = 3_600 * NS_PER_S
STALE_AFTER_FLOOR_NS = 2 * NS_PER_S
STALE_AFTER_MQTT_NS = 30 * NS_PER_S
STALE_AFTER_PERIODS = 3

WINDOWS = array_of(duration(NS_PER_S, 24 * HOUR_NS), '["10s", "5min"]', limits.WINDOWS_PER_TAG_MAX)
STALE_AFTER = duration(10 * NS_PER_MS, 7 * 24 * HOUR_NS)
QOS = integer(0, 2)
PRIORITY = choice(Priority)

BIT_TABLES = (Table.COIL, Table.DISCRETE)
WRITABLE_TABLES = (Table.COIL, Table.HOLDING)

_MODBUS_ONLY = "belongs to tags of Modbus links, and this device's link is mqtt; take it out"
_MQTT_ONLY = "belongs to tags of mqtt links, and this device's link is Modbus; take it out"
MODBUS_ELSEWHERE = dict.fromkeys(
    ("topic", "field", "time_field", "sequence_field", "qos", "durable", "priority", "metric"), _MQTT_ONLY
)
MQTT_ELSEWHERE = dict.fromkeys(
    (
        "register",
        "type",
        "every",
        "poll",
        "write",
        "word_order",
        "byte_order",
        "bits",
        "not_available",
        "clamp",
        "report",
        "registers",
        "encoding",
        "padding",
    ),
    _MODBUS_ONLY,
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
    report: Report | None


class MqttSpec(NamedTuple):
    section: Section
    common: Common
    topic: str | None
    field: tuple[str, ...]
    time_field: tuple[str, ...]
    sequence_field: tuple[str, ...]
    qos: int
    durable: bool
    priority: Priority
    metric: str | None
    scale: float
    offset: float


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
    scale, offset = _read_scaling(section)
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
    common = _read_common(section, defaults, stale_default_ns)
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
        report=report,
    )
    section.finish(MODBUS_ELSEWHERE)
    return spec


def _check_register(section: Section, table: Table, wire: RegisterType, shape: Shape, writable: bool) -> None:
    if table in BIT_TABLES and wire is not RegisterType.BOOL:
        section.wrong("type", f'a {table} is one bit; write type = "bool", or leave it out')
    if writable and table not in WRITABLE_TABLES:
        section.wrong("write", f'Modbus cannot write to {table}; write a "holding" or "coil" register, or take it out')
    elif writable and shape.bits.width:
        section.wrong("write", "would overwrite the register's other bits; write to a tag of the whole register")


def read_mqtt(section: Section, defaults: Defaults) -> MqttSpec:
    scale, offset = _read_scaling(section)
    common = _read_common(section, defaults, defaults.stale_after_ns or STALE_AFTER_MQTT_NS)
    check_labels(section, common.labels, Kind.F64)
    spec = MqttSpec(
        section=section,
        common=common,
        topic=section.get("topic", topic, None),
        field=section.get("field", field_path, ()),
        time_field=section.get("time_field", field_path, ()),
        sequence_field=section.get("sequence_field", field_path, ()),
        qos=section.get("qos", QOS, 0),
        durable=section.get("durable", flag, False),
        priority=section.get("priority", PRIORITY, Priority.NORMAL),
        metric=section.get("metric", metric, None),
        scale=scale,
        offset=offset,
    )
    section.finish(MQTT_ELSEWHERE)
    if spec.durable and spec.qos == 0 and section.is_sound("qos"):
        section.wrong("durable", "needs acknowledged messages; write qos = 1 or qos = 2 as well")
    if spec.durable and spec.qos == 1 and not (spec.time_field or spec.sequence_field):
        why = "without time_field or sequence_field, what the broker repeats after a fault counts twice"
        section.warn("durable", f"{why}; name one of them, or write qos = 2")
    return spec


def read_order(section: Section, key: str, default: bool | None) -> bool | None:
    """Whether the bigger end comes first."""
    return section.get(key, _is_big, default)


def _is_big(value: object) -> bool:
    return ORDER(value) is Order.BIG


says(_is_big, form_of(ORDER).words, form_of(ORDER).schema)


def _read_scaling(section: Section) -> tuple[float, float]:
    scale = section.get("scale", number, 1.0)
    if scale == 0.0:
        section.wrong("scale", "would make every value 0; write a number other than 0")
        scale = 1.0
    return scale, section.get("offset", number, 0.0)


def _read_common(section: Section, defaults: Defaults, stale_after_ns: int) -> Common:
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
    big_bytes: bool,
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
        limits=limits,
        writable=spec.writable,
        report=spec.report,
    )
    return _tag(device, tag, point, spec.kind, spec.common)


def bind_mqtt(spec: MqttSpec, device: str, tag: str, device_topic: str | None, place: tuple[str, ...]) -> Tag:
    """`device_topic` is the device's template with everything filled in but the tag; `place` its address in Sparkplug,
    if it has one."""
    point = _sparkplug_point(spec, tag, place) if place else _topic_point(spec, tag, device_topic)
    return _tag(device, tag, point, Kind.F64, spec.common)


def _topic_point(spec: MqttSpec, tag: str, device_topic: str | None) -> MqttPoint:
    found = spec.topic if spec.topic is not None else device_topic
    if found is None:
        if spec.section.is_sound("topic"):
            spec.section.wrong("topic", 'is missing; write it here, or topic = "plant/{device}/{tag}" for the device')
        found = "nowhere"
    if spec.metric is not None:
        spec.section.wrong("metric", 'is of Sparkplug; write sparkplug = "group/edge/device" for the device')
    return MqttPoint(
        topic=found.replace("{tag}", tag),
        field=spec.field,
        time_field=spec.time_field,
        sequence_field=spec.sequence_field,
        durable=spec.durable,
        priority=spec.priority,
        qos=spec.qos,
        scale=spec.scale,
        offset=spec.offset,
    )


def _sparkplug_point(spec: MqttSpec, tag: str, place: tuple[str, ...]) -> MqttPoint:
    for key in ("topic", "field", "time_field", "qos"):
        if key in spec.section.content:
            spec.section.wrong(key, "has no meaning for a metric of Sparkplug; take it out")
    return MqttPoint(sparkplug=place, metric=spec.metric or tag, scale=spec.scale, offset=spec.offset)


def _tag(device: str, tag: str, point: ModbusPoint | MqttPoint, kind: Kind, common: Common) -> Tag:
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
        scada=common.scada,
    )
