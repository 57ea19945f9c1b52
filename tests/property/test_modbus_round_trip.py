"""Each type in each byte and word order, against encoders that are not ours: pymodbus's conversion, and struct.

pymodbus knows no byte order inside a register: its registers are turned over by hand. BCD and sign and magnitude it
does not know either: their digits are put together here from their definition.
"""

from __future__ import annotations

import itertools
import struct
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.client.mixin import ModbusClientMixin as Pymodbus

from gateway.core.symbols import Symbols
from gateway.core.types import SAMPLE, Kind, Quality, Samples
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.decode import decode_block, encode_value
from gateway.protocol.modbus.plan import Point, plan
from gateway.protocol.modbus.points import WORDS, Encoding, WireType
from gateway.protocol.modbus.texts import decode_texts, encode_text, scratch_bytes

THEIRS = {
    WireType.INT16: Pymodbus.DATATYPE.INT16,
    WireType.INT32: Pymodbus.DATATYPE.INT32,
    WireType.INT64: Pymodbus.DATATYPE.INT64,
    WireType.UINT16: Pymodbus.DATATYPE.UINT16,
    WireType.UINT32: Pymodbus.DATATYPE.UINT32,
    WireType.UINT64: Pymodbus.DATATYPE.UINT64,
    WireType.FLOAT32: Pymodbus.DATATYPE.FLOAT32,
    WireType.FLOAT64: Pymodbus.DATATYPE.FLOAT64,
}
FLOATS = (WireType.FLOAT32, WireType.FLOAT64)
BCD = (WireType.BCD16, WireType.BCD32, WireType.BCD64)
SIGN_AND_MAGNITUDE = (WireType.SIGNMAG16, WireType.SIGNMAG32, WireType.SIGNMAG64)
CODECS = {Encoding.UTF_8: "utf-8", Encoding.ASCII: "ascii", Encoding.LATIN_1: "latin-1", Encoding.UTF_16: "utf-16-be"}
SYMBOLS = Symbols()

Order = Literal["big", "little"]


def laid_out(registers: list[int], *, big_bytes: bool) -> bytes:
    return b"".join(struct.pack(">H" if big_bytes else "<H", register) for register in registers)


