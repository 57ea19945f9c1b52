"""The register map: which point lies where, as a pure function of the settings and the lock file's entries.

A unit shows the tags that the settings select, and rolls up the devices to which they belong.

What the lock knows keeps its block. What is new gets the block after the highest that was ever given in its area,
in the order of the configuration; so a tag put into the middle of the file moves nobody. What has gone is reserved.

Reads. A request is answered when all of it lies between an area's first block and the last one ever given there; gaps
within, and reserved blocks, read 0 (a quality of 0 is "bad"). Anything else is exception 2, so one request cannot span
two areas. An unknown unit is exception 10.

Writes (functions 6 and 16) reach the points named in the setting `writable`: fields of loops, and values of tags; with
a watchdog, its register on every unit. One
request writes exactly one whole point: half of a float, or more than the point, is exception 3, as is a value that is
refused. A register that is not writable is exception 1, one outside the map 2. There are no writable coils: functions 5
and 15 are exception 1. A tag's write is answered once its device has answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from gateway.core.types import Kind
from gateway.serving.scada.layout import (
    AREAS,
    REGISTERS,
    TYPE_OF_KIND,
    WATCHDOG_REGISTER,
    Area,
    Field,
    Type,
    Unit,
    modicon,
)
from gateway.serving.scada.lock import Entry
from gateway.settings.schema import Scada, Settings, Tag

WRITABLE_FIELDS: Final = ("setpoint", "output", "mode")
WATCHDOG_FIELD: Final = "watchdog"
UNIT_MAX: Final = 247
"""The highest that is given by itself; 248 to 255 are reserved (Modbus over Serial Line V1.02, 2.2)."""

_DURATIONS: Final = (("h", 3_600_000_000_000), ("min", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000))


class MapError(Exception):
    """The settings cannot be laid out as registers; the text says what and how to help."""


class Block(NamedTuple):
    """A block in use. `subject` is its tag, device or loop; `key` names its points: `<key>/<field>`."""

    unit: int
    address: int
    area: Area
    key: str
    subject: str
    value_type: Type
    window_ns: int
    """0 where the block is not a window's."""
    engineering_unit: str


class Point(NamedTuple):
    """One line of the printed map. `registers` counts bits where `type` is bool."""

    unit: int
    address: int
    modicon: str
    registers: int
    type: Type
    writable: bool
    key: str
    engineering_unit: str


class WritePoint(NamedTuple):
    """A point that a client may write: `field` of the loop with number `loop` in the settings' order, or the value of
    a tag."""

    key: str
    address: int
    loop: int
    field: str
    type: Type
    tag: str = ""
    """Its name; empty for a loop's."""

    @property
    def registers(self) -> int:
        return REGISTERS[self.type]


@dataclass(frozen=True)
class RegisterMap:
    """The whole map.

    `blocks`: by unit, ascending by address. `ends`: by unit and area, the address after the last block ever given.
    `writable`: by unit and the address of any register of the point. `lock` are the entries as they must be recorded.
    """

    blocks: dict[int, tuple[Block, ...]]
    ends: dict[tuple[int, Area], int]
    writable: dict[tuple[int, int], WritePoint]
    lock: tuple[Entry, ...]
    lock_changed: bool
    """Whether `lock` differs from what was read."""

    @property
    def units(self) -> tuple[int, ...]:
        return tuple(self.blocks)

    def points(self, unit: int) -> Iterator[Point]:
        """All points of a unit: a block's registers, then its bits, block after block."""
        for block in self.blocks[unit]:
            for field in fields_of(block):
                address = block.address + field.offset
                is_bit = field.type is Type.BOOL
                yield Point(
                    unit,
                    address,
                    modicon(address, is_bit=is_bit),
                    REGISTERS[field.type],
                    field.type,
                    not is_bit and (unit, address) in self.writable,
                    f"{block.key}/{field.name}",
                    _engineering_unit(field, block),
                )


