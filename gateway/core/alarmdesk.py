"""The alarms of one engine: what a grid point changes, what an operator does, and what of both is told.

The desk belongs to the engine and to its thread, but for `view`, which any thread may call.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gateway.core.alarms import (
    ALARM,
    ALARM_CHANGE,
    SHELVE_NS_MAX,
    UNSHELVED,
    AlarmAction,
    AlarmCommand,
    AlarmState,
    From,
    Priority,
)
from gateway.core.announce import alarm_event, disagreement, flood_event
from gateway.core.directory import Directory
from gateway.core.events import Event, Severity
from gateway.core.kernels.alarms import read_alarms, step_alarms
from gateway.core.limits import EVENTS_PER_GRID_MAX
from gateway.core.model import Model
from gateway.core.readings import Reading
from gateway.core.record import AGGREGATE
from gateway.core.state import PANE, Flood, State
from gateway.core.types import NS_PER_S, Samples

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_alarms", "gauge", "Alarms by priority and state: active (unacknowledged), acknowledged, returned."),
    ("fieldgate_alarms_shelved", "gauge", "Alarms that an operator put aside for a time."),
    ("fieldgate_alarms_suppressed", "gauge", "Alarms that another tag suppresses."),
    ("fieldgate_alarms_raised_total", "counter", "Times that an alarm was raised."),
    (
        "fieldgate_alarms_untold_total",
        "counter",
        "Alarms of lesser priority raised in a flood, without an event.",
    ),
)

MINUTE_NS = 60 * NS_PER_S


class AlarmDesk:
    """The alarms of `model` and of those who have its rows, whose records lie in `state`."""

    def __init__(self, model: Model, state: State, directory: Directory) -> None:
        self._model = model
        self._state = state
        self._directory = directory
        self._changes = np.zeros(EVENTS_PER_GRID_MAX, ALARM_CHANGE)
        self._pane = np.zeros(1, PANE)
        self._window = np.zeros(1, AGGREGATE)
        self._priorities = state.tables.alarm_rules["priority"]

    # The engine's thread

    def step(self, point_ns: int) -> list[Event]:
        """All alarms at a grid point."""
        tables = self._state.tables
        multi = self._state.multivariate.records
        found = step_alarms(tables, multi, self._state.panes, point_ns, self._pane, self._window, self._changes)
        events = self._minute(point_ns)
        for change in self._changes[:found]:
            place = int(change["alarm"])
            known = self._directory.alarm_at(place)
            if self._is_told(change, point_ns, events) and known is not None:
                events.append(alarm_event(*known, change, point_ns, self._why(place)))
        return events

    def command(self, command: AlarmCommand, now_ns: int) -> list[Event]:
        """What an operator does to one alarm. What changes nothing gives no event."""
        place = self._directory.find_alarm(command.alarm)
        if place is None:
            message = f"there is no alarm {command.alarm}: {command.action} by {command.who} did nothing"
            return [Event(now_ns, Severity.NOTICE, "alarm.unknown", command.alarm, message)]
        alarm = self._state.tables.alarms[place]
        tag, _, word = command.alarm.rpartition("/")
        if command.action is AlarmAction.ACKNOWLEDGE:
            after = {AlarmState.ACTIVE: AlarmState.ACKNOWLEDGED, AlarmState.RETURNED: AlarmState.NORMAL}.get(
                AlarmState(int(alarm["state"]))
            )
            if after is None:
                return []
            alarm["state"] = after
            if alarm["announced"] != AlarmState.NORMAL:
                alarm["announced"] = after
            outcome, says = "acknowledged", "acknowledged"
        elif command.action is AlarmAction.SHELVE:
            until_ns = min(command.until_ns, now_ns + SHELVE_NS_MAX)
            if until_ns <= now_ns:
                return []
            alarm["shelved_until_ns"] = until_ns
            alarm["announced"] = AlarmState.NORMAL
            outcome, says = "shelved", f"shelved for {(until_ns - now_ns) / MINUTE_NS:.0f} min"
        else:
            if alarm["shelved_until_ns"] == 0:
                return []
            alarm["shelved_until_ns"] = 0
            outcome, says = "unshelved", "is shown again"
        message = f"{tag}: {word} alarm {says} by {command.who}"
        return [Event(now_ns, Severity.NOTICE, f"alarm.{word}.{outcome}", tag, message)]

    def _why(self, place: int) -> str:
        """What else is said of an alarm that was raised: whose tags, of a multivariate one."""
        rule = self._state.tables.alarm_rules[place]
        if rule["source"] != From.MULTIVARIATE:
            return ""
        return disagreement(self._model, self._state.multivariate.records[int(rule["window"])])

    def _minute(self, point_ns: int) -> list[Event]:
        """Close the minute in which alarms are counted, when it is over."""
        flood = self._state.flood
        if point_ns - int(flood[Flood.BEGAN_NS]) < MINUTE_NS:
            return []
        was_calm = int(flood[Flood.RAISED]) <= self._model.alarms_per_minute_max
        flood[Flood.BEGAN_NS] = point_ns
        flood[Flood.RAISED] = 0
        if not (flood[Flood.IS_ON] and was_calm):
            return []
        untold = int(flood[Flood.UNTOLD])
        flood[Flood.IS_ON] = 0
        flood[Flood.UNTOLD] = 0
        return [flood_event(False, untold, point_ns)]

    def _is_told(self, change: Samples, point_ns: int, events: list[Event]) -> bool:
        """Whether a change becomes an event; the first that does not tells of the flood instead."""
        place = int(change["alarm"])
        alarm = self._state.tables.alarms[place]
        flood = self._state.flood
        if change["after"] != AlarmState.ACTIVE:
            if not alarm["is_untold"]:
                return True
            alarm["is_untold"] = change["after"] not in (AlarmState.NORMAL, UNSHELVED)
            return False
        flood[Flood.RAISED] += 1
        if flood[Flood.RAISED] > self._model.alarms_per_minute_max and not flood[Flood.IS_ON]:
            flood[Flood.IS_ON] = 1
            events.append(flood_event(True, int(flood[Flood.RAISED]), point_ns))
        alarm["is_untold"] = bool(flood[Flood.IS_ON]) and self._priorities[place] > Priority.HIGH
        if alarm["is_untold"]:
            flood[Flood.UNTOLD] += 1
            flood[Flood.UNTOLD_EVER] += 1
        return not alarm["is_untold"]

    # Any thread

    def view(self) -> Samples:
        """ALARM records by place: those of `Model.alarms`, then those of lent rows (`Directory.alarm_at`)."""
        out = np.zeros(len(self._state.tables.alarms), ALARM)
        read_alarms(self._state.tables, out)
        return out

    def readings(self) -> Iterator[Reading]:
        alarms = self.view()
        shown = alarms["announced"]
        for priority in Priority:
            of_priority = self._priorities == priority
            for state in (AlarmState.ACTIVE, AlarmState.ACKNOWLEDGED, AlarmState.RETURNED):
                labels = (("priority", priority.name.lower()), ("state", state.name.lower()))
                yield Reading("fieldgate_alarms", int(np.count_nonzero(of_priority & (shown == state))), labels)
        yield Reading("fieldgate_alarms_shelved", int(np.count_nonzero(alarms["shelved_until_ns"])))
        yield Reading("fieldgate_alarms_suppressed", int(np.count_nonzero(alarms["is_suppressed"])))
        yield Reading("fieldgate_alarms_raised_total", sum(alarms["raises"].tolist()))
        yield Reading("fieldgate_alarms_untold_total", int(self._state.flood[Flood.UNTOLD_EVER]))
