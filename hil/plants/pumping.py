"""The pump and its pipe as one loop sees them: the drive's speed in, the flow out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from hil.plants.pump import Pump

STEP_MAX_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Pumping:
    """`valves`: how far the consumers' are open, 0 to 1."""

    pump: Pump = field(default_factory=Pump)
    valves: float = 0.7

    def step(self, dt_s: float, u: float) -> Pumping:
        """After `dt_s` with the drive at `u` of its nominal speed."""
        pump = self.pump
        while dt_s > 0.0:
            part_s = min(dt_s, STEP_MAX_S)
            pump = pump.step(part_s, u, self.valves)
            dt_s -= part_s
        return replace(self, pump=pump)

    @property
    def measured(self) -> float:
        """Flow in m³/h."""
        return self.pump.measured[1]
