"""A tank with an inflow valve and a free outlet.

    A · dh/dt = u · q_max − a · √(2 g h)        (Torricelli)

SI units. The state is the level; `step` is pure: it returns the tank as it is `dt_s` later. Steps are cut to 10 ms at
most, so that the level does not depend on how often somebody looks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

GRAVITY_M_S2: Final = 9.81
STEP_MAX_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Tank:
    """By default a small, quick one: at half a metre the valve stands at about 39 %."""

    level_m: float = 0.0
    height_m: float = 1.0
    area_m2: float = 0.02
    outlet_m2: float = 0.0005
    inflow_max_m3_s: float = 0.004

    def step(self, dt_s: float, u: float) -> Tank:
        """The tank after `dt_s` with the valve `u` open (0 to 1). It overflows at its height."""
        steps = max(1, math.ceil(dt_s / STEP_MAX_S))
        each_s = dt_s / steps
        level_m = self.level_m
        inflow_m3_s = min(max(u, 0.0), 1.0) * self.inflow_max_m3_s
        for _ in range(steps):
            outflow_m3_s = self.outlet_m2 * math.sqrt(2.0 * GRAVITY_M_S2 * level_m)
            level_m += (inflow_m3_s - outflow_m3_s) / self.area_m2 * each_s
            level_m = min(max(level_m, 0.0), self.height_m)
        return replace(self, level_m=level_m)

    @property
    def measured(self) -> float:
        return self.level_m

    def balance(self, level_m: float) -> float:
        """The valve opening that keeps a level."""
        return self.outlet_m2 * math.sqrt(2.0 * GRAVITY_M_S2 * level_m) / self.inflow_max_m3_s
