"""Line protocol, read back by a reader of its own."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.calculations import RESULT
from gateway.core.encode import Context, TimeQuality, encode, envelope
from gateway.core.events import Event, Severity
from gateway.core.record import AGGREGATE, DISAGREEMENT, Identity, RecordDraft, Stream
from gateway.core.segments import Loss, LossReport, encode_body
from gateway.core.types import Kind
from gateway.protocol.lineprotocol import lines, window_name
from tests.support.engine import batch
from tests.support.http_ends import Point, Unsigned, read_lines

NAMES = ("a.x", "a.energy", "a.count", "b.state")
KINDS = (Kind.F64, Kind.U64, Kind.I64, Kind.SYMBOL)
OFFSET_NS = 1_700_000_000_000_000_000
PRESENT_NS = 5_000


def points(draft: RecordDraft, gateway: str = "plant") -> dict[Point, dict[str, object]]:
    body = encode(
        draft,
        NAMES,
        KINDS,
        text_of={7: 'say "RUN"\\'}.get,
        outputs=("mean of hour",),
        context=Context({0: {"asset": "B 1,=", "tag": "never"}}, "v1"),
        wall_offset_ns=OFFSET_NS,
        time_quality=TimeQuality.SYNCED,
    )
    return read(envelope(Identity(gateway, draft.stream.value, 3, 4), body))


def read(payload: bytes) -> dict[Point, dict[str, object]]:
    return dict(read_lines(lines(msgspec.json.decode(payload), PRESENT_NS).decode()))


def tags(**more: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({"gateway": "plant", **more}.items()))


def test_samples_of_every_kind_have_a_field_of_their_type_and_their_own_time() -> None:
    rows = batch(
        (0, 192, 11, 0, 0.1), (1, 192, 12, 0, 0.0), (2, 84, 13, 0, 0.0), (3, 192, 14, 0, 0.0), (0, 16, 15, 0, math.nan)
    )
    rows["bits"][1:4] = (-1, -(2**63), 7)
    found = points(RecordDraft(Stream.SAMPLES, 11, 15, rows))
    assert found == {
        ("samples", tags(tag="a.x", asset="B 1,="), OFFSET_NS + 11): {"value": 0.1, "quality": 192},
        ("samples", tags(tag="a.energy"), OFFSET_NS + 12): {"unsigned": 2**64 - 1, "quality": 192},
        ("samples", tags(tag="a.count"), OFFSET_NS + 13): {"integer": -(2**63), "quality": 84},
        ("samples", tags(tag="b.state"), OFFSET_NS + 14): {"text": 'say "RUN"\\', "quality": 192},
        ("samples", tags(tag="a.x", asset="B 1,="), OFFSET_NS + 15): {"quality": 16},
    }
    assert isinstance(found["samples", tags(tag="a.energy"), OFFSET_NS + 12]["unsigned"], Unsigned)


def test_windows_have_their_name_and_leave_out_what_is_no_number() -> None:
    rows = np.zeros(1, AGGREGATE)
    rows["window_ns"] = 60_000_000_000
    rows["mean"] = 1 / 3
    rows["sd"] = math.nan
    rows["count"] = 7
    ((point, fields),) = points(RecordDraft(Stream.AGGREGATES, 1, 9, rows)).items()
    assert point == ("aggregates", tags(tag="a.x", asset="B 1,=", window="1min"), OFFSET_NS + 9)
    assert (fields["mean"], fields["count"], "sd" in fields, "window_ns" in fields) == (1 / 3, 7, False, False)
    assert [window_name(ns) for ns in (10**10, 3_600 * 10**9, 5 * 10**8, 7)] == ["10s", "1h", "500ms", "7ns"]


def test_calculations_stand_at_the_end_of_their_span_and_explanations_at_their_rank() -> None:
    rows = np.zeros(1, RESULT)
    rows["end_ns"], rows["value"], rows["coverage"] = 50, 2.5, 0.5
    ((point, fields),) = points(RecordDraft(Stream.CALCULATIONS, 1, 9, rows)).items()
    assert point == ("calculations", tags(tag="a.x", asset="B 1,=", calculation="mean of hour"), OFFSET_NS + 50)
    assert (fields["value"], fields["coverage"], fields["revision"]) == (2.5, 0.5, 0)
    explained = np.zeros(1, DISAGREEMENT)
    explained["row"], explained["rank"], explained["share"] = 2, 1, 0.75
    ((point, fields),) = points(RecordDraft(Stream.MULTIVARIATE, 1, 9, explained)).items()
    assert point == ("multivariate", tags(tag="a.count", rank="1"), OFFSET_NS + 9)
    assert fields["share"] == 0.75


def test_events_and_losses_are_told() -> None:
    told = Event(5, Severity.WARNING, "link.down", "plc", "a\nb")
    ((point, fields),) = points(RecordDraft(Stream.EVENTS, 5, 5, (told,))).items()
    assert point == ("events", tags(kind="link.down", subject="plc"), OFFSET_NS + 5)
    assert fields == {"severity": int(Severity.WARNING), "message": "a\nb"}
    loss = Loss(stream="samples", reason="spool full", records=2, samples=9, first_ns=1, last_ns=2, dropped_ns=3)
    payload = envelope(Identity("plant", "events", 3, 4), encode_body(LossReport((loss,))))
    assert read(payload) == {
        ("losses", tags(stream="samples", reason="spool full", record="3/4/0"), PRESENT_NS + 3): {
            "records": 2,
            "samples": 9,
            "first_ns": PRESENT_NS + 1,
            "last_ns": PRESENT_NS + 2,
        }
    }


WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@given(gateway=WORDS, kind=WORDS, message=st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_text_comes_through_in_tags_and_fields(gateway: str, kind: str, message: str) -> None:
    """A tag cannot have a line break, or a backslash at its end, and an empty one is not written."""

    def as_tag(text: str) -> str:
        return text.rstrip("\\").replace("\n", " ").replace("\r", " ")

    found = points(RecordDraft(Stream.EVENTS, 5, 5, (Event(5, Severity.NOTICE, kind, "", message),)), gateway)
    ((point, fields),) = found.items()
    wanted = {"gateway": as_tag(gateway), "kind": as_tag(kind)}
    assert point == ("events", tuple(sorted((key, word) for key, word in wanted.items() if word)), OFFSET_NS + 5)
    assert fields["message"] == message
