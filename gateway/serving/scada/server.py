"""The Modbus server that SCADA reads: its listeners, its clients and their counters, around `answers`.

It runs on the loop thread and never waits: a request is answered in the callback that brought it. What one client can
take from the others is bounded: a callback handles at most `READ_BYTES` and hands the loop back, a client that does not
read its answers is not listened to either (its unsent bytes stay under `UNSENT_BYTES_MAX` plus one callback's answers)
and is cut off after `UNREAD_S`, and there are at most SCADA_CLIENTS_MAX connections, of which one address has its part
(`connections_per_client`). Idle connections are welcome; TCP keep-alive finds the dead ones.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from gateway.core.events import Emit
from gateway.core.model import Model
from gateway.core.ports import Clock
from gateway.core.readings import Reading
from gateway.core.types import NS_PER_S
from gateway.core.view import ControlView, PlantView
from gateway.protocol.modbus.server import Adu
from gateway.serving.scada.access import Access
from gateway.serving.scada.admission import Admission
from gateway.serving.scada.answers import Answers, Asker, MayCommand, NoteWrite, WriteTag
from gateway.serving.scada.audit import Audit
from gateway.serving.scada.client import UNREAD_S, Client
from gateway.serving.scada.image import Image
from gateway.serving.scada.line import Line
from gateway.serving.scada.map import RegisterMap
from gateway.serving.scada.tls import Door, Secured, TlsError
from gateway.serving.scada.watchdog import ScadaWatchdog
from gateway.settings.schema import Scada
from gateway.settings.schema_scada import ScadaLine

if TYPE_CHECKING:
    from gateway.core.symbols import TextOf  # which brings Numba; the register map does without

KEEP_ALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
WATCH_EVERY_S_MAX: Final = 1.0


class ListenError(Exception):
    """The server's socket cannot be opened; the text says why and what to do."""


