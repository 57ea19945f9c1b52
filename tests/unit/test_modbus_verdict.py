"""Whose silence it is: a unit's or the bus's."""

from __future__ import annotations

from gateway.protocol.modbus.polled import Unit
from gateway.protocol.modbus.verdict import Ruling, Verdict


def bus(count: int) -> tuple[dict[int, Unit], Verdict]:
    units = {number: Unit(number) for number in range(1, count + 1)}
    return units, Verdict(units)


def miss(unit: Unit, sent_ns: int) -> Unit:
    unit.owed_ns = sent_ns
    return unit


def test_a_unit_is_dead_when_another_has_answered_since() -> None:
    units, verdict = bus(3)
    assert verdict.silent(miss(units[2], 100), "why", 150) == Ruling(((units[2], "why"),))
    assert verdict.silent(units[2], "why", 180) == Ruling(), "once"
    assert (verdict.heard(units[2]).is_unit, verdict.heard(units[2]).is_unit) == (True, False)


def test_while_nobody_has_answered_the_verdict_waits_and_then_names_all_it_waited_for() -> None:
    units, verdict = bus(3)
    assert verdict.silent(miss(units[1], 100), "one", 90) == Ruling()
    assert verdict.silent(miss(units[2], 110), "two", 90) == Ruling()
    assert units[1].is_silent
    assert verdict.silent(units[1], "one", 150) == Ruling(((units[1], "one"), (units[2], "two")))


def test_who_answers_while_the_verdict_waits_is_told_of_at_neither_end() -> None:
    units, verdict = bus(2)
    verdict.silent(miss(units[1], 100), "one", 90)
    assert not verdict.heard(units[1]).is_unit
    assert verdict.silent(miss(units[2], 200), "two", 210) == Ruling(((units[2], "two"),))


def test_when_all_are_silent_it_is_the_bus_and_its_first_word_is_the_buss_return() -> None:
    units, verdict = bus(3)
    verdict.silent(miss(units[3], 10), "early", 50)
    verdict.silent(miss(units[1], 100), "why", 90)
    assert verdict.silent(miss(units[2], 110), "why", 90) == Ruling(is_bus=True)
    assert verdict.is_bus_dead
    assert verdict.silent(units[1], "why", 90) == Ruling(), "once"
    told = verdict.heard(units[1])
    assert (told.is_unit, told.is_bus) == (False, True)
    assert not verdict.is_bus_dead
    assert verdict.silent(miss(units[2], 500), "still", 510) == Ruling(((units[2], "still"),))
    assert verdict.heard(units[3]).is_unit, "it had been told of before the bus died"


def test_a_link_with_one_unit_speaks_of_the_unit() -> None:
    units, verdict = bus(1)
    assert verdict.silent(miss(units[1], 100), "why", -1) == Ruling(((units[1], "why"),))
    assert not verdict.is_bus_dead


def test_a_lost_connection_leaves_no_verdict_behind() -> None:
    units, verdict = bus(2)
    verdict.silent(miss(units[1], 100), "why", 90)
    verdict.silent(miss(units[2], 110), "why", 90)
    verdict.lost()
    assert not verdict.is_bus_dead
    assert units[1].is_silent
    assert verdict.silent(units[1], "why", 90) == Ruling(is_bus=True), "it is as dead on the next connection"
