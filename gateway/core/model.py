"""What the plant is, once and for all: devices, tags and their rows.

A tag is a row number; rows are dense and are given in the order of `Model.tags`. All state lies in arrays indexed
by row. The model is immutable: a reload builds another one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from gateway.core.alarms import AlarmDefinition
from gateway.core.calculations import CalculationDefinition
from gateway.core.limits import ALARMS_PER_MINUTE_MAX
from gateway.core.types import Kind


@dataclass(frozen=True, slots=True)
class TagDefinition:
    """One value of one device, with all that the engine must know of it.

    `name` is `device.tag`; times are nanoseconds of engine time; limits are in engineering units, None for no limit.
    """

    name: str
    device: int
    kind: Kind
    unit: str
    stale_after_ns: int
    windows_ns: tuple[int, ...]
    alarms: tuple[AlarmDefinition, ...] = ()
    calculations: tuple[CalculationDefinition, ...] = ()
    valid_low: float | None = None
    valid_high: float | None = None
    labels: tuple[tuple[int, str], ...] = ()
    """What the values of an integer tag are called."""


@dataclass(frozen=True, slots=True)
class DeviceDefinition:
    name: str
    link: str


@dataclass(frozen=True)
class Model:
    devices: tuple[DeviceDefinition, ...]
    tags: tuple[TagDefinition, ...]
    panes_per_window: int = field(default=30)
    time_zone: str = ""
    """IANA key of the zone whose days and shifts are meant; empty in a plant without calendars."""
    alarms_per_minute_max: int = field(default=ALARMS_PER_MINUTE_MAX)
    """More raised within a minute are a flood: those of medium and low priority are shown, counted, and not told."""

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row by full tag name."""
        return {tag.name: row for row, tag in enumerate(self.tags)}

    @cached_property
    def alarms(self) -> tuple[tuple[int, AlarmDefinition], ...]:
        """All alarms with their rows, in the order of the state's arrays."""
        return tuple((row, alarm) for row, tag in enumerate(self.tags) for alarm in tag.alarms)

    @cached_property
    def alarm_of(self) -> dict[str, int]:
        """Place in `alarms` by name, `device.tag/kind`."""
        return {f"{self.tags[row].name}/{alarm.word}": place for place, (row, alarm) in enumerate(self.alarms)}

    @cached_property
    def rows_of_device(self) -> tuple[tuple[int, ...], ...]:
        rows: list[list[int]] = [[] for _ in self.devices]
        for row, tag in enumerate(self.tags):
            rows[tag.device].append(row)
        return tuple(tuple(of_device) for of_device in rows)
