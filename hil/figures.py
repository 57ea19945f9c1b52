"""Step-response figures of a trend, as control engineers quote them. Pure.

Rise time: from 10 to 90 % of the step. Overshoot: how far beyond the new setpoint, in percent of the step. Settling
time: until the value stays within 5 % of the step. IAE: the integral of the absolute error, in units times seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

SETTLED_WITHIN: Final = 0.05


@dataclass(frozen=True, slots=True)
class Point:
    """One look at the plant; `output` is the actuator in percent."""

    at_s: float
    setpoint: float
    value: float
    output: float


@dataclass(frozen=True, slots=True)
class StepResponse:
    """None: not reached within the trend."""

    at_s: float
    rise_s: float | None
    overshoot_percent: float
    settling_s: float | None
    iae: float


def step_response(points: Sequence[Point], from_value: float) -> StepResponse:
    """Of the points from a setpoint step on, all with the new setpoint."""
    start_s = points[0].at_s
    span = points[0].setpoint - from_value
    shares = [(point.at_s - start_s, (point.value - from_value) / span) for point in points]
    low_s = next((at_s for at_s, share in shares if share >= 0.1), None)
    high_s = next((at_s for at_s, share in shares if share >= 0.9), None)
    settling_s: float | None = None
    for at_s, share in reversed(shares):
        if abs(share - 1.0) > SETTLED_WITHIN:
            break
        settling_s = at_s
    return StepResponse(
        at_s=start_s,
        rise_s=None if low_s is None or high_s is None else high_s - low_s,
        overshoot_percent=max(0.0, 100.0 * (max(share for _, share in shares) - 1.0)),
        settling_s=settling_s,
        iae=sum(abs(a.setpoint - a.value) * (b.at_s - a.at_s) for a, b in pairwise(points)),
    )
