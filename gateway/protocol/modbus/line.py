"""Frames of a serial line, RTU and ASCII: requests built, replies found among whatever comes. No I/O, no clock.

A line has neither a length in front nor a transaction id. An RTU reply's length follows from its function and byte
count, and a checksum says whether it is one; so a frame is looked for at every byte that may begin one: a unit that was
asked, with the function that it was asked for. What belongs to no frame (a collision, an echo, a wrong baud rate) is
passed over and counted, and never costs more than the reply it damaged: nothing is a lost stream here, and what is
left when the next request goes out is dropped, since a request follows a silence. A frame that was begun and does not
end hides what comes behind it only until `salvage`, which the session calls when it stops waiting.

ASCII frames begin with a colon and end with a line feed, which makes all of that simple.

A reply's `transaction` is its unit: the schedule has one transaction of a unit at a time (`polling.Line`).

Source: MODBUS over Serial Line V1.02, 2.5.1 (RTU), 2.5.2 (ASCII), 6.2 (checksums).
"""

from __future__ import annotations

from typing import Final

from gateway.protocol.modbus.codes import EXCEPTION_BIT, Function
from gateway.protocol.modbus.frames import Reply, Request, Window
from gateway.protocol.modbus.pdu import MEI_IDENTIFICATION

RTU_BYTES_MAX: Final = 256
ASCII_BYTES_MAX: Final = 513
CAPACITY: Final = 4_096
CRC_POLYNOMIAL: Final = 0xA001
NEED_MORE: Final = 0
IMPOSSIBLE: Final = -1

