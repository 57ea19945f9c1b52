"""The tank plant obeys Torricelli."""

from __future__ import annotations

import pytest

from hil.plants.tank import Tank


def test_the_balance_opening_keeps_the_level() -> None:
    tank = Tank(level_m=0.5)
    assert tank.step(60.0, tank.balance(0.5)).level_m == pytest.approx(0.5, abs=1e-9)


def test_an_open_outlet_empties_the_tank_in_the_time_of_torricelli() -> None:
    tank = Tank(level_m=1.0)
    emptying_s = tank.area_m2 / tank.outlet_m2 * (2.0 / 9.81) ** 0.5
    assert tank.step(emptying_s * 0.5, 0.0).level_m == pytest.approx(0.25, abs=0.01)


def test_the_tank_overflows_at_its_height() -> None:
    assert Tank(level_m=0.9).step(100.0, 1.0).level_m == pytest.approx(1.0, abs=1e-3)
