"""A rotating machine as its bearing's vibration sensor sees it: speed, and RMS velocity that grows with wear.

Unbalance excites a velocity proportional to the cube of speed below resonance (force ω², velocity ω³ at constant
stiffness); wear adds broadband noise. Severity is read as RMS velocity in mm/s (ISO 20816-1).
"""

from __future__ import annotations

from dataclasses import dataclass

TIME_CONSTANT_S = 4.0
NOMINAL_RPM = 1485.0
NOMINAL_MM_S = 1.8


@dataclass(frozen=True, slots=True)
class Rotor:
    speed_rpm: float = 0.0
    velocity_mm_s: float = 0.0
    temperature_c: float = 24.0


def step(rotor: Rotor, dt_s: float, speed_demand_rpm: float, wear: float, noise: float) -> Rotor:
    """The rotor after `dt_s` seconds. `wear` is 0 for new; `noise` is one draw of a standard normal variable."""
    speed = rotor.speed_rpm + (speed_demand_rpm - rotor.speed_rpm) * min(1.0, dt_s / TIME_CONSTANT_S)
    ratio = speed / NOMINAL_RPM
    velocity = NOMINAL_MM_S * ratio**3 * (1.0 + wear) + (0.05 + 0.1 * wear) * noise
    warm = 24.0 + 30.0 * ratio**2 + 20.0 * wear
    temperature = rotor.temperature_c + (warm - rotor.temperature_c) * min(1.0, dt_s / 60.0)
    return Rotor(speed, max(0.0, velocity), temperature)
