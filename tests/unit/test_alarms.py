"""Alarms as an operator meets them: what is told, what is shown, what acknowledging, shelving and suppressing do."""

from __future__ import annotations

from collections import Counter

import numpy as np

from gateway.core.alarms import (
    BAD_BELOW,
    AlarmAction,
    AlarmCommand,
    AlarmDefinition,
    AlarmKind,
    AlarmState,
    Priority,
    Statistic,
)
from gateway.core.engine import Engine
from gateway.core.events import Event, Severity
from gateway.core.limits import ALARMS_PER_MINUTE_MAX, GRID_NS
from gateway.core.model import TagDefinition
from gateway.core.types import NS_PER_S, Quality
from gateway.core.view import ALARM_HIGH, ALARM_OTHER, ALARM_UNACKNOWLEDGED
from tests.support.engine import T0, batch, engine, one, tag


class Room:
    """An engine with a clock that goes on by grid points."""

    def __init__(self, *tags: TagDefinition) -> None:
        self.gate: Engine = engine(*tags)
        self.now_ns = T0
        self.gate.step(self.now_ns, batch())

    def give(self, value: float, row: int = 0, quality: int = 192, points: int = 1) -> list[Event]:
        """A sample, and what the next grid points say of alarms."""
        self.gate.step(self.now_ns, one(self.now_ns, value, row, quality))
        return self.wait(points)

    def wait(self, points: int) -> list[Event]:
        told: list[Event] = []
        for _ in range(points):
            self.now_ns += GRID_NS
            told += self.gate.step(self.now_ns, batch()).events
        return [event for event in told if event.kind.startswith("alarm.")]

    def do(self, action: AlarmAction, alarm: str, minutes: int = 0) -> list[Event]:
        until_ns = self.now_ns + minutes * 60 * NS_PER_S
        return list(self.gate.command(AlarmCommand(action, alarm, "anna", until_ns), self.now_ns))

    def state(self, place: int = 0) -> AlarmState:
        return AlarmState(int(self.gate.alarms.view()[place]["state"]))

    def bits(self, row: int = 0) -> int:
        return int(self.gate.view.live(np.array([row], np.int32))[0]["alarms"])


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


def test_an_alarm_says_what_it_is_about_and_clears_by_itself() -> None:
    room = Room(tag(alarms=(AlarmDefinition(AlarmKind.HIGH, 95.0, priority=Priority.CRITICAL),)))
    raised = room.give(97.5)
    assert [(event.severity, event.message) for event in raised] == [
        (Severity.ERROR, "pump.flow: high alarm, above 95 l/s: 97.5")
    ]
    assert room.bits() == ALARM_HIGH | ALARM_UNACKNOWLEDGED
    assert kinds(room.give(90.0)) == ["alarm.high.cleared"]
    assert room.bits() == 0


def test_an_alarm_that_latches_stays_until_it_is_acknowledged() -> None:
    room = Room(tag(alarms=(AlarmDefinition(AlarmKind.HIGH, 95.0, latches=True),)))
    assert kinds(room.give(97.5)) == ["alarm.high.raised"]
    assert kinds(room.give(90.0)) == ["alarm.high.returned"]
    assert room.bits() == ALARM_UNACKNOWLEDGED
    assert kinds(room.do(AlarmAction.ACKNOWLEDGE, "pump.flow/high")) == ["alarm.high.acknowledged"]
    assert room.wait(3) == []
    assert room.state() is AlarmState.NORMAL
    assert room.bits() == 0


def test_acknowledging_says_who_and_takes_the_mark_away_while_the_condition_lasts() -> None:
    room = Room(tag(alarms=(AlarmDefinition(AlarmKind.HIGH, 95.0, latches=True),)))
    room.give(97.5)
    (event,) = room.do(AlarmAction.ACKNOWLEDGE, "pump.flow/high")
    assert event.message == "pump.flow: high alarm acknowledged by anna"
    assert room.do(AlarmAction.ACKNOWLEDGE, "pump.flow/high") == [], "once is enough"
    room.wait(1)
    assert room.bits() == ALARM_HIGH
    assert kinds(room.give(90.0)) == ["alarm.high.cleared"]


def test_delays_hold_back_what_does_not_last() -> None:
    alarm = AlarmDefinition(AlarmKind.HIGH, 95.0, on_delay_ns=NS_PER_S, off_delay_ns=NS_PER_S)
    room = Room(tag(alarms=(alarm,)))
    assert room.give(99.0, points=9) == []
    assert room.give(50.0, points=1) == []
    assert room.give(99.0, points=10) == []
    assert kinds(room.wait(1)) == ["alarm.high.raised"]
    assert room.give(50.0, points=10) == []
    assert kinds(room.wait(1)) == ["alarm.high.cleared"]


def test_a_shelved_alarm_is_silent_until_its_time_is_over_and_then_told_if_it_still_holds() -> None:
    room = Room(tag(alarms=(AlarmDefinition(AlarmKind.HIGH, 95.0),)))
    assert kinds(room.do(AlarmAction.SHELVE, "pump.flow/high", minutes=1)) == ["alarm.high.shelved"]
    assert room.give(99.0, points=599) == []
    assert room.bits() == 0
    assert kinds(room.wait(1)) == ["alarm.high.unshelved", "alarm.high.raised"]


