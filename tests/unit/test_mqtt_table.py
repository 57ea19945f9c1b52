"""The table of topics: a hash selects, the bytes decide."""

from __future__ import annotations

import numpy as np

from gateway.core.types import Kind
from gateway.protocol.mqtt.table import UNKNOWN, Feed, find_topic, group
from gateway.protocol.mqtt.tablebuilder import build
from gateway.protocol.octets import FNV_OFFSET, FNV_PRIME


def fnv(text: bytes) -> int:
    h = FNV_OFFSET
    for byte in text:
        h = ((h ^ byte) * FNV_PRIME) & 0xFFFFFFFF
    return h


def index_of(topics: list[bytes], name: bytes) -> int:
    table = build(group([Feed(topic.decode(), row, "d", Kind.F64) for row, topic in enumerate(topics)]))
    return int(find_topic(table, np.frombuffer(name, np.uint8), 0, len(name)))


def same_hash_and_length() -> tuple[bytes, bytes]:
    """Two names that only their bytes tell apart: among 2**18 names of 32-bit hashes there are some."""
    names: dict[int, bytes] = {}
    for number in range(1 << 18):
        name = b"t/%06x" % (number * 2_654_435_761 % (1 << 24))
        other = names.setdefault(fnv(name), name)
        if other != name:
            return other, name
    raise AssertionError("no two names share a hash")


def test_a_stranger_with_a_known_hash_is_a_stranger() -> None:
    known, stranger = same_hash_and_length()
    assert index_of([known], known) == 0
    assert index_of([known], stranger) == UNKNOWN
    assert index_of([known, stranger], stranger) == 1


def test_every_topic_of_a_full_table_is_found() -> None:
    topics = [b"plant/%d/t" % number for number in range(200)]
    assert [index_of(topics, name) for name in topics[::20]] == list(range(0, 200, 20))
    assert index_of(topics, b"plant/200/t") == UNKNOWN
    assert index_of([], b"plant") == UNKNOWN
