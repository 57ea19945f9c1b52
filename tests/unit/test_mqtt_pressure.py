"""When messages of QoS 0 are left out: the debt of a lane past its mark, in simulated time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.core.types import NS_PER_MS
from gateway.sources.mqtt.pressure import CALM_NS, Pressure

MS = NS_PER_MS


def looks(pressure: Pressure, start_ms: int, *phases: tuple[int, bool]) -> Iterator[tuple[int, int]]:
    """(ms, level) of looks every 5 ms; a phase is how many ms the lane is past its mark, or is not."""
    now_ms = start_ms
    for length_ms, is_past_mark in phases:
        for _ in range(0, length_ms, 5):
            yield now_ms, pressure.level(is_past_mark, now_ms * MS)
            now_ms += 5


def test_first_it_waits_then_the_least_important_goes_then_the_rest() -> None:
    found = list(looks(Pressure(), 0, (2_000, True)))
    assert {level for ms, level in found if ms < 250} == {0}
    assert {level for ms, level in found if 250 <= ms < 500} == {1}
    assert {level for ms, level in found if 500 <= ms < 750} == {2}
    assert {level for ms, level in found if ms >= 750} == {3}


def test_a_burst_that_is_caught_up_with_costs_nothing() -> None:
    pressure = Pressure()
    assert {level for _, level in looks(pressure, 0, *[(200, True), (300, False)] * 20)} == {0}


def test_an_engine_that_takes_a_little_now_and_then_is_overloaded_all_the_same() -> None:
    # It drains for 10 ms, and is past the mark again at once, because the broker has more.
    found = list(looks(Pressure(), 0, *[(90, True), (10, False)] * 20))
    assert found[-1][1] == 3
    assert all(level >= 1 for ms, level in found if ms > 400)


def test_a_level_ends_when_its_debt_is_paid_and_not_before() -> None:
    pressure = Pressure()
    list(looks(pressure, 0, (900, True)))
    found = dict(looks(pressure, 900, (2_000, False)))
    until = {level: max((ms for ms, at in found.items() if at == level), default=0) for level in (3, 2, 1)}
    assert until[3] == pytest.approx(900 + 400, abs=10)
    assert until[2] == pytest.approx(900 + 650, abs=10)
    assert until[1] == pytest.approx(900 + 900, abs=10)


def test_no_more_debt_is_made_than_can_be_paid_soon() -> None:
    pressure = Pressure()
    list(looks(pressure, 0, (60_000, True)))
    found = dict(looks(pressure, 60_000, (3_000, False)))
    assert found[61_100] == 0
    # And of a long silence after a look that saw it past its mark, only a little counts.
    assert pressure.level(True, 70_000 * MS) == 0
    assert pressure.level(True, 90_000 * MS) == 0


def test_an_overload_is_told_once_and_its_end_once() -> None:
    pressure = Pressure(shed=100)
    assert pressure.told(100, 0) == ""
    assert "left out" in pressure.told(101, 1)
    assert pressure.told(150, 2) == ""
    assert pressure.told(150, 2 + CALM_NS - 1) == ""
    assert pressure.told(160, 2 + CALM_NS) == ""
    assert pressure.told(160, 2 + 2 * CALM_NS) == "messages are taken again; 60 of QoS 0 were left out"
    assert pressure.told(160, 2 + 3 * CALM_NS) == ""
    assert "left out" in pressure.told(161, 2 + 4 * CALM_NS)
