"""Requests out of the schedule, as protocol data units: function code and data, without unit and framing. No I/O.

A write names all that it changes and is answered by its echo; what does not echo has not been done. Reading back is a
request of its own, or function 23, which writes before it reads. Device identification (43/14) comes in several
replies when it is long; each says where the next begins.

Source: MODBUS Application Protocol Specification V1.1b3, 6.1 to 6.21.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.protocol.modbus.codes import (
    EXCEPTION_BIT,
    READ_BITS_MAX,
    READ_REGISTERS_MAX,
    READ_WRITE_REGISTERS_MAX,
    WRITE_BITS_MAX,
    WRITE_REGISTERS_MAX,
    Function,
)
from gateway.protocol.modbus.frames import COIL_ON, DeviceRefusedError, ReplyError

ADDRESSES: Final = 65_536
MEI_IDENTIFICATION: Final = 14
BIT_READS: Final = (Function.READ_COILS, Function.READ_DISCRETE_INPUTS)

_HEAD = struct.Struct(">BHH")
_ECHOED: Final[dict[int, int]] = {
    Function.WRITE_SINGLE_COIL: 5,
    Function.WRITE_SINGLE_REGISTER: 5,
    Function.WRITE_MULTIPLE_COILS: 5,
    Function.WRITE_MULTIPLE_REGISTERS: 5,
    Function.MASK_WRITE_REGISTER: 7,
}
"""How much of a write its reply repeats."""


def read(function: Function, address: int, count: int) -> bytes:
    """A read of `count` bits or registers, functions 1 to 4."""
    assert 1 <= count <= (READ_BITS_MAX if function in BIT_READS else READ_REGISTERS_MAX)
    return _head(function, address, count, count)


def write_coil(address: int, is_on: bool) -> bytes:
    return _head(Function.WRITE_SINGLE_COIL, address, 1, COIL_ON if is_on else 0)


def write_register(address: int, register: bytes) -> bytes:
    assert len(register) == 2
    return _head(Function.WRITE_SINGLE_REGISTER, address, 1, int.from_bytes(register, "big"))


def write_coils(address: int, are_on: Sequence[bool]) -> bytes:
    count = len(are_on)
    assert 1 <= count <= WRITE_BITS_MAX
    packed = bytearray((count + 7) // 8)
    for index, is_on in enumerate(are_on):
        packed[index // 8] |= is_on << (index % 8)
    return _head(Function.WRITE_MULTIPLE_COILS, address, count, count) + bytes([len(packed)]) + packed


def write_registers(address: int, registers: bytes) -> bytes:
    count = _registers(registers, WRITE_REGISTERS_MAX)
    return _head(Function.WRITE_MULTIPLE_REGISTERS, address, count, count) + bytes([len(registers)]) + registers


def mask_write(address: int, *, keep: int, put: int) -> bytes:
    """The register becomes (its content AND `keep`) OR (`put` AND NOT `keep`), in one go inside the device."""
    return _head(Function.MASK_WRITE_REGISTER, address, 1, keep) + put.to_bytes(2, "big")


def read_write(address: int, count: int, write_address: int, registers: bytes) -> bytes:
    """Function 23: `registers` are written from `write_address`, then `count` are read from `address`."""
    assert 1 <= count <= READ_REGISTERS_MAX
    written = _registers(registers, READ_WRITE_REGISTERS_MAX)
    assert write_address + written <= ADDRESSES
    head = _head(Function.READ_WRITE_REGISTERS, address, count, count)
    return head + struct.pack(">HHB", write_address, written, len(registers)) + registers


def read_identification(first_object: int = 0, category: int = 1) -> bytes:
    """Function 43/14. Category 1: vendor, product and revision; 2: regular; 3: extended objects."""
    return bytes([Function.ENCAPSULATED, MEI_IDENTIFICATION, category, first_object])


def _head(function: Function, address: int, count: int, second: int) -> bytes:
    assert 0 <= address <= ADDRESSES - count
    return _HEAD.pack(function, address, second)


def _registers(registers: bytes, count_max: int) -> int:
    count, odd = divmod(len(registers), 2)
    assert not odd
    assert 1 <= count <= count_max
    return count


# Replies


def check_function(request: bytes, reply: bytes) -> None:
    """Raises DeviceRefusedError for an exception reply, ReplyError for a reply to some other request."""
    if not reply:
        raise ReplyError("reply without a function code")
    if reply[0] == request[0] | EXCEPTION_BIT:
        if len(reply) != 2:
            raise ReplyError(f"exception reply with {len(reply) - 1} data bytes in place of 1")
        raise DeviceRefusedError(reply[1])
    if reply[0] != request[0]:
        raise ReplyError(f"reply with function {reply[0]} to a request with function {request[0]}")


def check_echo(request: bytes, reply: bytes) -> None:
    """The reply to a write (5, 6, 15, 16, 22) repeats it; raises as `check_function` does."""
    check_function(request, reply)
    if reply != request[: _ECHOED[request[0]]]:
        raise ReplyError("the reply to a write does not echo it")


def read_data(request: bytes, reply: bytes) -> bytes:
    """The data bytes of a reply to functions 1 to 4 and 23; raises as `check_function` does."""
    check_function(request, reply)
    count = int.from_bytes(request[3:5], "big")
    wanted = (count + 7) // 8 if request[0] in BIT_READS else 2 * count
    if len(reply) != 2 + wanted or reply[1] != wanted:
        raise ReplyError(f"reply with {len(reply) - 1} data bytes to a request for {wanted} and their count")
    return reply[2:]


class Identification(NamedTuple):
    """One reply of function 43/14. `next_object` is where the rest begins; None when this is the last reply."""

    conformity: int
    objects: dict[int, bytes]
    next_object: int | None


def identification(request: bytes, reply: bytes) -> Identification:
    """Raises as `check_function` does."""
    check_function(request, reply)
    if len(reply) < 7 or reply[1:3] != request[1:3]:
        raise ReplyError("reply to a request for identification without its heading")
    at = 7
    objects: dict[int, bytes] = {}
    for _ in range(reply[6]):
        if at + 2 > len(reply) or at + 2 + reply[at + 1] > len(reply):
            raise ReplyError("identification that ends within an object")
        objects[reply[at]] = reply[at + 2 : at + 2 + reply[at + 1]]
        at += 2 + reply[at + 1]
    if at != len(reply):
        raise ReplyError(f"identification with {len(reply) - at} bytes after its last object")
    # A next object that lies behind would be asked for without end.
    goes_on = reply[4] == 0xFF and reply[5] > request[3] and bool(objects)
    return Identification(reply[3], objects, reply[5] if goes_on else None)