class ScadaServer:
    """Serves `registers` until stopped. `port` and `tls_port` are those that were bound, also when the settings say 0.

    `heartbeat` counts something that only a working engine moves; `loops` are the loops' names in the settings' order.
    """

    def __init__(
        self,
        *,
        settings: Scada,
        registers: RegisterMap,
        write: WriteTag | None = None,
        note: NoteWrite | None = None,
        may: MayCommand | None = None,
        plant: PlantView,
        text_of: TextOf,
        control: ControlView | None,
        model: Model,
        loops: tuple[str, ...],
        now_ns: Clock,
        heartbeat: Callable[[], int],
        emit: Emit,
    ) -> None:
        self._settings = settings
        self._control = control
        self._now_ns = now_ns
        self._emit = emit
        self._watchdog = self._build_watchdog(settings, loops, emit) if settings.watchdog_ns else None
        self._look: asyncio.TimerHandle | None = None
        self.audit = Audit(emit, now_ns)
        self._answers = Answers(
            image=Image(
                registers=registers,
                plant=plant,
                text_of=text_of,
                control=control,
                model=model,
                loops=loops,
                now_ns=now_ns,
                heartbeat=heartbeat,
                watchdog=self._watchdog,
            ),
            writable=registers.writable,
            control=control,
            watchdog=self._watchdog,
            audit=self.audit,
            write=write,
            note=note,
            may=may,
        )
        self._access = Access(clients=settings.clients, write_clients=settings.write_clients, rules=settings.rules)
        self._server: asyncio.Server | None = None
        self._tls_server: asyncio.Server | None = None
        self._door: Door | None = None
        self._line: Line | None = None
        self._units = registers.units
        self._malformed = 0
        self._slow_clients = 0
        self._admission = Admission(self._access, self.audit, each_max=settings.connections_per_client)

    def _build_watchdog(self, settings: Scada, loops: tuple[str, ...], emit: Emit) -> ScadaWatchdog:
        numbers = [loops.index(name) for name in settings.watchdog_loops]
        return ScadaWatchdog(settings.watchdog_ns, numbers, self._control, now_ns=self._now_ns, emit=emit)

    async def start(self) -> None:
        """Bind and listen. Raises ListenError, and then nothing listens."""
        try:
            if self._settings.has_tcp:
                self._server = await _listen(lambda: Client(self), self._settings.host, self._settings.port)
            if self._settings.tls is not None:
                self._door = door = Door(self._settings.tls, self, self._now_ns, self._emit)
                self._tls_server = await _listen(
                    lambda: Secured(Client(self), door), self._settings.tls.host, self._settings.tls.port
                )
            if self._settings.line is not None:
                self._line = self._open_line(self._settings.line)
        except TlsError as error:
            await self.stop()
            raise ListenError(f"scada.modbus_tls: {error}") from error
        except ListenError:
            await self.stop()
            raise
        self._keep_watch()

    def _open_line(self, settings: ScadaLine) -> Line:
        """Raises ListenError where no unit would answer."""
        units = frozenset(unit for unit in self._units if any(low <= unit <= high for low, high in settings.units))
        if not units:
            there = ", ".join(map(str, self._units))
            why = f"none of the units under units is in the register map, which has {there}; see fieldgate registers"
            raise ListenError(f"scada.modbus_rtu: {why}")
        line = Line(settings, units, self, self._now_ns, self._emit)
        line.start()
        return line

    async def stop(self) -> None:
        """Stop listening and close every connection; again is harmless."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        line, self._line = self._line, None
        if line is not None:
            line.stop()
        servers = [server for server in (self._server, self._tls_server) if server is not None]
        self._server = self._tls_server = None
        for server in servers:
            server.close()
        for client in tuple(self._admission.clients):
            client.abort()
        for server in servers:
            await server.wait_closed()

    def _keep_watch(self) -> None:
        if self._watchdog is not None:
            self._watchdog.look()
            every_s = min(WATCH_EVERY_S_MAX, self._settings.watchdog_ns / NS_PER_S / 4)
            self._look = asyncio.get_running_loop().call_later(every_s, self._keep_watch)

    @property
    def port(self) -> int:
        return _port_of(self._server)

    @property
    def tls_port(self) -> int:
        return _port_of(self._tls_server)

    def readings(self) -> Iterator[Reading]:
        yield from self._answers.readings()
        yield from self._admission.readings()
        yield Reading("fieldgate_scada_malformed_total", self._malformed)
        yield Reading("fieldgate_scada_slow_clients_total", self._slow_clients)
        yield Reading("fieldgate_scada_events_suppressed_total", self.audit.events_suppressed)
        if self._door is not None:
            yield from self._door.readings()
        if self._line is not None:
            yield from self._line.readings()
        if self._watchdog is not None:
            yield from self._watchdog.readings()

    # What the connections call.

    def admit(self, client: Client) -> bool:
        return self._admission.admit(client)

    def leave(self, client: Client) -> None:
        self._admission.leave(client)

    def malformed(self, client: Client, why: str) -> None:
        self._malformed += 1
        self.audit.misbehaved(client.host, "malformed", why)

    def slow(self, client: Client) -> None:
        self._slow_clients += 1
        self.audit.misbehaved(client.host, "slow", f"did not read its answers for {UNREAD_S:g} s")

    def refuse(self, client: Client, reason: str, why: str) -> None:
        """It did not agree on TLS, or is not who may connect."""
        self.audit.misbehaved(client.host, f"tls.{reason}", why)

    def answer(self, adu: Adu, client: Asker) -> bytes:
        """The PDU that answers a request. Empty: it comes later, by the client."""
        return self._answers.answer(adu, client)


async def _listen(protocol: Callable[[], asyncio.BaseProtocol], host: str, port: int) -> asyncio.Server:
    """Raises ListenError."""
    try:
        server = await asyncio.get_running_loop().create_server(protocol, host, port)
    except OSError as error:
        raise ListenError(f"scada: cannot listen on {host}:{port}: {error.strerror}; {_remedy(error)}") from error
    for listener in server.sockets:  # Accepted connections inherit these.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEP_ALIVE:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
    return server


def _port_of(server: asyncio.Server | None) -> int:
    if server is None:
        raise RuntimeError("the server is not listening")
    return int(server.sockets[0].getsockname()[1])


def _remedy(error: OSError) -> str:
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return "ports below 1024 need CAP_NET_BIND_SERVICE (drop-in privileged-ports.conf); or use one such as 1502"
        case errno.EADDRINUSE:
            return "another program listens there; stop it, or set another port under scada"
        case errno.EADDRNOTAVAIL:
            return "this machine does not have that address; set one of its own, or 0.0.0.0"
        case _:
            return "check host and port under scada"
