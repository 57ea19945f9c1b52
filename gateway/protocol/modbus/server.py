"""The serving side of Modbus TCP, without I/O: bytes in, requests out, responses back.

`RequestFramer` cuts the byte stream at the MBAP headers (MODBUS Messaging on TCP/IP V1.0b, 3.1.3). The stream has no
marks to find one's feet by, so a header that cannot be right (`FrameError`) ends the connection.

`parse_request` makes a request of a PDU or raises `RequestError`, which carries the exception code to answer with; the
connection goes on. The order of the checks is that of the state diagrams (Application Protocol V1.1b3, section 6):
function, then quantity and length (3), then address range (2). Whether an address is mapped is for the caller to say.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from gateway.protocol.modbus.codes import (
    ADU_BYTES_MAX,
    EXCEPTION_BIT,
    MBAP_BYTES,
    READ_BITS_MAX,
    READ_REGISTERS_MAX,
    WRITE_BITS_MAX,
    WRITE_REGISTERS_MAX,
    Function,
    ModbusException,
)

ADDRESSES: Final = 65_536
COIL_ON: Final = 0xFF00
COIL_OFF: Final = 0x0000

_MBAP: Final = struct.Struct(">HHHB")
_TWO_WORDS: Final = struct.Struct(">BHH")
_HEADER_BEFORE_LENGTH_ENDS: Final = 6
_LENGTH_MIN: Final = 2  # unit id and function code
_LENGTH_MAX: Final = ADU_BYTES_MAX - _HEADER_BEFORE_LENGTH_ENDS


class FrameError(ValueError):
    """The byte stream is not Modbus TCP; what follows cannot be read either."""


class RequestError(Exception):
    """A request that is answered with an exception. `code` is that answer; the text is for the log."""

    def __init__(self, code: ModbusException, why: str) -> None:
        super().__init__(why)
        self.code = code


class Adu(NamedTuple):
    """One framed request: what its answer must repeat, and the PDU (function code and data)."""

    transaction: int
    unit: int
    pdu: bytes


class ReadBits(NamedTuple):
    function: Function
    address: int
    quantity: int


class ReadRegisters(NamedTuple):
    function: Function
    address: int
    quantity: int


class WriteBits(NamedTuple):
    """Functions 5 and 15. `data` is packed as on the wire: the first coil is the lowest bit."""

    function: Function
    address: int
    quantity: int
    data: bytes


class WriteRegisters(NamedTuple):
    """Functions 6 and 16. `data` holds the registers as on the wire, high byte first."""

    function: Function
    address: int
    quantity: int
    data: bytes


Request: TypeAlias = ReadBits | ReadRegisters | WriteBits | WriteRegisters


class RequestFramer:
    """Cuts a byte stream into `Adu`s. It holds back less than one frame between two calls."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> Iterator[Adu]:
        """Yields the frames that `data` completes; raises FrameError where the stream stops making sense.

        Exhaust it (or drop the framer) before the next call.
        """
        buffer = self._held + data if self._held else data
        self._held = b""
        at = 0
        while len(buffer) - at >= _HEADER_BEFORE_LENGTH_ENDS:
            protocol = buffer[at + 2] << 8 | buffer[at + 3]
            length = buffer[at + 4] << 8 | buffer[at + 5]
            if protocol != 0:
                raise FrameError(f"protocol identifier {protocol} in the MBAP header; Modbus has 0")
            if not _LENGTH_MIN <= length <= _LENGTH_MAX:
                raise FrameError(f"length {length} in the MBAP header; a request has {_LENGTH_MIN} to {_LENGTH_MAX}")
            end = at + _HEADER_BEFORE_LENGTH_ENDS + length
            if len(buffer) < end:
                break
            yield Adu(buffer[at] << 8 | buffer[at + 1], buffer[at + 6], buffer[at + MBAP_BYTES : end])
            at = end
        self._held = buffer[at:]


