"""A three-phase energy meter: voltage, current, power, and a counter that never goes back.

Active power of a balanced load: P = √3 · U · I · cos φ (IEC 60050-131). The counter is kept in mWh so that an
integer register loses nothing at short steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

VOLTAGE_V = 400.0
POWER_FACTOR = 0.92
SOURCE_IMPEDANCE_OHM = 0.02


@dataclass(frozen=True, slots=True)
class Meter:
    """`voltage_v` is line to line; `energy_mwh` counts since the meter was made."""

    voltage_v: float = VOLTAGE_V
    current_a: float = 0.0
    power_w: float = 0.0
    energy_mwh: float = 0.0


def step(meter: Meter, dt_s: float, load_w: float) -> Meter:
    """The meter after `dt_s` seconds under a load of `load_w` watts; the line sags a little with the current."""
    current_a = load_w / (math.sqrt(3.0) * meter.voltage_v * POWER_FACTOR)
    return replace(
        meter,
        voltage_v=VOLTAGE_V - math.sqrt(3.0) * SOURCE_IMPEDANCE_OHM * current_a,
        current_a=current_a,
        power_w=load_w,
        energy_mwh=meter.energy_mwh + load_w * dt_s / 3.6,
    )
