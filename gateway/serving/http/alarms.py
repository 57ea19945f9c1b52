"""The list of alarms, as the page and the terminal show it."""

from __future__ import annotations

import msgspec
import numpy as np

from gateway.core.alarms import AlarmDefinition, AlarmState
from gateway.core.announce import condition
from gateway.core.cells import number
from gateway.core.model import TagDefinition
from gateway.core.types import NS_PER_MS, NS_PER_S, Int64s, Samples
from gateway.serving.http.status import Health, Plant

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
    # Places of lent rows may be nobody's, or become it meanwhile.
    known = {row: found for row in rows.tolist() if (found := plant.directory.alarm_at(row)) is not None}
    words = search.lower().split()
    if words:
        names = {row: f"{tag.name}/{alarm.word}".lower() for row, (tag, alarm) in known.items()}
        known = {row: known[row] for row, name in names.items() if all(word in name for word in words)}
    rows = np.array(list(known), np.int64)
    rows = rows[_order(np.array([alarm.priority for _, alarm in known.values()], np.int64), records[rows])]
    shown = tuple(_status(*known[row], records[row], health, now_ns) for row in rows[offset : offset + limit].tolist())
    return AlarmPage(total=len(rows), offset=offset, alarms=shown)


def _order(priorities: Int64s, records: Samples) -> Int64s:
    is_done = ~np.isin(records["announced"], TO_ACKNOWLEDGE)
    order: Int64s = np.lexsort((-records["raised_ns"], priorities, is_done))
    return order


def _status(
    tag: TagDefinition, alarm: AlarmDefinition, record: np.void, health: Health, now_ns: int
) -> AlarmStatus:  # fmt: skip
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
