"""What the plant is, once and for all: devices, tags and their rows.

A tag is a row number; rows are dense and are given in the order of `Model.tags`. All state lies in arrays indexed
by row. The model is immutable: a reload builds another one.

Tags that appear by themselves have no place in it; pools of rows and of device numbers do, behind those of the tags
and devices that are written down. Who has which of them at the moment says `gateway.core.directory`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import msgspec

from gateway.core.alarms import AlarmDefinition
from gateway.core.calculations import CalculationDefinition
from gateway.core.calendar import UTC, Zone
from gateway.core.formula import Formula
from gateway.core.limits import ALARMS_PER_MINUTE_MAX
from gateway.core.types import Kind


class TagDefinition(msgspec.Struct, frozen=True, gc=False):
    """One value of one device, with all that the engine must know of it.

    `name` is `device.tag`; times are nanoseconds of engine time; limits are in engineering units, None for no limit.
    A struct, since a large plant makes a hundred thousand at every start.
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
    has_shape: bool = False
    """Its event score is also of the course of its values (`gateway.core.kernels.shape`)."""
    labels: tuple[tuple[int, str], ...] = ()
    """What the values of an integer tag are called."""
    context: tuple[tuple[str, str], ...] = ()
    """What reference tables say of it, by key: asset, path, criticality and others."""
    curve: tuple[tuple[float, float], ...] = ()
    """Its calibration: what is shown, rising, and what is there."""
    formula: Formula | None = None
    """What it is computed by, if no source brings it. Such tags stand behind all others of the model."""


@dataclass(frozen=True, slots=True)
class DeviceDefinition:
    """`together` are the rows of the tags of the multivariate score, empty without one."""

    name: str
    link: str
    together: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Pool:
    """Rows and device numbers that are lent to what appears on one link.

    A `shape` is what a lent tag is but for its name and device; all shapes of a pool have the same windows, so that a
    row's windows keep their place in the arena whoever has it. They have no calculations: those are places, too.
    """

    name: str
    link: str
    rows: int
    devices: int
    shapes: tuple[TagDefinition, ...]

    def __post_init__(self) -> None:
        assert self.rows > 0
        assert self.devices > 0
        assert len({shape.windows_ns for shape in self.shapes}) == 1
        assert not any(shape.calculations for shape in self.shapes)

    @property
    def alarms(self) -> int:
        """Places for alarms of each row."""
        return max(len(shape.alarms) for shape in self.shapes)


@dataclass(frozen=True)
class Model:
    devices: tuple[DeviceDefinition, ...]
    tags: tuple[TagDefinition, ...]
    panes_per_window: int = field(default=30)
    zone: Zone = UTC
    """Whose days, months and shifts calculations mean."""
    alarms_per_minute_max: int = field(default=ALARMS_PER_MINUTE_MAX)
    """More raised within a minute are a flood: those of medium and low priority are shown, counted, and not told."""
    pools: tuple[Pool, ...] = ()

    @property
    def rows(self) -> int:
        """Rows in all: those of the tags, then those of the pools."""
        return len(self.tags) + sum(pool.rows for pool in self.pools)

    @property
    def device_numbers(self) -> int:
        """Device numbers in all: those of the devices, then those of the pools."""
        return len(self.devices) + sum(pool.devices for pool in self.pools)

    @cached_property
    def pool_rows(self) -> tuple[range, ...]:
        """The rows of each pool."""
        return ranges(len(self.tags), (pool.rows for pool in self.pools))

    @cached_property
    def pool_devices(self) -> tuple[range, ...]:
        """The device numbers of each pool."""
        return ranges(len(self.devices), (pool.devices for pool in self.pools))

    @cached_property
    def pool_alarms(self) -> tuple[range, ...]:
        """The places for alarms of each pool, behind those of the tags."""
        return ranges(len(self.alarms), (pool.rows * pool.alarms for pool in self.pools))

    def windows_of_rows(self) -> Iterator[tuple[int, ...]]:
        """The windows of each row in turn, lent or not."""
        yield from (tag.windows_ns for tag in self.tags)
        for pool in self.pools:
            yield from (pool.shapes[0].windows_ns for _ in range(pool.rows))

    @cached_property
    def virtual_rows(self) -> range:
        """The rows of tags with a formula."""
        first = next((row for row, tag in enumerate(self.tags) if tag.formula is not None), len(self.tags))
        assert all(tag.formula is not None for tag in self.tags[first:])
        return range(first, len(self.tags))

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row by full tag name."""
        return {tag.name: row for row, tag in enumerate(self.tags)}

    @cached_property
    def shape_rows(self) -> tuple[int, ...]:
        """The rows that have a shape score, in the order of the state's arrays."""
        return tuple(row for row, tag in enumerate(self.tags) if tag.has_shape)

    @cached_property
    def multivariate_devices(self) -> tuple[int, ...]:
        """The devices that have a multivariate score, in the order of the state's arrays."""
        return tuple(number for number, device in enumerate(self.devices) if device.together)

    @cached_property
    def alarms(self) -> tuple[tuple[int, AlarmDefinition], ...]:
        """All alarms of the tags with their rows, in the order of the state's arrays."""
        return tuple((row, alarm) for row, tag in enumerate(self.tags) for alarm in tag.alarms)

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """What each output of a calculation is called, in the order of the state's table of outputs: hour.mean."""
        return tuple(
            f"{one.name}.{output.name}" for tag in self.tags for one in tag.calculations for output in one.outputs
        )

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


def ranges(start: int, sizes: Iterable[int]) -> tuple[range, ...]:
    """Ranges of these sizes, one behind the other."""
    found = []
    for size in sizes:
        found.append(range(start, start + size))
        start += size
    return tuple(found)
