"""The Modbus TCP server that SCADA reads: sockets and counters around `image`, `map` and the codec.

It runs on the loop thread and never waits: a request is answered in the callback that brought it. What one client can
take from the others is bounded: a callback handles at most `READ_BYTES` and hands the loop back, a client that does not
read its answers is not listened to either (its unsent bytes stay under `UNSENT_BYTES_MAX` plus one callback's answers)
and is cut off after `UNREAD_S`, and there are at most SCADA_CLIENTS_MAX of them. Idle connections are welcome; TCP
keep-alive finds the dead ones.
"""

from __future__ import annotations

import asyncio
import errno
import math
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

from gateway.core.events import Emit
from gateway.core.limits import SCADA_CLIENTS_MAX
from gateway.core.model import Model
from gateway.core.ports import Clock
from gateway.core.readings import Reading
from gateway.core.symbols import TextOf
from gateway.core.view import ControlView, Mode, PlantView
from gateway.protocol.modbus.codes import Function, ModbusException
from gateway.protocol.modbus.server import (
    Adu,
    FrameError,
    ReadBits,
    ReadRegisters,
    Request,
    RequestError,
    RequestFramer,
    WriteBits,
    WriteRegisters,
    exception_response,
    frame,
    parse_request,
    read_response,
    write_response,
)
from gateway.serving.scada.access import Access
from gateway.serving.scada.audit import Audit
from gateway.serving.scada.image import Image
from gateway.serving.scada.layout import Type
from gateway.serving.scada.map import RegisterMap, WritePoint
from gateway.settings.schema import Scada

READ_BYTES: Final = 1_024
"""Bytes of one read: 85 requests, about a millisecond's work."""

UNSENT_BYTES_MAX: Final = 65_536
UNREAD_S: Final = 5.0
KEEP_ALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))

METRICS: Final[tuple[tuple[str, str, str], ...]] = (
    ("fieldgate_scada_requests_total", "counter", "Modbus requests from SCADA, by function code."),
    ("fieldgate_scada_exceptions_total", "counter", "Requests answered with a Modbus exception, by exception code."),
    ("fieldgate_scada_clients", "gauge", "Connections to the Modbus server."),
    ("fieldgate_scada_connections_total", "counter", "Connections ever accepted by the Modbus server."),
    ("fieldgate_scada_refused_clients_total", "counter", "Connections refused because all were in use."),
    ("fieldgate_scada_forbidden_clients_total", "counter", "Connections refused because of where they came from."),
    ("fieldgate_scada_malformed_total", "counter", "Connections closed because what they sent was not Modbus TCP."),
    ("fieldgate_scada_slow_clients_total", "counter", "Connections cut off because they did not read their answers."),
    ("fieldgate_scada_writes_total", "counter", "Register writes from SCADA, by result (accepted, refused)."),
    ("fieldgate_scada_image_refreshes_total", "counter", "Times that an area of the register image was encoded anew."),
    ("fieldgate_scada_events_suppressed_total", "counter", "Events about clients that exceeded their budget."),
)

_OTHER_FUNCTION: Final = "other"
_FLOAT32: Final = struct.Struct(">f")
_UINT16: Final = struct.Struct(">H")


class ListenError(Exception):
    """The server's socket cannot be opened; the text says why and what to do."""


