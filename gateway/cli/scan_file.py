"""A first configuration from what a scan found: one that `fieldgate check` accepts, to be gone through by a person."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gateway.protocol.modbus.codes import READ_REGISTERS_MAX
from gateway.settings.migrations import PRESENT
from gateway.settings.schema import ModbusLink
from gateway.settings.schema_modbus import Framing

if TYPE_CHECKING:
    from gateway.runtime.scan import FoundLink, FoundUnit

TAGS_MAX = 20
"""Tags of one unit. Which registers mean something, only its manual says."""

HEAD = """\
# A first configuration, by fieldgate scan {targets}
#
# Each unit that answered is a device with its first readable registers as tags. Look into its manual for what they
# are: name, type, scale and unit. A register map that comes along may have it done: tag_list = "fieldgate:abb_b23".

version = {version}

[gateway]
id = "scanned"
"""


def configuration(found: Sequence[FoundLink], targets: Sequence[str]) -> str:
    """The file's text."""
    lines = [HEAD.format(targets=" ".join(targets), version=PRESENT)]
    for link in found:
        if link.units:
            name = _name(link.link)
            lines += [*_link(link.link, name), ""]
            for unit in link.units:
                lines += [*_device(unit, name), ""]
    return "\n".join(lines)


def _name(link: ModbusLink) -> str:
    place = link.place.removesuffix(":502").rpartition("/")[2] if link.serial is None else link.place.rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", place).strip("-")[:48] or "link"


def _link(link: ModbusLink, name: str) -> Iterator[str]:
    key = {Framing.TCP: "modbus_tcp", Framing.RTU: "modbus_rtu", Framing.ASCII: "modbus_ascii"}[link.framing]
    yield f"[links.{name}]"
    yield f"{key} = {json.dumps(link.place)}"
    if link.serial is not None:
        yield f"baud = {link.serial.baud}"
        yield f'parity = "{link.serial.parity.value}"'
        yield f"stop_bits = {link.serial.stop_bits}"


def _device(unit: FoundUnit, link: str) -> Iterator[str]:
    if unit.identification:
        says = "; ".join(f"{key}: {text}" for key, text in unit.identification.items())
        yield f"# It says of itself: {says}"
    for table, readable in unit.tables.items():
        if readable.ranges:
            spans = ", ".join(f"{first}..{last}" for first, last in readable.ranges)
            yield f"# Readable, {table.value}: {spans}{'' if readable.is_complete else ' and not all was looked at'}"
    yield f"[devices.{link}-{unit.unit}]"
    yield f'link = "{link}"'
    yield f"unit = {unit.unit}"
    limited = [found.longest for table, found in unit.tables.items() if found.is_limited and found.longest]
    if limited and min(limited) < READ_REGISTERS_MAX:
        yield f"registers_per_read = {min(limited)}"
    yield from _tags(unit)


def _tags(unit: FoundUnit) -> Iterator[str]:
    given = 0
    for table, readable in unit.tables.items():
        for first, last in readable.ranges:
            for address in range(first, last + 1):
                if given == TAGS_MAX:
                    return
                given += 1
                yield f'tags.{table.value}_{address} = {{ register = "{table.value} {address}" }}'
