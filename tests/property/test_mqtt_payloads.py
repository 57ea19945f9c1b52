"""The jitted decoder, the slow path and an independent oracle agree on every payload, to the last bit."""

from __future__ import annotations

import json
import struct

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.inbox import Lane
from gateway.core.types import SAMPLE, Kind, Samples
from gateway.protocol.mqtt.codec import encode_string, frame
from gateway.protocol.mqtt.fastjson import wall_from_number
from gateway.protocol.mqtt.ingest import Ingest
from gateway.protocol.mqtt.payloads import Cell, Unusable, read_payload, read_time
from gateway.protocol.mqtt.table import Feed
from tests.reference import mqtt as reference

FEEDS = (
    Feed("t", 0, "d", Kind.F64, ("v",)),
    Feed("t", 1, "d", Kind.F64, ("v",), scale=0.1, offset=-40.0),
    Feed("t", 2, "d", Kind.I64, ("n",)),
    Feed("t", 3, "d", Kind.U64, ("u",)),
    Feed("t", 4, "d", Kind.I64, ("w",), scale=0.5),
    Feed("t", 5, "d", Kind.F64),
    Feed("t", 6, "d", Kind.I64),
)
INGEST = Ingest(FEEDS, 4)
LANE = Lane("t", 4_096)

digits = st.text("0123456789", min_size=1, max_size=24)
numbers = st.one_of(
    st.builds(lambda m, e: f"{m}e{e}", st.integers(-(2**57), 2**57), st.integers(-26, 26)),
    st.decimals(-(10**6), 10**6, places=3).map(str),
    st.integers(-(2**65), 2**65).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.builds(
        lambda sign, whole, part, exponent: f"{sign}{whole}{part}{exponent}",
        st.sampled_from(["", "-", "+"]),
        digits,
        st.one_of(st.just(""), digits.map(lambda text: "." + text), st.just(".")),
        st.one_of(st.just(""), st.integers(-400, 400).map(lambda e: f"e{e}"), st.sampled_from(["E+5", "e", "e99999"])),
    ),
)
scalars = st.one_of(
    numbers, st.sampled_from(["true", "false", "null", "NaN", "Infinity", "tru", '"1"', "[1]", '{"v":1}', "[", ""])
)
space = st.sampled_from(["", " ", "\n", "\t ", "\r\n"])
names = st.sampled_from(
    ['"v"', '"v"', '"n"', '"u"', '"w"', '"other"', '"\\u0076"', '"é"', '"v', '""', '"\\ud800"', "v"]
)
members = st.builds(lambda a, name, b, value, c: f"{a}{name}{b}:{value}{c}", space, names, space, scalars, space)
objects = st.lists(members, max_size=5).map(lambda parts: "{" + ",".join(parts) + "}")
texts = st.builds(lambda a, body, b: (a + body + b).encode(), space, st.one_of(scalars, objects, objects), space)


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """JSON, near JSON, and JSON cut off or with a byte changed."""
    text = draw(texts)
    how = draw(st.integers(0, 5))
    if how == 0:
        return text[: draw(st.integers(0, len(text)))]
    if how == 1 and text:
        at = draw(st.integers(0, len(text) - 1))
        return text[:at] + bytes((draw(st.integers(0, 255)),)) + text[at + 1 :]
    if how == 2:
        return draw(st.binary(max_size=40))
    return text


def take(payload: bytes) -> tuple[Samples, bool]:
    """The samples of one message, and whether it went the fast way, with no memory of the last one."""
    stream = frame(0x30, encode_string("t") + payload)
    INGEST.begin_connection()
    INGEST._state[1] = 1
    INGEST._table.topics["held"] = 0
    before = INGEST.fast_messages
    INGEST.free_space()[: len(stream)] = stream
    INGEST.received(len(stream), 1_000)
    step = INGEST.step(LANE, 0)
    assert step.error is None
    out = np.zeros(64, SAMPLE)
    return out[: LANE.take_into(out)], INGEST.fast_messages > before


def bits(value: float | int) -> int:
    if isinstance(value, float):
        return int(struct.unpack("<q", struct.pack("<d", value))[0])
    return value - 2**64 if value >= 2**63 else value


def good_cells(samples: Samples) -> dict[int, int]:
    return {int(sample["row"]): int(sample["bits"]) for sample in samples if sample["quality"] == 192}


@settings(max_examples=600, deadline=None)
@given(payloads())
@example(b'{"v":1,"v":2}')
@example(b'{"v":1e22}')
@example(b'{"v":1e23}')
@example(b'{"v":9007199254740993e-3}')
@example(b'{"v":8.5e-23}')
@example(b'{"v":123456789012345.67e20}')
@example(b'{"v":9007199254740993}')
@example(b'{"v":-0}')
@example(b'{"v":-0.0}')
@example(b'{"n":-9223372036854775808,"u":18446744073709551615}')
@example(b'{"v":' + b"[" * 3_000 + b"]" * 3_000 + b"}")
@example(b'{"v":0.000000000000000000000000000000000000001}')
@example(b'{"x":"\xff","v":1}')
@example(b"123456789012345678.5")
@example(b'{"v":1}\x00')
@example(b"")
def test_all_three_decoders_agree(payload: bytes) -> None:
    samples, is_fast = take(payload)
    slow = read_payload(payload, FEEDS)
    cells = [] if isinstance(slow, Unusable) else slow
    slow_cells = {
        feed.row: bits(cell.value) for feed, cell in zip(FEEDS, cells, strict=False) if isinstance(cell, Cell)
    }
    assert good_cells(samples) == slow_cells
    expected = reference.values(payload, FEEDS)
    if is_fast:
        assert expected is not None
    if expected is not None:
        assert slow_cells == {feed.row: bits(x) for feed, x in zip(FEEDS, expected, strict=True) if x is not None}


@settings(max_examples=500, deadline=None)
@given(st.integers(-(2**54), 2**54), st.integers(-26, 26))
def test_every_decimal_becomes_its_nearest_double(mantissa: int, exponent: int) -> None:
    text = f"{mantissa}e{exponent}"
    samples, _ = take(b'{"v":%s}' % text.encode())
    assert good_cells(samples)[0] == bits(float(text))


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from("vnuwxyz"), st.one_of(st.integers(-(10**15), 10**15), st.booleans()), min_size=1)
)
def test_plain_objects_go_the_fast_way(members: dict[str, int]) -> None:
    payload = json.dumps(members).encode()
    _, is_fast = take(payload)
    wanted = {"v", "n", "u"} & members.keys()
    fits = members.get("u", 0) >= 0 and "w" not in members
    assert is_fast == (bool(wanted) and fits)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 10**18 - 1), st.integers(-25, 12))
@example(99_999_999_999, 0)
@example(100_000_000_000, 0)
@example(1_700_000_000_123_456_789, 0)
@example(9_000_000_000, 0)
@example(9_000_000_001, 0)
def test_times_mean_the_same_to_all(mantissa: int, exponent: int) -> None:
    text = f"{mantissa}e{exponent}"
    slow = read_time(text.encode())
    assert slow == reference.wall_ns(text)
    if mantissa < 10**18:
        assert wall_from_number(False, mantissa, exponent, 0) == slow
