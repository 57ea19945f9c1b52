"""What the Modbus server answers, whichever way a request came: image, rules, writes and their audit, counted.

A request goes through the same gates for every client: its rule, its right to write, the register map, the arbiter.
What the transports differ in (who a client is, what frames it) is theirs.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, Final, Protocol, TypeAlias

from gateway.core.readings import Reading
from gateway.core.view import ControlView, Mode
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
    parse_request,
    read_response,
    write_response,
)
from gateway.serving.scada.access import refusal_of
from gateway.serving.scada.audit import Audit
from gateway.serving.scada.image import Image
from gateway.serving.scada.layout import Type
from gateway.serving.scada.map import WATCHDOG_FIELD, WritePoint
from gateway.serving.scada.watchdog import ScadaWatchdog
from gateway.settings.schema import ScadaRule

TAG_WRITES_MAX: Final = 8
"""Writes to tags that one client may have under way. One more is answered "busy"."""

_OTHER_FUNCTION: Final = "other"
_WRITTEN: Final = {
    Type.FLOAT32: struct.Struct(">f"),
    Type.UINT16: struct.Struct(">H"),
    Type.INT64: struct.Struct(">q"),
    Type.UINT64: struct.Struct(">Q"),
}

MayCommand: TypeAlias = Callable[[str, str], tuple[ModbusException, str] | None]
"""Whether somebody (`Asker.who`) may write a point of a loop now: None, or what to answer and why."""

NoteWrite: TypeAlias = Callable[[str, str, str, str, str], None]
"""Puts a loop's write on record: client, commander, point, old and new value."""

WriteTag: TypeAlias = Callable[[str, float, str], Awaitable[ModbusException | None]]
"""Writes a value to a tag on behalf of a client; the exception to answer with, or None."""


class Asker(Protocol):
    """A client, as far as its answers depend on it."""

    host: str
    """Where it is: the same after it connected again."""
    peer: str
    """Who and where it is, for the audit."""
    who: str
    """Who commands a loop when it writes one."""
    rule: ScadaRule | None
    refused: str
    """Why every request of it is refused; empty: it is not."""
    read_only: str
    """Why it may not write; empty: it may."""

    @property
    def has_room(self) -> bool:
        """For one more answer that comes later."""
        ...

    def answer_later(self, adu: Adu, response: Coroutine[Any, Any, bytes]) -> None:
        """Send the PDU that it gives as the answer to this request."""
        ...


