"""The bodies of records read back as what went in."""

from __future__ import annotations

import json
import math

import numpy as np

from gateway.core.encode import TimeQuality, encode, envelope
from gateway.core.events import Event, Severity
from gateway.core.record import AGGREGATE, Identity, RecordDraft, Stream
from gateway.core.types import Kind
from tests.support.engine import batch

NAMES = ("a.x", "a.energy", "a.count", "a.unused", "a.state")
KINDS = (Kind.F64, Kind.U64, Kind.I64, Kind.F64, Kind.SYMBOL)
LABELS = {1: {"0": "none"}, 3: {"1": "never told"}}


def body_of(draft: RecordDraft) -> bytes:
    return encode(
        draft,
        NAMES,
        KINDS,
        text_of={7: "RUN"}.get,
        labels=LABELS,
        wall_offset_ns=1_700_000_000_123_456_789,
        time_quality=TimeQuality.SYNCED,
    )


def sample_draft() -> RecordDraft:
    rows = batch((2, 192, 11, 0, 0.0), (0, 192, 12, 0, 0.1), (1, 84, 13, 0, 0.0), (0, 16, 14, 0, math.nan))
    rows["bits"][0] = -(2**63)
    rows["bits"][2] = -1
    return RecordDraft(Stream.SAMPLES, 11, 14, rows)


def test_samples_come_back_exactly_in_columns() -> None:
    assert json.loads(body_of(sample_draft())) == {
        "format": "fieldgate-record-1",
        "wall_offset_ns": 1_700_000_000_123_456_789,
        "time_quality": "synced",
        "first_ns": 11,
        "last_ns": 14,
        "tags": ["a.count", "a.x", "a.energy"],
        "tag": [0, 1, 2, 1],
        "labels": {"a.energy": {"0": "none"}},
        "time_ns": [11, 12, 13, 14],
        "value": [-(2**63), 0.1, 2**64 - 1, None],
        "quality": [192, 192, 84, 16],
    }


def test_a_text_is_told_as_text_and_one_without_a_number_as_null() -> None:
    rows = batch((4, 192, 1, 0, 0.0), (4, 0, 2, 0, 0.0), (0, 192, 3, 0, 0.5))
    rows["bits"][:2] = (7, 0)
    read = json.loads(body_of(RecordDraft(Stream.SAMPLES, 1, 3, rows)))
    assert read["tags"] == ["a.state", "a.x"]
    assert read["value"] == ["RUN", None, 0.5]
    assert "labels" not in read


def test_the_envelope_goes_in_front_and_is_the_same_each_time() -> None:
    body = body_of(sample_draft())
    identity = Identity('boiler "1"', "samples", 3, 42)
    payload = envelope(identity, body)
    assert payload == envelope(identity, body_of(sample_draft()))
    read = json.loads(payload)
    assert list(read)[:5] == ["gateway", "stream", "segment", "sequence", "format"]
    assert (read["gateway"], read["stream"], read["segment"], read["sequence"]) == ('boiler "1"', "samples", 3, 42)
    assert {key: read[key] for key in json.loads(body)} == json.loads(body)


def test_aggregates_come_back_with_every_column() -> None:
    rows = np.zeros(1, AGGREGATE)
    rows["window_ns"] = 60_000_000_000
    rows["sd"] = math.nan
    rows["mean"] = 1 / 3
    read = json.loads(body_of(RecordDraft(Stream.AGGREGATES, 5, 5, rows)))
    assert (read["tags"], read["tag"], read["window_ns"]) == (["a.x"], [0], [60_000_000_000])
    assert (read["sd"], read["mean"], read["count"]) == ([None], [1 / 3], [0])
    assert {"quality", "min", "max", "rate", "ewma", "score"} <= set(read)


def test_events_come_back_in_columns() -> None:
    event = Event(5, Severity.WARNING, "link.down", "plc", "plc: 10.0.0.5:502 refused")
    read = json.loads(body_of(RecordDraft(Stream.EVENTS, 5, 5, (event, event))))
    assert read["kind"] == ["link.down"] * 2
    assert read["severity"] == [4, 4]
    assert read["message"] == ["plc: 10.0.0.5:502 refused"] * 2
    assert "tags" not in read
