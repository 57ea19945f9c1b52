"""One strict reader of Protocol Buffers for all who speak it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.protobuf import BYTES, FIXED32, FIXED64, VARINT, Malformed, encode_varint, fields
from gateway.protocol.records.wire import unpack_varints

NUMBERS = st.integers(0, 2**64 - 1)
FIELDS = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 2**29 - 1), st.just(VARINT), NUMBERS),
        st.tuples(st.integers(1, 2**29 - 1), st.just(FIXED64), NUMBERS),
        st.tuples(st.integers(1, 2**29 - 1), st.just(FIXED32), st.integers(0, 2**32 - 1)),
        st.tuples(st.integers(1, 2**29 - 1), st.just(BYTES), st.binary(max_size=300)),
    ),
    max_size=8,
)


def _written(number: int, wire: int, value: int | bytes) -> bytes:
    head = encode_varint(number << 3 | wire)
    if isinstance(value, bytes):
        return head + encode_varint(len(value)) + value
    if wire == VARINT:
        return head + encode_varint(value)
    return head + value.to_bytes(8 if wire == FIXED64 else 4, "little")


@given(FIELDS)
def test_fields_read_back_as_written(written: list[tuple[int, int, int | bytes]]) -> None:
    assert list(fields(b"".join(_written(*each) for each in written))) == written


@given(FIELDS.filter(bool), st.data())
def test_a_message_cut_within_a_field_is_refused(
    written: list[tuple[int, int, int | bytes]], data: st.DataObject
) -> None:
    whole, last = b"".join(_written(*each) for each in written[:-1]), _written(*written[-1])
    kept = data.draw(st.integers(1, len(last) - 1))
    with pytest.raises(Malformed):
        list(fields(whole + last[:kept]))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"\x08" + b"\xff" * 9 + b"\x02", "longer than 64 bits"),
        (b"\x08" + b"\x80" * 10 + b"\x01", "longer than 64 bits"),
        (b"\x00\x01", "impossible number"),
        (encode_varint(1 << 32) + b"\x01", "impossible number"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x0a\x05abc", "longer than its message"),
        (b"\x0d\x00\x00\x00", "longer than its message"),
    ],
)
def test_what_no_writer_may_write_is_refused_with_the_reason(raw: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        list(fields(raw))


@pytest.mark.parametrize("raw", [b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x01", b"\x05\x80"])
def test_a_packed_number_that_no_64_bits_hold_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        unpack_varints(raw)
