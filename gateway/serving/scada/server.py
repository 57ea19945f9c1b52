"""The Modbus TCP server that SCADA reads: sockets and counters around `image`, `map` and the codec.

It runs on the loop thread and never waits: a request is answered in the callback that brought it. What one client can
take from the others is bounded: a callback handles at most `READ_BYTES` and hands the loop back, a client that does not
read its answers is not listened to either (its unsent bytes stay under `UNSENT_BYTES_MAX` plus one callback's answers)
and is cut off after `UNREAD_S`, and there are at most SCADA_CLIENTS_MAX connections, of which one address has its part
(`connections_per_client`). Idle connections are welcome; TCP keep-alive finds the dead ones.
"""

from __future__ import annotations

import asyncio
import errno
import math
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.core.events import Emit
from gateway.core.model import Model
from gateway.core.ports import Clock
from gateway.core.readings import Reading
from gateway.core.types import NS_PER_S
from gateway.core.view import ControlView, Mode, PlantView
from gateway.protocol.modbus.codes import Function, ModbusException
from gateway.protocol.modbus.server import (
    Adu,
    ReadBits,
    ReadRegisters,
    Request,
    RequestError,
    WriteBits,
    WriteRegisters,
    exception_response,
    frame,
    parse_request,
    read_response,
    write_response,
)
from gateway.serving.scada.access import Access, refusal_of
from gateway.serving.scada.admission import Admission
from gateway.serving.scada.audit import Audit
from gateway.serving.scada.client import TAG_WRITES_MAX, UNREAD_S, Client
from gateway.serving.scada.image import Image
from gateway.serving.scada.layout import Type
from gateway.serving.scada.map import WATCHDOG_FIELD, RegisterMap, WritePoint
from gateway.serving.scada.watchdog import ScadaWatchdog
from gateway.settings.schema import Scada, ScadaRule

if TYPE_CHECKING:
    from gateway.core.symbols import TextOf  # which brings Numba; the register map does without

KEEP_ALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))

_OTHER_FUNCTION: Final = "other"
WATCH_EVERY_S_MAX: Final = 1.0
_WRITTEN: Final = {
    Type.FLOAT32: struct.Struct(">f"),
    Type.UINT16: struct.Struct(">H"),
    Type.INT64: struct.Struct(">q"),
    Type.UINT64: struct.Struct(">Q"),
}


MayCommand: TypeAlias = Callable[[str, str], tuple[ModbusException, str] | None]
"""Whether a client's host may write a point of a loop now: None, or what to answer and why."""

NoteWrite: TypeAlias = Callable[[str, str, str, str], None]
"""Puts a loop's write on record: client, point, old and new value."""

