"""How well anybody could tell which of a pump's meters is wrong: an observer with its equations and the meters' noise.

It looks at the same minute of samples, tries every error of every meter in turn, and names the one after which the
equations are least violated (a likelihood ratio). Near the flattest point of the pump's power curve a wrong flow looks
like a wrong head, and then no detector can tell them apart: what a learned model misses is to be held against this.
"""

from __future__ import annotations

import numpy as np

from gateway.core.types import Float64s
from hil.plants.pump import NOMINAL_RPM, Pump

LOOKS_AT_S = 60
ERRORS = np.linspace(-0.15, 0.15, 61)
SMALL = 1e-4
METERS = ("speed", "flow", "head", "power")
"""Motor temperature follows power by minutes: it says nothing of now."""


def head_and_power(speed: Float64s, flow: Float64s) -> tuple[Float64s, Float64s]:
    pumps = [Pump(speed=float(n), flow_m3_h=float(q)) for n, q in zip(speed, flow, strict=True)]
    return np.array([pump.head_m for pump in pumps]), np.array([pump.power_kw for pump in pumps])


def whose_error(values: Float64s, noise: Float64s) -> str:
    """The meter to blame for the last minute of `values` [seconds, tags as METERS and more], of deviations `noise`."""
    seen = values[-LOOKS_AT_S:, : len(METERS)].copy()
    seen[:, 0] /= NOMINAL_RPM
    deviations = noise[: len(METERS)] / np.array([NOMINAL_RPM, 1.0, 1.0, 1.0])
    found = {}
    for place, meter in enumerate(METERS):
        violated = []
        for error in ERRORS:
            right = seen.copy()
            right[:, place] /= 1.0 + error
            violated.append(violation(right, deviations))
        found[meter] = min(violated)
    return min(found, key=lambda meter: found[meter])


def violation(seen: Float64s, deviations: Float64s) -> float:
    """How far head and power are from what the pump's equations make of speed and flow, given the meters' noise."""
    speed, flow = seen[:, 0], seen[:, 1]
    head, power = head_and_power(speed, flow)
    by_speed = (np.array(head_and_power(speed + SMALL, flow)) - (head, power)) / SMALL
    by_flow = (np.array(head_and_power(speed, flow + SMALL)) - (head, power)) / SMALL
    off = seen[:, 2:4] - np.stack([head, power], axis=1)
    spread = np.zeros((len(seen), 2, 2))
    for slopes, sd in ((by_speed, deviations[0]), (by_flow, deviations[1])):
        spread += np.einsum("at,bt->tab", slopes, slopes) * sd**2
    spread += np.diag(deviations[2:4] ** 2)
    return float(np.einsum("ta,tab,tb->", off, np.linalg.inv(spread), off))
