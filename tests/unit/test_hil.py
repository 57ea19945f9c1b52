"""The HIL bench judges what it sees, and refuses what it cannot run; two of its scenarios, run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from hil.devices.plc import Plc
from hil.figures import Point, step_response
from hil.hardware import load_hardware
from hil.paint import paint
from hil.plants.motor import Motor
from hil.plants.oven import Oven
from hil.run import SCENARIOS, judge, run, run_on
from hil.scenario import Expectation, ScenarioError, load

FIRST_ORDER = [Point(i * 0.01, 10.0, 10.0 * (1.0 - math.exp(-i * 0.01)), 50.0) for i in range(1000)]


def test_the_figures_of_a_first_order_lag_are_those_of_the_textbook() -> None:
    found = step_response(FIRST_ORDER, 0.0)
    assert found.rise_s == pytest.approx(math.log(9.0), abs=0.02)
    assert found.settling_s == pytest.approx(math.log(20.0), abs=0.02)
    assert found.overshoot_percent == 0.0
    assert found.iae == pytest.approx(10.0, rel=0.01)


def test_a_step_downwards_overshoots_below() -> None:
    points = [Point(i * 0.1, 0.0, value, 0.0) for i, value in enumerate([10.0, 5.0, -1.0, 0.0, 0.0])]
    assert step_response(points, 10.0).overshoot_percent == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("what", "within", "is_met"),
    [
        ("settled", 0.1, False),
        ("settled", 4.0, True),
        ("output", 0.1, True),
        ("bumpless", 0.0, True),
    ],
)
def test_an_expectation_is_met_or_not(what: str, within: float, is_met: bool) -> None:
    expectation = Expectation(what=what, from_s=1.0, to_s=2.0, within=within, is_=50.0)  # type: ignore[arg-type]
    assert judge(expectation, FIRST_ORDER).is_met is is_met


def test_a_jump_of_the_output_is_seen() -> None:
    points = [Point(0.0, 0.0, 0.0, 40.0), Point(0.1, 0.0, 0.0, 47.0)]
    expectation = Expectation(what="bumpless", from_s=0.0, to_s=1.0, within=5.0)
    assert judge(expectation, points).worst == pytest.approx(7.0)


def test_the_oven_answers_after_its_dead_time_and_ends_where_its_power_says() -> None:
    oven = Oven().step(0.015, 0.0)
    for _ in range(100):
        oven = oven.step(0.0199, 1.0)
    assert oven.temperature_c == 20.0, "after 1.99 s of 2 s"
    assert oven.step(0.1, 1.0).temperature_c > 20.0
    assert oven.step(400.0, 1.0).temperature_c == pytest.approx(220.0, abs=0.01)


def test_the_motor_ends_at_the_speed_of_its_equations() -> None:
    motor = Motor()
    speed = motor.constant_v_s * 24.0 / (motor.resistance_ohm * motor.friction_n_m_s + motor.constant_v_s**2)
    assert motor.step(5.0, 1.0).speed_rad_s == pytest.approx(speed, rel=1e-3)


def test_what_a_scenario_cannot_mean_is_refused_with_its_place(tmp_path: Path) -> None:
    good = (SCENARIOS / "sensor-nan.toml").read_text(encoding="utf-8")
    path = tmp_path / "bad.toml"
    for wrong, message in (
        (good.replace('fault = "nan"', 'fault = "smoke"'), "smoke"),
        (good.replace("kp = ", "kpp = "), "kpp"),
        (good.replace('fault = "nan"', 'fault = "kill"'), "daemon"),
    ):
        path.write_text(wrong, encoding="utf-8")
        with pytest.raises(ScenarioError, match=message):
            load(path)


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_scenario_that_comes_along_can_be_read(path: Path) -> None:
    assert load(path).expect


def test_a_scenario_passes_and_its_trend_is_painted(tmp_path: Path) -> None:
    result = run("sensor-nan", load(SCENARIOS / "sensor-nan.toml"))
    assert result.has_passed, [(verdict.expectation.what, verdict.worst) for verdict in result.verdicts]
    paint(tmp_path / "trend.png", "sensor-nan", result.points, [(1.0, "here")])
    assert (tmp_path / "trend.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem)
def test_each_scenario_passes(path: Path) -> None:
    result = run(path.stem, load(path))
    assert result.has_passed, [(verdict.expectation.what, verdict.worst) for verdict in result.verdicts]


HARDWARE = """
modbus_tcp = "127.0.0.1:{port}"
measurement = {{ address = 0, type = "float32" }}
actuator = {{ address = 10, scale = 0.1, low = 0, high = 90 }}
"""


def test_the_same_runner_takes_hardware_by_configuration_alone(tmp_path: Path) -> None:
    device = Plc(Motor(), valve=0)
    device.look()
    path = tmp_path / "bench.toml"
    path.write_text(HARDWARE.format(port=device.port), encoding="utf-8")
    result = run_on(load_hardware(path), "motor-setpoint", load(SCENARIOS / "motor-setpoint.toml"))
    device.close()
    assert result.has_passed, [(verdict.expectation.what, verdict.worst) for verdict in result.verdicts]
    assert max(values[0] for _, _, values in device.writes) <= 900, "never beyond the actuator's high"
    with pytest.raises(ScenarioError, match=r"\"nan\" is for simulated plants"):
        run_on(load_hardware(path), "sensor-nan", load(SCENARIOS / "sensor-nan.toml"))
    path.write_text('modbus_tcp = "nowhere"\n', encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"bench\.toml"):
        load_hardware(path)
