"""The PID step against scipy's own discretisation of the same transfer functions, on step, ramp and noise.

scipy turns kp · (b + 1 / (ti · s)) from the setpoint, and −kp · (1 + 1 / (ti · s) + td · s / (1 + s · td / N)) from the
measurement, into difference equations by backward differences. Stated tolerance: 1e-9 of the largest output.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import signal

from gateway.control import pid
from tests.reference import control as plain

DT_S = 0.02
STEPS = 500
TIMES_S = np.arange(STEPS) * DT_S
NOISE = np.random.default_rng(7).normal(0.0, 1.0, STEPS)

# Setpoint and measurement.
COURSES = {
    "a setpoint step": (np.where(TIMES_S >= 1.0, 5.0, 0.0), np.zeros(STEPS)),
    "a measurement step": (np.zeros(STEPS), np.where(TIMES_S >= 1.0, -3.0, 0.0)),
    "a ramp": (0.5 * TIMES_S, 0.3 * TIMES_S),
    "noise": (np.full(STEPS, 2.0), NOISE),
}
CONTROLLERS = {
    "PI": (2.0, 1.5, 0.0, 1.0, 8.0),
    "PID": (1.2, 3.0, 0.4, 1.0, 8.0),
    "PID with half the setpoint and a light filter": (1.2, 3.0, 0.4, 0.5, 20.0),
}


def by_scipy(
    setpoint: np.ndarray, measured: np.ndarray, kp: float, ti_s: float, td_s: float, b: float, n: float
) -> np.ndarray:
    """The output of the linear controller, from rest."""

    def through(numerator: list[float], denominator: list[float], course: np.ndarray) -> np.ndarray:
        above, below, _ = signal.cont2discrete((numerator, denominator), DT_S, method="backward_diff")
        return signal.lfilter(above.ravel(), below, course)

    from_setpoint = through([kp * b * ti_s, kp], [ti_s, 0.0], setpoint)
    from_measured = through([kp * ti_s, kp], [ti_s, 0.0], measured)
    if td_s > 0.0:
        from_measured = from_measured + through([kp * td_s, 0.0], [td_s / n, 1.0], measured)
    return from_setpoint - from_measured


@pytest.mark.parametrize("course", COURSES)
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_the_controller_is_the_one_that_scipy_makes_of_its_transfer_functions(controller: str, course: str) -> None:
    kp, ti_s, td_s, b, n = CONTROLLERS[controller]
    setpoint, measured = COURSES[course]
    twin = plain.Pid(1.0, 0.0, kp, ti_s, td_s, -1e9, 1e9, math.inf, setpoint_weight=b, derivative_filter=n)
    state = np.array([[getattr(twin, field) for field in pid.FIELDS]])
    pid.track(state, 0, 0.0, 0.0)
    found = np.empty(STEPS)
    for i in range(STEPS):
        state[0, pid.SETPOINT] = setpoint[i]
        found[i] = pid.step(state, 0, measured[i], DT_S)
    wanted = by_scipy(setpoint, measured, kp, ti_s, td_s, b, n)
    assert np.abs(wanted).max() > 1.0, "a course that moves nothing shows nothing"
    assert np.abs(found - wanted).max() <= 1e-9 * np.abs(wanted).max()
