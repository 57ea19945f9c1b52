"""A connection that goes from one reader to the next at any byte: nothing is read twice, and nothing is left out."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.inbox import Lane
from gateway.core.types import SAMPLE, Kind
from gateway.protocol.mqtt.codes import V311
from gateway.protocol.mqtt.ingest import Ingest
from gateway.protocol.mqtt.table import Feed
from tests.support.mqtt import message

FRAME_BYTES_MAX = 64
CONNACK = b"\x20\x02\x00\x00"
OLD = [Feed("a", 3, "d", Kind.F64), Feed("gone", 4, "d", Kind.F64)]
NEW = [Feed("new", 0, "d", Kind.F64), Feed("a", 1, "d", Kind.F64)]

messages = st.tuples(st.sampled_from([0, 1, 2]), st.integers(1, 99), st.booleans())
"""QoS, packet identifier, and whether it is longer than any may be."""


def read(ingest: Ingest, stream: bytes) -> tuple[list[float], bytes]:
    """The values of topic a, and what is acknowledged."""
    lane, values, acks = Lane("l", 1_024), list[float](), b""
    while stream:
        space = ingest.free_space()
        size = min(len(space), len(stream))
        space[:size] = stream[:size]
        stream = stream[size:]
        ingest.received(size, 0)
        step = ingest.step(lane, 0)
        assert step.error is None
        acks += step.acks
        samples = np.zeros(len(lane), SAMPLE)
        lane.take_into(samples)
        row = next(feed.row for topic in ingest.topics for feed in topic.feeds if topic.name == "a")
        values += samples["value"][samples["row"] == row].tolist()
    return values, acks


@settings(deadline=None)
@given(st.lists(messages, max_size=12), st.data())
def test_another_reader_goes_on_at_any_byte(sent: list[tuple[int, int, bool]], data: st.DataObject) -> None:
    stream = CONNACK + b"".join(
        message("a", b"%d" % number + b" " * (FRAME_BYTES_MAX * is_long), qos=qos, packet_id=packet_id)
        for number, (qos, packet_id, is_long) in enumerate(sent)
    )
    at = data.draw(st.integers(len(CONNACK), len(stream)))
    whole, old, new = (Ingest(feeds, V311, frame_bytes_max=FRAME_BYTES_MAX) for feeds in (OLD, OLD, NEW))
    assert read(old, stream[:at]) == read(whole, stream[:at])
    new.go_on_after(old)
    assert read(new, stream[at:]) == read(whole, stream[at:])
