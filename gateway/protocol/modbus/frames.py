"""Modbus TCP frames as a client sees them: requests built, replies cut out of the stream and checked. No I/O.

A request frame is built once, without its transaction id, which `stamped` puts before it at each sending.

A reply passes three gates, each with its own reaction:

1. The stream (`ResponseFramer`): MBAP header with protocol id 0 and a possible length. What fails here cannot be
   resynchronised, because Modbus TCP has no start mark: `ProtocolError`, and the connection must be closed.
2. The transaction: the caller looks the id up among those that still wait. A reply to an earlier transaction is
   thereby never taken for the present one; an unknown id is counted and dropped.
3. The request (`check_read`, `pdu.check_echo`): unit, function, byte count, echo. The header has delimited the frame,
   so the stream is still sound: `ReplyError` fails this request alone, and the connection stays.

An exception reply is neither: the device understood and refused (`DeviceRefusedError`).

Source: MODBUS Messaging on TCP/IP V1.0b, 3.1; MODBUS Application Protocol V1.1b3, sections 6 and 7.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from gateway.protocol.modbus.codes import (
    ADU_BYTES_MAX,
    EXCEPTION_BIT,
    MBAP_BYTES,
    READ_BITS_MAX,
    READ_REGISTERS_MAX,
    Function,
    ModbusException,
)

LENGTH_MIN: Final = 2
"""Smallest MBAP length: unit id and function code."""
LENGTH_MAX: Final = ADU_BYTES_MAX - MBAP_BYTES + 1
PDU_BYTES_MAX: Final = ADU_BYTES_MAX - MBAP_BYTES
COIL_ON: Final = 0xFF00

_HEADER = struct.Struct(">HHHBB")
_BIT_READS: Final = (Function.READ_COILS, Function.READ_DISCRETE_INPUTS)
_REGISTER_READS: Final = (Function.READ_HOLDING_REGISTERS, Function.READ_INPUT_REGISTERS)


class ProtocolError(Exception):
    """The peer's bytes are not Modbus TCP. The stream is lost: close the connection."""


class ReplyError(Exception):
    """A well-framed reply that does not fit its request. The request has failed; the connection stays."""


class DeviceRefusedError(Exception):
    """The device refused, with an exception code (specification, section 7)."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"exception {code} ({exception_name(code)})")


def exception_name(code: int) -> str:
    try:
        return ModbusException(code).name.lower().replace("_", " ")
    except ValueError:
        return "unknown to the specification"


@dataclass(frozen=True, slots=True)
class Request:
    """A request without its transaction id. `reply_bytes` is the data size of a read's reply, else 0."""

    unit: int
    function: int
    address: int
    count: int
    reply_bytes: int
    body: bytes

    def stamped(self, transaction: int) -> bytes:
        return transaction.to_bytes(2, "big") + self.body

    @property
    def pdu(self) -> bytes:
        return self.body[MBAP_BYTES - 2 :]


def _request(unit: int, function: int, address: int, count: int, reply_bytes: int, tail: bytes) -> Request:
    assert 0 <= unit <= 255
    assert address >= 0
    assert address + count <= 65_536
    body = struct.pack(">HHBBH", 0, 4 + len(tail), unit, function, address) + tail
    return Request(unit, function, address, count, reply_bytes, body)


def read_request(unit: int, function: Function, address: int, count: int) -> Request:
    """A read of `count` bits or registers from `address`, counted from 0."""
    if function in _BIT_READS:
        assert 1 <= count <= READ_BITS_MAX
        reply_bytes = (count + 7) // 8
    else:
        assert function in _REGISTER_READS
        assert 1 <= count <= READ_REGISTERS_MAX
        reply_bytes = 2 * count
    return _request(unit, function, address, count, reply_bytes, count.to_bytes(2, "big"))


def request_of(unit: int, pdu: bytes) -> Request:
    """Any request (`gateway.protocol.modbus.pdu`); its reply is checked by who asked."""
    assert 0 <= unit <= 255
    assert 1 <= len(pdu) <= PDU_BYTES_MAX
    return Request(unit, pdu[0], 0, 0, 0, struct.pack(">HHB", 0, 1 + len(pdu), unit) + pdu)


class Reply(NamedTuple):
    """A frame in the framer's buffer: its data is `buffer[start:stop]`, after the function code."""

    transaction: int
    unit: int
    function: int
    start: int
    stop: int


