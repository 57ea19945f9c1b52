"""What the server tells of its clients: every accepted write, and each change in how a client behaves.

A client is an address without its port, since a broken one opens a new port for every attempt. Refused writes and
misbehaviour are caused from outside at any rate, so both have a budget of events; what exceeds it is counted.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from gateway.core.events import Emit, Event, Severity
from gateway.core.ports import Clock
from gateway.core.types import NS_PER_S

EVENTS_PER_PERIOD_MAX: Final = 20
PERIOD_NS: Final = 10 * NS_PER_S
HOSTS_MAX: Final = 256
"""Addresses whose last behaviour is remembered. Overflow: the one heard of longest ago is forgotten."""


class Audit:
    def __init__(self, emit: Emit, now_ns: Clock) -> None:
        self._emit = emit
        self._now_ns = now_ns
        self._faults: OrderedDict[str, str] = OrderedDict()
        self._denied: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._period_ends_ns = 0
        self._left = EVENTS_PER_PERIOD_MAX
        self._is_full = False
        self.events_suppressed = 0

    def write_accepted(self, client: str, point: str, old: float, new: float) -> None:
        self._say(Severity.NOTICE, "scada.write.accepted", point, f"{client} wrote {point}: {old:g} -> {new:g}")

    def write_refused(self, client: str, point: str, why: str) -> None:
        self._within_budget(
            Severity.WARNING, "scada.write.refused", point, f"{client} may not write {point}: {why}; nothing changed"
        )

    def denied(self, host: str, code: int, why: str) -> None:
        """A rule keeps it from something; a master asks again and again, so each thing is told once."""
        if (host, why) in self._denied:
            return
        self._denied[host, why] = None
        if len(self._denied) > HOSTS_MAX:
            self._denied.popitem(last=False)
        message = f"{host} is answered with exception {code:d}: {why}"
        self._within_budget(Severity.WARNING, "scada.denied", host, message)

    def misbehaved(self, host: str, kind: str, why: str) -> None:
        """`kind` is the fault's short name; the same fault again from the same host says nothing new."""
        known = self._faults.get(host)
        self._faults[host] = kind
        self._faults.move_to_end(host)
        if len(self._faults) > HOSTS_MAX:
            self._faults.popitem(last=False)
        if known != kind:
            self._within_budget(Severity.WARNING, f"scada.client.{kind}", host, f"{host}: {why}; connection closed")

    def behaved(self, host: str) -> None:
        """A whole request arrived."""
        if self._faults and self._faults.pop(host, None) is not None:
            self._within_budget(Severity.INFO, "scada.client.recovered", host, f"{host}: speaks Modbus again")

    def full(self, host: str, clients_max: int) -> None:
        """A client was turned away; says so for the first one only."""
        if not self._is_full:
            self._is_full = True
            why = f"refused {host}: all {clients_max} connections are in use; close some, or poll through one master"
            self._within_budget(Severity.WARNING, "scada.clients.full", "scada", why)

    def crowded(self, client: str, each_max: int) -> None:
        """A client was turned away that has as many as one may have."""
        why = (
            f"{client} has all of its {each_max} connections, further ones are closed;"
            " close some, or write a higher connections_per_client in [scada]"
        )
        self._within_budget(Severity.WARNING, "scada.client.crowded", client, why)

    def has_room(self) -> None:
        if self._is_full:
            self._is_full = False
            self._within_budget(Severity.INFO, "scada.clients.room", "scada", "there is room for a connection again")

    def _within_budget(self, severity: Severity, kind: str, subject: str, message: str) -> None:
        now_ns = self._now_ns()
        if now_ns >= self._period_ends_ns:
            self._period_ends_ns = now_ns + PERIOD_NS
            self._left = EVENTS_PER_PERIOD_MAX
        if self._left == 0:
            self.events_suppressed += 1
            return
        self._left -= 1
        self._say(severity, kind, subject, message)

    def _say(self, severity: Severity, kind: str, subject: str, message: str) -> None:
        self._emit(Event(self._now_ns(), severity, kind, subject, message))
