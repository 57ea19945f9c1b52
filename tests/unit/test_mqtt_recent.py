"""The window of keys, against the shortest thing that could do the same."""

from __future__ import annotations

from collections import deque

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocol.mqtt.recent import holds, is_recent, key_of, no_recent, remember

SIZE = 8


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=60))
def test_the_window_knows_exactly_the_last_keys(keys: list[int]) -> None:
    recent, last = no_recent(SIZE), deque[int](maxlen=SIZE)
    for key in (k * 0x9E3779B97F4A7C & 0x7FFFFFFFFFFFFFFF for k in keys):
        assert is_recent(recent, key) == (key in last)
        if key not in last:
            remember(recent, key)
            last.append(key)


def raw(data: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(data, np.uint8).copy()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.binary(min_size=1, max_size=4))
def test_a_name_is_found_where_python_finds_it(payload: bytes, name: bytes) -> None:
    assert holds(raw(payload + b"x"), 0, len(payload), raw(name), 0, len(name)) == (name in payload)


def test_keys_tell_topic_and_payload_apart() -> None:
    def key(topic: bytes, payload: bytes) -> int:
        return int(key_of(raw(topic), 0, len(topic), raw(payload), 0, len(payload)))

    messages = [(b"a", b"bc"), (b"ab", b"c"), (b"abc", b" "), (b"a", b"bd"), (b"a", b"bcc")]
    assert len({key(*message) for message in messages}) == len(messages)
    assert all(0 <= key(*message) < 2**63 for message in messages)
