"""An oven: a heater, a lag, and a dead time between the heater and the thermometer.

    τ · dT/dt = T_ambient − T + k · u(t − θ)

Temperatures in °C. The state is the temperature and the power still under way; `step` is pure. Steps are STEP_S long;
what is left of a step is kept for the next, so that the result does not depend on how often somebody looks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

STEP_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Oven:
    """By default heated to 220 °C at most, with a lag of 20 s and a dead time of 2 s."""

    temperature_c: float = 20.0
    ambient_c: float = 20.0
    rise_max_c: float = 200.0
    lag_s: float = 20.0
    dead_time_s: float = 2.0
    under_way: tuple[float, ...] = ()
    """Heater settings of the last dead time, the oldest first."""
    rest_s: float = 0.0

    def step(self, dt_s: float, u: float) -> Oven:
        """The oven after `dt_s` with the heater at `u` (0 to 1)."""
        whole = round(self.dead_time_s / STEP_S)
        line = list(self.under_way) or [u] * whole
        temperature_c = self.temperature_c
        steps, rest_s = divmod(self.rest_s + dt_s, STEP_S)
        for _ in range(int(steps)):
            line.append(min(max(u, 0.0), 1.0))
            target_c = self.ambient_c + self.rise_max_c * line.pop(0)
            temperature_c += (target_c - temperature_c) / self.lag_s * STEP_S
        return replace(self, temperature_c=temperature_c, under_way=tuple(line), rest_s=rest_s)

    @property
    def measured(self) -> float:
        return self.temperature_c
