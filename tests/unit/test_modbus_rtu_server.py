"""Requests found on a line that others use as well."""

from __future__ import annotations

import struct

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.protocol.modbus.line import crc16
from gateway.protocol.modbus.rtuserver import HELD_BYTES_MAX, RtuRequests, rtu_frame
from gateway.protocol.modbus.server import Adu

OURS = frozenset({1, 7})
READ = struct.pack(">BHH", 3, 5_000, 2)
WRITE_ONE = struct.pack(">BHH", 6, 104, 1)
WRITE_MANY = struct.pack(">BHHBf", 16, 100, 2, 4, 61.5)
PDUS = (READ, WRITE_ONE, WRITE_MANY, struct.pack(">BHHBB", 15, 3, 5, 1, 0x1F), struct.pack(">BHHH", 22, 4, 1, 2))


def _is_one_frame(frame: bytes) -> bool:
    """One in 65,536 answers begins with what is a whole request, and nobody on the line could tell."""
    return len(frame) <= 8 or crc16(frame[:8]) != 0


others = st.one_of(
    st.builds(rtu_frame, st.integers(8, 247), st.sampled_from(PDUS)),
    st.builds(
        lambda unit, data: rtu_frame(unit, bytes([3, len(data)]) + data),
        st.integers(8, 247),
        st.binary(min_size=2, max_size=250).filter(lambda data: len(data) % 2 == 0),
    ),
    st.builds(lambda unit, code: rtu_frame(unit, bytes([0x83, code])), st.integers(8, 247), st.integers(1, 11)),
).filter(_is_one_frame)
ours = st.builds(rtu_frame, st.sampled_from(sorted(OURS)), st.sampled_from(PDUS))


def fed(framer: RtuRequests, data: bytes, step: int) -> list[Adu]:
    return [adu for at in range(0, len(data), step) for adu in framer.feed(data[at : at + step])]


def test_a_frame_has_its_checksum_low_byte_first() -> None:
    assert rtu_frame(1, bytes.fromhex("0300000002")).hex() == "010300000002c40b"  # as calculators on the web have it


ENDS_IN_A_ZERO = bytes.fromhex("330304a92f8bcc9f00")
"""An answer whose first eight bytes are a sound request."""


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(others, ours, st.just(ENDS_IN_A_ZERO)), max_size=8), st.integers(1, 40))
@example(frames=[ENDS_IN_A_ZERO], step=1)
@example(frames=[rtu_frame(51, struct.pack(">BHH", 3, 0x0400, 2)), rtu_frame(1, READ)], step=1)
def test_requests_to_our_units_are_found_among_the_traffic_of_others_however_it_is_cut(
    frames: list[bytes], step: int
) -> None:
    framer = RtuRequests(OURS)
    found = fed(framer, b"".join(frames), step) + framer.silence()
    assert found == [Adu(0, frame[0], frame[1:-2]) for frame in frames if frame[0] in OURS]
    assert framer.discarded == 0


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.sampled_from(PDUS), st.integers(1, 12))
def test_a_request_at_the_end_is_found_behind_any_garbage_once_the_line_is_silent(
    garbage: bytes, pdu: bytes, step: int
) -> None:
    framer = RtuRequests(OURS)
    found = fed(framer, garbage + rtu_frame(7, pdu), step) + framer.silence()
    assert found[-1:] == [Adu(0, 7, pdu)]
    assert framer.is_clear


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2_000), st.integers(1, 300))
def test_any_bytes_are_bounded_and_make_no_request_without_a_checksum(data: bytes, step: int) -> None:
    framer = RtuRequests(OURS)
    for adu in fed(framer, data, step) + framer.silence():
        assert rtu_frame(adu.unit, adu.pdu) in data
    assert len(framer._held) <= HELD_BYTES_MAX
    assert framer.discarded <= len(data)


def test_the_line_goes_on_behind_a_glitch_without_a_silence() -> None:
    framer = RtuRequests(OURS)
    stream = b"\xff\x00" + rtu_frame(9, READ) + rtu_frame(9, bytes([3, 4, 0, 1, 0, 2])) + rtu_frame(1, READ)
    assert framer.feed(stream) == [Adu(0, 1, READ)]
    assert framer.discarded == 2


def test_a_function_that_nobody_knows_is_a_request_when_the_silence_ends_it() -> None:
    framer = RtuRequests(OURS)
    assert framer.feed(rtu_frame(1, b"\x11")) == []
    assert framer.silence() == [Adu(0, 1, b"\x11")]
    assert framer.feed(rtu_frame(9, b"\x11")) == []
    assert framer.silence() == []
    assert framer.discarded == 0


def test_broadcasts_and_damaged_requests_are_no_requests_of_ours() -> None:
    framer = RtuRequests(OURS)
    assert framer.feed(rtu_frame(0, WRITE_ONE)) == []
    assert (framer.silence(), framer.discarded) == ([], 0)
    damaged = bytearray(rtu_frame(1, WRITE_ONE))
    damaged[3] ^= 1
    assert framer.feed(bytes(damaged)) + framer.silence() == []
    assert framer.discarded == len(damaged)


def test_an_answer_that_an_adapter_hands_back_is_not_obeyed_and_the_same_request_later_is() -> None:
    framer = RtuRequests(OURS)
    frame = rtu_frame(1, WRITE_ONE)
    assert len(framer.feed(frame)) == 1
    framer.sent(frame)
    assert framer.feed(frame) == []
    assert framer.discarded == len(frame)
    framer.silence()
    assert len(framer.feed(frame)) == 1
    framer.sent(frame)
    framer.silence()
    assert len(framer.feed(frame)) == 1
    assert crc16(frame) == 0
