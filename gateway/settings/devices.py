"""Devices: each with its link, its unit and its tags, templates unrolled."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.core import limits
from gateway.core.types import Kind
from gateway.settings import sparkplug
from gateway.settings.addresses import REGISTERS, topic
from gateway.settings.alarms import bound
from gateway.settings.forms import form_of, says
from gateway.settings.formulas import (
    NO_LINK_ELSEWHERE,
    FormulaSpec,
    bind_formula,
    complete_formulas,
    is_formula,
    read_formula,
)
from gateway.settings.instances import Instance, instances
from gateway.settings.links import Links
from gateway.settings.mqtttags import MqttSpec, bind_mqtt, read_mqtt
from gateway.settings.multivariate import read_multivariate
from gateway.settings.payloads import read_form
from gateway.settings.reads import read_limits
from gateway.settings.schema import Device, FormulaPoint, ModbusLink, Tag, WriteWith
from gateway.settings.section import Section
from gateway.settings.taglist import TagEntry, TagLists, inline_entries
from gateway.settings.tags import (
    Defaults,
    ModbusSpec,
    bind_modbus,
    read_modbus,
    read_order,
)
from gateway.settings.units import WrongValueError, array_of, choice, integer, show, text

UNIT = integer(0, 255)
LINE_UNITS = (1, 247)
"""On a serial line 0 is everybody, which nobody answers, and the rest is reserved (MODBUS over Serial Line, 2.2)."""
WRITE_WITH = choice(WriteWith)
STRIDE = integer(0, REGISTERS - 1)
LISTS_PER_DEVICE_MAX = 16
UNKNOWN_LINK = "unknown"
"""Stand-in of a link that could not be read."""
TAG_LISTS = array_of(text, '["energy_meter", "registers/pump.csv"]', LISTS_PER_DEVICE_MAX, count_min=1)

_MODBUS_ONLY = "belongs to devices of Modbus links, and this device's link is mqtt; take it out"
_MQTT_ONLY = "belongs to devices of mqtt links, and this device's link is Modbus; take it out"
_OF_TAGS = "belongs to the tags; write it into each tag, or into [defaults]"
MODBUS_ELSEWHERE = {
    **dict.fromkeys(("topic", "sparkplug", "payload", "reading", "time_format", "quality"), _MQTT_ONLY),
    **dict.fromkeys(("every", "windows", "stale_after"), _OF_TAGS),
}
MQTT_ELSEWHERE = {
    **MODBUS_ELSEWHERE,
    **dict.fromkeys(("unit", "word_order", "byte_order", "register_stride", "write_with"), _MODBUS_ONLY),
    **dict.fromkeys(("registers_per_read", "bits_per_read", "gap", "holes"), _MODBUS_ONLY),
}
for _key in ("topic", "sparkplug", "payload", "reading", "time_format", "quality"):
    del MQTT_ELSEWHERE[_key]


class Devices:
    """Reads all devices and their tags, in the file's order."""

    def __init__(self, root: Section, links: Links, lists: TagLists, defaults: Defaults) -> None:
        self._links = links
        self._lists = lists
        self._defaults = defaults
        self._modbus_specs: dict[TagEntry, ModbusSpec] = {}
        self._mqtt_specs: dict[TagEntry, MqttSpec] = {}
        self._formula_specs: dict[TagEntry, FormulaSpec] = {}
        self._inline: dict[Section, tuple[TagEntry, ...]] = {}
        self._shapes = 0
        self.devices: list[Device] = []
        self.tags: dict[str, Tag] = {}
        self.sections: dict[str, Section] = {}
        """Where each tag was written."""
        self.incomplete: dict[str, None] = {}
        """Devices of which some tags could not be read: what refers to them is not wrong for that."""
        for instance in instances(root, "devices", limits.DEVICES_MAX):
            if not self._read(instance):
                break
        complete_formulas(self.tags, self.sections, self.incomplete)

    def _read(self, instance: Instance) -> bool:
        """Whether there is room for more."""
        section = instance.section
        section.variables = {**instance.variables, "device": instance.name, "tag": "{tag}"}
        entries = self._entries(instance)
        if len(self.tags) + len(entries) > limits.TAGS_MAX:
            section.wrong_here(f"brings the tags to more than {limits.TAGS_MAX}; split the plant over two gateways")
            return False
        formulas = [entry for entry in entries if is_formula(entry.section)]
        written = [entry for entry in entries if not is_formula(entry.section)] if formulas else entries
        if formulas and not written and "link" not in section.content:
            self.devices.append(Device(name=instance.name, link=""))
            self._read_formulas(instance, formulas)
            section.finish(NO_LINK_ELSEWHERE)
            return True
        entries = tuple(written)
        link = self._links.of_device(section)
        device = Device(name=instance.name, link=UNKNOWN_LINK if link is None else link.name)
        self.devices.append(device)
        section.has("multivariate")
        if isinstance(link, ModbusLink) or (link is None and _looks_like_modbus(entries)):
            self._read_modbus(instance, entries, is_line=link is not None and link.is_line)
        elif link is not None:
            self._read_mqtt(instance, entries)
        else:
            self.incomplete[instance.name] = None
        self._read_formulas(instance, formulas)
        if section.has("multivariate") and instance.name not in self.incomplete:
            self._see_together(section, device)
        return True

    def _see_together(self, section: Section, device: Device) -> None:
        """The tags of the device's multivariate score; its alarm goes to the first of them."""
        own = [tag for tag in self.tags.values() if tag.device == device.name and _is_measured(tag)]
        names = [tag.name.removeprefix(f"{device.name}.") for tag in own]
        together = read_multivariate(section, device.name, names, sum(bool(one.multivariate) for one in self.devices))
        self.devices[-1] = msgspec.structs.replace(device, multivariate=together.tags)
        if together.alarm is not None:
            first = self.tags[together.tags[0]]
            alarms = (*first.alarms, *bound((together.alarm,), device.name))
            self.tags[first.name] = msgspec.structs.replace(first, alarms=alarms)

    def _entries(self, instance: Instance) -> tuple[TagEntry, ...]:
        """Tags of the lists, each replaced by an inline tag of the same name, then the other inline tags."""
        section = instance.section
        found: dict[str, TagEntry] = {}
        references = section.get("tag_list", _tag_lists, ())
        for reference in references:
            try:
                entries = self._lists.entries(reference)
            except WrongValueError as wrong:
                section.wrong("tag_list", str(wrong))
                continue
            if reference in self._lists.incomplete:
                self.incomplete[instance.name] = None
            for entry in entries:
                if entry.name in found:
                    section.wrong("tag_list", f'two of the lists have a tag "{entry.name}"; take it out of one')
                found[entry.name] = entry
        for entry in self._inline_of(instance):
            found[entry.name] = entry
        if not section.is_sound("tag_list", "tags"):
            self.incomplete[instance.name] = None
        elif not found and not references:
            section.report.warn(section.place, 'has no tags; write tags.NAME = { ... } or tag_list = "..."')
        return tuple(found.values())

    def _inline_of(self, instance: Instance) -> tuple[TagEntry, ...]:
        """A template's own tags are the same entries in all its instances."""
        instance.section.has("tags")
        if instance.written not in self._inline:
            self._inline[instance.written] = inline_entries(instance.written.table("tags"))
        return self._inline[instance.written]

    def _read_modbus(self, instance: Instance, entries: tuple[TagEntry, ...], *, is_line: bool) -> None:
        section = instance.section
        unit = section.get("unit", UNIT, 1)
        big_words = read_order(section, "word_order", True) is not False
        big_bytes = read_order(section, "byte_order", True) is not False
        limits = read_limits(section)
        write_with = section.get("write_with", WRITE_WITH, WriteWith.SINGLE)
        shift = section.get("register_stride", STRIDE, 0) * instance.ordinal
        if is_line and not LINE_UNITS[0] <= unit <= LINE_UNITS[1]:
            section.wrong("unit", f"{unit} is no unit of a serial line; write one from 1 to 247")
        section.finish(MODBUS_ELSEWHERE)
        for entry in entries:
            spec = self._modbus_specs.get(entry)
            if spec is None:
                spec = read_modbus(_filled(entry, section), self._defaults)
                if entry.is_constant:
                    self._modbus_specs[entry] = spec
            tag = bind_modbus(
                spec, instance.name, entry.name, unit=unit, shift=shift, limits=limits, big_words=big_words,
                big_bytes=big_bytes, write_with=write_with,
            )  # fmt: skip
            self._add(tag, spec.section)

    def _read_mqtt(self, instance: Instance, entries: tuple[TagEntry, ...]) -> None:
        section = instance.section
        device_topic = section.get("topic", topic, None)
        place = section.get("sparkplug", sparkplug.address, ())
        if device_topic is not None and place:
            section.wrong("topic", "has no meaning beside sparkplug, whose topics are given; take one of the two out")
        form = read_form(section)
        if not section.is_sound("topic", "sparkplug"):
            device_topic = "nowhere/{tag}"
        section.finish(MQTT_ELSEWHERE)
        for entry in entries:
            spec = self._mqtt_specs.get(entry)
            if spec is None:
                spec = read_mqtt(_filled(entry, section), self._defaults)
                if entry.is_constant:
                    self._mqtt_specs[entry] = spec
            self._add(bind_mqtt(spec, instance.name, entry.name, device_topic, place, form), spec.section)

    def _read_formulas(self, instance: Instance, entries: list[TagEntry]) -> None:
        for entry in entries:
            spec = self._formula_specs.get(entry)
            if spec is None:
                spec = read_formula(_filled(entry, instance.section), self._defaults)
                if entry.is_constant:
                    self._formula_specs[entry] = spec
            self._add(bind_formula(spec, instance.name, entry.name), spec.section)

    def _add(self, tag: Tag, section: Section) -> None:
        self._shapes += tag.has_shape
        if tag.has_shape and self._shapes == limits.SHAPE_TAGS_MAX + 1:
            section.wrong("shape", f"{limits.SHAPE_TAGS_MAX} tags have it already; take it out of some")
        self.tags[tag.name] = tag
        self.sections[tag.name] = section