def parse_request(pdu: bytes) -> Request:
    """Read one PDU of at least one byte. Raises RequestError with the exception code to answer."""
    match pdu[0]:
        case Function.READ_HOLDING_REGISTERS | Function.READ_INPUT_REGISTERS:
            return ReadRegisters(Function(pdu[0]), *_read(pdu, READ_REGISTERS_MAX))
        case Function.READ_COILS | Function.READ_DISCRETE_INPUTS:
            return ReadBits(Function(pdu[0]), *_read(pdu, READ_BITS_MAX))
        case Function.WRITE_SINGLE_REGISTER:
            _exact_bytes(pdu, _TWO_WORDS.size)
            return WriteRegisters(Function.WRITE_SINGLE_REGISTER, pdu[1] << 8 | pdu[2], 1, pdu[3:5])
        case Function.WRITE_SINGLE_COIL:
            return _write_coil(pdu)
        case Function.WRITE_MULTIPLE_REGISTERS:
            address, count = _counted(pdu, WRITE_REGISTERS_MAX, bits_each=16)
            return WriteRegisters(Function.WRITE_MULTIPLE_REGISTERS, address, count, pdu[6:])
        case Function.WRITE_MULTIPLE_COILS:
            address, count = _counted(pdu, WRITE_BITS_MAX, bits_each=1)
            return WriteBits(Function.WRITE_MULTIPLE_COILS, address, count, pdu[6:])
        case function:
            raise RequestError(ModbusException.ILLEGAL_FUNCTION, f"function {function} is not offered")


def read_response(function: Function, data: bytes) -> bytes:
    """The PDU that answers functions 1 to 4: registers high byte first, or bits packed lowest first."""
    return bytes((function, len(data))) + data


def write_response(request_pdu: bytes) -> bytes:
    """The PDU that answers functions 5, 6, 15 and 16: all four repeat the first five bytes of the request."""
    return request_pdu[: _TWO_WORDS.size]


def exception_response(function: int, code: ModbusException) -> bytes:
    return bytes((function | EXCEPTION_BIT, code))


def frame(request: Adu, pdu: bytes) -> bytes:
    """The whole response: the request's own header fields before the PDU."""
    return _MBAP.pack(request.transaction, 0, len(pdu) + 1, request.unit) + pdu


def _read(pdu: bytes, count_max: int) -> tuple[int, int]:
    _exact_bytes(pdu, _TWO_WORDS.size)
    _, address, count = _TWO_WORDS.unpack(pdu)
    _in_range(address, count, count_max)
    return address, count


def _counted(pdu: bytes, count_max: int, bits_each: int) -> tuple[int, int]:
    """Address and quantity of a request that brings its data, with byte count and length checked."""
    if len(pdu) < 6:
        raise RequestError(ModbusException.ILLEGAL_DATA_VALUE, f"{len(pdu)} bytes; this function has 6 and its data")
    _, address, count = _TWO_WORDS.unpack_from(pdu)
    wanted = (count * bits_each + 7) // 8
    if pdu[5] != wanted:
        raise RequestError(ModbusException.ILLEGAL_DATA_VALUE, f"byte count {pdu[5]} for a quantity of {count}")
    _in_range(address, count, count_max)
    _exact_bytes(pdu, 6 + wanted)
    return address, count


def _write_coil(pdu: bytes) -> WriteBits:
    _exact_bytes(pdu, _TWO_WORDS.size)
    _, address, state = _TWO_WORDS.unpack(pdu)
    if state not in (COIL_ON, COIL_OFF):
        raise RequestError(ModbusException.ILLEGAL_DATA_VALUE, f"coil state {state:#06x}; it is 0xff00 or 0x0000")
    return WriteBits(Function.WRITE_SINGLE_COIL, address, 1, b"\x01" if state == COIL_ON else b"\x00")


def _exact_bytes(pdu: bytes, wanted: int) -> None:
    if len(pdu) != wanted:
        raise RequestError(ModbusException.ILLEGAL_DATA_VALUE, f"{len(pdu)} bytes; this request has {wanted}")


def _in_range(address: int, count: int, count_max: int) -> None:
    if not 1 <= count <= count_max:
        raise RequestError(ModbusException.ILLEGAL_DATA_VALUE, f"quantity {count}; permitted are 1 to {count_max}")
    if address + count > ADDRESSES:
        raise RequestError(ModbusException.ILLEGAL_DATA_ADDRESS, f"{count} from {address} pass the last address 65535")
