"""Real hardware in place of a simulated plant: where it is and what its registers mean, in one TOML file.

    modbus_tcp = "10.0.0.5:502"
    unit = 1
    measurement = { address = 100, type = "float32" }
    actuator = { address = 200, scale = 0.1, low = 0, high = 60 }

Scenarios run against it as they are, those without faults and disturbances: these belong to the simulated plant. The
actuator stays within `low` and `high`, and goes to the scenario's fail-safe output at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from gateway.settings.schema import RegisterType
from hil.scenario import Scenario, ScenarioError, Table


class Register(Table, frozen=True, kw_only=True):
    """A holding register, or several from `address` on."""

    address: int
    type: RegisterType = RegisterType.UINT16
    table: Literal["holding", "input"] = "holding"
    scale: float = 1.0
    offset: float = 0.0
    low: float = 0.0
    high: float = 100.0


class Hardware(Table, frozen=True, kw_only=True):
    modbus_tcp: str
    unit: int = 1
    measurement: Register
    actuator: Register
    response_timeout_ms: int = 500

    @property
    def host(self) -> str:
        return self.modbus_tcp.rpartition(":")[0]

    @property
    def port(self) -> int:
        return int(self.modbus_tcp.rpartition(":")[2])


def load_hardware(path: Path) -> Hardware:
    """Raises ScenarioError, naming the file, or OSError."""
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=Hardware)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    if not found.host or not found.modbus_tcp.rpartition(":")[2].isdecimal():
        raise ScenarioError(f'{path}: modbus_tcp is "{found.modbus_tcp}"; write modbus_tcp = "10.0.0.5:502"')
    return found


def check_for_hardware(name: str, scenario: Scenario) -> None:
    """Raises ScenarioError for what only a simulated plant can do."""
    unfit = [entry.label() for entry in scenario.timeline if entry.setpoint is None]
    if unfit or scenario.runs != "executive":
        what = f'"{unfit[0]}"' if unfit else 'runs = "daemon"'
        raise ScenarioError(f"{name}: {what} is for simulated plants; hardware takes scenarios of setpoints only")
