"""Whose silence it is: a unit's, or that of the bus behind the link. Decisions only.

A unit that is off and a bus that is cut look the same from one unit's side. What tells them apart is whether anybody
else was heard meanwhile:

- a unit found silent (it owes `OWED_MAX` answers in a row, one of them for a whole response timeout) is a **dead
  unit** once anybody has answered after the first request that it left unanswered;
- while nobody has, the verdict waits. Its tags are bad already; only the telling waits, for the next miss of anybody;
- when every unit of the link is silent, it is a **dead bus**, which is told once for all of them;
- the first word of any unit takes that back. Who stays silent then is told alone.

A link with a single unit cannot tell, and speaks of the unit. A gateway that says on behalf of its units that they do
not answer (exceptions 10 and 11) has a dead bus behind it when it says so of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.protocol.modbus.polled import Unit


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is to be told now: dead units, each with its reason; or that the bus is dead."""

    units: tuple[tuple[Unit, str], ...] = ()
    is_bus: bool = False


@dataclass(frozen=True, slots=True)
class Return:
    """What is to be told of a unit that was heard: its own return, the bus's, both or neither."""

    is_unit: bool
    is_bus: bool


NOTHING = Return(is_unit=False, is_bus=False)


class Verdict:
    """Of one link with these units, by id. It keeps their `is_silent` and `is_told`."""

    def __init__(self, units: Mapping[int, Unit]) -> None:
        self._units = units
        self._doubted: dict[int, str] = {}
        self.is_bus_dead = False

    def silent(self, unit: Unit, why: str, answered_ns: int) -> Ruling:
        """`unit` was found silent, anew or again; `answered_ns` is when any unit of the link last answered."""
        unit.is_silent = True
        if self.is_bus_dead:
            return Ruling()
        if len(self._units) > 1 and all(each.is_silent for each in self._units.values()):
            self.is_bus_dead = True
            self._doubted.clear()
            return Ruling(is_bus=True)
        if not unit.is_told:
            self._doubted[unit.id] = why
        sure = [
            number for number in self._doubted if len(self._units) == 1 or answered_ns > self._units[number].owed_ns
        ]
        told = tuple((self._units[number], self._doubted.pop(number)) for number in sure)
        for each, _ in told:
            each.is_told = True
        return Ruling(told)

    def heard(self, unit: Unit) -> Return:
        """`unit` said something."""
        if not unit.is_silent and not self.is_bus_dead:
            return NOTHING
        told = Return(is_unit=unit.is_told, is_bus=self.is_bus_dead)
        self._doubted.pop(unit.id, None)
        self.is_bus_dead = unit.is_silent = unit.is_told = False
        return told

    def lost(self) -> None:
        """The connection is gone: that is told, and what was thought of the bus behind it is open again."""
        self._doubted.clear()
        self.is_bus_dead = False
