"""Who gets a connection to the Modbus server: by where it comes from, and while there is a place."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.core.limits import SCADA_CLIENTS_MAX
from gateway.core.places import Places, Refusal, client_of
from gateway.core.readings import Reading
from gateway.serving.scada.access import Access
from gateway.serving.scada.audit import Audit
from gateway.serving.scada.client import Client


class Admission:
    """`clients` are those that have a connection, each with one of `SCADA_CLIENTS_MAX` places."""

    def __init__(self, access: Access, audit: Audit, *, each_max: int) -> None:
        self.clients: set[Client] = set()
        self._access = access
        self._audit = audit
        self._places = Places(total_max=SCADA_CLIENTS_MAX, each_max=each_max)
        self._connections = 0
        self._forbidden = 0
        self._turned_away = dict.fromkeys(Refusal, 0)

    def admit(self, client: Client) -> bool:
        """Whether it may connect, and there is a place for it; then its rule is known too."""
        if not self._access.may_connect(client.host):
            self._forbidden += 1
            self._audit.misbehaved(client.host, "forbidden", "it is in none of the networks under clients in [scada]")
            return False
        if (refusal := self._places.take(client_of(client.host))) is not None:
            self._turn_away(client.host, refusal)
            return False
        client.rule = self._access.rule_of(client.host)
        client.read_only = self._access.read_only(client.host)
        self.clients.add(client)
        self._connections += 1
        return True

    def leave(self, client: Client) -> None:
        if client in self.clients:
            self.clients.remove(client)
            self._places.give_back(client_of(client.host))
            self._audit.has_room()

    def readings(self) -> Iterator[Reading]:
        yield Reading("fieldgate_scada_clients", len(self.clients))
        yield Reading("fieldgate_scada_connections_total", self._connections)
        yield Reading("fieldgate_scada_refused_clients_total", self._turned_away[Refusal.FULL])
        yield Reading("fieldgate_scada_crowded_clients_total", self._turned_away[Refusal.CROWDED])
        yield Reading("fieldgate_scada_forbidden_clients_total", self._forbidden)

    def _turn_away(self, host: str, refusal: Refusal) -> None:
        self._turned_away[refusal] += 1
        if refusal is Refusal.FULL:
            self._audit.full(host, SCADA_CLIENTS_MAX)
        elif self._places.is_news(client_of(host)):
            self._audit.crowded(client_of(host), self._places.each_max)