_COUNTED: Final = (
    Function.READ_COILS,
    Function.READ_DISCRETE_INPUTS,
    Function.READ_HOLDING_REGISTERS,
    Function.READ_INPUT_REGISTERS,
    Function.READ_WRITE_REGISTERS,
)
_FIXED: Final[dict[int, int]] = {
    Function.WRITE_SINGLE_COIL: 8,
    Function.WRITE_SINGLE_REGISTER: 8,
    Function.WRITE_MULTIPLE_COILS: 8,
    Function.WRITE_MULTIPLE_REGISTERS: 8,
    Function.MASK_WRITE_REGISTER: 10,
}
_EXCEPTION_BYTES: Final = 5
_IDENTIFICATION_HEAD: Final = 8
"""Unit, function, MEI type, code, conformity, more follows, next object, number of objects."""


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (CRC_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC: Final = _crc_table()


def crc16(data: bytes | bytearray | memoryview) -> int:
    """The RTU checksum, whose low byte goes first on the line; 0 of a sound frame with its checksum."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


def lrc(data: bytes) -> int:
    """The ASCII checksum."""
    return -sum(data) & 0xFF


class _LineWindow(Window):
    """What RTU and ASCII have in common."""

    is_line = True

    def __init__(self) -> None:
        super().__init__(CAPACITY)
        self._asked: dict[int, int] = {}
        """The function last asked of each unit."""
        self.discarded = 0
        """Bytes that belonged to no frame."""

    def _asks(self, request: Request) -> None:
        """Whatever came before the silence in front of this request belongs to nobody."""
        self.discarded += self._stop - self._start
        self._start = self._stop = 0
        self._asked[request.unit] = request.function

    def _may_begin(self, unit: int, function: int) -> bool:
        return self._asked.get(unit) == function & ~EXCEPTION_BIT


class RtuFramer(_LineWindow):
    """RTU on a serial line, or the same bytes over TCP."""

    def frame(self, request: Request, transaction: int) -> bytes:
        self._asks(request)
        adu = bytes([request.unit]) + request.pdu
        return adu + crc16(adu).to_bytes(2, "little")

    def next_reply(self) -> Reply | None:
        return self._next(ends=False)

    def salvage(self) -> Reply | None:
        """A reply behind a frame that was begun and will not end: nothing more comes."""
        return self._next(ends=True)

    def _next(self, *, ends: bool) -> Reply | None:
        """`ends`: no more bytes come, so a frame that is not whole is none."""
        at = self._start
        while at < self._stop:
            size = self._size(at)
            if not ends and (size == NEED_MORE or size > self._stop - at):
                break
            if NEED_MORE < size <= self._stop - at and crc16(self._view[at : at + size]) == 0:
                self._start = at + size
                unit = self.buffer[at]
                return Reply(unit, unit, self.buffer[at + 1], at + 2, at + size - 2)
            at += 1
            self.discarded += 1
        self._start = at
        return None

    def _size(self, at: int) -> int:
        """Of the frame that may begin here, NEED_MORE, or IMPOSSIBLE."""
        have = self._stop - at
        if have < 2:
            return NEED_MORE if self.buffer[at] in self._asked else IMPOSSIBLE
        function = self.buffer[at + 1]
        if not self._may_begin(self.buffer[at], function):
            return IMPOSSIBLE
        if function & EXCEPTION_BIT:
            return _EXCEPTION_BYTES
        if function in _COUNTED:
            if have < 3:
                return NEED_MORE
            size = 5 + self.buffer[at + 2]
            return size if size <= RTU_BYTES_MAX else IMPOSSIBLE
        if function == Function.ENCAPSULATED:
            return self._identification_size(at, have)
        return _FIXED.get(function, IMPOSSIBLE)

    def _identification_size(self, at: int, have: int) -> int:
        if have >= 3 and self.buffer[at + 2] != MEI_IDENTIFICATION:
            return IMPOSSIBLE
        if have < _IDENTIFICATION_HEAD:
            return NEED_MORE
        size = _IDENTIFICATION_HEAD
        for _ in range(self.buffer[at + 7]):
            if have < size + 2:
                return NEED_MORE
            size += 2 + self.buffer[at + size + 1]
            if size + 2 > RTU_BYTES_MAX:
                return IMPOSSIBLE
        return size + 2


class AsciiFramer(_LineWindow):
    """ASCII on a serial line, or the same characters over TCP. Replies are decoded in place."""

    def frame(self, request: Request, transaction: int) -> bytes:
        self._asks(request)
        adu = bytes([request.unit]) + request.pdu
        return b":" + (adu + bytes([lrc(adu)])).hex().upper().encode() + b"\r\n"

    def next_reply(self) -> Reply | None:
        while True:
            begin = self.buffer.find(b":", self._start, self._stop)
            self._pass_to(self._stop if begin < 0 else begin)
            end = self.buffer.find(b"\n", self._start, self._stop)
            if end < 0:
                # A colon begins anew, whatever was begun.
                again = self.buffer.rfind(b":", self._start, self._stop)
                self._pass_to(max(self._start, again))
                if self._stop - self._start > ASCII_BYTES_MAX:
                    self._pass_to(self._stop)
                return None
            begin = self.buffer.rfind(b":", self._start, end)
            if begin < 0:
                self._pass_to(end + 1)
                continue
            self._pass_to(begin)
            adu = _decoded(bytes(self.buffer[begin + 1 : end]))
            if adu is None or not self._may_begin(adu[0], adu[1]):
                self._pass_to(end + 1)
                continue
            self.buffer[begin : begin + len(adu)] = adu
            self._start = end + 1
            return Reply(adu[0], adu[0], adu[1], begin + 2, begin + len(adu) - 1)

    def salvage(self) -> Reply | None:
        return self.next_reply()

    def _pass_to(self, at: int) -> None:
        self.discarded += at - self._start
        self._start = at


def _decoded(characters: bytes) -> bytes | None:
    """Unit, PDU and checksum; None when that is not what the characters are."""
    characters = characters.removesuffix(b"\r")
    if len(characters) % 2 or not 6 <= len(characters) <= ASCII_BYTES_MAX or not characters.isalnum():
        return None
    try:
        adu = bytes.fromhex(characters.decode("ascii"))
    except ValueError:
        return None
    return adu if lrc(adu) == 0 else None
