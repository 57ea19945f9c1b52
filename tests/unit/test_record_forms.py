"""All encodings say the same, read back what they wrote, and bear a schema that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.limits import RECORD_BYTES_MAX
from gateway.core.segments import FORMAT
from gateway.protocol.protobuf import encode_varint
from gateway.protocol.records import arrow, protobuf, wire
from gateway.protocol.records.form import Compression, Encoding, Form, Unreadable, Unwritable, read, written
from gateway.receiver import NotARecord, Offer, Receiver
from tests.support.records import PROTO, content, payloads, protobuf_class

PAYLOADS = payloads()
FORMS = [Form(encoding, compression) for encoding in Encoding for compression in Compression]
FIXTURES = Path(__file__).parents[1] / "fixtures" / "record-1"


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.encoding.value}-{form.compression.value}")
@pytest.mark.parametrize("what", PAYLOADS)
def test_a_record_reads_back_as_its_json_whether_the_form_is_told_or_seen(form: Form, what: str) -> None:
    payload = PAYLOADS[what]
    sent = written(payload, form)
    assert sent == written(payload, form), "a resend differs"
    assert read(sent, form.content_type, form.content_coding) == content(payload)
    assert read(sent) == content(payload)
    assert read(sent)["format"] == FORMAT


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.encoding.value}-{form.compression.value}")
def test_a_receiver_takes_every_form_once_and_keeps_json(form: Form, tmp_path: Path) -> None:
    receiver = Receiver(tmp_path / "plant.db")
    for payload in PAYLOADS.values():
        sent = written(payload, form)
        assert receiver.accept(sent, form.content_type, form.content_coding) is not Offer.DUPLICATE
        assert receiver.accept(sent) is Offer.DUPLICATE
    receiver.commit()
    rows = receiver._connection.execute("SELECT payload FROM records ORDER BY id").fetchall()
    receiver.close()
    assert [content(payload) for (payload,) in rows] == [content(payload) for payload in PAYLOADS.values()]


@pytest.mark.parametrize(
    ("payload", "content_type", "content_coding"),
    [
        (b"", "", ""),
        (b"hello", "", ""),
        (b"{}", "text/plain", ""),
        (b"{}", "", "br"),
        (b"\x28\xb5\x2f\xfdabc", "", ""),
        (b"\x0a\xff", "", ""),
        (b"\x81\xa1", "", ""),
        (b"\xff\xff\xff\xff\x00", "", ""),
        (b"[1, 2]", "application/json", ""),
        (b"\x93\x01\x02\x03", "application/vnd.msgpack", ""),
    ],
)
def test_what_is_no_record_is_called_so(payload: bytes, content_type: str, content_coding: str, tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        read(payload, content_type, content_coding)
    receiver = Receiver(tmp_path / "plant.db")
    with pytest.raises(NotARecord):
        receiver.accept(payload, content_type, content_coding)
    receiver.close()


@pytest.mark.parametrize("encoding", Encoding)
@given(noise=st.binary(max_size=200), cut=st.integers(0, 3_000))
def test_noise_and_torn_records_are_unreadable_and_nothing_else(encoding: Encoding, noise: bytes, cut: int) -> None:
    sent = written(PAYLOADS["samples of every kind"], Form(encoding))
    for payload in (noise, sent[:cut], sent[:cut] + noise):
        try:
            read(payload, encoding.media_type)
        except Unreadable:
            continue


def test_a_small_message_that_unpacks_to_too_much_is_refused() -> None:
    import zstandard

    bomb = zstandard.ZstdCompressor().compress(bytes(RECORD_BYTES_MAX + 1))
    with pytest.raises(Unreadable, match="size"):
        read(bomb)


def test_a_member_that_the_schema_has_no_field_for_is_never_left_out_in_silence() -> None:
    strange = msgspec.json.encode(content(PAYLOADS["samples"]) | {"phase": [1] * 300})
    with pytest.raises(Unwritable, match="no field for phase"):
        written(strange, Form(Encoding.PROTOBUF))
    assert read(written(strange, Form(Encoding.ARROW)))["phase"] == [1] * 300


# -- Protocol Buffers, by the official library and the schema that is shipped ----------------------------------------

SCHEMA = PROTO.read_text(encoding="utf-8")


def test_the_official_library_reads_with_the_shipped_schema_what_we_write() -> None:
    record = protobuf_class(SCHEMA)
    mixed = record.FromString(written(PAYLOADS["samples of every kind"], Form(Encoding.PROTOBUF)))
    said = content(PAYLOADS["samples of every kind"])
    assert (mixed.gateway, mixed.stream, mixed.segment) == (said["gateway"], said["stream"], said["segment"])
    assert (mixed.format, mixed.wall_offset_ns, list(mixed.tags)) == (FORMAT, said["wall_offset_ns"], said["tags"])
    assert list(mixed.samples.time_ns) == said["time_ns"]
    assert list(mixed.samples.quality) == said["quality"]
    assert (list(mixed.samples.integer), list(mixed.samples.integer_row)) == ([-(2**63)], [0])
    assert (list(mixed.samples.unsigned), list(mixed.samples.text)) == ([2**64 - 1], ["RUN – läuft"])
    assert dict(mixed.context["a.x"].names) == said["context"]["a.x"]
    windows = record.FromString(written(PAYLOADS["aggregates"], Form(Encoding.PROTOBUF))).aggregates
    assert list(windows.reasons) == [0, 1 << 40, 3]
    ledger = record.FromString(written(PAYLOADS["loss report"], Form(Encoding.PROTOBUF))).ledger
    assert [dict(loss.tags) for loss in ledger.dropped] == [{"a.x": 12}, {}]
    assert [loss.first_ns for loss in ledger.dropped] == [-1, 0]


@pytest.mark.parametrize("what", PAYLOADS)
def test_what_the_official_library_writes_is_read_the_same(what: str) -> None:
    """It writes nothing for zeros, and its maps in an order of its own."""
    again = protobuf_class(SCHEMA).FromString(written(PAYLOADS[what], Form(Encoding.PROTOBUF))).SerializeToString()
    assert read(again, Encoding.PROTOBUF.media_type) == content(PAYLOADS[what])


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 300)))
def test_packed_numbers_are_varints_one_after_the_other(values: list[int]) -> None:
    import numpy as np

    packed = wire.varints(np.array(values, np.uint64))
    assert packed == b"".join(encode_varint(value) for value in values)
    assert wire.unpack_varints(packed).tolist() == values


# -- Evolution -------------------------------------------------------------------------------------------------------

LATER = SCHEMA.replace(
    "repeated uint64 quality = 4;", "repeated uint64 quality = 4;\n  repeated double phase = 30;"
).replace("repeated string calculations = 14;", "repeated string calculations = 14;\n  string site = 15;")


def of_a_later_version(encoding: Encoding) -> bytes:
    """With a member and a column that today's reader does not know."""
    later = content(PAYLOADS["samples"]) | {"site": "north", "phase": [0.5] * 300}
    if encoding is Encoding.PROTOBUF:
        record = protobuf_class(LATER).FromString(written(PAYLOADS["samples"], Form(Encoding.PROTOBUF)))
        record.site = "north"
        record.samples.phase.extend([0.5] * 300)
        sent: bytes = record.SerializeToString()
        return sent
    return written(msgspec.json.encode(later), Form(encoding))


