"""The demo plant's instruments: a tank with level sensor and valve, energy meters, a vibration sensor.

Disturbances and noise come from a seeded generator of the instrument's own, so that two runs see the same plant.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

from hil.plants import meter, rotor
from hil.plants.tank import GRAVITY_M_S2, Tank


class TankUnit:
    """Level sensor (% of the tank's height) and inlet valve (%) of one tank."""

    registers: Mapping[str, tuple[int, str]] = {
        "level": (0, "float32"),
        "outflow": (2, "float32"),
        "valve": (10, "uint16"),
    }

    def __init__(self, level_m: float = 0.3, seed: int = 1) -> None:
        self.valve_permille = 0
        self._tank = Tank(level_m=level_m)
        self._random = random.Random(seed)

    def advance(self, dt_s: float) -> None:
        self._tank = self._tank.step(dt_s, self.valve_permille / 1000.0)

    def read(self, name: str) -> float:
        if name == "valve":
            return self.valve_permille
        if name == "outflow":
            return self._tank.outlet_m2 * math.sqrt(2.0 * GRAVITY_M_S2 * self._tank.level_m) * 1000.0
        return 100.0 * self._tank.level_m / self._tank.height_m + self._random.gauss(0.0, 0.02)

    def write(self, name: str, value: float) -> bool:
        if name != "valve" or not 0 <= value <= 1000:
            return False
        self.valve_permille = int(value)
        return True


class MeterUnit:
    """One energy meter; its load swings with the day's minute and its number."""

    registers: Mapping[str, tuple[int, str]] = {
        "voltage": (0, "float32"),
        "current": (2, "float32"),
        "power": (4, "float32"),
        "frequency": (6, "uint16"),
        "energy": (8, "uint64"),
    }

    def __init__(self, number: int) -> None:
        self._meter = meter.Meter(energy_mwh=float(number) * 2.0**53)
        self._random = random.Random(number)
        self._number = number
        self._time_s = 0.0

    def advance(self, dt_s: float) -> None:
        self._time_s += dt_s
        swing = math.sin(2.0 * math.pi * self._time_s / 20.0 + self._number)
        self._meter = meter.step(self._meter, dt_s, 12_000.0 + 4_000.0 * swing + self._random.gauss(0.0, 60.0))

    def read(self, name: str) -> float:
        if name == "frequency":
            return 5000.0 + self._random.gauss(0.0, 1.0)
        return {
            "voltage": self._meter.voltage_v,
            "current": self._meter.current_a,
            "power": self._meter.power_w,
            "energy": self._meter.energy_mwh,
        }[name]

    def write(self, name: str, value: float) -> bool:
        return False


class RotorUnit:
    """A fan's vibration sensor. Its bearing goes bad for a few seconds once a period: something to find."""

    registers: Mapping[str, tuple[int, str]] = {
        "velocity": (0, "float32"),
        "speed": (2, "float32"),
        "temperature": (4, "float32"),
    }

    def __init__(
        self, fault_at_s: float = 25.0, fault_for_s: float = 4.0, every_s: float = 60.0, seed: int = 3
    ) -> None:
        self._rotor = rotor.Rotor(speed_rpm=rotor.NOMINAL_RPM, velocity_mm_s=rotor.NOMINAL_MM_S, temperature_c=54.0)
        self._random = random.Random(3)
        self._time_s = 0.0
        self._fault = (fault_at_s, fault_at_s + fault_for_s, every_s)

    def advance(self, dt_s: float) -> None:
        self._time_s += dt_s
        begins_s, ends_s, every_s = self._fault
        wear = 1.5 if begins_s <= self._time_s % every_s < ends_s else 0.0
        self._rotor = rotor.step(self._rotor, dt_s, rotor.NOMINAL_RPM, wear, self._random.gauss(0.0, 1.0))

    def read(self, name: str) -> float:
        return {
            "velocity": self._rotor.velocity_mm_s,
            "speed": self._rotor.speed_rpm,
            "temperature": self._rotor.temperature_c,
        }[name]

    def write(self, name: str, value: float) -> bool:
        return False
