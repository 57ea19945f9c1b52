"""Arrays of readings, SenML, structs: the jitted decoder and the slow way agree on every payload, to the last bit."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.types import Kind, Quality
from gateway.protocol.mqtt.form import WireForm, quality_of
from tests.support.payloads import (
    ARRIVAL_NS,
    READINGS,
    READINGS_MS,
    SENML,
    WALL_OFFSET_NS,
    Twins,
    named,
    struct_feeds,
)

ARRAYS, ARRAYS_MS, PACKS = Twins(named("t", READINGS)), Twins(named("t", READINGS_MS)), Twins(named("t", SENML))
STRUCTS = Twins(struct_feeds("t", kinds=(Kind.F64, Kind.I64, Kind.U64)))
NOW_MS = (ARRIVAL_NS + WALL_OFFSET_NS) // 1_000_000
GOOD, STALE = int(Quality.GOOD), int(Quality.UNCERTAIN_STALE)

space = st.sampled_from(["", "", "", " ", "\n\t"])
numbers = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.integers(-(2**65), 2**65).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.builds(lambda m, e: f"{m}e{e}", st.integers(-(2**57), 2**57), st.integers(-40, 40)),
    st.sampled_from(["0", "-0", "0.0", "1e999", "-1e-999", "1E+5", "01", "1.", ".5", "+1", "1e", "9" * 400]),
)
times = st.one_of(
    st.integers(NOW_MS - 4_000_000, NOW_MS + 2_000).map(str),
    st.integers(NOW_MS - 4_000_000, NOW_MS + 2_000).map(lambda ms: f"{ms / 1000:.3f}"),
    st.integers(-100, 100).map(str),
    numbers,
)
others = st.sampled_from(
    ["null", "true", "false", '"x"', '""', "[]", "{}", '[{"v":1}]', "NaN", "tru", '"\\u0061"', '"é"', '"']
)
names = st.sampled_from(['"a"', '"b"', '"c"', '"d"', '"a"', '"zz"', '""', '"\\u0061"', '"é"', "1", "null"])
qualities = st.sampled_from(
    ['"ok"', '"fault"', "3", "192", "64", "0", "255", "256", "false", "true", '"o\\u006b"', "null", "[]"]
)
values = st.one_of(numbers, numbers, numbers, others)


def objects(members: dict[str, st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    keys = st.lists(st.sampled_from([*members, *members, "other", "\\u0076", "é", ""]), max_size=6)

    @st.composite
    def build(draw: st.DrawFn) -> str:
        parts = [
            f'{draw(space)}"{key}"{draw(space)}:{draw(space)}{draw(members.get(key, others))}{draw(space)}'
            for key in draw(keys)
        ]
        return "{" + ",".join(parts) + "}"

    return build()


readings = st.one_of(
    objects({"n": names, "v": values, "t": times, "q": qualities}),
    st.builds(
        lambda n, v, t: f'{{"n":{n},"v":{v},"t":{t}}}', st.sampled_from(['"a"', '"b"', '"c"', '"d"']), numbers, times
    ),
)
LABELS = {
    "bn": st.sampled_from(['"a"', '""', '"dev/"', "1"]), "n": names, "v": numbers, "vb": st.sampled_from(["true", "0"]),
    "vs": others, "vd": others, "bt": times, "t": times, "s": numbers, "bv": numbers, "bu": others, "u": others,
    "bver": st.sampled_from(["10", "11", "5", "1e1", '"5"', "-1", "05"]), "x_": others, "ut": numbers,
}  # fmt: skip
plain_labels = {key: LABELS[key] for key in ("bn", "n", "v", "bt", "t", "u")}
records = st.one_of(objects(LABELS), objects(plain_labels), objects(plain_labels))


@st.composite
def documents(draw: st.DrawFn, items: st.SearchStrategy[str]) -> bytes:
    """Arrays, near arrays, and arrays cut off or with a byte changed."""
    listed = draw(st.lists(items, max_size=5))
    raw = (
        draw(space) + "[" + ",".join(draw(space) + item + draw(space) for item in listed) + "]" + draw(space)
    ).encode()
    how = draw(st.integers(0, 7))
    if how == 0:
        return raw[: draw(st.integers(0, len(raw)))]
    if how == 1 and raw:
        at = draw(st.integers(0, len(raw) - 1))
        return raw[:at] + bytes((draw(st.integers(0, 255)),)) + raw[at + 1 :]
    if how == 2:
        return draw(st.binary(max_size=60))
    return raw


@settings(max_examples=500, deadline=None)
@given(documents(readings), st.booleans())
@example(b"[]", False)
@example(b'[{"n":"a","v":1},{"n":"a","v":2}]', True)
@example(b'[{"n":"a","n":"b","v":1,"v":2}]', False)
@example(b'[{"n":"a","v":null,"q":"fault"}]', False)
@example(b'[{"n":"a","q":"fault"}]', False)
@example(b"[" * 5_000, False)
@example(b'[{"n":"a","v":' + b"[" * 3_000 + b"]" * 3_000 + b"}]", False)
@example(b'[{"n":"a","v":1}]\x00', False)
@example(b'[{"n":"a","v":1,"t":1e999999999}]', False)
@example(b'[{"n":"zz","v":1e999999999}]', False)
@example(b'\xef\xbb\xbf[{"n":"a","v":1}]', False)
def test_arrays_mean_the_same_to_both(payload: bytes, retained: bool) -> None:
    ARRAYS.take(payload, retained)
    ARRAYS_MS.take(payload, retained)


@settings(max_examples=500, deadline=None)
@given(documents(records), st.booleans())
@example(b'[{"bn":"a","v":1}]', False)
@example(b'[{"bn":"a"},{"v":1},{"v":2,"t":-5}]', True)
@example(b'[{"n":"a","v":1,"s":2},{"n":"a","s":3}]', False)
@example(b'[{"bt":1e999999999,"n":"a","v":1}]', False)
@example(b'[{"bt":-9e9,"t":-9e9,"n":"a","v":1}]', False)
@example(b'[{"bt":9e9,"t":9e9,"n":"a","v":1}]', False)
@example(b'[{"bt":2.2e9,"t":2.2e9,"n":"a","v":1}]', False)
@example(b'[{"t":1e-12,"n":"a","v":1}]', False)
def test_packs_mean_the_same_to_both(payload: bytes, retained: bool) -> None:
    PACKS.take(payload, retained)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=24), st.booleans())
@example(b"\xff" * 24, False)
@example(b"\x00" * 24, False)
@example(b"\x00\x00\x00\x00\x00\x00\xf8\x7f" * 3, False)
@example(b"\x7f\xf0" * 12, False)
@example(b"\x80" + b"\x00" * 23, False)
def test_structs_mean_the_same_to_both(payload: bytes, retained: bool) -> None:
    STRUCTS.take(payload, retained)


@given(st.lists(st.tuples(st.sampled_from("abzz"), st.integers(-(10**12), 10**12)), max_size=50))
def test_plain_arrays_go_the_fast_way_and_bring_what_json_says(items: list[tuple[str, int]]) -> None:
    payload = json.dumps([{"n": name, "v": value, "t": NOW_MS} for name, value in items]).encode()
    samples, is_fast = ARRAYS.take(payload)
    assert is_fast
    expected = [(0, float(v)) if n == "a" else (1, v * 0.1 - 40.0) for n, v in items if n in "ab"]
    assert [(int(x["row"]), float(x["value"])) for x in samples] == expected
    assert {int(x["source_ns"]) for x in samples} <= {ARRIVAL_NS}


def test_each_form_of_a_struct_is_what_a_program_in_c_wrote() -> None:
    values = {"BOOL": 1, "INT8": -5, "UINT8": 250, "INT16": -300, "UINT16": 65_000, "INT32": -70_000,
              "UINT32": 2**32 - 7, "INT64": -(2**60), "UINT64": 2**64 - 9, "FLOAT32": 1.5, "FLOAT64": -2.0}  # fmt: skip
    for row, feed in enumerate(struct_feeds("t")):
        form = WireForm(feed.wire & 15)
        order = ">" if feed.wire > 15 else "<"
        payload = b"\xaa" * feed.at + struct.pack(order + "?bBhHiIqQfd"[form], values[form.name]) + b"\xaa"
        samples, is_fast = Twins((feed,)).take(payload)
        assert is_fast, form
        assert (int(samples[0]["row"]), float(samples[0]["value"])) == (row, float(values[form.name]))


def test_the_example_of_the_standard_is_resolved() -> None:
    """RFC 8428, 5.1.3: base name and time, then several records; names joined, times made absolute."""
    bt = (ARRIVAL_NS + WALL_OFFSET_NS) / 1e9 - 100
    pack = [{"bn": "a", "bt": bt, "bu": "A", "bver": 5, "n": "", "u": "V", "v": 120.1}] + [
        {"u": "A", "t": t, "v": v} for t, v in ((-5, 1.2), (-4, 1.3), (-3, 1.4), (-2, 1.5), (-1, 1.6), (0, 1.7))
    ]
    samples, is_fast = PACKS.take(json.dumps(pack).encode())
    assert is_fast
    assert [float(x["value"]) for x in samples] == [120.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
    ages_s = [round((ARRIVAL_NS - int(x["source_ns"])) / 1e9) for x in samples]
    assert ages_s == [100, 105, 104, 103, 102, 101, 100]


def test_times_of_records_are_relative_to_now_when_small() -> None:
    samples, _ = PACKS.take(b'[{"bn":"a","v":1},{"v":2,"t":-30},{"v":3,"bt":-60}]')
    assert [ARRIVAL_NS - int(x["source_ns"]) for x in samples] == [0, 30 * 10**9, 60 * 10**9]


def test_a_base_value_is_added() -> None:
    samples, is_fast = PACKS.take(b'[{"bn":"a","bv":20,"v":1.5},{"v":2}]')
    assert not is_fast
    assert [float(x["value"]) for x in samples] == [21.5, 22.0]


def test_what_must_be_understood_and_is_not_refuses_the_pack() -> None:
    samples, is_fast = PACKS.take(b'[{"n":"a","v":1,"crit_":1}]')
    assert not is_fast
    assert {int(x["quality"]) for x in samples} == {int(Quality.BAD_SENSOR_FAILURE)}


def test_retained_readings_without_a_time_are_stale() -> None:
    samples, is_fast = ARRAYS.take(b'[{"n":"a","v":1},{"n":"b","v":1,"t":%d}]' % NOW_MS, True)
    assert is_fast
    assert [int(x["quality"]) for x in samples] == [STALE, GOOD]


def test_qualities_are_what_the_device_calls_them() -> None:
    samples, is_fast = ARRAYS.take(b'[{"n":"a","v":1,"q":"ok"},{"n":"a","v":1,"q":3},{"n":"a","v":1,"q":"fault"}]')
    assert is_fast
    assert [int(x["quality"]) for x in samples] == [GOOD, int(Quality.UNCERTAIN), int(Quality.BAD)]


@pytest.mark.parametrize(("raw", "quality"), [(b"200", Quality.GOOD), (b"70", Quality.UNCERTAIN), (b"12", Quality.BAD),
                                              (b"300", Quality.UNCERTAIN), (b'"?"', Quality.UNCERTAIN)])  # fmt: skip
def test_other_qualities_are_read_by_the_numbers_of_opc(raw: bytes, quality: Quality) -> None:
    assert quality_of(raw, READINGS) is quality
