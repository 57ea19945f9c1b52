"""Packets as the standards print them, byte for byte."""

from __future__ import annotations

import pytest

from gateway.core.types import Kind
from gateway.protocol.mqtt import codec
from gateway.protocol.mqtt.codes import (
    CONNACK_V311,
    REASONS,
    V5,
    V311,
    ProtocolError,
    connack_text,
    reason_text,
)
from gateway.protocol.mqtt.payloads import excerpt, read_time
from gateway.protocol.mqtt.table import TAGS_PER_TOPIC_MAX, Feed, group


def test_a_connect_of_3_1_1_carries_its_login() -> None:
    packet = codec.encode_connect(
        version=V311, client_id="g", clean_start=True, keep_alive_s=30, username="u", password=b"p"
    )
    assert packet == b"\x10\x13\x00\x04MQTT\x04\xc2\x00\x1e\x00\x01g\x00\x01u\x00\x01p"


def test_a_connect_of_5_carries_session_expiry_and_receive_maximum() -> None:
    packet = codec.encode_connect(
        version=V5, client_id="g", clean_start=False, keep_alive_s=1, session_expiry_s=3600, receive_maximum=20
    )
    assert packet == b"\x10\x16\x00\x04MQTT\x05\x00\x00\x01\x08\x11\x00\x00\x0e\x10\x21\x00\x14\x00\x01g"


def test_subscriptions_are_encoded() -> None:
    filters = [codec.Filter("a/b", 1), codec.Filter("c", 2, no_local=True)]
    assert codec.encode_subscribe(10, filters, V311) == b"\x82\x0c\x00\x0a\x00\x03a/b\x01\x00\x01c\x02"
    options = codec.Filter("c", 2, no_local=True, retain_as_published=True, retain_handling=2)
    assert codec.encode_subscribe(10, [options], V5) == b"\x82\x07\x00\x0a\x00\x00\x01c\x2e"
    assert codec.encode_unsubscribe(3, ["c"], V311) == b"\xa2\x05\x00\x03\x00\x01c"


@pytest.mark.parametrize(
    ("value", "raw"),
    [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (16_383, b"\xff\x7f"), (268_435_455, b"\xff\xff\xff\x7f")],
)
def test_lengths_take_one_to_four_bytes(value: int, raw: bytes) -> None:
    assert codec.encode_varint(value) == raw


def test_a_length_beyond_four_bytes_and_a_string_beyond_two_are_refused() -> None:
    with pytest.raises(ValueError, match="four bytes"):
        codec.encode_varint(268_435_456)
    with pytest.raises(ValueError, match="too long"):
        codec.encode_string("x" * 65_536)


def test_a_refusal_is_told_in_plain_words() -> None:
    connack = codec.parse(0x20, b"\x00\x87\x0d\x1f\x00\x04nope\x13\x00\x0a\x22\x00\x01", V5)
    assert connack == codec.Connack(0x87, False, 10, "nope")
    assert codec.parse(0x20, b"\x00\x00", V311) == codec.Connack(0, False)
    assert "not authorised" in connack_text(0x87, V5)
    assert "password_file" in connack_text(4, V311)
    assert "3.1.1" in connack_text(1, V5)
    assert "0xee" in reason_text(0xEE)


def test_a_connack_of_5_says_what_the_broker_does_not_offer() -> None:
    body = b"\x01\x00\x0e\x27\x00\x00\x01\x00\x28\x00\x2a\x00\x11\x00\x00\x00\x3c"
    connack = codec.parse(0x20, body, V5)
    assert connack == codec.Connack(
        0, True, session_expiry_s=60, packet_bytes_max=256, has_wildcards=False, has_shared=False
    )


def test_a_goodbye_of_5_names_the_server_to_go_to() -> None:
    assert codec.parse(0xE0, b"\x9d\x06\x1c\x00\x03b:1", V5) == codec.Disconnect(0x9D, "", "b:1")
    assert codec.parse(0xF0, b"\x18\x06\x15\x00\x03SCR", V5) == codec.Auth("SCR")
    assert codec.encode_disconnect(0x82, V5) == b"\xe0\x02\x82\x00"
    assert codec.encode_disconnect(0x82, V311) == codec.DISCONNECT


def test_every_reason_code_says_what_to_do() -> None:
    for text in (*REASONS.values(), *CONNACK_V311.values()):
        what, _, remedy = text.partition("; ")
        assert what
        assert remedy, text


@pytest.mark.parametrize(
    ("first", "body", "version", "wrong"),
    [
        (0x20, b"\x00", V311, "too early"),
        (0x20, b"\x02\x00", V311, "reserved"),
        (0x20, b"\x00\x00\x00", V311, "too many"),
        (0x20, b"\x00\x00\x01\x7f", V5, "does not define"),
        (0x90, b"\x00\x01", V311, "without a reason code"),
        (0x90, b"\x00\x00\x00", V311, "identifier 0"),
        (0x90, b"\x00\x01\x03", V311, "does not define"),
        (0xE0, b"", V311, "does not allow"),
        (0xF0, b"", V311, "does not know"),
        (0x40, b"\x00\x00", V5, "identifier 0"),
        (0x62, b"\x00\x01", V5, "no broker may send"),
        (0x20, b"\x00\x00\x06\x13\x00\x01\x13\x00\x01", V5, "twice"),
        (0xB0, b"\x00\x01\xff\xff\xff\xff\x01", V5, "four bytes"),
    ],
)
def test_a_malformed_packet_is_named(first: int, body: bytes, version: int, wrong: str) -> None:
    with pytest.raises(ProtocolError, match=wrong):
        codec.parse(first, body, version)


@pytest.mark.parametrize(
    ("text", "wall_ns"),
    [
        (b"1700000000", 1_700_000_000 * 10**9),
        (b"1700000000.25", 1_700_000_000_250_000_000),
        (b"1700000000123", 1_700_000_000_123_000_000),
        (b"1700000000123456", 1_700_000_000_123_456_000),
        (b"1700000000123456789", 1_700_000_000_123_456_789),
        (b'"2023-11-14T22:13:20Z"', 1_700_000_000 * 10**9),
        (b'"2023-11-14T23:13:20.123456789+01:00"', 1_700_000_000_123_456_789),
        (b'"yesterday"', 0),
        (b'"2023-13-14T22:13:20Z"', 0),
        (b'"9999-12-31T23:59:59Z"', 0),
        (b"-1", 0),
        (b"1e999999999", 0),
        (b"null", 0),
    ],
)
def test_times_are_read_by_their_magnitude(text: bytes, wall_ns: int) -> None:
    assert read_time(text) == wall_ns


def test_an_excerpt_is_safe_to_print() -> None:
    assert excerpt(b"\x1b[2J\n\xff'" + b"x" * 100).isascii() is False
    assert excerpt(b"\x1b[2J\n").isprintable()
    assert len(excerpt(b"x" * 100)) == 43


def test_a_topic_that_feeds_too_many_tags_is_refused() -> None:
    feeds = [Feed("t", row, "d", Kind.F64, (str(row),)) for row in range(TAGS_PER_TOPIC_MAX + 1)]
    with pytest.raises(ValueError, match="'t' feeds 1025 tags"):
        group(feeds)
