"""The list of alarms, as the page and the terminal show it."""

from __future__ import annotations

import msgspec
import numpy as np

from gateway.core.alarms import AlarmState
from gateway.core.announce import condition
from gateway.core.types import NS_PER_MS, NS_PER_S, Int64s, Samples
from gateway.serving.http.status import Health, Plant
from gateway.serving.http.values import number

TO_ACKNOWLEDGE = (AlarmState.ACTIVE, AlarmState.RETURNED)


class AlarmStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is what acknowledging and shelving take. `state` after ISA-18.2: normal, active (not acknowledged),
    acknowledged, returned (over, not acknowledged). `raised_ms` and `value` are of the last time it was raised."""

    name: str
    tag: str
    kind: str
    condition: str
    priority: str
    state: str
    latches: bool
    raised_ms: int | None
    value: float | None
    raises: int
    shelved_for_s: float | None
    suppressed: bool
    context: dict[str, str]
    """What reference tables say of the tag."""


class AlarmPage(msgspec.Struct, frozen=True, kw_only=True):
    """Those to be acknowledged first, then by priority, then newest first."""

    total: int
    offset: int
    alarms: tuple[AlarmStatus, ...]


def alarm_page(
    plant: Plant | None, health: Health, now_ns: int, *, search: str, every: bool, offset: int, limit: int
) -> AlarmPage:
    """Those in another state than normal, the shelved and the suppressed; or, with `every`, all there are."""
    if plant is None:
        return AlarmPage(total=0, offset=offset, alarms=())
    records = plant.alarms()
    rows = np.flatnonzero(
        every | (records["state"] != 0) | (records["shelved_until_ns"] > 0) | (records["is_suppressed"] != 0)
    )
    words = search.lower().split()
    if words:
        names = {place: name.lower() for name, place in plant.model.alarm_of.items()}
        rows = np.array([row for row in rows.tolist() if all(word in names[row] for word in words)], np.int64)
    rows = rows[_order(plant, records[rows], rows)]
    shown = tuple(_status(plant, int(row), records[row], health, now_ns) for row in rows[offset : offset + limit])
    return AlarmPage(total=len(rows), offset=offset, alarms=shown)


def _order(plant: Plant, records: Samples, rows: Int64s) -> Int64s:
    alarms = plant.model.alarms
    priorities = np.array([alarms[row][1].priority for row in rows.tolist()], np.int64)
    is_done = ~np.isin(records["announced"], TO_ACKNOWLEDGE)
    order: Int64s = np.lexsort((-records["raised_ns"], priorities, is_done))
    return order


def _status(plant: Plant, place: int, record: np.void, health: Health, now_ns: int) -> AlarmStatus:
    row, alarm = plant.model.alarms[place]
    tag = plant.model.tags[row]
    raises = int(record["raises"])
    until_ns = int(record["shelved_until_ns"])
    return AlarmStatus(
        name=f"{tag.name}/{alarm.word}",
        tag=tag.name,
        kind=alarm.word,
        condition=condition(alarm, tag.unit),
        priority=alarm.priority.name.lower(),
        state=AlarmState(int(record["state"])).name.lower(),
        latches=alarm.latches,
        raised_ms=(int(record["raised_ns"]) + health.wall_offset_ns) // NS_PER_MS if raises else None,
        value=number(record["value"]) if raises else None,
        raises=raises,
        shelved_for_s=max(0, until_ns - now_ns) / NS_PER_S if until_ns else None,
        suppressed=bool(record["is_suppressed"]),
        context=dict(tag.context),
    )
