"""Alarms as they are written: short and long, what holds for all, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.alarms import AlarmDefinition, AlarmKind, Priority, Statistic
from gateway.core.types import NS_PER_S
from tests.support.settings import HEAD, HEAD_LINES, examine_text, problems_of

DEVICE = '[devices.x]\nlink = "plc"\ntags.speed = { register = "holding 50" }\n'


def alarms_of(tmp_path: Path, alarm: str, windows: str = '["10s"]') -> dict[AlarmKind, AlarmDefinition]:
    text = f'{HEAD}{DEVICE}tags.t = {{ register = "holding 40", windows = {windows}, alarm = {alarm} }}\n'
    settings = examine_text(tmp_path, text).settings
    (tag,) = (tag for tag in settings.tags if tag.name == "x.t")
    return {one.kind: one for one in tag.alarms}


def test_a_number_is_a_limit_with_the_usual_deadband(tmp_path: Path) -> None:
    alarms = alarms_of(tmp_path, "{ low = 40, high = 90, score = 0.5 }")
    assert {one.word: (one.limit, one.deadband) for one in alarms.values()} == {
        "low": (40.0, 0.5),
        "high": (90.0, 0.5),
        "score": (0.5, 0.1),
    }


def test_what_stands_beside_the_kinds_holds_for_all_that_do_not_say_otherwise(tmp_path: Path) -> None:
    high = 'high = { limit = 9, on_delay = "1s", latch = false }'
    alarms = alarms_of(tmp_path, f'{{ low = 4, {high}, on_delay = "5s", latch = true, priority = "high" }}')
    low, high = alarms[AlarmKind.LOW], alarms[AlarmKind.HIGH]
    assert (low.on_delay_ns, low.latches, low.priority) == (5 * NS_PER_S, True, Priority.HIGH)
    assert (high.on_delay_ns, high.latches, high.priority) == (NS_PER_S, False, Priority.HIGH)


def test_a_statistic_of_a_window_may_be_compared(tmp_path: Path) -> None:
    alarms = alarms_of(tmp_path, '{ high = { limit = 9, of = "sd 10s" }, rate = 2 }')
    assert (alarms[AlarmKind.HIGH].statistic, alarms[AlarmKind.HIGH].window_ns) == (Statistic.SD, 10 * NS_PER_S)
    assert (alarms[AlarmKind.RATE].statistic, alarms[AlarmKind.RATE].window_ns) == (Statistic.RATE, 10 * NS_PER_S)


def test_names_of_the_devices_own_tags_may_leave_out_the_device(tmp_path: Path) -> None:
    alarms = alarms_of(tmp_path, '{ low = { limit = 4, unless = "speed" }, deviation = { limit = 1, from = "d.pv" } }')
    assert alarms[AlarmKind.LOW].unless == "x.speed"
    assert alarms[AlarmKind.DEVIATION].reference == "d.pv"


def test_bad_is_an_alarm_only_where_it_is_true(tmp_path: Path) -> None:
    assert set(alarms_of(tmp_path, "{ bad = false }")) == set()
    assert set(alarms_of(tmp_path, "{ bad = true }")) == {AlarmKind.BAD}
    assert set(alarms_of(tmp_path, '{ bad = { limit = true, priority = "low" } }')) == {AlarmKind.BAD}


@pytest.mark.parametrize(
    ("alarm", "windows", "says"),
    [
        ("{ low = 9, high = 4 }", '["10s"]', "9 is not below high = 4; write the smaller number as low"),
        ("{ high = 9, high_high = 9 }", '["10s"]', "9 is not below high_high = 9; write the smaller number as high"),
        ("{ hihg = 9 }", '["10s"]', 'is not a setting here; did you mean "high"?'),
        ('{ high = { on_delay = "1s" } }', '["10s"]', "is missing; write the limit at which the alarm is raised"),
        ('{ high = { limit = 9, of = "mean 20s" } }', '["10s"]', "names a window of 20s, which the tag has not"),
        ('{ high = { limit = 9, of = "median 10s" } }', '["10s"]', "is not a statistic and its window"),
        ('{ score = { limit = 0.5, of = "mean 10s" } }', '["10s"]', "has no meaning for score; take it out"),
        ("{ rate = 2 }", "[]", "needs a window over which the rate is taken"),
        ("{ score = 2 }", '["10s"]', "is not above 0 and at most 1"),
        ("{ high = { limit = 9, from = 3 } }", '["10s"]', "belongs to deviation; take it out"),
        ('{ low = 1, unless = "stoped" }', '["10s"]', 'unless: "x.stoped" is not a tag'),
        ('{ low = 1, priority = "urgent" }', '["10s"]', '"urgent" is not known here; write "critical"'),
        ("{ low = 1, deadband = -1 }", '["10s"]', "is below zero; write 0 or more"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, alarm: str, windows: str, says: str) -> None:
    text = f'{HEAD}{DEVICE}tags.t = {{ register = "holding 40", windows = {windows}, alarm = {alarm} }}\n'
    (problem,) = problems_of(tmp_path, text)
    assert says in problem.message
    assert problem.line == HEAD_LINES + 4
    assert problem.key.startswith("devices.x.tags.t.alarm")