def their_registers(value: float, wire: WireType, order: Order) -> list[int]:
    """The registers of a value, made without a line of ours."""
    if wire in THEIRS:
        return Pymodbus.convert_to_registers(value, THEIRS[wire], word_order=order)
    if wire is WireType.BOOL:
        return [int(value)]
    if wire in BCD:
        digits = f"{int(value):0{4 * WORDS[wire]}d}"
        words = [
            sum((ord(digit) - 48) << 4 * (3 - k) for k, digit in enumerate(digits[at : at + 4]))
            for at in range(0, len(digits), 4)
        ]
    else:
        width = 16 * WORDS[wire]
        pattern = abs(int(value)) + (2 ** (width - 1) if value < 0 else 0)
        words = list(struct.unpack(f">{WORDS[wire]}H", pattern.to_bytes(width // 8, "big")))
    return words if order == "big" else words[::-1]


def values_of(wire: WireType) -> st.SearchStrategy[float]:
    width = 16 * WORDS[wire]
    if wire in FLOATS:
        return st.floats(width=32 if wire is WireType.FLOAT32 else 64, allow_nan=False, allow_infinity=False)
    if wire is WireType.BOOL:
        return st.integers(0, 1)
    if wire in BCD:
        return st.integers(0, 10 ** (width // 4) - 1)
    if wire in SIGN_AND_MAGNITUDE:
        return st.integers(-(2 ** (width - 1)) + 1, 2 ** (width - 1) - 1)
    is_signed = wire <= WireType.INT64
    return st.integers(-(2 ** (width - 1)), 2 ** (width - 1) - 1) if is_signed else st.integers(0, 2**width - 1)


def point_of(wire: WireType, kind: Kind, *, big_words: bool = True, big_bytes: bool = True, **more: int) -> Point:
    return Point(
        row=0, name="t", device="d", unit=1, function=Function.READ_INPUT_REGISTERS, address=9, wire=wire, kind=kind,
        period_ns=1, big_words=big_words, big_bytes=big_bytes, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def cell_of(point: Point, registers: bytes) -> tuple[int, float]:
    """Quality and value as the engine will read them."""
    (block,) = plan([point])
    out: Samples = np.zeros(1, SAMPLE)
    decode_block(out, block.table, np.frombuffer(bytearray(registers), np.uint8), 0, 0)
    bits = out["bits"]
    value = {Kind.F64: out["value"], Kind.I64: bits, Kind.U64: bits.view(np.uint64)}[point.kind][0]
    return int(out["quality"][0]), value.item()


ORDERS = list(itertools.product(("big", "little"), ("big", "little")))
NUMBERS = [wire for wire in WireType if wire is not WireType.STRING]


@pytest.mark.parametrize(("words", "octets"), ORDERS)
@pytest.mark.parametrize("wire", NUMBERS)
def test_every_type_comes_back_in_every_order_from_registers_that_others_made(
    wire: WireType, words: Order, octets: Order
) -> None:
    @settings(deadline=None, max_examples=30)
    @given(values_of(wire))
    def check(value: float) -> None:
        registers = laid_out(their_registers(value, wire, words), big_bytes=octets == "big")
        orders = {"big_words": words == "big", "big_bytes": octets == "big"}
        assert encode_value(value, wire, **orders) == registers
        is_signed = wire <= WireType.INT64 or wire in SIGN_AND_MAGNITUDE
        kinds = (Kind.F64,) if wire in FLOATS else (Kind.F64, Kind.I64 if is_signed else Kind.U64)
        for kind in kinds:
            quality, read = cell_of(point_of(wire, kind, **orders), registers)
            assert quality == Quality.GOOD
            assert read == (float(value) if kind is Kind.F64 else value)

    check()


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=16, max_size=16), st.sampled_from(["big", "little"]))
def test_single_bits_are_those_that_pymodbus_packed(flags: list[bool], octets: Order) -> None:
    (packed,) = Pymodbus.convert_to_registers(list(flags), Pymodbus.DATATYPE.BITS)
    # pymodbus fills bytes from the first bit up, and puts the first byte in front.
    register = laid_out([packed], big_bytes=octets == "big")
    for place, flag in enumerate(flags):
        bit = point_of(WireType.BOOL, Kind.U64, big_bytes=octets == "big", first_bit=(place + 8) % 16, bits=1)
        assert cell_of(bit, register) == (Quality.GOOD, flag)


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20),
    st.sampled_from(Encoding),
    st.booleans(),
)
def test_texts_are_those_that_pymodbus_put_into_registers(text: str, encoding: Encoding, big_bytes: bool) -> None:
    try:
        theirs = Pymodbus.convert_to_registers(text, Pymodbus.DATATYPE.STRING, string_encoding=CODECS[encoding])
    except UnicodeEncodeError:
        return
    registers = laid_out(theirs, big_bytes=big_bytes)
    assert encode_text(text, len(theirs), big_bytes=big_bytes, encoding=encoding) == registers
    point = Point(
        row=0, name="t", device="d", unit=1, function=Function.READ_INPUT_REGISTERS, address=9, wire=WireType.STRING,
        kind=Kind.SYMBOL, period_ns=1, big_bytes=big_bytes, text_registers=len(theirs), encoding=encoding,
    )  # fmt: skip
    (block,) = plan([point])
    out: Samples = np.zeros(1, SAMPLE)
    data = np.frombuffer(bytearray(registers), np.uint8)
    decode_block(out, block.table, data, 0, 0)
    decode_texts(out, block.table, data, 0, SYMBOLS.words, scratch_bytes())
    assert (out["quality"][0], SYMBOLS.text_of(int(out["bits"][0]))) == (Quality.GOOD, text.rstrip(" "))
