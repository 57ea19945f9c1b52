"""Decoding against struct: every type, byte order, word order and kind; and the encoder against the decoder."""

from __future__ import annotations

import itertools
import math
import struct
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient

from gateway.core.types import SAMPLE, Kind, Quality
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.decode import decode_block, encode_value
from gateway.protocol.modbus.plan import Point, plan
from gateway.protocol.modbus.points import POINT, WORDS, WireType
from tests.reference.modbus import FORMATS, decode_point, wire_bytes

REGISTER_TYPES = list(FORMATS)
FLOATS = (WireType.FLOAT32, WireType.FLOAT64)
NUMBERS = [wire for wire in WireType if wire is not WireType.STRING]
KINDS = [Kind.F64, Kind.I64, Kind.U64]
UNDIVIDED = (*FLOATS, WireType.SIGNMAG16, WireType.SIGNMAG32, WireType.SIGNMAG64)
ORDERS = list(itertools.product([False, True], repeat=2))


def points_strategy() -> st.SearchStrategy[Point]:
    """One point of each type, order and cell that may be; the address is free within a block."""

    def build(
        wire: WireType, big_words: bool, big_bytes: bool, address: int, kind: Kind, scale: float,
        field: tuple[int, int], absent: tuple[int, ...], low: float,
    ) -> Point:  # fmt: skip
        kind = Kind.F64 if wire in FLOATS else kind
        first_bit = field[0] % (16 * WORDS[wire])
        bits = 0 if wire in UNDIVIDED else min(field[1], 16 * WORDS[wire] - first_bit) % (16 * WORDS[wire])
        return Point(
            row=0, name="t", device="d", unit=1, function=Function.READ_HOLDING_REGISTERS, address=address,
            wire=wire, kind=kind, period_ns=1, big_words=big_words, big_bytes=big_bytes,
            scale=scale if kind is Kind.F64 else 1.0, offset=-3.0 if kind is Kind.F64 else 0.0,
            first_bit=first_bit if bits else 0, bits=bits, absent=absent, low=low,
        )  # fmt: skip

    return st.builds(
        build, st.sampled_from(NUMBERS), st.booleans(), st.booleans(), st.integers(0, 20), st.sampled_from(KINDS),
        st.sampled_from([1.0, 0.1, -2.5]), st.tuples(st.integers(0, 63), st.integers(0, 64)),
        st.lists(st.sampled_from([0, 1, 5, 0x8000]), max_size=4).map(tuple), st.sampled_from([-math.inf, 0.0, 100.0]),
    )  # fmt: skip


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(points_strategy(), min_size=1, max_size=12),
    st.one_of(
        st.binary(min_size=64, max_size=64),
        st.lists(st.sampled_from([0, 1, 5, 9, 0x80]), min_size=64, max_size=64).map(bytes),
    ),
    st.integers(0, 9),
)
def test_a_block_decodes_as_struct_and_binary_digits_say(points: list[Point], registers: bytes, start: int) -> None:
    block = next(iter(plan(points)))
    first = block.request.address
    data = np.frombuffer(bytes(start) + registers[2 * first :], np.uint8)
    out = np.zeros(len(block.points), SAMPLE)
    bad = decode_block(out, block.table, data, start, 77)
    expected = [decode_point(point, registers) for point in block.points]
    assert bad == sum(quality != Quality.GOOD for quality, _ in expected)
    for sample, point, (quality, value) in zip(out, block.points, expected, strict=True):
        assert sample["quality"] == quality
        assert sample["source_ns"] == sample["arrival_ns"] == 77
        if quality != Quality.GOOD:
            continue
        if point.kind is Kind.F64:
            assert sample["value"] == value
        else:
            assert int(sample["bits"]) & (1 << 64) - 1 == value & (1 << 64) - 1


