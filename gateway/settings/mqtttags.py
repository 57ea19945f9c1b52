"""Tags of MQTT links: what is written of one, checked, and then bound to its device."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from gateway.core.types import Kind
from gateway.protocol.mqtt.form import BIG_END, FLOATS, SIGNED, Form, Layout, WireForm
from gateway.settings.addresses import field_path, topic
from gateway.settings.forms import says
from gateway.settings.payloads import BytePlace, byte_place, member
from gateway.settings.schema import MqttPoint, Priority, RegisterType, Tag
from gateway.settings.section import Section
from gateway.settings.shapes import read_clamp, read_report, register_type
from gateway.settings.sparkplug import metric
from gateway.settings.tags import (
    PRIORITY,
    QOS,
    STALE_AFTER_MQTT_NS,
    Common,
    Defaults,
    read_common,
    read_scaling,
    tag_of,
)
from gateway.settings.texts import check_labels, check_text_report
from gateway.settings.units import WrongValueError, flag, show, text

_MODBUS_ONLY = "belongs to tags of Modbus links, and this device's link is mqtt; take it out"
MQTT_ELSEWHERE = dict.fromkeys(
    (
        "register",
        "every",
        "poll",
        "write",
        "verify",
        "word_order",
        "byte_order",
        "bits",
        "not_available",
        "registers",
        "encoding",
        "padding",
    ),
    _MODBUS_ONLY,
)


VALUE: Final = "{value}"
"""In a payload that is published: where the number goes."""


def write_payload(value: object) -> str:
    word = text(value)
    if word.count(VALUE) != 1:
        raise WrongValueError(
            f"{show(word)} has {VALUE} {word.count(VALUE)} times; write it once, where the number goes"
        )
    return word


says(write_payload, "a text with {value} in it, like '{\"position\": {value}}'", {"type": "string"})

_KINDS: Final = {
    RegisterType.FLOAT64: Kind.F64,
    RegisterType.INT64: Kind.I64,
    RegisterType.UINT64: Kind.U64,
    RegisterType.STRING: Kind.SYMBOL,
}


class MqttSpec(NamedTuple):
    """`point` has all that is the same on every device."""

    section: Section
    common: Common
    topic: str | None
    metric: str | None
    name: str | None
    place: BytePlace | None
    kind: Kind
    point: MqttPoint

    @property
    def is_as_sent(self) -> bool:
        """Whether a whole number stays one."""
        of = self.point
        return of.scale == 1.0 and of.offset == 0.0 and of.clamp_low is None and of.clamp_high is None


def read_mqtt(section: Section, defaults: Defaults) -> MqttSpec:
    scale, offset = read_scaling(section)
    common = read_common(section, defaults, defaults.stale_after_ns or STALE_AFTER_MQTT_NS)
    clamp_low, clamp_high = read_clamp(section)
    kind = _read_kind(section)
    if kind is not Kind.SYMBOL and not (clamp_low is None and clamp_high is None):
        kind = Kind.F64
    check_labels(section, common.labels, Kind.F64)
    own_topic, place = section.get("topic", topic, None), section.get("bytes", byte_place, None)
    point = MqttPoint(
        field=section.get("field", field_path, ()),
        time_field=section.get("time_field", field_path, ()),
        sequence_field=section.get("sequence_field", field_path, ()),
        qos=section.get("qos", QOS, 0),
        durable=section.get("durable", flag, False),
        priority=section.get("priority", PRIORITY, Priority.NORMAL),
        quality_field=section.get("quality_field", field_path, ()),
        write_topic=section.get("write_topic", topic, ""),
        write_payload=_read_payload(section),
        scale=scale,
        offset=offset,
        clamp_low=clamp_low,
        clamp_high=clamp_high,
        report=read_report(section, 0, common.stale_after_ns),
        at=0 if place is None else place.at,
        wire=0 if place is None else place.wire,
    )
    spec = MqttSpec(
        section=section,
        common=common,
        topic=own_topic,
        metric=section.get("metric", metric, None),
        name=section.get("name", member, None),
        place=place,
        kind=kind,
        point=point,
    )
    section.finish(MQTT_ELSEWHERE)
    if kind is Kind.SYMBOL and point.durable and section.is_sound("type"):
        section.wrong("durable", "is not for texts, whose numbers are of one run; take it out")
    if kind is Kind.SYMBOL:
        check_text_report(section)
        for key in ("scale", "offset", "valid", "clamp"):
            if key in section.content:
                section.wrong(key, "belongs to numbers, and this tag is a text; take it out")
    _check_write(section, spec)
    if point.durable and point.qos == 0 and section.is_sound("qos"):
        section.wrong("durable", "needs acknowledged messages; write qos = 1 or qos = 2 as well")
    if point.durable and point.qos == 1 and not (point.time_field or point.sequence_field):
        why = "without time_field or sequence_field, what the broker repeats after a fault counts twice"
        section.warn("durable", f"{why}; name one of them, or write qos = 2")
    return spec


def _read_payload(section: Section) -> str:
    """Where {value} stays as it is, beside what is replaced anywhere."""
    section.has("write_payload")
    variables = {**section.variables, "value": VALUE}
    own = Section(section.report, section.place, section.content, variables, section.note)
    return own.get("write_payload", write_payload, VALUE)


def _check_write(section: Section, spec: MqttSpec) -> None:
    if section.has("write_payload") and not section.has("write_topic"):
        section.wrong("write_payload", 'has no use without a topic; write write_topic = "plant/valve/set" as well')
    if spec.point.write_topic and spec.kind is Kind.SYMBOL and section.is_sound("write_topic", "type"):
        section.wrong("write_topic", "is for numbers, which loops write, and this tag is a text; take it out")
    if spec.point.write_topic and spec.point.scale == 0.0 and section.is_sound("scale"):
        section.wrong("write_topic", "cannot be with scale = 0, from which no number leads back; write another scale")


def _read_kind(section: Section) -> Kind:
    """Numbers are kept as float64 unless the tag says that they are whole, or texts."""
    wire = section.get("type", register_type, RegisterType.FLOAT64)
    if wire not in _KINDS:
        section.wrong("type", 'is of registers; by MQTT write "string", "int64", "uint64" or "float64"')
    return _KINDS.get(wire, Kind.F64)


def bind_mqtt(
    spec: MqttSpec, device: str, tag: str, device_topic: str | None, place: tuple[str, ...], form: Form
) -> Tag:  # fmt: skip
    """`device_topic` is the device's template with everything filled in but the tag; `place` its address in Sparkplug,
    if it has one; `form` how its payloads are built."""
    if place:
        return tag_of(device, tag, _sparkplug_point(spec, tag, place), spec.kind, spec.common)
    return tag_of(device, tag, _topic_point(spec, tag, device_topic, form), _kind_of(spec, form), spec.common)


_OF_FIELDS: Final = ("field", "time_field", "sequence_field", "quality_field")
_NOT_OF: Final[dict[Layout, tuple[str, ...]]] = {
    Layout.PLAIN: ("name", "bytes"),
    Layout.READINGS: ("field", "time_field", "quality_field", "bytes"),
    Layout.SENML: ("field", "time_field", "quality_field", "bytes"),
    Layout.STRUCT: (*_OF_FIELDS, "name"),
}
_PAYLOADS: Final = {
    Layout.PLAIN: "json",
    Layout.READINGS: "json-array",
    Layout.SENML: "senml",
    Layout.STRUCT: "struct",
}


def _check_keys(spec: MqttSpec, form: Form) -> None:
    content = spec.section.content.keys()
    # Of each tag of a large plant, and nearly all are right.
    if not content.isdisjoint(_NOT_OF[form.layout]):
        for key in (key for key in _NOT_OF[form.layout] if key in content):
            spec.section.wrong(key, f'has no meaning where payload = "{_PAYLOADS[form.layout]}"; take it out')
    if form.layout is Layout.STRUCT and "type" in spec.section.content:
        spec.section.wrong("type", "stands in bytes already; take it out")
    if form.layout is Layout.STRUCT and spec.place is None and spec.section.is_sound("bytes"):
        spec.section.wrong("bytes", 'is missing; write where the number is, like bytes = "4 float32"')


def _kind_of(spec: MqttSpec, form: Form) -> Kind:
    """Whole numbers of a struct are kept as such."""
    if form.layout is not Layout.STRUCT or spec.place is None or not spec.is_as_sent:
        return spec.kind
    wire = WireForm(spec.place.wire & (BIG_END - 1))
    return Kind.F64 if wire in FLOATS else Kind.I64 if wire in SIGNED else Kind.U64


def _topic_point(spec: MqttSpec, tag: str, device_topic: str | None, form: Form) -> MqttPoint:
    _check_keys(spec, form)
    found = spec.topic if spec.topic is not None else device_topic
    if found is None:
        if spec.section.is_sound("topic"):
            spec.section.wrong("topic", 'is missing; write it here, or topic = "plant/{device}/{tag}" for the device')
        found = "nowhere"
    if spec.metric is not None:
        spec.section.wrong("metric", 'is of Sparkplug; write sparkplug = "group/edge/device" for the device')
    return msgspec.structs.replace(
        spec.point,
        topic=found.replace("{tag}", tag),
        form=form,
        name=(spec.name or tag) if form.layout in (Layout.READINGS, Layout.SENML) else "",
        write_topic=spec.point.write_topic.replace("{tag}", tag),
    )


def _sparkplug_point(spec: MqttSpec, tag: str, place: tuple[str, ...]) -> MqttPoint:
    for key in ("topic", *_OF_FIELDS, "qos", "durable", "priority", "name", "bytes", "write_topic", "write_payload"):
        if key in spec.section.content:
            spec.section.wrong(key, "has no meaning for a metric of Sparkplug; take it out")
    of = spec.point
    return MqttPoint(
        sparkplug=place,
        metric=spec.metric or tag,
        scale=of.scale,
        offset=of.offset,
        clamp_low=of.clamp_low,
        clamp_high=of.clamp_high,
        report=of.report,
    )
