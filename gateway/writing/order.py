"""From a tag and a value to what is sent: one request, and how to read back what it did.

A value, a text too, is written whole or not at all: one request names all its registers. A part of a register goes by
function 22, which changes its bits inside the device; reading, changing and writing back would undo what somebody else
wrote in between. What the type cannot hold, what is not valid, and what would mean "no value" is refused.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from gateway.core.types import Kind
from gateway.protocol.modbus import pdu
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.decode import encode_value
from gateway.protocol.modbus.points import Encoding, Padding, WireType
from gateway.protocol.modbus.texts import encode_text
from gateway.settings.schema import ModbusPoint, RegisterType, Table, Tag, WriteWith

Value = bool | int | float | str

_WORDS_OF_BOOL: Final = {"true": 1, "on": 1, "false": 0, "off": 0}
_INTEGER_CHARACTERS_MAX: Final = 24


class ValueRefusedError(Exception):
    """The value cannot be written to this tag; the text says why, and what may be."""


class Order(NamedTuple):
    """`request` is sent to `unit`. Then `read` brings back `expected`, in the bits of `mask`."""

    unit: int
    request: bytes
    read: bytes
    expected: bytes
    mask: bytes
    reads_back: bool
    """The reply to `request` brings the registers, so that `read` need not be sent."""


def number_of(tag: Tag, value: Value) -> int | float:
    """What is meant, in engineering units: a number, a label of the tag, or on and off. Raises ValueRefusedError."""
    meant: int | float | None
    meant = _number_in_words(tag, value) if isinstance(value, str) else value
    if meant is None:
        known = ", ".join(f'"{label}"' for _, label in tag.labels)
        raise ValueRefusedError(f'"{value}" is no number{f" and none of {known}" if known else ""}')
    if not math.isfinite(meant):
        raise ValueRefusedError(f"{meant} is not a finite number")
    if isinstance(meant, float) and tag.kind in (Kind.I64, Kind.U64):
        if not meant.is_integer():
            raise ValueRefusedError(f"{meant:g} is not whole, and {tag.name} is a whole number")
        meant = int(meant)
    return meant


def _number_in_words(tag: Tag, value: str) -> int | float | None:
    for number, label in tag.labels:
        if label == value:
            return number
    word = value.strip()
    if word.lower() in _WORDS_OF_BOOL and isinstance(tag.point, ModbusPoint) and tag.point.type is RegisterType.BOOL:
        return _WORDS_OF_BOOL[word.lower()]
    try:
        if word.lstrip("+-").isdigit() and len(word) <= _INTEGER_CHARACTERS_MAX:
            return int(word)
        return float(word)
    except ValueError:
        return None


def order_of(tag: Tag, value: Value) -> Order:
    """Raises ValueRefusedError. The tag is a writable one of a Modbus device."""
    point = tag.point
    assert isinstance(point, ModbusPoint)
    if tag.kind is Kind.SYMBOL:
        return _text(tag, point, value)
    number = number_of(tag, value)
    _check_range(tag, point, number)
    if point.table is Table.COIL:
        return _coil(point, number)
    return _bits(tag, point, number) if point.bits else _registers(tag, point, number)


def _check_range(tag: Tag, point: ModbusPoint, number: int | float) -> None:
    lows = [low for low in (tag.valid_low, point.clamp_low) if low is not None]
    highs = [high for high in (tag.valid_high, point.clamp_high) if high is not None]
    if (lows and number < max(lows)) or (highs and number > min(highs)):
        low = f"{max(lows):g}" if lows else "-∞"
        high = f"{min(highs):g}" if highs else "∞"
        raise ValueRefusedError(f"{number:g} is not valid for {tag.name}: write {low} to {high} {tag.unit}".rstrip())


def _coil(point: ModbusPoint, number: int | float) -> Order:
    if number not in (0, 1):
        raise ValueRefusedError(f"{number:g} is neither 0 nor 1")
    is_on = bool(number)
    is_single = point.write_with is WriteWith.SINGLE
    request = pdu.write_coil(point.address, is_on) if is_single else pdu.write_coils(point.address, [is_on])
    read = pdu.read(Function.READ_COILS, point.address, 1)
    return Order(point.unit, request, read, bytes([is_on]), b"\x01", reads_back=False)


def _bits(tag: Tag, point: ModbusPoint, number: int | float) -> Order:
    """Settings have made sure that the field lies in one register."""
    raw = round((number - point.offset) / point.scale) if (point.scale, point.offset) != (1.0, 0.0) else int(number)
    if not 0 <= raw < 1 << point.bits:
        raise ValueRefusedError(f"{number:g} does not fit the {point.bits} bits of {tag.name}")
    if raw in point.not_available:
        raise ValueRefusedError(f"{number:g} means that {tag.name} has no value")
    field = ((1 << point.bits) - 1) << point.first_bit
    order = "big" if point.big_endian_bytes else "little"
    mask = field.to_bytes(2, order)  # type: ignore[arg-type]
    put = (raw << point.first_bit).to_bytes(2, order)  # type: ignore[arg-type]
    keep = 0xFFFF ^ int.from_bytes(mask, "big")
    request = pdu.mask_write(point.address, keep=keep, put=int.from_bytes(put, "big"))
    read = pdu.read(Function.READ_HOLDING_REGISTERS, point.address, 1)
    return Order(point.unit, request, read, put, mask, reads_back=False)


def _text(tag: Tag, point: ModbusPoint, value: Value) -> Order:
    if not isinstance(value, str):
        raise ValueRefusedError(f"{value} is not a text, and {tag.name} is one")
    try:
        registers = encode_text(
            value,
            point.text_registers,
            big_bytes=point.big_endian_bytes,
            encoding=Encoding[point.encoding.name],
            padding=Padding[point.padding.name],
        )
    except ValueError as error:
        raise ValueRefusedError(str(error)) from None
    return _whole(point, registers)


def _registers(tag: Tag, point: ModbusPoint, number: int | float) -> Order:
    try:
        registers = encode_value(
            number,
            WireType[point.type.name],
            big_words=point.big_endian_words,
            big_bytes=point.big_endian_bytes,
            scale=point.scale,
            offset=point.offset,
        )
    except ValueError as error:
        raise ValueRefusedError(str(error)) from None
    plain = encode_pattern(registers, point)
    if plain in point.not_available:
        raise ValueRefusedError(f"{number:g} means that {tag.name} has no value")
    return _whole(point, registers)


def _whole(point: ModbusPoint, registers: bytes) -> Order:
    """All registers of a value at once."""
    count = len(registers) // 2
    reads_back = point.write_with is WriteWith.READ_WRITE
    if reads_back:
        request = pdu.read_write(point.address, count, point.address, registers)
    elif count == 1 and point.write_with is WriteWith.SINGLE:
        request = pdu.write_register(point.address, registers)
    else:
        request = pdu.write_registers(point.address, registers)
    read = pdu.read(Function.READ_HOLDING_REGISTERS, point.address, count)
    return Order(point.unit, request, read, registers, b"\xff" * len(registers), reads_back)


def encode_pattern(registers: bytes, point: ModbusPoint) -> int:
    """The registers as the number that patterns of "not available" are compared with."""
    words = [registers[at : at + 2] for at in range(0, len(registers), 2)]
    if not point.big_endian_words:
        words.reverse()
    return int.from_bytes(b"".join(word if point.big_endian_bytes else word[::-1] for word in words), "big")


def confirmed(order: Order, reply: bytes) -> bytes:
    """What the reply to the request says is there now, b"" when it says nothing of it. Raises as `pdu.check_echo`."""
    if order.reads_back:
        return pdu.read_data(order.request, reply)
    pdu.check_echo(order.request, reply)
    return b""


def differs(order: Order, found: bytes) -> bool:
    """Whether what was read back is not what was written, in the bits that it was about."""
    return any((a ^ b) & mask for a, b, mask in zip(found, order.expected, order.mask, strict=True))