@pytest.mark.parametrize(("big_words", "big_bytes"), ORDERS)
@pytest.mark.parametrize("wire", REGISTER_TYPES)
def test_extreme_values_survive_every_order(wire: WireType, big_words: bool, big_bytes: bool) -> None:
    bits = 16 * WORDS[wire]
    for pattern in (0, 1, (1 << bits) - 1, 1 << (bits - 1), (1 << (bits - 1)) - 1, 0x0123456789ABCDEF >> (64 - bits)):
        value = struct.unpack(">" + FORMATS[wire], pattern.to_bytes(bits // 8, "big"))[0]
        table = np.zeros(1, POINT)
        table[["type", "words", "big_words", "big_bytes", "scale"]] = (wire, WORDS[wire], big_words, big_bytes, 1.0)
        out = np.zeros(1, SAMPLE)
        data = np.frombuffer(wire_bytes(value, wire, big_words, big_bytes), np.uint8)
        decode_block(out, table, data, 0, 0)
        if math.isnan(value):
            assert out["quality"][0] == Quality.BAD_SENSOR_FAILURE
        else:
            assert out["value"][0] == float(value)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_float_that_is_no_number_is_a_sensor_failure(broken: float) -> None:
    for wire in (WireType.FLOAT32, WireType.FLOAT64):
        table = np.zeros(1, POINT)
        table[["type", "words", "big_words", "big_bytes", "scale"]] = (wire, WORDS[wire], 1, 1, 1.0)
        out = np.zeros(1, SAMPLE)
        assert decode_block(out, table, np.frombuffer(wire_bytes(broken, wire, True, True), np.uint8), 0, 0) == 1
        assert out["quality"][0] == Quality.BAD_SENSOR_FAILURE


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_bits_are_read_from_the_lowest_up(bits: list[bool]) -> None:
    points = [
        Point(row=i, name="t", device="d", unit=1, function=Function.READ_COILS, address=i, wire=WireType.BOOL,
              kind=Kind.U64, period_ns=1)
        for i in range(len(bits))
    ]  # fmt: skip
    (block,) = plan(points)
    packed = np.packbits(np.array(bits, np.uint8), bitorder="little")
    out = np.zeros(len(bits), SAMPLE)
    decode_block(out, block.table, packed, 0, 0)
    assert [bool(bit) for bit in out["bits"]] == bits


@given(st.data(), st.sampled_from(REGISTER_TYPES), st.booleans(), st.booleans())
def test_an_encoded_value_is_what_struct_packs(
    data: st.DataObject, wire: WireType, big_words: bool, big_bytes: bool
) -> None:
    bits = 16 * WORDS[wire]
    pattern = data.draw(st.integers(0, (1 << bits) - 1))
    value = struct.unpack(">" + FORMATS[wire], pattern.to_bytes(bits // 8, "big"))[0]
    if not math.isfinite(value):
        with pytest.raises(ValueError, match="not a finite number"):
            encode_value(value, wire, big_words=big_words, big_bytes=big_bytes)
        return
    encoded = encode_value(value, wire, big_words=big_words, big_bytes=big_bytes)
    assert encoded == wire_bytes(value, wire, big_words, big_bytes)


def test_scaling_is_undone_and_what_does_not_fit_is_refused() -> None:
    assert encode_value(49.9, WireType.UINT16, big_words=True, big_bytes=True, scale=0.1) == (499).to_bytes(2, "big")
    assert encode_value(1, WireType.BOOL, big_words=True, big_bytes=True) == b"\x00\x01"
    for value, wire in ((-1, WireType.UINT16), (1 << 31, WireType.INT32), (1e39, WireType.FLOAT32)):
        with pytest.raises(ValueError, match="does not fit"):
            encode_value(value, wire, big_words=True, big_bytes=True)


DATATYPE = AsyncModbusTcpClient.DATATYPE
PYMODBUS_TYPES = {
    WireType.INT16: DATATYPE.INT16,
    WireType.INT32: DATATYPE.INT32,
    WireType.INT64: DATATYPE.INT64,
    WireType.UINT16: DATATYPE.UINT16,
    WireType.UINT32: DATATYPE.UINT32,
    WireType.UINT64: DATATYPE.UINT64,
    WireType.FLOAT32: DATATYPE.FLOAT32,
    WireType.FLOAT64: DATATYPE.FLOAT64,
}


@settings(deadline=None)
@given(st.data(), st.sampled_from(REGISTER_TYPES), st.booleans())
def test_pymodbus_converts_to_the_same_registers(data: st.DataObject, wire: WireType, big_words: bool) -> None:
    bits = 16 * WORDS[wire]
    value = struct.unpack(">" + FORMATS[wire], data.draw(st.integers(0, (1 << bits) - 1)).to_bytes(bits // 8, "big"))[0]
    assume(math.isfinite(value))
    order: Literal["big", "little"] = "big" if big_words else "little"
    theirs = AsyncModbusTcpClient.convert_to_registers(value, PYMODBUS_TYPES[wire], word_order=order)
    registers = b"".join(register.to_bytes(2, "big") for register in theirs)
    assert encode_value(value, wire, big_words=big_words, big_bytes=True) == registers
    kind = Kind.F64 if wire in FLOATS else Kind.I64 if wire <= WireType.INT64 else Kind.U64
    (block,) = plan([a_point(wire=wire, kind=kind, big_words=big_words)])
    out = np.zeros(1, SAMPLE)
    decode_block(out, block.table, np.frombuffer(registers, np.uint8), 0, 0)
    cell = out["value"][0] if kind is Kind.F64 else out["bits"].view(np.uint64 if kind is Kind.U64 else np.int64)[0]
    assert cell == value


def a_point(**changes: Any) -> Point:
    words: dict[str, Any] = {
        "row": 0, "name": "t", "device": "d", "unit": 1, "function": Function.READ_HOLDING_REGISTERS, "address": 0,
        "wire": WireType.UINT16, "kind": Kind.F64, "period_ns": 1,
    }  # fmt: skip
    return Point(**{**words, **changes})


def decoded(point: Point, registers: bytes) -> tuple[int, float]:
    (block,) = plan([point])
    out = np.zeros(1, SAMPLE)
    decode_block(out, block.table, np.frombuffer(registers, np.uint8), 0, 0)
    return int(out["quality"][0]), float(out["value"][0])


@settings(deadline=None)
@given(st.data(), st.booleans(), st.booleans(), st.sampled_from([wire for wire in NUMBERS if wire > WireType.FLOAT64]))
def test_bcd_and_sign_and_magnitude_come_back_as_they_went(
    data: st.DataObject, big_words: bool, big_bytes: bool, wire: WireType
) -> None:
    top = 10 ** (4 * WORDS[wire]) - 1 if wire < WireType.SIGNMAG16 else (1 << (16 * WORDS[wire] - 1)) - 1
    value = data.draw(st.integers(0 if wire < WireType.SIGNMAG16 else -top, top))
    registers = encode_value(value, wire, big_words=big_words, big_bytes=big_bytes)
    kind = Kind.I64
    (block,) = plan([a_point(wire=wire, kind=kind, big_words=big_words, big_bytes=big_bytes)])
    out = np.zeros(1, SAMPLE)
    decode_block(out, block.table, np.frombuffer(registers, np.uint8), 0, 0)
    assert (out["quality"][0], out["bits"][0]) == (Quality.GOOD, value)
    with pytest.raises(ValueError, match="does not fit"):
        encode_value(top + 1, wire, big_words=big_words, big_bytes=big_bytes)


def test_known_registers_have_known_meanings() -> None:
    assert decoded(a_point(wire=WireType.BCD16), b"\x12\x34") == (Quality.GOOD, 1234)
    assert decoded(a_point(wire=WireType.BCD16), b"\x12\x3a")[0] == Quality.BAD_SENSOR_FAILURE
    assert decoded(a_point(wire=WireType.SIGNMAG16), b"\x80\x07") == (Quality.GOOD, -7)
    assert decoded(a_point(wire=WireType.SIGNMAG64), b"\x80" + bytes(6) + b"\x07") == (Quality.GOOD, -7)
    assert decoded(a_point(first_bit=4, bits=4), b"\x12\x34") == (Quality.GOOD, 3)
    assert decoded(a_point(first_bit=4, bits=4, wire=WireType.INT16), b"\x00\xe0") == (Quality.GOOD, -2)
    assert decoded(a_point(first_bit=15, bits=1, wire=WireType.BOOL), b"\x80\x00") == (Quality.GOOD, 1)
    assert decoded(a_point(absent=(0x8000,)), b"\x80\x00")[0] == Quality.BAD_SENSOR_FAILURE
    assert decoded(a_point(absent=(0x8000,)), b"\x80\x01") == (Quality.GOOD, 0x8001)
    assert decoded(a_point(wire=WireType.INT16, low=0.0), b"\xff\xff") == (Quality.GOOD, 0.0)
    assert decoded(a_point(high=9.5), b"\xff\xff") == (Quality.GOOD, 9.5)