class Framer(Protocol):
    """How requests are put on the wire and replies cut out of what comes back.

    Read into `free()`, tell `received(n)` how much came, then call `next_reply()` until it returns None. A reply's
    bytes stay valid until `free()` is called again.
    """

    buffer: bytearray
    is_line: bool
    discarded: int
    """Bytes that belonged to no frame."""

    def frame(self, request: Request, transaction: int) -> bytes: ...

    def free(self) -> memoryview: ...

    def received(self, n: int) -> None: ...

    def next_reply(self) -> Reply | None:
        """Raises ProtocolError when the stream is lost."""
        ...

    def salvage(self) -> Reply | None:
        """A reply that is in there although it is not what the first bytes promised, once no more bytes come."""
        ...


class Window:
    """A receive buffer whose frames are read in place: bytes from `_start` to `_stop` are not dealt with yet.

    Read into `free()`, tell `received(n)` how much came, then call the framer's `next_reply()` until it returns None. A
    reply's bytes stay valid until `free()` is called again.
    """

    def __init__(self, capacity: int) -> None:
        self.buffer = bytearray(capacity)
        self._view = memoryview(self.buffer)
        self._start = 0
        self._stop = 0

    def free(self) -> memoryview:
        """Where the next bytes go. What is left of a frame moves to the front first: less than one frame."""
        left = self._stop - self._start
        if self._start:
            self.buffer[:left] = self.buffer[self._start : self._stop]
            self._start, self._stop = 0, left
        return self._view[left:]

    def received(self, n: int) -> None:
        self._stop += n


class ResponseFramer(Window):
    """Cuts replies out of a byte stream. Capacity is fixed; a whole frame always fits behind a part of one."""

    is_line = False
    discarded = 0

    def __init__(self, capacity: int = 16 * ADU_BYTES_MAX) -> None:
        assert capacity >= 2 * ADU_BYTES_MAX
        super().__init__(capacity)

    def frame(self, request: Request, transaction: int) -> bytes:
        """What is sent for a request."""
        return request.stamped(transaction)

    def salvage(self) -> Reply | None:
        """The stream is in order or lost: there is nothing to save."""
        return None

    def next_reply(self) -> Reply | None:
        """The next whole frame, or None when more bytes are needed; raises ProtocolError at once when none can come."""
        at = self._start
        have = self._stop - at
        if have < MBAP_BYTES + 1:
            if have >= 4:
                self._check_header(at, have)
            return None
        transaction, protocol, length, unit, function = _HEADER.unpack_from(self.buffer, at)
        if protocol or not LENGTH_MIN <= length <= LENGTH_MAX:
            self._check_header(at, have)
        stop = at + MBAP_BYTES - 1 + length
        if stop > self._stop:
            return None
        self._start = stop
        return Reply(transaction, unit, function, at + MBAP_BYTES + 1, stop)

    def _check_header(self, at: int, have: int) -> None:
        protocol = int.from_bytes(self.buffer[at + 2 : at + 4], "big")
        if protocol:
            raise ProtocolError(f"protocol id {protocol} in place of 0: the peer does not speak Modbus TCP")
        if have < 6:
            return
        length = int.from_bytes(self.buffer[at + 4 : at + 6], "big")
        if not LENGTH_MIN <= length <= LENGTH_MAX:
            raise ProtocolError(f"frame length {length}: Modbus TCP allows {LENGTH_MIN} to {LENGTH_MAX}")


def check_heading(request: Request, reply: Reply, buffer: bytearray) -> int:
    """Unit and function; returns the number of data bytes. An exception reply raises DeviceRefusedError."""
    if reply.unit != request.unit:
        raise ReplyError(f"reply from unit {reply.unit} to a request for unit {request.unit}")
    size = reply.stop - reply.start
    if reply.function == request.function | EXCEPTION_BIT:
        if size != 1:
            raise ReplyError(f"exception reply with {size} data bytes in place of 1")
        raise DeviceRefusedError(buffer[reply.start])
    if reply.function != request.function:
        raise ReplyError(f"reply with function {reply.function} to a request with function {request.function}")
    return size


def check_read(request: Request, reply: Reply, buffer: bytearray) -> int:
    """Where in `buffer` the `request.reply_bytes` data bytes begin; raises ReplyError or DeviceRefusedError."""
    if reply.unit == request.unit and reply.function == request.function:
        size = reply.stop - reply.start
    else:
        size = check_heading(request, reply, buffer)
    if size != request.reply_bytes + 1:
        raise ReplyError(f"reply with {size} data bytes to a request for {request.reply_bytes} and their count")
    stated = buffer[reply.start]
    if stated != request.reply_bytes:
        raise ReplyError(f"reply states {stated} data bytes and brings {request.reply_bytes}")
    return reply.start + 1
