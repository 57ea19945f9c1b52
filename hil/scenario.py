"""A scenario: a plant, a loop, a timeline of what happens to them, and what is expected. One TOML file each.

Times are seconds of the clock since control began; `speed` makes the plant's own time pass faster. `runs = "daemon"`
puts the whole gateway between, as a process that can be paused and killed; else the executive alone runs.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from hil.devices.plc import Plant
from hil.plants.motor import Motor
from hil.plants.oven import Oven
from hil.plants.pumping import Pumping
from hil.plants.tank import Tank

PLANTS: dict[str, Plant] = {"tank": Tank(), "oven": Oven(), "motor": Motor(), "pump": Pumping()}

DeviceFault: TypeAlias = Literal["freeze", "nan", "silence", "unplug", "lose power", "repair"]
"""`repair` ends all of the others."""
DaemonFault: TypeAlias = Literal["pause", "resume", "kill", "start", "reload"]
"""`reload`: another gain in the file, and SIGHUP."""


class ScenarioError(Exception):
    """The file does not say something that can be run."""


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown keys are errors."""


class PlantTable(Table, frozen=True, kw_only=True):
    kind: Literal["tank", "oven", "motor", "pump"]
    speed: float = 1.0
    actuator: float = 0.0
    """In percent, before control begins."""
    watchdog_ms: int = 0
    """The device's own watchdog: without a heartbeat for so long it takes its actuator to zero; 0: it has none."""
    line_baud: int = 0
    """It is at a serial line of this speed, a pseudo-terminal; 0: at Modbus TCP."""
    start: dict[str, float] = {}
    """Fields of the plant that are not its defaults."""


class LoopTable(Table, frozen=True, kw_only=True):
    """`failsafe` left out: hold."""

    setpoint: float
    kp: float
    ti_s: float
    td_s: float | None = None
    setpoint_weight: float = 1.0
    every_ms: int = 20
    failsafe: float | None = None
    stale_after_ms: int = 200


class Entry(Table, frozen=True, kw_only=True):
    """Something that happens at a time."""

    at_s: float
    setpoint: float | None = None
    disturb: dict[str, float] = {}
    fault: DeviceFault | DaemonFault | None = None

    def label(self) -> str:
        if self.setpoint is not None:
            return f"setpoint {self.setpoint:g}"
        return self.fault or ", ".join(f"{name} {value:g}" for name, value in self.disturb.items())


class Expectation(Table, frozen=True, kw_only=True):
    """Over all looks from `from_s` to `to_s`.

    settled: the value is within `within` of the setpoint. output: the actuator is within `within` of `is` percent.
    bumpless: it moves at most `within` percent between two looks. overshoot: at most `within` percent of the step that
    the setpoint makes at `from_s`.
    """

    what: Literal["settled", "output", "bumpless", "overshoot"]
    from_s: float
    to_s: float
    within: float
    is_: float = msgspec.field(default=0.0, name="is")


class Scenario(Table, frozen=True, kw_only=True):
    about: str
    seconds: float
    runs: Literal["executive", "daemon"] = "executive"
    plant: PlantTable
    loop: LoopTable
    timeline: tuple[Entry, ...]
    expect: tuple[Expectation, ...]


def load(path: Path) -> Scenario:
    """Raises ScenarioError, naming the file, or OSError."""
    try:
        scenario = msgspec.toml.decode(path.read_bytes(), type=Scenario)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    if scenario.runs == "daemon" and any(entry.setpoint is not None for entry in scenario.timeline):
        raise ScenarioError(f'{path}: a setpoint cannot be changed from outside; write runs = "executive"')
    if scenario.runs == "executive" and scenario.plant.line_baud:
        raise ScenarioError(f'{path}: a serial line takes the whole gateway; write runs = "daemon"')
    if scenario.runs == "executive" and any(
        entry.fault in ("pause", "resume", "kill", "start", "reload") for entry in scenario.timeline
    ):
        raise ScenarioError(f'{path}: there is no process to pause or kill; write runs = "daemon"')
    return scenario


def make_plant(table: PlantTable) -> Plant:
    """Raises ScenarioError for fields that the plant does not have."""
    try:
        return replace(PLANTS[table.kind], **table.start)  # type: ignore[type-var]
    except TypeError as error:
        raise ScenarioError(f"plant.start: {error}") from error
