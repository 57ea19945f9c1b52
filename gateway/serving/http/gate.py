"""The gate of the HTTP server: who gets a connection at all.

Connections are accepted here and not by uvicorn, so that they count from their first moment on, before anything is
read or a TLS handshake begins, and so that one client cannot have them all.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gateway.core.events import Emit, Event, Severity
from gateway.core.places import Places, Refusal, client_of
from gateway.core.ports import Clock
from gateway.core.types import NS_PER_S

ACCEPTS_PER_TURN: Final = 32
"""Connections accepted before the loop does something else."""
NO_ROOM_S: Final = 1.0
"""When the process can open no more files: how long nobody is let in."""
SHUTDOWN_S: Final = 2.0
"""A TLS connection that ends: how long its peer may take to say so too."""
TOLD_EVERY_NS: Final = 10 * NS_PER_S
"""One event of a crowding client in so long, whoever it is; the counter has them all."""

_TOO_MANY: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"retry-after: 5\r\ncontent-length: %d\r\n\r\n%s"
)


class Visit(asyncio.Protocol):
    """One connection's protocol; calls `on_gone` when the connection has ended."""

    on_gone: Callable[[], None]


class Gate:
    """`cut` counts those that got no place, by why. `handshake_s` is the longest that a TLS handshake may take."""

    def __init__(self, places: Places, *, handshake_s: float, now_ns: Clock, emit: Emit) -> None:
        self.places = places
        self.cut = dict.fromkeys(Refusal, 0)
        self._handshake_s = handshake_s
        self._now_ns = now_ns
        self._emit = emit
        self._quiet_until_ns = 0
        self._entering: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        said = f"{places.each_max} connections of your address are open\n".encode()
        self._too_many = _TOO_MANY % (len(said), said)

    def open(self, listener: socket.socket, tls: ssl.SSLContext | None, make: Callable[[], Visit]) -> None:
        """On the loop of the connections. `make` gives the protocol of one."""
        listener.setblocking(False)
        self._listener, self._tls, self._make = listener, tls, make
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        """Nobody comes in any more; those who are in stay."""
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener = None
        for task in tuple(self._entering):
            task.cancel()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if self._listener is None:
                return
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no more files: those outside wait
                self._loop.remove_reader(self._listener)
                self._loop.call_later(NO_ROOM_S, self._go_on)
                return
            connection.setblocking(False)
            self._meet(connection, client_of(address[0]))

    def _go_on(self) -> None:
        if self._listener is not None:
            self._loop.add_reader(self._listener, self._accept)

    def _meet(self, connection: socket.socket, client: str) -> None:
        refusal = self.places.take(client)
        if refusal is None:
            self._let_in(connection, client)
            return
        self.cut[refusal] += 1
        if refusal is Refusal.CROWDED:
            self._tell(client)
            self._say_why(connection)
        connection.close()

    def _let_in(self, connection: socket.socket, client: str) -> None:
        visit = self._make()
        visit.on_gone = once(lambda: self.places.give_back(client))
        task = self._loop.create_task(self._connect(connection, visit))
        self._entering.add(task)

        def over(task: asyncio.Task[None]) -> None:
            self._entering.discard(task)
            if task.cancelled() or task.exception() is not None:
                connection.close()
                visit.on_gone()

        task.add_done_callback(over)

    async def _connect(self, connection: socket.socket, visit: Visit) -> None:
        """Raises OSError when the handshake fails or takes too long."""
        if self._tls is None:
            await self._loop.connect_accepted_socket(lambda: visit, connection)
            return
        await self._loop.connect_accepted_socket(
            lambda: visit,
            connection,
            ssl=self._tls,
            ssl_handshake_timeout=self._handshake_s,
            ssl_shutdown_timeout=SHUTDOWN_S,
        )

    def _say_why(self, connection: socket.socket) -> None:
        """What does not go out at once does not go out; before its handshake TLS has no word for it."""
        if self._tls is None:
            with suppress(OSError):
                connection.send(self._too_many)

    def _tell(self, client: str) -> None:
        now_ns = self._now_ns()
        if now_ns < self._quiet_until_ns or not self.places.is_news(client):
            return
        self._quiet_until_ns = now_ns + TOLD_EVERY_NS
        message = (
            f"{client} has all of its {self.places.each_max} connections, further ones are closed;"
            " close some, or write a higher connections_per_client in [http]"
        )
        self._emit(Event(now_ns, Severity.WARNING, "http.client.crowded", client, message))


def once(act: Callable[[], None]) -> Callable[[], None]:
    is_done = False

    def do() -> None:
        nonlocal is_done
        if not is_done:
            is_done = True
            act()

    return do
