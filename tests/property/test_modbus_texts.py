"""Texts in registers, against Python's codecs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.symbols import Symbols
from gateway.core.types import SAMPLE, Kind, Quality, Samples
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.decode import decode_block
from gateway.protocol.modbus.plan import Point, plan
from gateway.protocol.modbus.points import Encoding, Padding, WireType
from gateway.protocol.modbus.texts import decode_texts, encode_text, scratch_bytes

CODECS = {
    Encoding.UTF_8: "utf-8",
    Encoding.ASCII: "ascii",
    Encoding.LATIN_1: "latin-1",
    Encoding.UTF_16: "utf-16-be",
}
SYMBOLS = Symbols()


def text_point(registers: int, encoding: Encoding, padding: Padding, *, big_bytes: bool, address: int = 0) -> Point:
    return Point(
        row=3, name="d.model", device="d", unit=1, function=Function.READ_HOLDING_REGISTERS, address=address,
        wire=WireType.STRING, kind=Kind.SYMBOL, period_ns=1, big_bytes=big_bytes, text_registers=registers,
        encoding=encoding, padding=padding,
    )  # fmt: skip


def decoded(point: Point, data: bytes, symbols: Symbols = SYMBOLS) -> tuple[int, str | None]:
    """Quality and text of a point that is read alone."""
    (block,) = plan([point])
    assert block.has_texts
    assert block.request.count == point.text_registers
    out: Samples = np.zeros(1, SAMPLE)
    frame = np.frombuffer(bytearray(b"\xff" * 9 + data), np.uint8)
    decode_block(out, block.table, frame, 9, 77)
    assert out["quality"][0] == Quality.BAD_NOT_INITIALISED, "without the second pass it is nothing"
    decode_texts(out, block.table, frame, 9, symbols.words, scratch_bytes())
    assert (out["row"][0], out["source_ns"][0], out["arrival_ns"][0]) == (3, 77, 77)
    return int(out["quality"][0]), symbols.text_of(int(out["bits"][0]))


def oracle(data: bytes, encoding: Encoding, padding: Padding, *, big_bytes: bool) -> str | None:
    if not big_bytes:
        data = b"".join(data[i : i + 2][::-1] for i in range(0, len(data), 2))
    width = 2 if encoding is Encoding.UTF_16 else 1
    units = [data[i : i + width] for i in range(0, len(data), width)]
    nul, space = bytes(width), b" ".rjust(width, b"\0")
    if padding in (Padding.ANY, Padding.NUL) and nul in units:
        units = units[: units.index(nul)]
    if padding in (Padding.ANY, Padding.SPACE):
        while units and units[-1] == space:
            units.pop()
    whole = b"".join(units)
    try:
        return whole.decode(CODECS[encoding])
    except UnicodeDecodeError as error:
        # The last character may be cut off.
        return whole[: error.start].decode(CODECS[encoding]) if "unexpected end" in error.reason else None


SHAPES = st.tuples(st.sampled_from(Encoding), st.sampled_from(Padding), st.booleans())


@settings(deadline=None, print_blob=True)
@given(st.binary(min_size=1, max_size=40).map(lambda data: data + bytes(len(data) % 2)), SHAPES)
def test_any_registers_are_the_text_that_python_reads_or_a_sensor_fault(
    data: bytes, shape: tuple[Encoding, Padding, bool]
) -> None:
    encoding, padding, big_bytes = shape
    point = text_point(len(data) // 2, encoding, padding, big_bytes=big_bytes)
    expected = oracle(data, encoding, padding, big_bytes=big_bytes)
    quality = Quality.BAD_SENSOR_FAILURE if expected is None else Quality.GOOD
    assert decoded(point, data) == (quality, expected)


FORBIDDEN = (b"\xc0\x80", b"\xe0\x9f", b"\xed\xa0", b"\xf0\x8f", b"\xf4\x90", b"\xf5\x80")
CUT_OFF = (b"\xe0\xa0", b"\xed\x9f", b"\xf0\x90", b"\xf4\x8f")


@pytest.mark.parametrize("data", [*FORBIDDEN, *CUT_OFF], ids=bytes.hex)
def test_at_the_end_a_character_that_was_cut_off_is_told_from_what_is_none(data: bytes) -> None:
    """Two bytes are enough to tell."""
    expected = None if data in FORBIDDEN else "ok"
    assert oracle(b"ok" + data, Encoding.UTF_8, Padding.NONE, big_bytes=True) == expected
    quality = Quality.BAD_SENSOR_FAILURE if expected is None else Quality.GOOD
    assert decoded(text_point(2, Encoding.UTF_8, Padding.NONE, big_bytes=True), b"ok" + data) == (quality, expected)


@settings(deadline=None, print_blob=True)
@given(st.text(max_size=20), SHAPES, st.integers(0, 9))
def test_a_text_comes_back_as_it_was_written(text: str, shape: tuple[Encoding, Padding, bool], spare: int) -> None:
    encoding, padding, big_bytes = shape
    try:
        size = len(text.encode(CODECS[encoding]))
    except UnicodeEncodeError:
        with pytest.raises(ValueError, match="has characters that"):
            encode_text(text, 100, encoding=encoding)
        return
    registers = max(1, (size + 1) // 2 + spare)
    data = encode_text(text, registers, big_bytes=big_bytes, encoding=encoding, padding=padding)
    assert len(data) == 2 * registers
    quality, read = decoded(text_point(registers, encoding, padding, big_bytes=big_bytes), data)
    assert quality == Quality.GOOD
    if padding is Padding.ANY:
        text = text.partition("\0")[0].rstrip(" ")
    elif padding is Padding.NUL:
        text = text.partition("\0")[0]
    elif padding is Padding.SPACE:
        assert read is not None
        read, text = read.rstrip("\0 "), text.rstrip("\0 ")
    else:
        assert read is not None
        read, text = read.rstrip("\0"), text.rstrip("\0")
    assert read == text


def test_a_text_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="takes 5 bytes, and its 2 registers hold 4"):
        encode_text("12345", 2)


def test_without_room_for_a_new_text_the_sample_is_bad_and_the_known_ones_go_on() -> None:
    symbols = Symbols(capacity=1, bytes_max=100)
    point = text_point(2, Encoding.ASCII, Padding.ANY, big_bytes=True)
    assert decoded(point, b"RUN\0", symbols) == (Quality.GOOD, "RUN")
    assert decoded(point, b"STOP", symbols) == (Quality.BAD, None)
    assert decoded(point, b"RUN ", symbols) == (Quality.GOOD, "RUN")


def test_numbers_beside_a_text_are_read_with_it() -> None:
    number = Point(
        row=0, name="d.x", device="d", unit=1, function=Function.READ_HOLDING_REGISTERS, address=0,
        wire=WireType.UINT16, kind=Kind.F64, period_ns=1,
    )  # fmt: skip
    text = text_point(3, Encoding.ASCII, Padding.ANY, big_bytes=True, address=1)
    (block,) = plan([text, number])
    out: Samples = np.zeros(2, SAMPLE)
    data = np.frombuffer(bytearray(b"\x00\x07SN-42\0"), np.uint8)
    assert decode_block(out, block.table, data, 0, 1) == 0
    decode_texts(out, block.table, data, 0, SYMBOLS.words, scratch_bytes())
    assert out["row"].tolist() == [0, 3]
    assert out["quality"].tolist() == [Quality.GOOD] * 2
    assert (out["value"][0], SYMBOLS.text_of(int(out["bits"][1]))) == (7.0, "SN-42")