@pytest.mark.parametrize("encoding", Encoding)
def test_a_reader_of_today_reads_a_later_message_with_more_in_it(encoding: Encoding, tmp_path: Path) -> None:
    found = read(of_a_later_version(encoding), encoding.media_type)
    assert {name: found[name] for name in content(PAYLOADS["samples"])} == content(PAYLOADS["samples"])
    receiver = Receiver(tmp_path / "plant.db")
    assert receiver.accept(of_a_later_version(encoding), encoding.media_type) is Offer.NEW_AFTER_GAP
    receiver.close()


@pytest.mark.parametrize("encoding", Encoding)
def test_a_reader_of_today_reads_an_earlier_message_with_less_in_it(encoding: Encoding) -> None:
    earlier = content(PAYLOADS["aggregates"])
    for name in ("score_once_h", "persistent_once_h", "score_quality", "context", "context_version"):
        del earlier[name]
    found = read(written(msgspec.json.encode(earlier), Form(encoding)), encoding.media_type)
    assert found == earlier


def test_a_later_reader_takes_what_is_missing_as_not_told() -> None:
    sent = written(PAYLOADS["samples"], Form(Encoding.PROTOBUF))
    record = protobuf_class(LATER).FromString(sent)
    assert (record.site, list(record.samples.phase), len(record.samples.value)) == ("", [], 300)


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("what", ["samples of every kind", "aggregates", "events", "loss report"])
def test_messages_of_the_first_version_are_read_for_ever(encoding: Encoding, what: str) -> None:
    """The files are of the version in their names and are never made anew."""
    kept = (FIXTURES / f"{what.replace(' ', '-')}.{encoding.value}").read_bytes()
    said: dict[str, Any] = msgspec.json.decode((FIXTURES / f"{what.replace(' ', '-')}.json").read_bytes())
    found = read(kept, encoding.media_type)
    assert {name: found[name] for name in said} == said


def test_no_field_number_has_two_meanings() -> None:
    groups = (protobuf.TEXTS, protobuf.COUNTS, protobuf.TIMES, protobuf.LISTS, protobuf.NAMES, protobuf.BODIES)
    numbers = [number for group in groups for number in group.values()]
    assert len(numbers) == len(set(numbers))


def test_an_arrow_stream_says_version_and_record_in_its_schema() -> None:
    with pyarrow.ipc.open_stream(written(PAYLOADS["aggregates"], Form(Encoding.ARROW))) as stream:
        table = stream.read_all()
    assert table.schema.metadata[arrow.FORMAT_KEY] == FORMAT.encode()
    assert table.column("tag").to_pylist() == ["a.x", "a.x", "a.energy"]
    assert table.column("mean").to_pylist() == [1 / 3, None, 1e300]