def build_map(settings: Settings, scada: Scada, locked: tuple[Entry, ...]) -> RegisterMap:
    """Lay out what `scada` shows of `settings`. Raises MapError."""
    allocator = _Allocator(locked)
    blocks: dict[int, list[Block]] = {}
    if scada.has_unit_each:
        scada = msgspec.structs.replace(scada, units=_unit_each(settings, scada, locked))
    for wanted in _wanted(settings, scada):
        of_unit = blocks.setdefault(wanted.unit, [_gateway_block(wanted.unit)])
        of_unit.append(wanted._replace(address=allocator.address(wanted)))
    lock = allocator.entries(entry for of_unit in blocks.values() for entry in of_unit)
    ends = {(unit, Area.GATEWAY): AREAS[Area.GATEWAY].end for unit in blocks}
    for entry in lock:
        place = (entry.unit, entry.area)
        ends[place] = max(ends.get(place, 0), entry.address + AREAS[entry.area].pitch)
    return RegisterMap(
        blocks={unit: tuple(sorted(blocks[unit], key=lambda block: block.address)) for unit in sorted(blocks)},
        ends=ends,
        writable=_writable(settings, scada, blocks),
        lock=lock,
        lock_changed=lock != tuple(sorted(locked)),
    )


def fields_of(block: Block) -> Iterator[Field]:
    """The fields that a block shows: of the several types of `value`, its own; of a text's block, the text."""
    for field in AREAS[block.area].fields:
        if block.area is Area.WINDOW:
            if (field.type is Type.TEXT) == (block.value_type is Type.TEXT):
                yield field
        elif field.name != "value" or field.type is block.value_type:
            yield field


def duration_text(duration_ns: int) -> str:
    """A window's length as a key writes it: the largest unit that divides it, so `90s` and `1min`."""
    for name, unit_ns in _DURATIONS:
        if duration_ns % unit_ns == 0:
            return f"{duration_ns // unit_ns}{name}"
    return f"{duration_ns}ns"


class _Allocator:
    """Gives each block its locked address, or the next one that nobody ever had."""

    def __init__(self, locked: tuple[Entry, ...]) -> None:
        self._locked = {(entry.unit, entry.area, entry.key): entry.address for entry in locked}
        self._next: dict[tuple[int, Area], int] = {}
        for entry in locked:
            self._move_past(entry.unit, entry.area, entry.address)

    def address(self, block: Block) -> int:
        known = self._locked.get((block.unit, block.area, block.key))
        if known is not None:
            return known
        blocks = AREAS[block.area]
        address = self._next.get((block.unit, block.area), blocks.start)
        if not blocks.holds(address):
            raise MapError(
                f"scada: unit {block.unit} has no room for `{block.key}`: it holds {blocks.capacity} {block.area} "
                "blocks, reserved ones included; "
                "give some devices another unit or show fewer tags"
            )
        self._locked[block.unit, block.area, block.key] = address
        self._move_past(block.unit, block.area, address)
        return address

    def entries(self, in_use: Iterable[Block]) -> tuple[Entry, ...]:
        """Everything ever given, with what is not `in_use` marked as reserved."""
        used = {(block.unit, block.area, block.key) for block in in_use}
        return tuple(
            sorted(
                Entry(unit, address, area, (unit, area, key) not in used, key)
                for (unit, area, key), address in self._locked.items()
            )
        )

    def _move_past(self, unit: int, area: Area, address: int) -> None:
        after = address + AREAS[area].pitch
        self._next[unit, area] = max(self._next.get((unit, area), 0), after)


def _unit_each(settings: Settings, scada: Scada, locked: tuple[Entry, ...]) -> dict[str, int]:
    """A unit for every device that is shown: the one that the lock knows as its alone, else the next that nobody had.

    Raises MapError.
    """
    shown = set(scada.tags)
    devices = dict.fromkeys(tag.device for tag in settings.tags if tag.name in shown)
    had: dict[int, set[str]] = {}
    for entry in locked:
        had.setdefault(entry.unit, set()).update([entry.key] if entry.area is Area.DEVICE else [])
    units = {
        next(iter(names)): unit
        for unit, names in sorted(had.items())
        if len(names) == 1 and unit != scada.loops_unit and names <= devices.keys()
    }
    after = max([scada.loops_unit, *had])
    for device in devices:
        if device not in units:
            after += 1
            if after > UNIT_MAX:
                raise MapError(
                    f"scada: there is no unit left for `{device}`: there are {UNIT_MAX}, and none is given twice; "
                    "write units = { ... } in place of each, or show fewer devices"
                )
            units[device] = after
    return units


