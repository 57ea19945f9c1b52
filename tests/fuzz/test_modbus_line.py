"""The framers of serial lines: whatever comes, whole or byte by byte, is a reply or is passed over and counted."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerAscii, FramerRTU

from gateway.protocol.modbus import pdu
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.frames import DeviceRefusedError, ReplyError, Request, read_request, request_of
from gateway.protocol.modbus.line import AsciiFramer, RtuFramer, crc16, lrc

UNIT = 7
REQUESTS: list[tuple[Request, bytes]] = [
    (read_request(UNIT, Function.READ_HOLDING_REGISTERS, 10, 2), b"\x03\x04\x00\x01\x00\x02"),
    (read_request(UNIT, Function.READ_COILS, 0, 12), b"\x01\x02\xcd\x01"),
    (read_request(UNIT, Function.READ_HOLDING_REGISTERS, 0, 125), b"\x03\xfa" + bytes(range(250))),
    (request_of(UNIT, pdu.write_coil(3, True)), pdu.write_coil(3, True)),
    (request_of(UNIT, pdu.write_registers(9, b"\x00\x01\x00\x02")), b"\x10\x00\x09\x00\x02"),
    (request_of(UNIT, pdu.mask_write(4, keep=0xFF00, put=0x56)), pdu.mask_write(4, keep=0xFF00, put=0x56)),
    (request_of(UNIT, pdu.read_write(3, 1, 5, b"\x00\x09")), b"\x17\x02\x12\x34"),
    (request_of(UNIT, pdu.read_identification()), b"\x2b\x0e\x01\x01\x00\x00\x02\x00\x04acme\x01\x02P1"),
    (read_request(UNIT, Function.READ_INPUT_REGISTERS, 1, 1), b"\x84\x02"),
]
FRAMERS = {RtuFramer: FramerRTU, AsciiFramer: FramerAscii}


def encoded(kind: type[RtuFramer | AsciiFramer], unit: int, body: bytes) -> bytes:
    adu = bytes([unit]) + body
    if kind is RtuFramer:
        return adu + crc16(adu).to_bytes(2, "little")
    return b":" + (adu + bytes([lrc(adu)])).hex().upper().encode() + b"\r\n"


def fed(framer: RtuFramer | AsciiFramer, stream: bytes, sizes: list[int]) -> list[bytes]:
    """The PDUs that come out of a stream in pieces of the given sizes, over and over."""
    found = []
    turn = 0
    while stream:
        free = framer.free()
        n = min(sizes[turn % len(sizes)], len(free), len(stream))
        assert n > 0, "the framer has no room"
        free[:n] = stream[:n]
        stream = stream[n:]
        framer.received(n)
        turn += 1
        while (reply := framer.next_reply()) is not None:
            assert reply.transaction == reply.unit
            assert framer.buffer[reply.start - 1] == reply.function
            found.append(bytes(framer.buffer[reply.start - 1 : reply.stop]))
    while (reply := framer.salvage()) is not None:
        found.append(bytes(framer.buffer[reply.start - 1 : reply.stop]))
    return found


@pytest.mark.parametrize("kind", FRAMERS)
@pytest.mark.parametrize("sizes", [[1], [3, 5], [4_000]])
def test_every_reply_is_found_whole_or_in_pieces(kind: type[RtuFramer | AsciiFramer], sizes: list[int]) -> None:
    for request, body in REQUESTS:
        framer = kind()
        framer.frame(request, 0)
        assert fed(framer, encoded(kind, UNIT, body), sizes) == [body]
        assert framer.discarded == 0


@pytest.mark.parametrize(("kind", "peer"), FRAMERS.items())
def test_frames_are_those_of_pymodbus(kind: type[RtuFramer | AsciiFramer], peer: type) -> None:
    for request, _ in REQUESTS:
        assert kind().frame(request, 0) == peer(None).encode(request.pdu, UNIT, 0)


@pytest.mark.parametrize("kind", FRAMERS)
def test_noise_before_a_reply_costs_nothing_but_itself(kind: type[RtuFramer | AsciiFramer]) -> None:
    for request, body in REQUESTS:
        for noise in (
            b"\x00",
            b"\xff\x00",
            bytes([UNIT]),
            bytes([UNIT, request.function]),
            b"::07",
            kind().frame(request, 0),
        ):
            framer = kind()
            framer.frame(request, 0)
            if noise == kind().frame(request, 0) and (kind is AsciiFramer or body == request.pdu):
                continue  # an echo that is a whole frame: a write's confirmation, else a reply that does not fit
            assert fed(framer, noise + encoded(kind, UNIT, body), [1]) == [body], noise


@pytest.mark.parametrize("kind", FRAMERS)
def test_a_damaged_reply_is_none_and_the_next_one_is_found(kind: type[RtuFramer | AsciiFramer]) -> None:
    seed = 7
    chance = random.Random(seed)
    for request, body in REQUESTS:
        framer = kind()
        framer.frame(request, 0)
        sound = encoded(kind, UNIT, body)
        damaged = bytearray(sound)
        damaged[chance.randrange(1, len(sound) - 2)] ^= 1
        assert fed(framer, bytes(damaged), [1]) == [], f"seed {seed}"
        framer.frame(request, 0)
        assert fed(framer, sound, [1]) == [body], f"seed {seed}"
        assert framer.discarded == len(damaged)


@pytest.mark.parametrize("kind", FRAMERS)
def test_what_was_left_of_an_earlier_reply_is_dropped_with_the_next_request(
    kind: type[RtuFramer | AsciiFramer],
) -> None:
    request, body = REQUESTS[0]
    framer = kind()
    framer.frame(request, 0)
    sound = encoded(kind, UNIT, body)
    free = framer.free()
    free[: len(sound) - 1] = sound[:-1]
    framer.received(len(sound) - 1)
    assert framer.next_reply() is None
    framer.frame(request, 0)
    assert fed(framer, sound, [2]) == [body]


@pytest.mark.parametrize("kind", FRAMERS)
def test_a_unit_that_was_not_asked_is_not_heard(kind: type[RtuFramer | AsciiFramer]) -> None:
    framer = kind()
    framer.frame(REQUESTS[0][0], 0)
    assert fed(framer, encoded(kind, UNIT + 1, REQUESTS[0][1]), [5]) == []
    assert fed(framer, encoded(kind, UNIT, REQUESTS[1][1]), [5]) == []


@given(
    st.binary(max_size=600) | st.text(":0123456789ABCDEF\r\n", max_size=600).map(str.encode),
    st.sampled_from(range(len(REQUESTS))),
    st.sampled_from(list(FRAMERS)),
)
@example(bytes([UNIT, 0x2B, 14, 1, 1, 0xFF, 0, 255]) + bytes(300), 7, RtuFramer)
@example(b":" * 600, 0, AsciiFramer)
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_a_frame_or_counted_and_pieces_change_nothing(
    stream: bytes, which: int, kind: type[RtuFramer | AsciiFramer]
) -> None:
    request, body = REQUESTS[which]
    ends = []
    for sizes in ([1], [1_000]):
        framer = kind()
        framer.frame(request, 0)
        found = fed(framer, stream, sizes)
        ends.append(found)
        framer.frame(request, 0)
        assert fed(framer, encoded(kind, UNIT, body), sizes)[-1:] == [body]
    assert ends[0] == ends[1]


READS = (
    pdu.read(Function.READ_HOLDING_REGISTERS, 1, 2),
    pdu.read(Function.READ_COILS, 0, 9),
    pdu.read_write(3, 1, 5, b"\x00\x09"),
)


@given(st.binary(max_size=260), st.sampled_from((0x2B, 0x03, 0x01, 0x17, 0x06, 0x16)), st.booleans())
@example(b"\x0e\x01\x01\xff\x00\x01\x00\x00", 0x2B, False)
@settings(max_examples=300, deadline=None)
def test_any_reply_to_a_single_request_is_read_or_a_named_error(tail: bytes, function: int, is_bare: bool) -> None:
    """And an identification that sends its reader round in a circle ends."""
    reply = tail if is_bare else bytes([function]) + tail
    checks = [(pdu.identification, pdu.read_identification()), *((pdu.read_data, request) for request in READS)]
    checks += [
        (pdu.check_echo, request) for request in (pdu.write_register(1, b"\x00\x01"), pdu.mask_write(1, keep=1, put=2))
    ]
    for check, request in checks:
        try:
            found = check(request, reply)
        except (ReplyError, DeviceRefusedError):
            continue
        if isinstance(found, pdu.Identification) and found.next_object is not None:
            assert found.next_object > request[3]
