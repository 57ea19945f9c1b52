"""Modbus TCP frames of the executive: built once in Python, checked, decoded and filled in by jitted code.

A request is built whole before the start; sending it sets the transaction id and, for a write, the registers. A reply
is used only when its transaction id, unit, function and length, and for a write the echo, are those of its request.

Source: MODBUS Messaging on TCP/IP V1.0b, 3.1.3 (MBAP header); Application Protocol V1.1b3, 6.3, 6.4, 6.6, 6.12.
"""

from __future__ import annotations

import struct
from typing import Any, Final, TypeAlias

import numpy as np
from numba import njit

from gateway.core.types import Kind
from gateway.native.jit import whole
from gateway.protocol.modbus.codes import EXCEPTION_BIT, MBAP_BYTES, Function
from gateway.protocol.modbus.points import WireType

Bytes: TypeAlias = Any
Whole: TypeAlias = Any
"""An int64 in jitted code, an int or np.int64 without."""
Real: TypeAlias = Any

NUMERIC: Final = (
    WireType.INT16,
    WireType.UINT16,
    WireType.INT32,
    WireType.UINT32,
    WireType.INT64,
    WireType.UINT64,
    WireType.FLOAT32,
    WireType.FLOAT64,
)
"""A type's number in jitted code is its place here."""
INT16, UINT16, INT32, UINT32, INT64, UINT64, FLOAT32, FLOAT64 = range(8)
REGISTERS: Final = (1, 1, 2, 2, 4, 4, 2, 4)

SWAP_BYTES: Final = 1
"""Order bit: the low byte of each register comes first."""
SWAP_WORDS: Final = 2
"""Order bit: the low register comes first."""

WRITE_SINGLE: Final = int(Function.WRITE_SINGLE_REGISTER)
LENGTH_MAX: Final = 254
KIND_F64: Final = int(Kind.F64)
KIND_U64: Final = int(Kind.U64)
FLOAT32_MAX: Final = 3.4028234663852886e38

# Places in a frame and other constants that go into calls, as int64: see `jit.whole`.
LENGTH_AT, ADDRESS_AT, COUNT_AT = whole(4), whole(8), whole(10)
ONE, UNUSED_BY_16, UNUSED_BY_32 = whole(1), whole(48), whole(32)

# What the checks and `frame_bytes` say.
MATCHES, REFUSED, MISMATCH = range(3)
INCOMPLETE, NOT_MODBUS = 0, -1


def read_request(unit: int, function: Function, address: int, registers: int) -> bytes:
    return struct.pack(">HHHBBHH", 0, 0, 6, unit, function, address, registers)


def write_request(unit: int, address: int, registers: int) -> bytes:
    """One register by function 6, several by function 16; the values are zero."""
    if registers == 1:
        return struct.pack(">HHHBBHH", 0, 0, 6, unit, Function.WRITE_SINGLE_REGISTER, address, 0)
    size = 2 * registers
    head = struct.pack(">HHHBBHHB", 0, 0, 7 + size, unit, Function.WRITE_MULTIPLE_REGISTERS, address, registers, size)
    return head + bytes(size)


@njit(cache=True, nogil=True, error_model="numpy")
def word(data: Bytes, at: Whole) -> Whole:
    return (np.int64(data[at]) << 8) | np.int64(data[at + 1])


@njit(cache=True, nogil=True, error_model="numpy")
def frame_bytes(data: Bytes, at: Whole, end: Whole) -> Whole:
    """Length of the frame that starts at `at`; INCOMPLETE if it needs more, NOT_MODBUS if it can never be one."""
    if end - at < MBAP_BYTES:
        return INCOMPLETE
    length = word(data, at + LENGTH_AT)
    if word(data, at + 2) != 0 or length < 3 or length > LENGTH_MAX:
        return NOT_MODBUS
    if end - at < 6 + length:
        return INCOMPLETE
    return 6 + length


@njit(cache=True, nogil=True, error_model="numpy")
def check_head(data: Bytes, at: Whole, request: Bytes) -> Whole:
    """Whether unit and function of the whole frame at `at` are the request's; REFUSED if it is an exception."""
    if data[at + 6] != request[6]:
        return MISMATCH
    if data[at + 7] == np.int64(request[7]) | EXCEPTION_BIT:
        return REFUSED if word(data, at + LENGTH_AT) == 3 else MISMATCH
    return MATCHES if data[at + 7] == request[7] else MISMATCH


@njit(cache=True, nogil=True, error_model="numpy")
def check_read(data: Bytes, at: Whole, request: Bytes) -> Whole:
    """Whether the whole frame at `at` answers the read `request`, transaction ids aside."""
    verdict = check_head(data, at, request)
    size = 2 * word(request, COUNT_AT)
    if verdict == MATCHES and (word(data, at + LENGTH_AT) != 3 + size or np.int64(data[at + 8]) != size):
        return MISMATCH
    return verdict