def _wanted(settings: Settings, scada: Scada) -> Iterator[Block]:
    """Every block that must exist, in the configuration's order, without its address."""
    tags = {tag.name: tag for tag in settings.tags}
    together = {device.name for device in settings.devices if device.multivariate}
    for loop in settings.loops:
        unit_text = tags[loop.input].unit if loop.input in tags else ""
        yield Block(scada.loops_unit, 0, Area.LOOP, f"control.{loop.name}", loop.name, Type.FLOAT32, 0, unit_text)
    shown = [tags[name] for name in scada.tags]
    for tag in shown:
        if tag.device not in scada.units:
            raise MapError(
                f"scada: tag `{tag.name}` is shown but its device has no unit; name `{tag.device}` under scada.units"
            )
    for device in dict.fromkeys(tag.device for tag in shown):
        yield Block(scada.units[device], 0, Area.DEVICE, device, device, Type.FLOAT32, 0, "")
    for device in dict.fromkeys(tag.device for tag in shown):
        if device in together:
            yield Block(
                scada.units[device], 0, Area.MULTIVARIATE, f"{device}/multivariate", device, Type.FLOAT32, 0, ""
            )
    for tag in shown:
        yield from _tag_blocks(tag, scada.units[tag.device])


def _tag_blocks(tag: Tag, unit: int) -> Iterator[Block]:
    yield Block(unit, 0, Area.TAG, tag.name, tag.name, TYPE_OF_KIND[tag.kind], 0, tag.unit)
    if tag.kind is Kind.SYMBOL:
        yield Block(unit, 0, Area.WINDOW, tag.name, tag.name, Type.TEXT, 0, "")
    for window_ns in tag.windows_ns:
        key = f"{tag.name}/{duration_text(window_ns)}"
        yield Block(unit, 0, Area.WINDOW, key, tag.name, Type.FLOAT32, window_ns, tag.unit)


def _gateway_block(unit: int) -> Block:
    return Block(unit, AREAS[Area.GATEWAY].start, Area.GATEWAY, "gateway", "gateway", Type.FLOAT32, 0, "")


def _writable(settings: Settings, scada: Scada, blocks: dict[int, list[Block]]) -> dict[tuple[int, int], WritePoint]:
    loops = {f"control.{loop.name}": number for number, loop in enumerate(settings.loops)}
    addresses = {block.key: block.address for block in blocks.get(scada.loops_unit, ()) if block.area is Area.LOOP}
    of_tags = {block.subject: block for of_unit in blocks.values() for block in of_unit if block.area is Area.TAG}
    points: dict[tuple[int, int], WritePoint] = {}
    if scada.watchdog_ns:
        point = WritePoint("gateway/watchdog", WATCHDOG_REGISTER, -1, WATCHDOG_FIELD, Type.UINT16)
        points |= {(unit, WATCHDOG_REGISTER): point for unit in blocks}
    for name in scada.writable:
        if name in of_tags:
            block = of_tags[name]
            point = WritePoint(f"{name}/value", block.address, -1, "value", block.value_type, name)
            for register in range(point.registers):
                points[block.unit, point.address + register] = point
            continue
        key, _, field_name = name.rpartition(".")
        if key not in loops or field_name not in WRITABLE_FIELDS:
            raise MapError(
                f"scada: `{name}` cannot be writable; write a tag, or control.<loop>.setpoint, .output or .mode"
            )
        field = next(field for field in AREAS[Area.LOOP].fields if field.name == field_name)
        point = WritePoint(f"{key}/{field_name}", addresses[key] + field.offset, loops[key], field_name, field.type)
        for register in range(point.registers):
            points[scada.loops_unit, point.address + register] = point
    return points


def _engineering_unit(field: Field, block: Block) -> str:
    match field.unit:
        case Unit.SAME:
            return block.engineering_unit
        case Unit.PER_SECOND:
            return f"{block.engineering_unit}/s" if block.engineering_unit else "1/s"
        case _:
            return field.unit.value
