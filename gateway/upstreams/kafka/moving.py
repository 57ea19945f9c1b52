"""Whether anything moves on this process's connections to a cluster: a narrow line is not a dead one.

librdkafka keeps its sockets to itself, the system does not: they are those whose peer is a broker. Something moves when
the other side's TCP took some of what lay in a queue before: a broker that is silent while its system takes new
requests does not move. What comes counts where much is to come; else it may be one and the same "not now".
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from gateway.sendqueue import traffic, unacknowledged

Endpoint: TypeAlias = tuple[str, int]
"""Host, by name or number, and port."""

DESCRIPTORS: Final = Path("/proc/self/fd")


class Moving:
    """Of one session; one thread."""

    def __init__(self, servers: Iterable[str]) -> None:
        """`servers`: HOST:PORT, as they are written."""
        self._brokers: set[Endpoint] = set()
        self._addresses: dict[Endpoint, set[Endpoint]] = {}
        self._before: dict[int, tuple[int, int, bool]] = {}
        for server in servers:
            host, _, port = server.rpartition(":")
            self.know(host.strip("[]"), int(port))

    def know(self, host: str, port: int) -> None:
        """Where a broker is."""
        self._brokers.add((host, port))

    def has_moved(self, *, is_reading: bool) -> bool:
        """Since the last look. `is_reading`: what comes counts."""
        now: dict[int, tuple[int, int, bool]] = {}
        for descriptor, connection in _connections(set().union(*map(self._resolved, self._brokers))):
            taken, came = traffic(connection)
            now[descriptor] = (taken, came, unacknowledged(connection.fileno()) > 0)
        before, self._before = self._before, now
        for descriptor, (taken, came, _) in now.items():
            taken_before, came_before, was_queued = before.get(descriptor, (taken, came, False))
            if (is_reading and came > came_before) or (was_queued and taken > taken_before):
                return True
        return False

    def _resolved(self, broker: Endpoint) -> set[Endpoint]:
        """Numbers of a name; none as long as it cannot be resolved."""
        if broker not in self._addresses:
            with suppress(OSError):
                found = socket.getaddrinfo(*broker, type=socket.SOCK_STREAM)
                self._addresses[broker] = {(str(address[0]), int(address[1])) for *_, address in found}
        return self._addresses.get(broker, set())


def _connections(peers: set[Endpoint]) -> Iterator[tuple[int, socket.socket]]:
    """Of this process with one of these, by copies of the descriptors: their owner may close them meanwhile."""
    for path in tuple(DESCRIPTORS.iterdir()):
        with suppress(OSError):
            descriptor = int(path.name)
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as copy:
                is_tcp = copy.family in (socket.AF_INET, socket.AF_INET6) and copy.type == socket.SOCK_STREAM
                if is_tcp and tuple(copy.getpeername()[:2]) in peers:
                    yield descriptor, copy