class Answers:
    def __init__(
        self,
        *,
        image: Image,
        writable: Mapping[tuple[int, int], WritePoint],
        control: ControlView | None,
        watchdog: ScadaWatchdog | None,
        audit: Audit,
        write: WriteTag | None,
        note: NoteWrite | None,
        may: MayCommand | None,
    ) -> None:
        self._image = image
        self._writable = writable
        self._control = control
        self._watchdog = watchdog
        self._audit = audit
        self._write_tag = write
        self._note = note
        self._may = may
        self._requests: dict[int | str, int] = {int(function): 0 for function in Function} | {_OTHER_FUNCTION: 0}
        self._exceptions: dict[ModbusException, int] = dict.fromkeys(ModbusException, 0)
        self._denied = 0
        self._writes = {"accepted": 0, "refused": 0}

    def readings(self) -> Iterator[Reading]:
        for function, count in self._requests.items():
            yield Reading("fieldgate_scada_requests_total", count, (("function", str(function)),))
        for code, count in self._exceptions.items():
            yield Reading("fieldgate_scada_exceptions_total", count, (("code", str(int(code))),))
        for result, count in self._writes.items():
            yield Reading("fieldgate_scada_writes_total", count, (("result", result),))
        yield Reading("fieldgate_scada_image_refreshes_total", self._image.refreshes)
        yield Reading("fieldgate_scada_denied_requests_total", self._denied)

    def answer(self, adu: Adu, client: Asker) -> bytes:
        """The PDU that answers a request: data, or an exception with its code. Empty: it comes later, by the client."""
        function = adu.pdu[0]
        self._requests[function if function in self._requests else _OTHER_FUNCTION] += 1
        try:
            self._check_role(client)
            request = parse_request(adu.pdu)
            if client.rule is not None:
                self._check_rule(client.rule, adu.unit, request, client)
            if isinstance(request, WriteRegisters) and self._begins_tag_write(adu, request, client):
                return b""
            return self._serve(adu, request, client)
        except RequestError as error:
            self._exceptions[error.code] += 1
            return exception_response(function, error.code)

    def _check_role(self, client: Asker) -> None:
        """Raises RequestError with exception 1, as Modbus/TCP Security has it for what a role may not do."""
        if client.refused:
            self._denied += 1
            self._audit.denied(client.host, ModbusException.ILLEGAL_FUNCTION, client.refused)
            raise RequestError(ModbusException.ILLEGAL_FUNCTION, client.refused)

    def _check_rule(self, rule: ScadaRule, unit: int, request: Request, client: Asker) -> None:
        """Raises RequestError for what the client's rule keeps from it: as if it were not there, or read only."""
        refusal = refusal_of(rule, unit, request)
        if refusal is None:
            return
        self._denied += 1
        error = RequestError(*refusal)
        if isinstance(request, WriteRegisters):
            self._refused(unit, request, client, error)
        else:
            self._audit.denied(client.host, *refusal)
        raise error

    def _serve(self, adu: Adu, request: Request, client: Asker) -> bytes:
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

    def _counts(self, unit: int, request: WriteRegisters, client: Asker) -> bool:
        """Whether it was SCADA's count, which comes every second and so is counted and not audited."""
        point = self._writable.get((unit, request.address))
        if self._watchdog is None or point is None or point.field != WATCHDOG_FIELD:
            return False
        try:
            _check_writer(client)
            _check_whole(point, request)
        except RequestError as error:
            self._refused(unit, request, client, error)
            raise
        self._watchdog.write(int(_value_of(point, request.data)), client.peer)
        self._image.expire()
        return True

    # Tags: the device answers, not this server, so the response waits for it. Others are answered meanwhile.

    def _begins_tag_write(self, adu: Adu, request: WriteRegisters, client: Asker) -> bool:
        """Whether it was a write to a tag, which is under way now. Raises RequestError."""
        point = self._writable.get((adu.unit, request.address))
        if point is None or not point.tag or self._write_tag is None:
            return False
        try:
            _check_writer(client)
            _check_whole(point, request)
            if not client.has_room:
                raise RequestError(
                    ModbusException.SERVER_DEVICE_BUSY, f"{TAG_WRITES_MAX} writes of this client are under way"
                )
        except RequestError as error:
            self._refused(adu.unit, request, client, error)
            raise
        value = _value_of(point, request.data)
        client.answer_later(adu, self._written(adu.pdu, point, value, client, self._write_tag))
        return True

    async def _written(self, pdu: bytes, point: WritePoint, value: float, client: Asker, write: WriteTag) -> bytes:
        """The response, once it is known what came of the write; the audit is the writer's."""
        code = await write(point.tag, value, client.peer)
        self._writes["accepted" if code is None else "refused"] += 1
        if code is None:
            self._image.expire()
            return write_response(pdu)
        self._exceptions[code] += 1
        return exception_response(pdu[0], code)

    def _refused(self, unit: int, request: WriteRegisters, client: Asker, error: RequestError) -> None:
        self._writes["refused"] += 1
        target = self._writable.get((unit, request.address))
        name = f"register {request.address} of unit {unit}" if target is None else target.key
        self._audit.write_refused(client.peer, name, str(error))

    # Loops

    def _write_audited(self, unit: int, request: WriteRegisters, client: Asker) -> None:
        try:
            _check_writer(client)
            point, old, new = self._write(unit, request, client.who)
        except RequestError as error:
            self._refused(unit, request, client, error)
            raise
        self._writes["accepted"] += 1
        self._image.expire()
        self._audit.write_accepted(client.peer, point.key, old, new)
        if self._note is not None:
            self._note(client.peer, client.who, point.key, f"{old:g}", f"{new:g}")

    def _write(self, unit: int, request: WriteRegisters, who: str) -> tuple[WritePoint, float, float]:
        """The point, its old and its new value. Raises RequestError, and then nothing has changed."""
        if (unit, request.address) not in self._writable:
            self._image.registers(unit, request.address, request.quantity)  # Not mapped at all is the graver fault.
            raise RequestError(ModbusException.ILLEGAL_FUNCTION, "it is not writable")
        point = self._writable[unit, request.address]
        _check_whole(point, request)
        if self._control is None:
            raise RequestError(ModbusException.SERVER_DEVICE_FAILURE, "the control executive is not running")
        if self._may is not None and (no := self._may(who, point.key)) is not None:
            raise RequestError(*no)
        old = float(self._control.loops()[point.loop][point.field])
        new = float(_value_of(point, request.data))
        try:
            _write_point(self._control, point, new)
        except ValueError as error:
            raise RequestError(ModbusException.ILLEGAL_DATA_VALUE, f"{new:g} is refused: {error}") from error
        return point, old, new


def _check_writer(client: Asker) -> None:
    """Raises RequestError."""
    if client.read_only:
        raise RequestError(ModbusException.ILLEGAL_FUNCTION, client.read_only)


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
