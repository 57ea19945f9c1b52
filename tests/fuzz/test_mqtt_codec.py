"""Whatever a broker sends is parsed or is a ProtocolError, and how TCP cuts it up makes no difference."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.inbox import Lane
from gateway.core.types import SAMPLE, Kind, Quality
from gateway.protocol.mqtt import codec
from gateway.protocol.mqtt.codes import V5, V311, ProtocolError
from gateway.protocol.mqtt.ingest import Ingest
from gateway.protocol.mqtt.table import Feed
from tests.reference import mqtt as reference

FEEDS = [Feed("a", 0, "d", Kind.F64), Feed("a/b", 1, "d", Kind.F64, ("v",)), Feed("c", 2, "e", Kind.I64)]
GOOD = int(Quality.GOOD)
ALIASES_MAX = 2
INGESTS = {version: Ingest(FEEDS, version, topic_alias_maximum=ALIASES_MAX) for version in (V311, V5)}
Result = tuple[list[tuple[int, int, int]], bytes, list[tuple[int, bytes]], str | None]


def feed(stream: bytes, cuts: list[int], version: int, greeted: bool = True) -> Result:
    """Samples (row, quality, bits), acknowledgements, control packets and the error of a stream cut at these places."""
    ingest, lane = INGESTS[version], Lane("t", 65_536)
    ingest.begin_connection()
    ingest.begin_session()
    ingest._state[1] = greeted
    ingest._usability.forget()
    ingest._table.topics["held"] = 0
    acks, control, error = b"", [], None
    places = [0, *sorted(cuts), len(stream)]
    for start, stop in pairwise(places):
        ingest.free_space()[: stop - start] = stream[start:stop]
        ingest.received(stop - start, 1_000)
        more = True
        while more and error is None:
            step = ingest.step(lane, 0)
            acks += step.acks
            control += step.control
            error, more = step.error, step.is_full
    out = np.zeros(len(lane), SAMPLE)
    lane.take_into(out)
    return [(int(x["row"]), int(x["quality"]), int(x["bits"])) for x in out], acks, control, error


def good_samples(messages: list[tuple[bytes, bytes]]) -> list[tuple[int, int, int]]:
    found = []
    for topic, payload in messages:
        for feed in FEEDS:
            values = reference.values(payload, (feed,)) if feed.topic.encode() == topic else None
            if values is not None:
                kind = np.float64 if feed.kind is Kind.F64 else np.int64
                found.append((feed.row, GOOD, int(np.array(values, kind).view(np.int64)[0])))
    return found


@st.composite
def packets(draw: st.DrawFn, version: int) -> bytes:
    """Messages and releases as a broker sends them."""
    if draw(st.integers(0, 5)) == 0:
        return b"\x62\x02" + draw(st.integers(1, 3)).to_bytes(2, "big")
    qos = draw(st.integers(0, 2))
    topic = draw(st.sampled_from(["a", "a/b", "c", "stranger"]))
    body = codec.encode_string(topic) + (draw(st.integers(1, 3)).to_bytes(2, "big") if qos else b"")
    if version == V5:
        plain = (b"", b"\x01\x01", b"\x26\x00\x01k\x00\x02vv", b"\x0b\x80\x01", b"\x08\x00\x01r\x02\x00\x00\x00\x01")
        properties = draw(st.sampled_from([*plain, b"\x23\x00\x01", b"\x01\x00\x23\x00\x02"]))
        body += bytes((len(properties),)) + properties
    body += draw(st.sampled_from([b"1", b"2.5", b'{"v":3}', b"junk", b"", b" " * 200 + b"4"]))
    return codec.frame(0x30 | qos << 1, body)


@pytest.mark.parametrize("version", [V311, V5])
def test_a_valid_stream_gives_what_the_oracle_gives(version: int) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(packets(version), max_size=12).map(b"".join), st.data())
    def check(stream: bytes, data: st.DataObject) -> None:
        cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=4))
        whole = feed(stream, [], version)
        expected = reference.split(stream, version)
        samples, acks, control, error = whole
        assert (acks, control, error) == (expected.acks, [], None)
        assert [sample for sample in samples if sample[1] == GOOD] == good_samples(expected.messages)
        assert feed(stream, cuts, version) == whole
        assert feed(stream, list(range(len(stream))), version) == whole

    check()


@pytest.mark.parametrize("version", [V311, V5])
def test_any_bytes_are_parsed_or_refused_and_cuts_do_not_matter(version: int) -> None:
    @settings(max_examples=100, deadline=None)
    @given(st.lists(packets(version), max_size=3).map(b"".join), st.binary(max_size=60), st.booleans())
    def check(head: bytes, tail: bytes, greeted: bool) -> None:
        stream = head + tail
        whole = feed(stream, [], version, greeted)
        assert feed(stream, list(range(len(stream))), version, greeted) == whole
        for first, body in whole[2]:
            parse_or_refuse(first, body, version)

    check()


def parse_or_refuse(first: int, body: bytes, version: int) -> None:
    try:
        packet = codec.parse(first, body, version)
    except ProtocolError as error:
        assert str(error)
    else:
        assert isinstance(packet, codec.Packet)


def v5(topic: bytes, properties: bytes, payload: bytes) -> bytes:
    return codec.frame(0x30, codec.encode_string(topic) + bytes((len(properties),)) + properties + payload)


def test_a_topic_alias_stands_for_the_last_name_it_was_given() -> None:
    one, two = b"\x23\x00\x01", b"\x23\x00\x02"
    stream = v5(b"a", one, b"1") + v5(b"", one, b"2") + v5(b"c", two, b"3") + v5(b"", one, b"4")
    stream += v5(b"c", one, b"5") + v5(b"", b"\x01\x00" + one, b"6") + v5(b"stranger", two, b"7") + v5(b"", two, b"8")
    samples, _, _, error = feed(stream, list(range(len(stream))), V5)
    assert error is None
    bits = [(row, np.array([value]).view(np.float64)[0] if row != 2 else value) for row, _, value in samples]
    assert bits == [(0, 1.0), (0, 2.0), (2, 3), (0, 4.0), (2, 5), (2, 6)]


@pytest.mark.parametrize(
    ("topic", "properties", "wrong"),
    [
        (b"", b"", "without an alias"),
        (b"", b"\x23\x00\x01", "never gave a name"),
        (b"a", b"\x23\x00\x00", "beyond what was permitted"),
        (b"a", b"\x23\x00\x03", "beyond what was permitted"),
        (b"a", b"\x23\x00\x01\x23\x00\x01", "does not define"),
        (b"a", b"\x7f", "does not define"),
        (b"a", b"\x26\x00\x09k", "does not define"),
        (b"a", b"\x02\x00", "does not define"),
    ],
)
def test_a_message_with_wrong_properties_ends_the_connection(topic: bytes, properties: bytes, wrong: str) -> None:
    _, _, _, error = feed(v5(topic, properties, b"1"), [], V5)
    assert error is not None and wrong in error


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([0x20, 0x90, 0xB0, 0xE0, 0xF0, 0x30, 0x91]), st.binary(max_size=40), st.sampled_from([V311, V5]))
def test_any_control_packet_is_parsed_or_refused(first: int, body: bytes, version: int) -> None:
    parse_or_refuse(first, body, version)
