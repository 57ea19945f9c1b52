"""Any bytes are requests or a named error, whole and byte by byte alike."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocol.modbus.codes import ADU_BYTES_MAX, MBAP_BYTES, ModbusException
from gateway.protocol.modbus.server import Adu, FrameError, RequestError, RequestFramer, parse_request
from tests.support.scada import Bench, Caller, boiler_house, read_request, request

anything = st.binary(max_size=600)
pdus = st.one_of(
    st.binary(min_size=1, max_size=253),
    st.builds(
        lambda function, data: bytes([function]) + data,
        st.sampled_from([1, 2, 3, 4, 5, 6, 15, 16]),
        st.binary(max_size=252),
    ),
    st.builds(
        lambda function, address, quantity, data: (
            bytes([function]) + address.to_bytes(2, "big") + quantity.to_bytes(2, "big") + bytes([len(data)]) + data
        ),
        st.sampled_from([15, 16]),
        st.integers(0, 65535),
        st.integers(0, 130),
        st.binary(max_size=246),
    ),
)
streams = st.lists(
    st.one_of(
        st.builds(request, pdus, st.integers(0, 255), st.integers(0, 65535)),
        st.builds(read_request, st.integers(0, 65535), st.integers(0, 130), st.integers(0, 3), st.integers(0, 17)),
        st.binary(max_size=12),
    ),
    max_size=6,
).map(b"".join)


def _outcome(pieces: list[bytes]) -> tuple[list[Adu], str]:
    framer = RequestFramer()
    frames: list[Adu] = []
    try:
        for piece in pieces:
            for adu in framer.feed(piece):
                frames.append(adu)
    except FrameError as error:
        return frames, str(error)
    return frames, ""


@settings(max_examples=300, deadline=None)
@given(st.one_of(anything, streams))
def test_the_framer_says_the_same_of_a_stream_whole_and_byte_by_byte(stream: bytes) -> None:
    whole = _outcome([stream])
    assert _outcome([stream[at : at + 1] for at in range(len(stream))]) == whole
    assert all(1 <= len(adu.pdu) <= 253 for adu in whole[0])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.builds(request, pdus), max_size=5), st.data())
def test_well_formed_frames_arrive_however_they_are_cut(frames: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    arrived, error = _outcome(pieces)
    assert error == ""
    assert [adu.pdu for adu in arrived] == [frame[7:] for frame in frames]


@settings(max_examples=500, deadline=None)
@given(pdus)
def test_any_pdu_is_a_request_or_one_of_three_exceptions(pdu: bytes) -> None:
    try:
        parsed = parse_request(pdu)
    except RequestError as error:
        assert error.code in (
            ModbusException.ILLEGAL_FUNCTION,
            ModbusException.ILLEGAL_DATA_ADDRESS,
            ModbusException.ILLEGAL_DATA_VALUE,
        )
        return
    assert parsed.function == pdu[0]
    assert parsed.address + parsed.quantity <= 65_536


BENCH = Bench(boiler_house())


@settings(max_examples=500, deadline=None)
@given(pdus, st.sampled_from([0, 1, 2, 100, 255]))
def test_the_server_answers_any_pdu_with_one_of_its_function(pdu: bytes, unit: int) -> None:
    answer = Caller(BENCH).ask(pdu, unit)
    assert len(answer) <= ADU_BYTES_MAX - MBAP_BYTES
    assert answer[0] & 0x7F == pdu[0] & 0x7F