def test_an_alarm_cannot_be_shelved_for_longer_than_a_day() -> None:
    room = Room(tag(alarms=(AlarmDefinition(AlarmKind.HIGH, 95.0),)))
    (event,) = room.do(AlarmAction.SHELVE, "pump.flow/high", minutes=100_000)
    assert "shelved for 1440 min by anna" in event.message


def test_unshelving_shows_the_alarm_at_once() -> None:
    room = Room(tag(alarms=(AlarmDefinition(AlarmKind.HIGH, 95.0),)))
    room.do(AlarmAction.SHELVE, "pump.flow/high", minutes=10)
    room.give(99.0)
    assert kinds(room.do(AlarmAction.UNSHELVE, "pump.flow/high")) == ["alarm.high.unshelved"]
    assert kinds(room.wait(1)) == ["alarm.high.raised"]


def test_another_tag_suppresses_an_alarm_while_it_is_not_zero_and_good() -> None:
    alarm = AlarmDefinition(AlarmKind.LOW, 5.0, unless="pump.stopped")
    room = Room(tag("pump.flow", alarms=(alarm,)), tag("pump.stopped"))
    room.give(1.0, row=1)
    assert room.give(0.0) == []
    assert kinds(room.give(0.0, row=1)) == ["alarm.low.raised"]
    assert kinds(room.give(1.0, row=1)) == ["alarm.low.cleared"]
    assert kinds(room.give(1.0, row=1, quality=Quality.BAD_COMM_FAILURE)) == ["alarm.low.raised"], "nobody says so now"


def test_a_deviation_follows_the_tag_it_is_from() -> None:
    alarm = AlarmDefinition(AlarmKind.DEVIATION, 5.0, reference="boiler.setpoint")
    room = Room(tag("boiler.temperature", alarms=(alarm,)), tag("boiler.setpoint"))
    room.give(50.0, row=1)
    assert room.give(53.0) == []
    (raised,) = room.give(40.0, row=1)
    assert raised.message == "boiler.temperature: deviation alarm, over 5 l/s from boiler.setpoint: 53"
    assert room.bits() == ALARM_OTHER | ALARM_UNACKNOWLEDGED
    assert kinds(room.give(50.0, row=1)) == ["alarm.deviation.cleared"]


def test_an_alarm_may_be_of_a_windows_mean_or_rate() -> None:
    mean = AlarmDefinition(AlarmKind.HIGH, 10.0, window_ns=2 * NS_PER_S, statistic=Statistic.MEAN)
    rate = AlarmDefinition(AlarmKind.RATE, 1.5, window_ns=2 * NS_PER_S, statistic=Statistic.RATE)
    room = Room(tag(windows_ns=(2 * NS_PER_S,), alarms=(mean, rate)))
    told = []
    for value in [8.0] * 30 + [12.0] * 30:
        told += room.give(value)
    assert Counter(kinds(told)) == {"alarm.high.raised": 1, "alarm.rate.raised": 1, "alarm.rate.cleared": 1}
    assert "mean of 2 s above 10 l/s" in next(event.message for event in told if event.kind == "alarm.high.raised")


def test_bad_quality_and_a_state_are_alarms_where_they_are_asked_for() -> None:
    alarms = (AlarmDefinition(AlarmKind.STATE, 3.0), AlarmDefinition(AlarmKind.BAD, BAD_BELOW))
    room = Room(tag(alarms=alarms))
    assert room.wait(2) == [], "what never spoke is not an alarm"
    assert kinds(room.give(3.0)) == ["alarm.state.raised"]
    assert kinds(room.give(2.0)) == ["alarm.state.cleared"]
    assert kinds(room.give(0.0, quality=Quality.BAD_SENSOR_FAILURE)) == ["alarm.bad.raised"]
    assert kinds(room.give(1.0)) == ["alarm.bad.cleared"]


def test_a_flood_is_told_once_urgent_alarms_go_on_and_the_rest_is_counted() -> None:
    quiet = ALARMS_PER_MINUTE_MAX
    tags = [tag(f"pump.t{n}", alarms=(AlarmDefinition(AlarmKind.HIGH, 1.0),)) for n in range(quiet + 20)]
    tags.append(tag("pump.urgent", alarms=(AlarmDefinition(AlarmKind.HIGH, 1.0, priority=Priority.HIGH),)))
    room = Room(*tags)
    room.wait(1)
    room.gate.step(room.now_ns, batch(*((row, 192, room.now_ns, room.now_ns, 2.0) for row in range(len(tags)))))
    told = Counter(kinds(room.wait(1)))
    assert told == {"alarm.high.raised": quiet + 1, "alarm.flood.begun": 1}
    assert all(room.bits(row) for row in range(len(tags))), "all are shown"
    room.gate.step(room.now_ns, batch(*((row, 192, room.now_ns, room.now_ns, 0.0) for row in range(len(tags)))))
    assert Counter(kinds(room.wait(1))) == {"alarm.high.cleared": quiet + 1}
    events = room.wait(1_200)
    assert [event.message for event in events] == ["alarm flood over: 20 alarms were not told"]
    values = {reading.name: reading.value for reading in room.gate.alarms.readings() if not reading.labels}
    assert values["fieldgate_alarms_untold_total"] == 20
    assert values["fieldgate_alarms_raised_total"] == quiet + 21


def test_doing_something_to_an_alarm_that_there_is_not_is_told_and_changes_nothing() -> None:
    room = Room(tag())
    (event,) = room.do(AlarmAction.ACKNOWLEDGE, "pump.flow/high")
    assert event.message == "there is no alarm pump.flow/high: acknowledge by anna did nothing"
