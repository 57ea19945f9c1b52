"""Records of every stream and kind, as JSON payloads, and the schema of Protocol Buffers read from its own text."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

import gateway.protocol.records
from gateway.core.calculations import RESULT
from gateway.core.encode import Context, TimeQuality, encode, envelope
from gateway.core.events import Event, Severity
from gateway.core.record import AGGREGATE, DISAGREEMENT, Identity, RecordDraft, Stream
from gateway.core.segments import Loss, LossReport, SegmentEnd, encode_body
from gateway.core.types import Kind
from tests.support.engine import batch

NAMES = ("a.x", "a.energy", "a.count", "a.unused", "a.state")
KINDS = (Kind.F64, Kind.U64, Kind.I64, Kind.F64, Kind.SYMBOL)
LABELS = {1: {"0": "none", "1": "some"}}
CONTEXT = Context({0: {"asset": "B-1", "path": "höhe/1"}}, "12ab34cd")
PROTO = Path(gateway.protocol.records.__file__).with_name("record_1.proto")


def body_of(draft: RecordDraft) -> bytes:
    return encode(
        draft,
        NAMES,
        KINDS,
        text_of={7: "RUN – läuft"}.get,
        labels=LABELS,
        outputs=("1h mean", "1h max"),
        context=CONTEXT,
        wall_offset_ns=1_700_000_000_123_456_789,
        time_quality=TimeQuality.SYNCED,
    )


def bodies() -> dict[str, tuple[str, bytes]]:
    """By what it is: its stream, and its body."""
    plain = batch(*((0, 192, 5_000_000_000 + n, 0, n / 7) for n in range(300)))
    mixed = batch((2, 192, 11, 0, 0.0), (0, 192, 12, 0, 0.1), (1, 84, 13, 0, 0.0), (0, 16, 14, 0, math.nan))
    mixed = np.concatenate([mixed, batch((4, 192, 15, 0, 0.0), (4, 0, 16, 0, 0.0), (0, 192, 17, 0, -0.0))])
    mixed["bits"][0] = -(2**63)
    mixed["bits"][2] = -1
    mixed["bits"][4:6] = (7, 0)
    windows = np.zeros(3, AGGREGATE)
    windows["row"] = (0, 0, 1)
    windows["window_ns"] = (10_000_000_000, 60_000_000_000, 10_000_000_000)
    windows["mean"] = (1 / 3, math.nan, 1e300)
    windows["reasons"] = (0, 1 << 40, 3)
    results = np.zeros(2, RESULT)
    results["output"] = (1, 0)
    results["end_ns"] = 3_600_000_000_000
    results["value"] = (math.nan, 2.5)
    shares = np.zeros(2, DISAGREEMENT)
    shares["rank"] = (1, 2)
    shares["share"] = (0.75, 0.25)
    events = (
        Event(1, Severity.WARNING, "link.down", "plc", 'lost; "check"\nit'),
        Event(2, Severity.INFO, "link.up", "", ""),
    )
    whole = Loss(
        stream="samples", reason="buffer", records=3, samples=12, first_ns=-1, last_ns=9, dropped_ns=0, segment=7,
        from_sequence=1, to_sequence=3, tags={"a.x": 12},
    )  # fmt: skip
    bare = Loss(stream="events", reason="pressure", records=0, samples=0, first_ns=0, last_ns=0, dropped_ns=0)
    return {
        "samples": ("samples", body_of(RecordDraft(Stream.SAMPLES, 1, 2, plain))),
        "samples of every kind": ("samples", body_of(RecordDraft(Stream.SAMPLES, 11, 17, mixed))),
        "no samples": ("samples", body_of(RecordDraft(Stream.SAMPLES, 0, 0, plain[:0]))),
        "aggregates": ("aggregates", body_of(RecordDraft(Stream.AGGREGATES, 1, 2, windows))),
        "calculations": ("calculations", body_of(RecordDraft(Stream.CALCULATIONS, 1, 2, results))),
        "multivariate": ("multivariate", body_of(RecordDraft(Stream.MULTIVARIATE, 1, 2, shares))),
        "events": ("events", body_of(RecordDraft(Stream.EVENTS, 1, 2, events))),
        "segment end": ("samples", encode_body(SegmentEnd(42))),
        "loss report": ("events", encode_body(LossReport((whole, bare)))),
    }


def payloads() -> dict[str, bytes]:
    """By what it is: a whole record as the spool gives it out."""
    return {
        what: envelope(Identity("boiler-house", stream, 12_340_000_007, 42 + number), body)
        for number, (what, (stream, body)) in enumerate(bodies().items())
    }


def content(payload: bytes) -> dict[str, Any]:
    found = msgspec.json.decode(payload, type=dict[str, Any])
    assert isinstance(found, dict)
    return found


_FIELD = re.compile(r"(repeated |optional )?(map<string, (\w+)>|\w+) (\w+) = (\d+);")


def protobuf_class(text: str) -> Any:
    """The class of Record that the official library makes of a schema like ours: it knows none of our code."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{hash(text)}.proto", package="fieldgate", syntax="proto3")
    for name, block in re.findall(r"^message (\w+) \{\n(.*?)^\}", text, re.M | re.S):
        message = file.message_type.add(name=name)
        for label, kind, map_value, field, number in _FIELD.findall(block):
            one = message.field.add(name=field, number=int(number))
            one.label = 3 if label == "repeated " or map_value else 1
            if map_value:
                entry = message.nested_type.add(name=field.title().replace("_", "") + "Entry")
                entry.options.map_entry = True
                _typed(entry.field.add(name="key", number=1, label=1), "string")
                _typed(entry.field.add(name="value", number=2, label=1), map_value)
                one.type, one.type_name = 11, f".fieldgate.{name}.{entry.name}"
            else:
                _typed(one, kind)
            if label == "optional ":
                one.proto3_optional = True
                one.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("fieldgate.Record"))


def _typed(field: Any, kind: str) -> None:
    types = {"double": 1, "uint64": 4, "fixed64": 6, "string": 9, "sfixed64": 16}
    if kind in types:
        field.type = types[kind]
    else:
        field.type, field.type_name = 11, f".fieldgate.{kind}"
