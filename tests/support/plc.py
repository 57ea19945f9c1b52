"""The simulated PLC as the control tests use it, or a process of its own with a tank as a module."""

from __future__ import annotations

import sys

from hil.devices.plc import VALVE, Plc, plc
from hil.plants.tank import Tank

__all__ = ["VALVE", "Plc", "plc"]

if __name__ == "__main__":
    with plc(Tank(level_m=0.2), speed=float(sys.argv[1]) if len(sys.argv) > 1 else 1.0, valve=300) as alone:
        print(alone.port, flush=True)
        sys.stdin.read()
