"""A DC motor with a fan on its shaft, driven by an armature voltage.

    L · di/dt = V − R · i − k · ω        J · dω/dt = k · i − b · ω − T_load

SI units; what is measured is the speed in revolutions a minute. `step` is pure; steps are cut to 0.5 ms at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

STEP_MAX_S: Final = 0.0005
RPM: Final = 60.0 / (2.0 * math.pi)


@dataclass(frozen=True, slots=True)
class Motor:
    """By default some 2,000 revolutions a minute at full voltage."""

    speed_rad_s: float = 0.0
    current_a: float = 0.0
    voltage_max_v: float = 24.0
    resistance_ohm: float = 1.0
    inductance_h: float = 0.005
    constant_v_s: float = 0.1
    inertia_kg_m2: float = 0.004
    friction_n_m_s: float = 0.001
    load_n_m: float = 0.0

    def step(self, dt_s: float, u: float) -> Motor:
        """The motor after `dt_s` with `u` (0 to 1) of its voltage; a load only brakes."""
        steps = max(1, math.ceil(dt_s / STEP_MAX_S))
        each_s = dt_s / steps
        speed, current = self.speed_rad_s, self.current_a
        voltage_v = min(max(u, 0.0), 1.0) * self.voltage_max_v
        for _ in range(steps):
            change = voltage_v - self.resistance_ohm * current - self.constant_v_s * speed
            torque = self.constant_v_s * current - self.friction_n_m_s * speed - (self.load_n_m if speed > 0.0 else 0.0)
            current += change / self.inductance_h * each_s
            speed += torque / self.inertia_kg_m2 * each_s
        return replace(self, speed_rad_s=speed, current_a=current)

    @property
    def measured(self) -> float:
        return self.speed_rad_s * RPM
