"""Payloads for both decoders of MQTT: what is taken the fast way must be what the slow way takes, sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from gateway.core.inbox import Lane
from gateway.core.types import SAMPLE, Kind, Quality, Samples
from gateway.protocol.mqtt import state as s
from gateway.protocol.mqtt.codec import encode_string, frame
from gateway.protocol.mqtt.form import BIG_END, Form, Layout, Members, TimeForm, WireForm
from gateway.protocol.mqtt.ingest import Ingest
from gateway.protocol.mqtt.table import Feed

ARRIVAL_NS: Final = 5_000_000_000_000
WALL_OFFSET_NS: Final = 1_700_000_000_000_000_000
COUNTERS: Final = (s.MESSAGES, s.UNKNOWN_READINGS, s.SUMS, s.TIMES_REFUSED)

MEMBERS: Final = Members("n", "v", "t", "q")
WORDS: Final = ((b'"ok"', Quality.GOOD), (b"3", Quality.UNCERTAIN), (b'"fault"', Quality.BAD), (b"false", Quality.BAD))
READINGS: Final = Form(Layout.READINGS, TimeForm.AUTO, MEMBERS, WORDS)
READINGS_MS: Final = Form(Layout.READINGS, TimeForm.MS, MEMBERS)
SENML: Final = Form(Layout.SENML)
STRUCT: Final = Form(Layout.STRUCT)
TAGS: Final = (
    ("a", Kind.F64, 1.0, 0.0),
    ("b", Kind.F64, 0.1, -40.0),
    ("c", Kind.I64, 1.0, 0.0),
    ("d", Kind.U64, 1.0, 0.0),
)


def named(topic: str, form: Form) -> tuple[Feed, ...]:
    return tuple(
        Feed(topic, row, "d", kind, scale=scale, offset=offset, form=form, name=name)
        for row, (name, kind, scale, offset) in enumerate(TAGS)
    )


def deep_feeds(topic: str) -> tuple[Feed, ...]:
    """Tags whose values, time and quality lie in objects and arrays of one document."""
    paths: tuple[tuple[tuple[str | int, ...], Kind], ...] = (
        (("d", "v"), Kind.F64),
        (("d", "a", 1, "n"), Kind.I64),
        (("v",), Kind.F64),
    )
    return tuple(
        Feed(topic, row, "d", kind, path, ("d", "t"), quality_field=("q",)) for row, (path, kind) in enumerate(paths)
    )


def struct_feeds(topic: str, *, kinds: Sequence[Kind] = (Kind.F64,), at: int = 0) -> tuple[Feed, ...]:
    """Each form in both orders, one behind the other, for tags of each kind."""
    feeds = []
    for kind in kinds:
        for form in WireForm:
            for order in (0, BIG_END):
                feeds.append(Feed(topic, len(feeds), "d", kind, form=STRUCT, at=at + form, wire=form + order))
    return tuple(feeds)


class Twins:
    """Two subscribers to one topic: one as it is, one that never takes the fast way."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self.fast, self.slow = Ingest(feeds, 4), Ingest(feeds, 4)
        self._lane = Lane("t", 65_536)
        self._topic = feeds[0].topic

    def take(self, payload: bytes, retained: bool = False) -> tuple[Samples, bool]:
        """The samples of one message, the same by both, and whether it went the fast way. Nothing is remembered."""
        stream = frame(0x30 | retained, encode_string(self._topic) + payload)
        before = self.fast.fast_messages
        found = []
        self.begin()
        for ingest in (self.fast, self.slow):
            found.append(self._samples(ingest, stream))
        fast, slow = found
        assert fast[1] == slow[1], payload
        assert fast[0].tobytes() == slow[0].tobytes(), (payload, fast[0], slow[0])
        assert self.slow.fast_messages == 0
        return fast[0], self.fast.fast_messages > before

    def begin(self) -> None:
        """Forget whatever came before."""
        for ingest, is_slow in ((self.fast, False), (self.slow, True)):
            ingest.begin_connection()
            ingest._state[s.GREETED] = 1
            ingest._state[list(COUNTERS)] = 0
            ingest._table.topics["held"] = 0
            ingest._table.topics["slow"] |= is_slow
            ingest._usability.forget()

    def in_pieces(self, stream: bytes) -> Samples:
        """The samples of a stream that arrives byte by byte."""
        for byte in stream:
            self.fast.free_space()[:1] = bytes((byte,))
            self.fast.received(1, ARRIVAL_NS)
            step = self.fast.step(self._lane, WALL_OFFSET_NS)
            assert step.error is None
        out = np.zeros(len(self._lane), SAMPLE)
        return out[: self._lane.take_into(out)]

    def _samples(self, ingest: Ingest, stream: bytes) -> tuple[Samples, list[int]]:
        ingest.free_space()[: len(stream)] = stream
        ingest.received(len(stream), ARRIVAL_NS)
        step = ingest.step(self._lane, WALL_OFFSET_NS)
        assert step.error is None
        assert not step.is_full
        out = np.zeros(len(self._lane), SAMPLE)
        return out[: self._lane.take_into(out)], [int(ingest._state[field]) for field in COUNTERS]
