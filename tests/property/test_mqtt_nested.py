"""Nested JSON, qualities, times as texts: jitted decoder and slow way agree on every payload, to the last bit."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.types import Kind, Quality
from gateway.protocol.mqtt.fasttexts import day_number, end_of_text, wall_from_text
from gateway.protocol.mqtt.form import Form, Layout, TimeForm
from gateway.protocol.mqtt.payloads import read_time
from gateway.protocol.mqtt.table import DEPTH_MAX, Feed
from tests.support.payloads import ARRIVAL_NS, WALL_OFFSET_NS, WORDS, Twins

FORM = Form(Layout.PLAIN, TimeForm.AUTO, qualities=WORDS)
ISO_FORM = Form(Layout.PLAIN, TimeForm.ISO8601)
NOW_NS = ARRIVAL_NS + WALL_OFFSET_NS
GOOD = int(Quality.GOOD)


def feeds(form: Form, time: tuple[str | int, ...], quality: tuple[str | int, ...]) -> tuple[Feed, ...]:
    paths: tuple[tuple[tuple[str | int, ...], Kind], ...] = (
        (("d", "v"), Kind.F64),
        (("d", "a", 1), Kind.F64),
        (("d", "a", 0, "n"), Kind.I64),
        (("v",), Kind.U64),
        (("d", "é"), Kind.F64),
        ((), Kind.F64),
    )
    return tuple(
        Feed("t", row, "d", kind, path, time, form=form, quality_field=quality)
        for row, (path, kind) in enumerate(paths)
    )


NESTED = Twins(feeds(FORM, ("d", "t"), ("q", "s")))
TIMED = Twins(feeds(ISO_FORM, ("t",), ()))
FLAT = Twins((Feed("t", 0, "d", Kind.F64, ("v",), ("t",)),))
FLAT_ISO = Twins((Feed("t", 0, "d", Kind.F64, ("v",), ("t",), form=ISO_FORM),))

moments = st.builds(
    lambda ns, hours, minutes: (
        datetime.fromtimestamp(ns // 10**9, timezone(timedelta(hours=hours, minutes=minutes))).isoformat()[:19],
        ns % 10**9,
        f"{hours:+03d}:{minutes:02d}",
    ),
    st.integers(NOW_NS - 4_000 * 10**9, NOW_NS + 2 * 10**9),
    st.integers(0, 14),
    st.sampled_from([0, 30, 45]),
)
stamps = st.one_of(
    moments.map(lambda m: f'"{m[0]}.{m[1]:09d}{m[2]}"'),
    moments.map(lambda m: f'"{m[0]}{m[2]}"'),
    st.sampled_from(
        [
            '"2023-02-29T00:00:00Z"',
            '"2023-11-14T22:13:20Z"',
            '"2023-11-14t22:13:20.5z"',
            '"2023-11-14 23:59:60Z"',
            '"2023-11-14T24:00:00Z"',
            '"2023-11-14T22:13:20"',
            '"2023-11-14T22:13:20.Z"',
            '"2023-11-14T22:13:20+24:00"',
            '"2023-11-14T22:13:20+00:60"',
            '"2023-11-14T22:13:20.1234567890123456789Z"',
            '"1969-12-31T23:59:59Z"',
            '"0000-01-01T00:00:00Z"',
            '"2262-04-12T00:00:00Z"',
            '"9999-12-31T23:59:59Z"',
            '"2023-11-1\\u0034T22:13:20Z"',
            '""',
        ]
    ),
    st.integers(NOW_NS // 10**6 - 4_000_000, NOW_NS // 10**6 + 2_000).map(str),
    st.sampled_from(["null", "true", "1", "-1", "[]", "{}"]),
)
numbers = st.one_of(
    st.integers(-(10**6), 10**6).map(str), st.sampled_from(["1.5e3", "true", "1e400", "01", "18446744073709551615"])
)
others = st.sampled_from(
    [
        "null",
        '"x"',
        '"°C"',
        '"a\\"b"',
        '"\\u00b0"',
        '"\\ud800"',
        '"\xff"',
        "[]",
        "{}",
        "[1,[2,{}]]",
        '{"v":1}',
        "NaN",
        '"',
    ]
)
words = st.sampled_from(['"ok"', '"fault"', "3", "192", "false", "null", "[]", '"o\\u006b"'])
space = st.sampled_from(["", "", "", " ", "\n\t"])


@st.composite
def an_object(draw: st.DrawFn, depth: int) -> str:
    parts = []
    for key in draw(st.lists(st.sampled_from(["d", "d", "v", "a", "t", "q", "s", "n", "é", "x", ""]), max_size=5)):
        parts.append(f'{draw(space)}"{key}"{draw(space)}:{draw(space)}{draw(values(key, depth))}{draw(space)}')
    return "{" + draw(space) + ",".join(parts) + "}"


def values(key: str, depth: int) -> st.SearchStrategy[str]:
    of_key = {"t": stamps, "s": words, "v": numbers, "n": numbers, "é": numbers}.get(key, others)
    if depth == 0:
        return of_key
    inner = an_object(depth - 1)
    array = st.lists(st.one_of(numbers, inner, others), max_size=3).map(lambda all_of: "[" + ",".join(all_of) + "]")
    by_key = {"d": [inner, inner, inner, of_key], "q": [inner, inner, of_key], "a": [array, array, of_key]}
    return st.one_of(*by_key.get(key, [of_key, of_key, of_key, inner, array]))


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """Objects that mostly have something in the right place, some of them cut off or with a byte changed."""
    text = draw(st.one_of(an_object(4), an_object(2), numbers)).encode("latin-1", "replace")
    text = text.replace(b"\xe9", "é".encode()).replace(b"\xb0", "°".encode())
    how = draw(st.integers(0, 9))
    at = draw(st.integers(0, len(text)))
    if how == 0:
        return text[:at]
    if how == 1:
        return text[:at] + bytes((draw(st.integers(0, 255)),)) + text[at + 1 :]
    return text


@settings(max_examples=600, deadline=None)
@given(payloads())
@example(b'{"d":{"v":1},"d":{}}')
@example(b'{"d":{"v":1},"d":2}')
@example(b'{"d":{"v":1,"t":1},"d":{"v":2}}')
@example(b'{"q":{"s":"fault"},"q":{},"d":{"v":1}}')
@example(b'{"d":{"a":[1,2],"a":[3]},"v":4}')
@example(b'{"d":{"a":[1,2,]}}')
@example(b'{"d":{"a":[{"n":5},7,{"v":[]}]},"v":18446744073709551615}')
@example(b'{"d":{"v":1}}}')
@example(b'{"d":{"v":1}')
@example(b'{"d":{"v":1]}')
@example(b'{"v":1}{')
@example('{"unit":"°C","d":{"é":1}}'.encode())
@example(b'{"x":' + b'{"x":' * (DEPTH_MAX - 2) + b"1" + b"}" * (DEPTH_MAX - 1) + b',"v":1}')
@example(b'{"x":' + b'{"x":' * DEPTH_MAX + b"1" + b"}" * (DEPTH_MAX + 1) + b',"v":1}')
def test_nested_objects_mean_the_same_both_ways(payload: bytes) -> None:
    NESTED.take(payload)
    NESTED.take(payload, retained=True)
    TIMED.take(payload)


@settings(max_examples=300, deadline=None)
@given(stamps, stamps, st.booleans())
def test_times_as_texts_mean_the_same_both_ways(stamp: str, other: str, is_last: bool) -> None:
    parts = [f'"t":{stamp}', f'"u":{other}', '"v":1.5']
    payload = ("{" + ",".join(parts[::-1] if is_last else parts) + "}").encode()
    for twins in (FLAT, FLAT_ISO, TIMED):
        twins.take(payload)


@settings(max_examples=300, deadline=None)
@given(st.datetimes(datetime(1971, 1, 3), datetime(2255, 1, 1)), st.integers(0, 18), st.integers(-1439, 1439))
def test_a_time_of_rfc_3339_is_read_in_jitted_code(moment: datetime, fraction: int, ahead_min: int) -> None:
    told = f"{moment.microsecond:06d}".ljust(18, "7")[:fraction]
    zone = f"{'-' if ahead_min < 0 else '+'}{abs(ahead_min) // 60:02d}:{abs(ahead_min) % 60:02d}"
    text = moment.isoformat()[:19] + (f".{told}" if told else "") + zone
    found = wall_from_text(np.frombuffer(text.encode(), np.uint8), 0, len(text))
    assert found == read_time(f'"{text}"'.encode())
    assert found > 0


def test_days_are_counted_as_the_calendar_has_them() -> None:
    first = datetime(1971, 1, 1, tzinfo=UTC)
    for days in range(0, 103_000, 13):
        day = first + timedelta(days=days)
        assert day_number(day.year, day.month, day.day) == 365 + days
    for wrong in (
        (2023, 2, 29),
        (2100, 2, 29),
        (2024, 2, 30),
        (2024, 0, 1),
        (2024, 13, 1),
        (2024, 4, 31),
        (2024, 4, 0),
    ):
        assert day_number(*wrong) < 0


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.binary(max_size=6), st.text(max_size=3).map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_a_text_ends_where_utf_8_and_json_say(inside: bytes) -> None:
    text = np.frombuffer(inside + b'"', np.uint8)
    end = end_of_text(text, 0, len(text), True)
    if end >= 0:
        json.loads(b'"' + inside[:end] + b'"')
    if b"\\" not in inside:
        stop = (inside + b'"').find(b'"')
        try:
            json.loads(b'"' + inside[:stop] + b'"')
        except ValueError:
            stop = -1
        assert end == stop


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"d":{"v":21.5,"t":"2023-11-14T23:36:40.250Z"},"q":{"s":"ok"},"unit":"\xc2\xb0C"}', [(0, GOOD, 21.5)]),
        (b'{"meta":{"tags":["a",{}],"n":null},"d":{"v":1,"a":[{"n":2},3]}}', [(0, GOOD, 1.0), (1, GOOD, 3.0)]),
        (b'{"q":{"s":"fault"},"d":{"v":4}}', [(0, int(Quality.BAD), 4.0)]),
    ],
)
def test_what_plants_send_goes_the_fast_way(payload: bytes, expected: list[tuple[int, int, float]]) -> None:
    samples, is_fast = NESTED.take(payload)
    assert is_fast
    found = [(int(s["row"]), int(s["quality"]), float(s["value"])) for s in samples if s["row"] != 2]
    assert found == expected
    if b"23:36:40.250" in payload:
        assert samples[0]["source_ns"] == ARRIVAL_NS + 250_000_000
