"""What a Modbus link tells of its units: bad qualities into the lane, and an event for each change of state.

Every way of polling says the same things through it, so what the plant hears does not depend on which thread asked.
A block's rows get a bad quality once, when its state changes; a value is never refreshed. Silence of all units is told
once, as the bus's (`gateway.protocol.modbus.verdict`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from gateway.core.events import Emit, Event, Severity
from gateway.core.inbox import Lane
from gateway.core.types import SAMPLE, Quality
from gateway.protocol.modbus.frames import exception_name
from gateway.protocol.modbus.polled import Poll, Unit
from gateway.protocol.modbus.reactions import Rule
from gateway.protocol.modbus.verdict import Verdict
from gateway.settings.schema import ModbusLink
from gateway.sources.modbus.tls import TlsError, role_of


class Teller(ABC):
    """Of one link with these units, by id."""

    def __init__(self, *, link: ModbusLink, units: Mapping[int, Unit], emit: Emit) -> None:
        self._name = link.name
        self._place = link.place
        self._units = units
        self._verdict = Verdict(units)
        self._tls = link.tls
        self._emit = emit

    @property
    def is_bus_dead(self) -> bool:
        return self._verdict.is_bus_dead

    @abstractmethod
    def mark(self, poll: Poll, quality: Quality, now_ns: int) -> None:
        """The block's rows are of this quality now."""

    def link_up(self, now_ns: int) -> None:
        self._tell(now_ns, Severity.INFO, "link.up", self._name, f"{self._place} is connected")

    def link_down(self, reason: str, now_ns: int) -> None:
        self._verdict.lost()
        self._tell(now_ns, Severity.WARNING, "link.down", self._name, f"{self._place} {reason}")

    def presence(self, now_ns: int) -> None:
        """Of a link with TLS: in what role its certificate presents the gateway, by which a device may refuse."""
        if self._tls is None:
            return
        if self._tls.cert_file is None:
            what = "has no cert_file: a device that keeps to the standard will refuse the gateway"
            self._tell(now_ns, Severity.NOTICE, "link.role", self._name, f"{self._place} {what}")
            return
        try:
            role = role_of(self._tls.cert_file)
        except TlsError:
            return  # the attempt to connect says it
        said = f'as "{role}"' if role else "without a role, so a device that authorises by role will refuse it"
        severity = Severity.INFO if role else Severity.NOTICE
        what = f"{self._place}: the gateway's certificate presents it {said}"
        self._tell(now_ns, severity, "link.role", self._name, what)

    def recovered(self, poll: Poll, now_ns: int) -> None:
        """The block was read well after it had not been."""
        unit = poll.unit
        if unit.is_babbling:
            self.unit(unit, Severity.NOTICE, "unit.answers", "sends fitting replies again", now_ns)
        if poll.exception:
            self.unit(unit, Severity.NOTICE, "unit.answers", f"answers to {poll.block.place} again", now_ns)
        unit.is_babbling = False
        poll.exception = 0
        poll.quality = int(Quality.GOOD)

    def heard(self, unit: Unit, now_ns: int) -> None:
        """The unit said something."""
        told = self._verdict.heard(unit)
        if told.is_bus:
            what = f"{self._place}: unit {unit.id} answers again; the other units are asked at once"
            self._tell(now_ns, Severity.NOTICE, "bus.answers", self._name, what)
        if told.is_unit:
            self.unit(unit, Severity.NOTICE, "unit.answers", "answers again", now_ns)

    def silent(self, unit: Unit, why: str, answered_ns: int, now_ns: int) -> None:
        """The unit was found silent; `answered_ns` is when any unit of the link last answered."""
        ruling = self._verdict.silent(unit, why, answered_ns)
        for each, reason in ruling.units:
            advice = f"is silent ({reason}); it is probed with back-off: check its power, wiring and unit id"
            self.unit(each, Severity.WARNING, "unit.silent", advice, now_ns)
        if ruling.is_bus:
            what = f"{self._place}: none of its {len(self._units)} units answers ({why}); they are probed with back-off"
            advice = "check what they share: power, wiring, the converter"
            self._tell(now_ns, Severity.WARNING, "bus.silent", self._name, f"{what}: {advice}")
        for poll in unit.polls:
            self.mark(poll, Quality.BAD_COMM_FAILURE, now_ns)

    def refused(self, poll: Poll, code: int, rule: Rule, now_ns: int) -> None:
        """The unit answered with an exception that is not mended by splitting."""
        self.mark(poll, rule.quality, now_ns)
        if poll.exception != code:
            poll.exception = code
            what = f"refuses {poll.block.place} ({poll.block.tags}) with exception {code}, {exception_name(code)}"
            self.unit(poll.unit, Severity.WARNING, "unit.exception", f"{what}: {rule.remedy}", now_ns)

    def busy(self, poll: Poll, code: int, rule: Rule, retry_s: float, now_ns: int) -> None:
        """Its values stay as they are and age; said once until the block is answered well."""
        if poll.exception != code:
            poll.exception = code
            what = f"is busy (exception {code}, {exception_name(code)}): {poll.block.place} is asked for again"
            self.unit(poll.unit, Severity.NOTICE, "unit.busy", f"{what} after {retry_s:g} s; {rule.remedy}", now_ns)

    def garbled(self, poll: Poll, error: Exception, now_ns: int) -> None:
        """The reply did not fit its request."""
        self.mark(poll, Quality.BAD_COMM_FAILURE, now_ns)
        if not poll.unit.is_babbling:
            poll.unit.is_babbling = True
            advice = "check for a second unit with this id, and its firmware"
            what = f"sends replies that do not fit ({error}; asked for {poll.block.place}): {advice}"
            self.unit(poll.unit, Severity.WARNING, "unit.garbage", what, now_ns)

    def unit(self, unit: Unit, severity: Severity, kind: str, what: str, now_ns: int) -> None:
        self._tell(now_ns, severity, kind, ", ".join(unit.devices), f"unit {unit.id} on {self._name} {what}")

    def _tell(self, now_ns: int, severity: Severity, kind: str, subject: str, message: str) -> None:
        self._emit(Event(now_ns, severity, kind, subject, message))


class LaneTeller(Teller):
    """Puts bad qualities into a lane itself."""

    def __init__(self, *, link: ModbusLink, units: Mapping[int, Unit], lane: Lane, emit: Emit) -> None:
        super().__init__(link=link, units=units, emit=emit)
        self._lane = lane

    def mark(self, poll: Poll, quality: Quality, now_ns: int) -> None:
        """Tell the engine once that a block's rows are bad; again at the next failure if the lane has no room."""
        if poll.quality == quality:
            return
        samples = np.zeros(len(poll.block.points), SAMPLE)
        samples["row"] = poll.block.table["row"]
        samples["quality"] = quality
        samples["source_ns"] = now_ns
        samples["arrival_ns"] = now_ns
        poll.memory["is_known"] = 0  # the next good reading is news
        if self._lane.append(samples) == len(samples):
            poll.quality = int(quality)


class FastTeller(Teller):
    """Events alone: bad qualities are put into the lane by the poll thread, which has its other end."""

    def mark(self, poll: Poll, quality: Quality, now_ns: int) -> None:
        poll.quality = int(quality)