class ScadaServer:
    """Serves `registers` until stopped. `port` is the one that was bound, also when the settings say 0.

    `heartbeat` counts something that only a working engine moves; `loops` are the loops' names in the settings' order.
    """

    def __init__(
        self,
        *,
        settings: Scada,
        registers: RegisterMap,
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
        self._writable = registers.writable
        self._control = control
        self._image = Image(
            registers=registers,
            plant=plant,
            text_of=text_of,
            control=control,
            model=model,
            loops=loops,
            now_ns=now_ns,
            heartbeat=heartbeat,
        )
        self._access = Access(clients=settings.clients, write_clients=settings.write_clients)
        self._server: asyncio.Server | None = None
        self._clients: set[_Client] = set()
        self._requests: dict[int | str, int] = {int(function): 0 for function in Function} | {_OTHER_FUNCTION: 0}
        self._exceptions: dict[ModbusException, int] = dict.fromkeys(ModbusException, 0)
        self._connections = 0
        self._refused_clients = 0
        self._forbidden_clients = 0
        self._malformed = 0
        self._slow_clients = 0
        self._writes = {"accepted": 0, "refused": 0}
        self.audit = Audit(emit, now_ns)

    async def start(self) -> None:
        """Bind and listen. Raises ListenError."""
        host, port = self._settings.host, self._settings.port
        try:
            self._server = await asyncio.get_running_loop().create_server(lambda: _Client(self), host, port)
        except OSError as error:
            raise ListenError(f"scada: cannot listen on {host}:{port}: {error.strerror}; {_remedy(error)}") from error

        for listener in self._server.sockets:  # Accepted connections inherit these.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEP_ALIVE:
                listener.setsockopt(socket.IPPROTO_TCP, option, value)

    async def stop(self) -> None:
        """Stop listening and close every connection; again is harmless."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for client in tuple(self._clients):
                client.abort()
            await server.wait_closed()

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("the server is not listening")
        return int(self._server.sockets[0].getsockname()[1])

    def readings(self) -> Iterator[Reading]:
        for function, count in self._requests.items():
            yield Reading("fieldgate_scada_requests_total", count, (("function", str(function)),))
        for code, count in self._exceptions.items():
            yield Reading("fieldgate_scada_exceptions_total", count, (("code", str(int(code))),))
        yield Reading("fieldgate_scada_clients", len(self._clients))
        yield Reading("fieldgate_scada_connections_total", self._connections)
        yield Reading("fieldgate_scada_refused_clients_total", self._refused_clients)
        yield Reading("fieldgate_scada_forbidden_clients_total", self._forbidden_clients)
        yield Reading("fieldgate_scada_malformed_total", self._malformed)
        yield Reading("fieldgate_scada_slow_clients_total", self._slow_clients)
        for result, count in self._writes.items():
            yield Reading("fieldgate_scada_writes_total", count, (("result", result),))
        yield Reading("fieldgate_scada_image_refreshes_total", self._image.refreshes)
        yield Reading("fieldgate_scada_events_suppressed_total", self.audit.events_suppressed)

    # What the connections call.

    def admit(self, client: _Client) -> bool:
        """Whether it may connect and there is room for one more."""
        if not self._access.may_connect(client.host):
            self._forbidden_clients += 1
            self.audit.misbehaved(client.host, "forbidden", "it is in none of the networks under clients in [scada]")
            return False
        if len(self._clients) >= SCADA_CLIENTS_MAX:
            self._refused_clients += 1
            self.audit.full(client.host, SCADA_CLIENTS_MAX)
            return False
        self._clients.add(client)
        self._connections += 1
        return True

    def leave(self, client: _Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self.audit.has_room()

    def malformed(self, client: _Client, why: str) -> None:
        self._malformed += 1
        self.audit.misbehaved(client.host, "malformed", why)

    def slow(self, client: _Client) -> None:
        self._slow_clients += 1
        self.audit.misbehaved(client.host, "slow", f"did not read its answers for {UNREAD_S:g} s")

    def answer(self, adu: Adu, client: _Client) -> bytes:
        """The response to one request: data, or an exception with its code."""
        function = adu.pdu[0]
        self._requests[function if function in self._requests else _OTHER_FUNCTION] += 1
        try:
            pdu = self._serve(adu, parse_request(adu.pdu), client)
        except RequestError as error:
            self._exceptions[error.code] += 1
            pdu = exception_response(function, error.code)
        return frame(adu, pdu)

    def _serve(self, adu: Adu, request: Request, client: _Client) -> bytes:
        match request:
            case ReadRegisters(function, address, count):
                return read_response(function, self._image.registers(adu.unit, address, count))
            case ReadBits(function, address, count):
                return read_response(function, self._image.bits(adu.unit, address, count))
            case WriteRegisters():
                self._write_audited(adu.unit, request, client)
                return write_response(adu.pdu)
            case WriteBits(function):
                raise RequestError(ModbusException.ILLEGAL_FUNCTION, f"function {function}: no coil is writable")

    def _write_audited(self, unit: int, request: WriteRegisters, client: _Client) -> None:
        try:
            if not self._access.may_write(client.host):
                why = "its address is in none of the networks under write_clients in [scada]"
                raise RequestError(ModbusException.ILLEGAL_FUNCTION, why)
            point, old, new = self._write(unit, request)
        except RequestError as error:
            self._writes["refused"] += 1
            target = self._writable.get((unit, request.address))
            name = f"register {request.address} of unit {unit}" if target is None else target.key
            self.audit.write_refused(client.peer, name, str(error))
            raise
        self._writes["accepted"] += 1
        self._image.expire()
        self.audit.write_accepted(client.peer, point.key, old, new)

    def _write(self, unit: int, request: WriteRegisters) -> tuple[WritePoint, float, float]:
        """The point, its old and its new value. Raises RequestError, and then nothing has changed."""
        if (unit, request.address) not in self._writable:
            self._image.registers(unit, request.address, request.quantity)  # Not mapped at all is the graver fault.
            raise RequestError(ModbusException.ILLEGAL_FUNCTION, "it is not writable")
        point = self._writable[unit, request.address]
        if (request.address, request.quantity) != (point.address, point.registers):
            why = f"one request writes the whole of one point: {point.registers} registers from {point.address}"
            raise RequestError(ModbusException.ILLEGAL_DATA_VALUE, why)
        if self._control is None:
            raise RequestError(ModbusException.SERVER_DEVICE_FAILURE, "the control executive is not running")
        old = float(self._control.loops()[point.loop][point.field])
        new = float((_FLOAT32 if point.type is Type.FLOAT32 else _UINT16).unpack(request.data)[0])
        try:
            _write_point(self._control, point, new)
        except ValueError as error:
            raise RequestError(ModbusException.ILLEGAL_DATA_VALUE, f"{new:g} is refused: {error}") from error
        return point, old, new


class _Client(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self, server: ScadaServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._framer = RequestFramer()
        self._buffer = bytearray(READ_BYTES)
        self._transport: Any = None
        self._unread: asyncio.TimerHandle | None = None
        self._is_paused = False
        self._is_closing = False
        self.host = ""
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        address = transport.get_extra_info("peername")
        if address is None:  # It has gone again.
            self.abort()
            return
        self.host = address[0]
        self.peer = f"{self.host}:{address[1]}"
        if self._server.admit(self):
            self._transport.set_write_buffer_limits(high=UNSENT_BYTES_MAX)
        else:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closing = True
        self._set_deadline(None)
        self._server.leave(self)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._is_closing:
            return
        answers = []
        try:
            for adu in self._framer.feed(bytes(self._buffer[:nbytes])):
                answers.append(self._server.answer(adu, self))
        except FrameError as error:
            self._send(answers)
            self._server.malformed(self, str(error))
            self._close()
            return
        self._send(answers)
        if nbytes == READ_BYTES and self._may_read():
            # There is more: let the others have their turn first.
            self._transport.pause_reading()
            self._loop.call_soon(self._listen)

    def pause_writing(self) -> None:
        """The answers are not read: do not take more requests, and do not wait for ever."""
        if self._may_read():
            self._transport.pause_reading()
        self._is_paused = True
        self._set_deadline(UNREAD_S)

    def resume_writing(self) -> None:
        self._is_paused = False
        self._set_deadline(None)
        self._listen()

    def abort(self) -> None:
        self._is_closing = True
        self._transport.abort()

    def _send(self, answers: list[bytes]) -> None:
        if answers:
            self._transport.write(b"".join(answers))
            self._server.audit.behaved(self.host)

    def _listen(self) -> None:
        if self._may_read():
            self._transport.resume_reading()

    def _may_read(self) -> bool:
        return not (self._is_paused or self._is_closing or self._transport.is_closing())

    def _close(self) -> None:
        """Send what was answered, then close; a client that does not read it is cut off like any other."""
        self._is_closing = True
        self._transport.close()
        self._set_deadline(UNREAD_S)

    def _set_deadline(self, seconds: float | None) -> None:
        if self._unread is not None:
            self._unread.cancel()
        self._unread = None if seconds is None else self._loop.call_later(seconds, self._cut_off)

    def _cut_off(self) -> None:
        self._server.slow(self)
        self.abort()


def _write_point(control: ControlView, point: WritePoint, value: float) -> None:
    """Raises ValueError when the loop does not take the value."""
    if not math.isfinite(value):
        raise ValueError("a number is needed")
    match point.field:
        case "setpoint":
            control.write_setpoint(point.loop, value)
        case "output":
            control.write_output(point.loop, value)
        case "mode":
            control.write_mode(point.loop, Mode(int(value)))
        case field:
            raise AssertionError(f"{field} is not a writable field")


def _remedy(error: OSError) -> str:
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return "ports below 1024 need the capability CAP_NET_BIND_SERVICE; use a port such as 1502"
        case errno.EADDRINUSE:
            return "another program listens there; stop it, or set another port under scada"
        case errno.EADDRNOTAVAIL:
            return "this machine does not have that address; set one of its own, or 0.0.0.0"
        case _:
            return "check host and port under scada"