@njit(cache=True, nogil=True, error_model="numpy")
def check_write(data: Bytes, at: Whole, request: Bytes, order: Whole, bits: Whole) -> Whole:
    """Whether the whole frame at `at` answers the write `request` when it carried `bits`, transaction ids aside.

    A single register's reply echoes the value; the request itself may carry a later one by now.
    """
    verdict = check_head(data, at, request)
    if verdict != MATCHES:
        return verdict
    if word(data, at + LENGTH_AT) != 6 or word(data, at + ADDRESS_AT) != word(request, ADDRESS_AT):
        return MISMATCH
    if request[7] == WRITE_SINGLE:
        return MATCHES if load_bits(data, at + COUNT_AT, ONE, order) == bits else MISMATCH
    return MATCHES if word(data, at + COUNT_AT) == word(request, COUNT_AT) else MISMATCH


@njit(cache=True, nogil=True, error_model="numpy")
def load_bits(data: Bytes, at: Whole, registers: Whole, order: Whole) -> Whole:
    """The registers at `at` in the low bits of a word, the most significant register first."""
    bits = np.int64(0)
    for i in range(registers):
        register = registers - 1 - i if order & SWAP_WORDS else i
        high = data[at + 2 * register]
        low = data[at + 2 * register + 1]
        if order & SWAP_BYTES:
            high, low = low, high
        bits = (bits << np.int64(16)) | (np.int64(high) << np.int64(8)) | np.int64(low)
    return bits


@njit(cache=True, nogil=True, error_model="numpy")
def store_bits(data: Bytes, at: Whole, registers: Whole, order: Whole, bits: Whole) -> None:
    """The inverse of `load_bits`."""
    rest = np.int64(bits)
    for i in range(registers):
        register = i if order & SWAP_WORDS else registers - 1 - i
        low = np.uint8(rest & np.int64(0xFF))
        high = np.uint8((rest >> np.int64(8)) & np.int64(0xFF))
        if order & SWAP_BYTES:
            high, low = low, high
        data[at + 2 * register] = high
        data[at + 2 * register + 1] = low
        rest = rest >> np.int64(16)


@njit(cache=True, nogil=True, error_model="numpy")
def signed(bits: Whole, unused: Whole) -> Whole:
    """The two's complement number in the low bits, the upper `unused` bits being unused."""
    return (np.int64(bits) << np.int64(unused)) >> np.int64(unused)


@njit(cache=True, nogil=True, error_model="numpy")
def number_of(bits: Whole, kind: Whole) -> Real:
    """The register type's own number, before scale and offset."""
    if kind == INT16:
        return np.float64(signed(bits, UNUSED_BY_16))
    if kind == INT32:
        return np.float64(signed(bits, UNUSED_BY_32))
    if kind == UINT64:
        return np.float64(np.int64(bits).view(np.uint64))
    if kind == FLOAT32:
        return np.float64(np.uint32(bits).view(np.float32))
    if kind == FLOAT64:
        return np.int64(bits).view(np.float64)
    return np.float64(bits)  # uint16 and uint32 fill the low bits, int64 all of them


@njit(cache=True, nogil=True, error_model="numpy")
def bits_of(number: Real, kind: Whole) -> Whole:
    """The nearest number that the type can hold, halves to even, as the bits that go into registers."""
    if kind == FLOAT64:
        return np.float64(number).view(np.int64)
    if kind == FLOAT32:
        single = np.float32(min(max(number, -FLOAT32_MAX), FLOAT32_MAX))
        return np.int64(single.view(np.uint32))
    whole = np.rint(number)
    if kind == INT16:
        return np.int64(min(max(whole, -32768.0), 32767.0)) & 0xFFFF
    if kind == UINT16:
        return np.int64(min(max(whole, 0.0), 65535.0))
    if kind == INT32:
        return np.int64(min(max(whole, -2147483648.0), 2147483647.0)) & 0xFFFFFFFF
    if kind == UINT32:
        return np.int64(min(max(whole, 0.0), 4294967295.0))
    if kind == INT64:
        if whole >= 9223372036854775808.0:
            return np.int64(0x7FFFFFFFFFFFFFFF)
        return np.int64(max(whole, -9223372036854775808.0))
    if whole >= 18446744073709551616.0:
        return np.int64(-1)
    return np.int64(np.uint64(max(whole, 0.0)).view(np.int64))


@njit(cache=True, nogil=True, error_model="numpy")
def cell_of(value: Real, bits: Whole, register_type: Whole, scale: Real, offset: Real, kind: Whole) -> Whole:
    """A tag's 8-byte cell (as int64) for a value in engineering units; integers that are not scaled stay exact."""
    if kind == KIND_F64:
        return np.int64(np.float64(value).view(np.int64))
    if scale == 1.0 and offset == 0.0 and register_type < FLOAT32:
        if register_type == INT16:
            return signed(bits, UNUSED_BY_16)
        if register_type == INT32:
            return signed(bits, UNUSED_BY_32)
        return np.int64(bits)
    return bits_of(value, UINT64 if kind == KIND_U64 else INT64)
