"""The client's framer and checks: whatever comes, whole or byte by byte, is a reply or a named error."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.protocol.modbus import pdu
from gateway.protocol.modbus.codes import ADU_BYTES_MAX, Function
from gateway.protocol.modbus.frames import (
    DeviceRefusedError,
    ProtocolError,
    Reply,
    ReplyError,
    Request,
    ResponseFramer,
    check_read,
    read_request,
    request_of,
)

REQUESTS = [
    read_request(1, Function.READ_HOLDING_REGISTERS, 10, 2),
    read_request(1, Function.READ_COILS, 0, 12),
    request_of(1, pdu.write_coil(3, True)),
    request_of(1, pdu.write_register(4, b"\x12\x34")),
    request_of(1, pdu.write_coils(0, [True, False, True])),
    request_of(1, pdu.write_registers(9, b"\x00\x01\x00\x02")),
]


def outcome(request: Request, reply: Reply, buffer: bytearray) -> str:
    """What a session would make of it."""
    try:
        if request.reply_bytes:
            start = check_read(request, reply, buffer)
            return buffer[start : start + request.reply_bytes].hex()
        pdu.check_echo(request.pdu, bytes(buffer[reply.start - 1 : reply.stop]))
    except (DeviceRefusedError, ReplyError) as error:
        return str(error)
    return "written"


def run(stream: bytes, sizes: list[int]) -> list[tuple[Reply, list[str]] | str]:
    """Feed a stream in pieces of the given sizes, over and over."""
    framer = ResponseFramer(2 * ADU_BYTES_MAX)
    found: list[tuple[Reply, list[str]] | str] = []
    turn = 0
    while stream:
        free = framer.free()
        n = min(sizes[turn % len(sizes)], len(free), len(stream))
        assert n > 0, "the framer has no room"
        free[:n] = stream[:n]
        stream = stream[n:]
        framer.received(n)
        turn += 1
        try:
            while (reply := framer.next_reply()) is not None:
                place = reply._replace(start=0, stop=reply.stop - reply.start)
                found.append((place, [outcome(request, reply, framer.buffer) for request in REQUESTS]))
        except ProtocolError as error:
            found.append(str(error))
            break
    return found


frame = st.builds(
    lambda transaction, protocol, length, unit, pdu: (
        struct.pack(">HHHB", transaction, protocol, len(pdu) + 1 if length is None else length, unit) + pdu
    ),
    st.integers(0, 65_535),
    st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1]),
    st.one_of(st.none(), st.none(), st.none(), st.integers(0, 300)),
    st.integers(0, 2),
    st.one_of(
        st.binary(min_size=1, max_size=253),
        st.just(b"\x03\x04\x00\x01\x00\x02"),
        st.just(b"\x83\x02"),
        st.just(b"\x05\x00\x03\xff\x00"),
        st.just(b"\x10\x00\x09\x00\x02"),
    ),
)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=900), st.lists(frame, max_size=6).map(b"".join)), st.lists(st.integers(1, 300)))
@example(b"\x00\x01\x00\x00\x00\xfe\x01" + bytes(253), [])
def test_any_bytes_are_replies_or_a_named_error_however_they_are_cut(stream: bytes, sizes: list[int]) -> None:
    whole = run(stream, [len(stream) + 1])
    assert run(stream, [1]) == whole
    assert run(stream, [*sizes, 2]) == whole


def framed(pdu: bytes, unit: int = 1) -> tuple[Reply, bytearray]:
    framer = ResponseFramer()
    data = struct.pack(">HHHB", 7, 0, len(pdu) + 1, unit) + pdu
    framer.free()[: len(data)] = data
    framer.received(len(data))
    reply = framer.next_reply()
    assert reply is not None
    assert reply.transaction == 7
    return reply, framer.buffer


@pytest.mark.parametrize(
    ("pdu", "unit", "says"),
    [
        (b"\x03\x04\x00\x01\x00\x02", 2, "from unit 2"),
        (b"\x04\x04\x00\x01\x00\x02", 1, "function 4"),
        (b"\x03\x04\x00\x01\x00", 1, "4 data bytes"),
        (b"\x03\x05\x00\x01\x00\x02", 1, "states 5"),
        (b"\x83\x02\x00", 1, "exception reply with 2"),
        (b"\x03", 1, "0 data bytes"),
    ],
)
def test_a_reply_that_does_not_fit_says_why(pdu: bytes, unit: int, says: str) -> None:
    with pytest.raises(ReplyError, match=says):
        check_read(REQUESTS[0], *framed(pdu, unit))


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"\x00\x01\x00\x01", "protocol id 1"),
        (b"\x00\x01\x00\x00\x00\x01", "length 1"),
        (b"\x00\x01\x00\x00\x00\xff", "length 255"),
    ],
)
def test_a_stream_that_is_not_modbus_is_told_at_the_first_byte_that_shows_it(head: bytes, says: str) -> None:
    framer = ResponseFramer()
    for n, byte in enumerate(head, 1):
        framer.free()[:1] = bytes([byte])
        framer.received(1)
        if n < len(head):
            assert framer.next_reply() is None
    with pytest.raises(ProtocolError, match=says):
        framer.next_reply()


def test_requests_are_the_bytes_of_the_specification() -> None:
    """The examples of the Application Protocol, 6.1 to 6.12, behind an MBAP header for unit 1."""
    head = b"\xab\xcd\x00\x00\x00"
    examples = [
        (read_request(1, Function.READ_COILS, 0x13, 0x13), b"\x06\x01\x01\x00\x13\x00\x13"),
        (read_request(1, Function.READ_HOLDING_REGISTERS, 0x6B, 3), b"\x06\x01\x03\x00\x6b\x00\x03"),
        (request_of(1, pdu.write_coil(0xAC, True)), b"\x06\x01\x05\x00\xac\xff\x00"),
        (request_of(1, pdu.write_register(1, b"\x00\x03")), b"\x06\x01\x06\x00\x01\x00\x03"),
        (
            request_of(1, pdu.write_coils(0x13, [bit == "1" for bit in "1011001110"])),
            b"\x09\x01\x0f\x00\x13\x00\x0a\x02\xcd\x01",
        ),
        (
            request_of(1, pdu.write_registers(1, b"\x00\x0a\x01\x02")),
            b"\x0b\x01\x10\x00\x01\x00\x02\x04\x00\x0a\x01\x02",
        ),
    ]
    for request, expected in examples:
        assert request.stamped(0xABCD) == head + expected


def test_a_write_is_done_when_it_is_echoed() -> None:
    for request, echo in zip(REQUESTS[2:], (b"\x05\x00\x03\xff\x00", b"\x06\x00\x04\x12\x34"), strict=False):
        pdu.check_echo(request.pdu, echo)
        with pytest.raises(ReplyError, match="does not echo"):
            pdu.check_echo(request.pdu, echo[:-1] + b"\x77")
    pdu.check_echo(REQUESTS[5].pdu, b"\x10\x00\x09\x00\x02")
    with pytest.raises(DeviceRefusedError, match="illegal data address"):
        pdu.check_echo(REQUESTS[5].pdu, b"\x90\x02")
