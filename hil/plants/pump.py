"""A centrifugal pump with a speed drive, against a pipe whose resistance follows the consumers' valves.

    pump    H = H0 · n² − a · Q²             n: speed, 1 at nominal
    pipe    H = Hs + k · Q² / v²             v: how far the consumers' valves are open, 0 to 1
    power   P = ρ g Q H / η(Q / n) + P0 · n³     η: a parabola around the best point

Five things are measured: speed, flow, head, power and the motor's temperature. With load they all move together over
most of their ranges, so a meter that reads a tenth too little shows in none of them alone. `step` is pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

SHUT_OFF_HEAD_M: Final = 42.0
CURVE_M_H2_M5: Final = 42.0 * 0.35 / 80.0**2
STATIC_HEAD_M: Final = 6.0
PIPE_H2_M5: Final = 18.0 / 80.0**2
BEST_FLOW_M3_H: Final = 80.0
BEST_EFFICIENCY: Final = 0.76
IDLE_KW: Final = 0.6
NOMINAL_RPM: Final = 1480.0
FLOW_TIME_S: Final = 2.0
DRIVE_TIME_S: Final = 3.0
MOTOR_TIME_S: Final = 240.0
WARM_K_PER_KW: Final = 4.0
KW_PER_M3_H_M: Final = 9.81 / 3600.0


@dataclass(frozen=True, slots=True)
class Pump:
    """`speed` 1 is nominal. `wear` is the part of its efficiency that the pump has lost, `flow_error` what the flow
    meter adds, as a part of the flow."""

    speed: float = 0.0
    flow_m3_h: float = 0.0
    motor_c: float = 24.0
    wear: float = 0.0
    flow_error: float = 0.0

    def step(self, dt_s: float, speed_demand: float, valves: float, ambient_c: float = 24.0) -> Pump:
        """The pump after `dt_s` with a demanded speed and the consumers' valves at `valves`."""
        speed = self.speed + (speed_demand - self.speed) * min(1.0, dt_s / DRIVE_TIME_S)
        driving = max(SHUT_OFF_HEAD_M * speed**2 - STATIC_HEAD_M, 0.0)
        settled = math.sqrt(driving / (CURVE_M_H2_M5 + PIPE_H2_M5 / max(valves, 0.05) ** 2))
        flow = self.flow_m3_h + (settled - self.flow_m3_h) * min(1.0, dt_s / FLOW_TIME_S)
        moved = replace(self, speed=speed, flow_m3_h=flow)
        warm = ambient_c + WARM_K_PER_KW * moved.power_kw
        return replace(moved, motor_c=self.motor_c + (warm - self.motor_c) * min(1.0, dt_s / MOTOR_TIME_S))

    @property
    def head_m(self) -> float:
        return max(SHUT_OFF_HEAD_M * self.speed**2 - CURVE_M_H2_M5 * self.flow_m3_h**2, 0.0)

    @property
    def power_kw(self) -> float:
        load = self.flow_m3_h / (BEST_FLOW_M3_H * max(self.speed, 0.05))
        efficiency = max(BEST_EFFICIENCY * (1.0 - 0.6 * (load - 1.0) ** 2) * (1.0 - self.wear), 0.05)
        return KW_PER_M3_H_M * self.flow_m3_h * self.head_m / efficiency + IDLE_KW * self.speed**3

    @property
    def measured(self) -> tuple[float, float, float, float, float]:
        """Speed in 1/min, flow in m³/h, head in m, power in kW, temperature of the motor in °C."""
        flow = self.flow_m3_h * (1.0 + self.flow_error)
        return (NOMINAL_RPM * self.speed, flow, self.head_m, self.power_kw, self.motor_c)
