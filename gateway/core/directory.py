"""The directory: which tag and which device each row and each number stands for at the moment.

Tags and devices of the model have their places for ever; the places behind them are those of the pools, taken and
given up as rows are lent. Only the engine's thread writes; any thread may read one entry at a time. Whoever needs an
entry for longer notes its row and generation, and asks again when `edition` has moved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import msgspec

from gateway.core.alarms import AlarmDefinition
from gateway.core.lending import Lending
from gateway.core.model import DeviceDefinition, Model, TagDefinition
from gateway.core.types import Int64s, Kind

NOBODY = ""
"""Name of a row that is not lent."""


class Directory:
    """`generations` is the state's, by row."""

    def __init__(self, model: Model, generations: Int64s) -> None:
        self.model = model
        self.edition = 0
        """Moves with every change."""
        self.tags: list[TagDefinition | None] = [*model.tags, *[None] * (model.rows - len(model.tags))]
        """By row; None where nobody has the row."""
        self.devices: list[DeviceDefinition | None] = [
            *model.devices,
            *[None] * (model.device_numbers - len(model.devices)),
        ]
        self.lendings: dict[int, Lending] = {}
        """By row: what was lent, without the state that came with it."""
        self._generations = generations
        self._rows = {tag.name: row for row, tag in enumerate(model.tags)}
        self._tags_of_device = dict.fromkeys(range(len(model.devices)), 1)
        self._names = [tag.name for tag in model.tags] + [NOBODY] * (model.rows - len(model.tags))
        self._kinds = [tag.kind for tag in model.tags] + [Kind.F64] * (model.rows - len(model.tags))
        self._copied = self.edition
        self._copies = (tuple(self._names), tuple(self._kinds))

    def __len__(self) -> int:
        """Tags that have a row."""
        return len(self._rows)

    def find(self, name: str) -> tuple[int, int] | None:
        """Row and generation of the tag of this full name; None when it has no row."""
        row = self._rows.get(name)
        return None if row is None else (row, int(self._generations[row]))

    def tag_name(self, row: int) -> str:
        """NOBODY where nobody has the row."""
        tag = self.tags[row] if 0 <= row < len(self.tags) else None
        return NOBODY if tag is None else tag.name

    def device_name(self, number: int) -> str:
        device = self.devices[number]
        return NOBODY if device is None else device.name

    def alarm_at(self, place: int) -> tuple[TagDefinition, AlarmDefinition] | None:
        """The alarm at a place in the state's arrays, with its tag; None where nobody has one."""
        if place < len(self.model.alarms):
            row, alarm = self.model.alarms[place]
            return self.model.tags[row], alarm
        for pool, rows, places in zip(self.model.pools, self.model.pool_rows, self.model.pool_alarms, strict=True):
            if place in places:
                number, which = divmod(place - places.start, pool.alarms)
                tag = self.tags[rows.start + number]
                return None if tag is None or which >= len(tag.alarms) else (tag, tag.alarms[which])
        return None

    def find_alarm(self, name: str) -> int | None:
        """The place of the alarm `device.tag/kind`; None when there is none."""
        place = self.model.alarm_of.get(name)
        if place is not None:
            return place
        tag_name, _, word = name.rpartition("/")
        row = self._rows.get(tag_name)
        tag = None if row is None else self.tags[row]
        if row is None or tag is None or row < len(self.model.tags):
            return None
        words = [alarm.word for alarm in tag.alarms]
        if word not in words:
            return None
        found = next(n for n, rows in enumerate(self.model.pool_rows) if row in rows)
        of_row = self.model.pools[found].alarms * (row - self.model.pool_rows[found].start)
        return self.model.pool_alarms[found].start + of_row + words.index(word)

    def alarm_names(self) -> Iterator[str]:
        """Of all alarms, as of now."""
        yield from self.model.alarm_of
        for row in list(self.lendings):
            if (tag := self.tags[row]) is not None:
                yield from (f"{tag.name}/{alarm.word}" for alarm in tag.alarms)

    def rows(self) -> Iterator[tuple[str, int]]:
        """Name and row of every tag, as of now."""
        yield from list(self._rows.items())

    def columns(self) -> tuple[tuple[str, ...], tuple[Kind, ...]]:
        """Names and kinds by row, as of now and for good. Only the engine's thread calls this."""
        if self._copied != self.edition:
            self._copied = self.edition
            self._copies = (tuple(self._names), tuple(self._kinds))
        return self._copies

    def lend(self, lending: Lending, pool: int) -> TagDefinition:
        """Enter a tag; returns its definition. Its device is entered with its first tag."""
        number = lending.device_number
        link = self.model.pools[pool].link
        shape = self.model.pools[pool].shapes[lending.shape]
        tag = msgspec.structs.replace(shape, name=lending.name, device=number)
        if self.devices[number] is None:
            self.devices[number] = DeviceDefinition(lending.device, link)
        self._tags_of_device[number] = self._tags_of_device.get(number, 0) + 1
        self.tags[lending.row] = tag
        self.lendings[lending.row] = lending if lending.state is None else dataclasses.replace(lending, state=None)
        self._names[lending.row] = tag.name
        self._kinds[lending.row] = tag.kind
        self._rows[tag.name] = lending.row
        self.edition += 1
        return tag

    def strike(self, row: int) -> TagDefinition:
        """Take a lent tag out again, and its device with its last tag."""
        tag = self.tags[row]
        assert tag is not None
        self.tags[row] = None
        self._names[row] = NOBODY
        del self.lendings[row]
        if self._rows.get(tag.name) == row:
            del self._rows[tag.name]
        self._tags_of_device[tag.device] -= 1
        if self._tags_of_device[tag.device] == 0:
            self.devices[tag.device] = None
        self.edition += 1
        return tag