WriteTag: TypeAlias = Callable[[str, float, str], Awaitable[ModbusException | None]]
"""Writes a value to a tag on behalf of a client; the exception to answer with, or None."""


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
        self._writable = registers.writable
        self._control = control
        self._write_tag = write
        self._note = note
        self._may = may
        self._now_ns = now_ns
        self._watchdog = self._build_watchdog(settings, loops, emit) if settings.watchdog_ns else None
        self._look: asyncio.TimerHandle | None = None
        self._image = Image(
            registers=registers,
            plant=plant,
            text_of=text_of,
            control=control,
            model=model,
            loops=loops,
            now_ns=now_ns,
            heartbeat=heartbeat,
            watchdog=self._watchdog,
        )
        self._access = Access(clients=settings.clients, write_clients=settings.write_clients, rules=settings.rules)
        self._server: asyncio.Server | None = None
        self._requests: dict[int | str, int] = {int(function): 0 for function in Function} | {_OTHER_FUNCTION: 0}
        self._exceptions: dict[ModbusException, int] = dict.fromkeys(ModbusException, 0)
        self._malformed = 0
        self._slow_clients = 0
        self._denied = 0
        self._writes = {"accepted": 0, "refused": 0}
        self.audit = Audit(emit, now_ns)
        self._admission = Admission(self._access, self.audit, each_max=settings.connections_per_client)

    def _build_watchdog(self, settings: Scada, loops: tuple[str, ...], emit: Emit) -> ScadaWatchdog:
        numbers = [loops.index(name) for name in settings.watchdog_loops]
        return ScadaWatchdog(settings.watchdog_ns, numbers, self._control, now_ns=self._now_ns, emit=emit)

    async def start(self) -> None:
        """Bind and listen. Raises ListenError."""
        host, port = self._settings.host, self._settings.port
        try:
            self._server = await asyncio.get_running_loop().create_server(lambda: Client(self), host, port)
        except OSError as error:
            raise ListenError(f"scada: cannot listen on {host}:{port}: {error.strerror}; {_remedy(error)}") from error

        for listener in self._server.sockets:  # Accepted connections inherit these.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEP_ALIVE:
                listener.setsockopt(socket.IPPROTO_TCP, option, value)
        self._keep_watch()

    async def stop(self) -> None:
        """Stop listening and close every connection; again is harmless."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for client in tuple(self._admission.clients):
                client.abort()
            await server.wait_closed()

    def _keep_watch(self) -> None:
        if self._watchdog is not None:
            self._watchdog.look()
            every_s = min(WATCH_EVERY_S_MAX, self._settings.watchdog_ns / NS_PER_S / 4)
            self._look = asyncio.get_running_loop().call_later(every_s, self._keep_watch)

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
        yield from self._admission.readings()
        yield Reading("fieldgate_scada_malformed_total", self._malformed)
        yield Reading("fieldgate_scada_slow_clients_total", self._slow_clients)
        for result, count in self._writes.items():
            yield Reading("fieldgate_scada_writes_total", count, (("result", result),))
        yield Reading("fieldgate_scada_image_refreshes_total", self._image.refreshes)
        yield Reading("fieldgate_scada_events_suppressed_total", self.audit.events_suppressed)
        yield Reading("fieldgate_scada_denied_requests_total", self._denied)
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

    def answer(self, adu: Adu, client: Client) -> bytes:
        """The response to one request: data, or an exception with its code. Empty: it comes later, by the client."""
        function = adu.pdu[0]
        self._requests[function if function in self._requests else _OTHER_FUNCTION] += 1
        try:
            request = parse_request(adu.pdu)
            if client.rule is not None:
                self._check_rule(client.rule, adu.unit, request, client)
            if isinstance(request, WriteRegisters) and self._begins_tag_write(adu, request, client):
                return b""
            pdu = self._serve(adu, request, client)
        except RequestError as error:
            self._exceptions[error.code] += 1
            pdu = exception_response(function, error.code)
        return frame(adu, pdu)

    def _check_rule(self, rule: ScadaRule, unit: int, request: Request, client: Client) -> None:
        """Raises RequestError for what the client's rule keeps from it: as if it were not there, or read only."""
        refusal = refusal_of(rule, unit, request)
        if refusal is None:
            return
        self._denied += 1
        error = RequestError(*refusal)
        if isinstance(request, WriteRegisters):
            self._refused(unit, request, client, error)
        else:
            self.audit.denied(client.host, *refusal)
        raise error

    def _serve(self, adu: Adu, request: Request, client: Client) -> bytes:
        match request:
            case ReadRegisters(function, address, count):
                return read_response(function, self._image.registers(adu.unit, address, count))
            case ReadBits(function, address, count):
                return read_response(function, self._image.bits(adu.unit, address, count))
            case WriteRegisters():
                if not self._counts(adu.unit, request, client):
                    self._write_audited(adu.unit, request, client)
                return write_response(adu.pdu)
            case WriteBits(function):
                raise RequestError(ModbusException.ILLEGAL_FUNCTION, f"function {function}: no coil is writable")

    def _counts(self, unit: int, request: WriteRegisters, client: Client) -> bool:
        """Whether it was SCADA's count, which comes every second and so is counted and not audited."""
        point = self._writable.get((unit, request.address))
        if self._watchdog is None or point is None or point.field != WATCHDOG_FIELD:
            return False
        try:
            self._check_writer(client)
            _check_whole(point, request)
        except RequestError as error:
            self._refused(unit, request, client, error)
            raise
        self._watchdog.write(int(_value_of(point, request.data)), client.peer)
        self._image.expire()
        return True

    # Tags: the device answers, not this server, so the response waits for it. Others are answered meanwhile.

    def _begins_tag_write(self, adu: Adu, request: WriteRegisters, client: Client) -> bool:
        """Whether it was a write to a tag, which is under way now. Raises RequestError."""
        point = self._writable.get((adu.unit, request.address))
        if point is None or not point.tag or self._write_tag is None:
            return False
        try:
            self._check_writer(client)
            _check_whole(point, request)
            if not client.has_room:
                raise RequestError(
                    ModbusException.SERVER_DEVICE_BUSY, f"{TAG_WRITES_MAX} writes of this client are under way"
                )
        except RequestError as error:
            self._refused(adu.unit, request, client, error)
            raise
        value = _value_of(point, request.data)
        client.answer_later(self._written(adu, point, value, client, self._write_tag))
        return True

    async def _written(self, adu: Adu, point: WritePoint, value: float, client: Client, write: WriteTag) -> bytes:
        """The response, once it is known what came of the write; the audit is the writer's."""
        code = await write(point.tag, value, client.peer)
        self._writes["accepted" if code is None else "refused"] += 1
        if code is None:
            self._image.expire()
            return frame(adu, write_response(adu.pdu))
        self._exceptions[code] += 1
        return frame(adu, exception_response(adu.pdu[0], code))

    def _check_writer(self, client: Client) -> None:
        if not self._access.may_write(client.host):
            why = "its address is in none of the networks under write_clients in [scada]"
            raise RequestError(ModbusException.ILLEGAL_FUNCTION, why)

    def _refused(self, unit: int, request: WriteRegisters, client: Client, error: RequestError) -> None:
        self._writes["refused"] += 1
        target = self._writable.get((unit, request.address))
        name = f"register {request.address} of unit {unit}" if target is None else target.key
        self.audit.write_refused(client.peer, name, str(error))

    # Loops

    def _write_audited(self, unit: int, request: WriteRegisters, client: Client) -> None:
        try:
            self._check_writer(client)
            point, old, new = self._write(unit, request, client.host)
        except RequestError as error:
            self._refused(unit, request, client, error)
            raise
        self._writes["accepted"] += 1
        self._image.expire()
        self.audit.write_accepted(client.peer, point.key, old, new)
        if self._note is not None:
            self._note(client.peer, point.key, f"{old:g}", f"{new:g}")

    def _write(self, unit: int, request: WriteRegisters, host: str) -> tuple[WritePoint, float, float]:
        """The point, its old and its new value. Raises RequestError, and then nothing has changed."""
        if (unit, request.address) not in self._writable:
            self._image.registers(unit, request.address, request.quantity)  # Not mapped at all is the graver fault.
            raise RequestError(ModbusException.ILLEGAL_FUNCTION, "it is not writable")
        point = self._writable[unit, request.address]
        _check_whole(point, request)
        if self._control is None:
            raise RequestError(ModbusException.SERVER_DEVICE_FAILURE, "the control executive is not running")
        if self._may is not None and (no := self._may(host, point.key)) is not None:
            raise RequestError(*no)
        old = float(self._control.loops()[point.loop][point.field])
        new = float(_value_of(point, request.data))
        try:
            _write_point(self._control, point, new)
        except ValueError as error:
            raise RequestError(ModbusException.ILLEGAL_DATA_VALUE, f"{new:g} is refused: {error}") from error
        return point, old, new


def _check_whole(point: WritePoint, request: WriteRegisters) -> None:
    """Raises RequestError."""
    if (request.address, request.quantity) != (point.address, point.registers):
        why = f"one request writes the whole of one point: {point.registers} registers from {point.address}"
        raise RequestError(ModbusException.ILLEGAL_DATA_VALUE, why)


def _value_of(point: WritePoint, data: bytes) -> float | int:
    number: float | int = _WRITTEN[point.type].unpack(data)[0]
    return number


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
            return "ports below 1024 need CAP_NET_BIND_SERVICE (drop-in privileged-ports.conf); or use one such as 1502"
        case errno.EADDRINUSE:
            return "another program listens there; stop it, or set another port under scada"
        case errno.EADDRNOTAVAIL:
            return "this machine does not have that address; set one of its own, or 0.0.0.0"
        case _:
            return "check host and port under scada"
