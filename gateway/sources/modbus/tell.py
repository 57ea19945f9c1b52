"""What a Modbus link tells of its units: bad qualities into the lane, and an event for each change of state.

Every way of polling says the same things through it, so what the plant hears does not depend on which thread asked.
A block's rows get a bad quality once, when its state changes; a value is never refreshed.
"""

from __future__ import annotations

import numpy as np

from gateway.core.events import Emit, Event, Severity
from gateway.core.inbox import Lane
from gateway.core.types import SAMPLE, Quality
from gateway.protocol.modbus.frames import exception_name
from gateway.protocol.modbus.polled import Poll, Unit
from gateway.protocol.modbus.reactions import Rule


class Teller:
    """Of one link, named `name`."""

    def __init__(self, *, name: str, lane: Lane, emit: Emit) -> None:
        self._name = name
        self._lane = lane
        self._emit = emit

    def link_up(self, place: str, now_ns: int) -> None:
        self._tell(now_ns, Severity.INFO, "link.up", self._name, f"{place} is connected")

    def link_down(self, place: str, reason: str, now_ns: int) -> None:
        self._tell(now_ns, Severity.WARNING, "link.down", self._name, f"{place} {reason}")

    def no_certificate(self, place: str, now_ns: int) -> None:
        what = "has no cert_file: a device that keeps to the standard will refuse the gateway"
        self._tell(now_ns, Severity.NOTICE, "link.role", self._name, f"{place} {what}")

    def role(self, place: str, role: str | None, now_ns: int) -> None:
        """In what role the gateway's certificate presents it, by which a device may refuse functions."""
        said = f'as "{role}"' if role else "without a role, so a device that authorises by role will refuse it"
        severity = Severity.INFO if role else Severity.NOTICE
        self._tell(now_ns, severity, "link.role", self._name, f"{place}: the gateway's certificate presents it {said}")

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
        if unit.is_silent:
            unit.is_silent = False
            self.unit(unit, Severity.NOTICE, "unit.answers", "answers again", now_ns)

    def silent(self, unit: Unit, why: str, now_ns: int) -> None:
        if not unit.is_silent:
            unit.is_silent = True
            advice = f"is silent ({why}); it is probed with back-off: check its power, wiring and unit id"
            self.unit(unit, Severity.WARNING, "unit.silent", advice, now_ns)
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
