"""The relay test: what it finds of processes whose critical gain is known, and that it ends where it must."""

from __future__ import annotations

import math

import pytest

from gateway.control.tuning import Relay, TuneAborted

DT_S = 0.002


def relay(**changed: float) -> Relay:
    whole = {
        "rest": 0.0,
        "output": 50.0,
        "step": 5.0,
        "band": 0.02,
        "deviation": 100.0,
        "swings": 4,
        "timeout_s": 500.0,
    }
    return Relay(**(whole | changed))  # type: ignore[arg-type]


def swing(test: Relay, dead_s: float, lag_s: float, gain: float = 1.0) -> None:
    """A first-order lag with dead time; at 50 it rests at 0."""
    waiting = [50.0] * round(dead_s / DT_S)
    value, now_s = 0.0, 0.0
    while not test.is_done:
        waiting.append(test.next_output(value, now_s))
        value += (gain * (waiting.pop(0) - 50.0) - value) * DT_S / lag_s
        now_s += DT_S


def critical(dead_s: float, lag_s: float) -> tuple[float, float]:
    """Gain and period at which the phase is −π: ω·L + atan(ω·T) = π."""
    low, high = 1e-6, math.pi / dead_s
    for _ in range(200):
        omega = (low + high) / 2
        low, high = (omega, high) if omega * dead_s + math.atan(omega * lag_s) < math.pi else (low, omega)
    return math.sqrt(1 + (omega * lag_s) ** 2), 2 * math.pi / omega


@pytest.mark.parametrize(("dead_s", "lag_s"), [(0.5, 1.0), (0.2, 2.0), (1.0, 1.0)])
def test_the_critical_gain_and_period_are_found_as_well_as_a_relay_can(dead_s: float, lag_s: float) -> None:
    test = relay()
    swing(test, dead_s, lag_s)
    found = test.result()
    ku, tu_s = critical(dead_s, lag_s)
    assert found.tu_s == pytest.approx(tu_s, rel=0.15)
    assert found.ku == pytest.approx(ku, rel=0.30), "a relay is not a sine: within its own error (Åström, Hägglund)"
    assert found.swings == 4
    calm = found.gains()[0]
    assert calm.kp == pytest.approx(found.ku / 3.2)


def test_it_ends_when_the_input_goes_too_far_takes_too_long_or_is_bad() -> None:
    with pytest.raises(TuneAborted, match=r"more than 0\.5 from 0; take a smaller step"):
        swing(relay(deviation=0.5), 0.5, 1.0)
    with pytest.raises(TuneAborted, match="take a larger step or more time"):
        swing(relay(timeout_s=2.0), 0.5, 1.0)
    with pytest.raises(TuneAborted, match="the input is bad"):
        relay().next_output(math.nan, 0.0)
