"""The alarms of rows that are lent: as many places a row as the shape of its pool with most alarms has.

The rule of a place is the present tenant's. A place that nobody uses has a rule that nothing moves, so the grid passes
over it. What an alarm remembers goes with the tag when it leaves, but for having been told: a tag that comes back in
alarm is told again.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np

from gateway.core.alarmrules import free_rules, rule_in
from gateway.core.alarms import AlarmState
from gateway.core.events import Event, Severity
from gateway.core.model import Model, TagDefinition
from gateway.core.state import State


def places(state: State, row: int, alarms: int) -> slice:
    """Where the alarms of a lent row lie, of a pool with so many a row."""
    first = int(state.tables.limits[row]["alarm_first"])
    return slice(first, first + alarms)


def set_rules(model: Model, state: State, pool: int, row: int, tag: TagDefinition | None) -> None:
    """Have a row's places mean the alarms of this tag, or of nobody."""
    alarms = model.pools[pool].alarms
    if alarms == 0:
        return
    rules = state.tables.alarm_rules[places(state, row, alarms)]
    rules[:] = free_rules(np.full(alarms, row, np.int64))
    if tag is not None:
        first = int(state.tables.limits[row]["window_first"])
        for place, definition in enumerate(tag.alarms):
            rules[place] = rule_in(model, row, tag, definition, first)


def mark_of(tag: TagDefinition) -> tuple[int, int]:
    """What a tag's memory stands on: its kind and unit, and its alarms. Other marks, another meaning."""
    return crc32(repr((int(tag.kind), tag.unit)).encode()), crc32(repr(tag.alarms).encode())


def take_leave(state: State, row: int, tag: TagDefinition, now_ns: int) -> list[Event]:
    """Tell that the alarms of a tag which leaves are shown no more; they count as not told from here on."""
    events = []
    alarms = state.tables.alarms[places(state, row, len(tag.alarms))]
    for alarm, definition in zip(alarms, tag.alarms, strict=True):
        if alarm["announced"] != AlarmState.NORMAL and not alarm["is_untold"]:
            message = f"{tag.name}: {definition.word} alarm is shown no more, the tag left"
            events.append(Event(now_ns, Severity.NOTICE, f"alarm.{definition.word}.left", tag.name, message))
        alarm["announced"] = AlarmState.NORMAL
        alarm["is_untold"] = 0
    return events