def _is_measured(tag: Tag) -> bool:
    """Whether it can be seen together with others: a number that a source brings."""
    return tag.kind is not Kind.SYMBOL and not isinstance(tag.point, FormulaPoint)


def _looks_like_modbus(entries: tuple[TagEntry, ...]) -> bool:
    """Whether the tags of a device without a known link can be checked all the same."""
    return any("register" in entry.section.content for entry in entries)


def _filled(entry: TagEntry, device: Section) -> Section:
    """The entry as it reads in one device."""
    written = entry.section
    if entry.is_constant:
        return Section(written.report, written.place, written.content)
    variables: Mapping[str, str] = {**device.variables, "tag": entry.name}
    return Section(written.report, written.place, written.content, variables, device.note)


def _tag_lists(value: object) -> tuple[str, ...]:
    """One list or several."""
    if isinstance(value, str):
        return (text(value),)
    if isinstance(value, list):
        return TAG_LISTS(value)
    raise WrongValueError(
        f'{show(value)} is not a tag list; write "energy_meter", "registers/pump.csv" or an array of such'
    )


says(
    _tag_lists,
    "the name of a [tag_lists.NAME], the path of a CSV file, fieldgate:NAME of one that comes along, or an array",
    {"anyOf": [form_of(text).schema, form_of(TAG_LISTS).schema]},
)
