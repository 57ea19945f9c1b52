"""The serving codec against the examples of the specification (Application Protocol V1.1b3, section 6)."""

from __future__ import annotations

import pytest

from gateway.protocol.modbus.codes import Function, ModbusException
from gateway.protocol.modbus.server import (
    Adu,
    FrameError,
    ReadBits,
    ReadRegisters,
    Request,
    RequestError,
    RequestFramer,
    WriteBits,
    WriteRegisters,
    exception_response,
    frame,
    parse_request,
    read_response,
    write_response,
)
from tests.support.scada import read_request


@pytest.mark.parametrize(
    ("pdu", "request_"),
    [
        ("01 0013 0013", ReadBits(Function.READ_COILS, 19, 19)),
        ("02 00c4 0016", ReadBits(Function.READ_DISCRETE_INPUTS, 196, 22)),
        ("03 006b 0003", ReadRegisters(Function.READ_HOLDING_REGISTERS, 107, 3)),
        ("04 0008 0001", ReadRegisters(Function.READ_INPUT_REGISTERS, 8, 1)),
        ("05 00ac ff00", WriteBits(Function.WRITE_SINGLE_COIL, 172, 1, b"\x01")),
        ("05 00ac 0000", WriteBits(Function.WRITE_SINGLE_COIL, 172, 1, b"\x00")),
        ("06 0001 0003", WriteRegisters(Function.WRITE_SINGLE_REGISTER, 1, 1, b"\x00\x03")),
        ("0f 0013 000a 02 cd01", WriteBits(Function.WRITE_MULTIPLE_COILS, 19, 10, b"\xcd\x01")),
        ("10 0001 0002 04 000a0102", WriteRegisters(Function.WRITE_MULTIPLE_REGISTERS, 1, 2, b"\x00\x0a\x01\x02")),
    ],
)
def test_the_examples_of_the_specification_are_read(pdu: str, request_: Request) -> None:
    assert parse_request(bytes.fromhex(pdu)) == request_


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        ("00", ModbusException.ILLEGAL_FUNCTION),
        ("07", ModbusException.ILLEGAL_FUNCTION),
        ("2b 0e 01 00", ModbusException.ILLEGAL_FUNCTION),
        ("83 02", ModbusException.ILLEGAL_FUNCTION),
        ("03", ModbusException.ILLEGAL_DATA_VALUE),
        ("03 0000 0000", ModbusException.ILLEGAL_DATA_VALUE),
        ("03 0000 007e", ModbusException.ILLEGAL_DATA_VALUE),
        ("03 0000 0001 00", ModbusException.ILLEGAL_DATA_VALUE),
        ("01 0000 07d1", ModbusException.ILLEGAL_DATA_VALUE),
        ("05 0000 ff01", ModbusException.ILLEGAL_DATA_VALUE),
        ("06 0000 00", ModbusException.ILLEGAL_DATA_VALUE),
        ("10 0000 0001", ModbusException.ILLEGAL_DATA_VALUE),
        ("10 0000 0002 02 0000", ModbusException.ILLEGAL_DATA_VALUE),
        ("10 0000 0001 02 000000", ModbusException.ILLEGAL_DATA_VALUE),
        ("10 0000 0000 00", ModbusException.ILLEGAL_DATA_VALUE),
        ("10 0000 007c f8" + "00" * 248, ModbusException.ILLEGAL_DATA_VALUE),
        ("0f 0000 0009 01 ff", ModbusException.ILLEGAL_DATA_VALUE),
        ("03 ffff 0002", ModbusException.ILLEGAL_DATA_ADDRESS),
        ("10 ffff 0002 04 00000000", ModbusException.ILLEGAL_DATA_ADDRESS),
    ],
)
def test_a_wrong_request_names_the_exception_it_is_answered_with(pdu: str, code: ModbusException) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request(bytes.fromhex(pdu))
    assert caught.value.code is code


def test_responses_are_those_of_the_specification() -> None:
    adu = Adu(0x1234, 17, bytes.fromhex("03 006b 0003"))
    registers = read_response(Function.READ_HOLDING_REGISTERS, bytes.fromhex("022b00000064"))
    assert frame(adu, registers) == bytes.fromhex("1234 0000 0009 11 03 06 022b 0000 0064")
    assert write_response(bytes.fromhex("10 0001 0002 04 000a0102")) == bytes.fromhex("10 0001 0002")
    assert write_response(bytes.fromhex("06 0001 0003")) == bytes.fromhex("06 0001 0003")
    assert exception_response(1, ModbusException.ILLEGAL_DATA_ADDRESS) == bytes.fromhex("81 02")


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("0001 0001 0006 01", "protocol identifier 1"),
        ("0001 0000 0001 01", "length 1"),
        ("0001 0000 00ff 01", "length 255"),
    ],
)
def test_a_header_that_cannot_be_right_ends_the_stream(header: str, why: str) -> None:
    with pytest.raises(FrameError, match=why):
        list(RequestFramer().feed(bytes.fromhex(header)))


def test_frames_before_a_broken_one_are_still_served() -> None:
    frames = RequestFramer().feed(read_request(0, 1) + b"GET / HTTP/1.1\r\n")
    assert next(frames).pdu == bytes.fromhex("03 0000 0001")
    with pytest.raises(FrameError):
        next(frames)
