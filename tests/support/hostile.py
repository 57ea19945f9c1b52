"""Payloads that somebody may send to break a decoder: a corpus, and a generator that goes on from it."""

from __future__ import annotations

import json
import random
import struct
from typing import Final

from tests.support.sparkplug import EdgeNode

DEEP: Final = 4_000
CORPUS: Final[tuple[bytes, ...]] = (
    b"", b" ", b"\x00", b"\xff" * 64, b"\x80" * 64, b"{", b"[", b"[{", b'[{"', b'{"v', b'{"v"', b'{"v":', b'{"v":1',
    # numbers
    b"1e999999999999999999", b"-1e-999999999999999999", b"1" * 5_000, b"0." + b"0" * 5_000 + b"1", b"1e+",
    b"--1", b"+1",
    b"01", b"1.", b".1", b"1_000", b"0x10", b"1e0001", b"9007199254740993", b"1.7976931348623159e308", b"5e-324",
    b"2.2250738585072011e-308", b"123456789012345678", b"1234567890123456789", b"0e99", b"0.0e-99999", b"1E400",
    b"1e99999999999999999999", b"1e-99999999999999999999", b"0e99999999999999999999", b"1e" + b"9" * 5_000,
    b"1e" + b"0" * 5_000 + b"1", b'{"v":1,"n":1,"t":1e99999999999999999999}',
    b'{"v":1,"n":1,"t":0e-99999999999999999999}',
    b'{"v":1,"n":1,"t":1e-' + b"9" * 5_000 + b"}", b'{"v":1,"n":1,"t":0.' + b"0" * 4_999 + b"17e5009}",
    b'[{"n":"a","v":1,"t":1e99999999999999999999}]', b'[{"n":"a","v":1,"t":-0e99999999999999999999}]',
    b'[{"n":"a","v":1,"t":1e-99999999999999999999}]', b'[{"bn":"a","bt":1e-' + b"9" * 5_000 + b',"v":1}]',
    b'[{"n":"a","v":1,"t":0.' + b"0" * 4_999 + b'17e5009}]', b'[{"n":"a","v":1e99999999999999999999,"t":0}]',
    # words that are no JSON
    b"NaN", b"-Infinity", b"nan", b"True", b"null", b"nul", b"tru", b"falsehood", b"undefined",
    # texts
    b'"\\u0000"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\uD83D\\uDE00"', b'"\\x41"', b'"\\', b'"\\u12', b'"\x01"',
    b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xf0\x9f\x98"', b"\xef\xbb\xbf1", b"\xfe\xff\x00\x31",
    # names
    b'{"v":1,"v":2}', b'{"v":1,"v":null}', b'{"\\u0076":1}', b'{"v\\u0000":1,"v":2}', b'{"":1}', b'{"v":1,}', b"{,}",
    b'{"v" 1}', b"{'v':1}", b'{v:1}', b'{"v":1}{"v":2}', b'{"v":1}//', b'{"v":1/**/}', b'{"v":1}\x00\x00',
    # depth
    b"[" * DEEP, b'{"v":' * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"v":' + b"[" * DEEP + b"]" * DEEP + b"}",
    b'[{"n":"a","v":' + b"[" * DEEP + b"]" * DEEP + b"}]",
    b'{"d":{"v":1,"t":"2023-11-14T23:36:40Z"},"q":"good"}', b'{"d":{"v":1},"d":{"v":2},"d":3}', b'{"d":{"a":[1,{"n":2}',
    b'{"d":' * 8 + b"1" + b"}" * 8, b'{"d":' * 9 + b"1" + b"}" * 9, b'{"d":[' * DEEP,
    b'{"v":1,"t":"2023-11-14T23:36:40',
    b'{"v":1,"t":"9999-12-31T23:59:59.999999999999999999+23:59"}', b'{"d":{"v":1},"x":"\xf0\x9f\x98"}',
    b'{"d":{"v":1}]',
    # readings and records
    b'[{"n":"a","v":1},]', b'[{"n":"a","v":1} {"n":"a","v":1}]', b'[,]', b'[{"n":"a","v":1}', b'[1]',
    b'[null]', b"[[]]",
    b'[{"n":"a","v":1e999}]', b'[{"n":"a","v":NaN}]', b'[{"n":"a","n":"b","v":1,"v":2,"t":1,"t":2}]',
    b'[{"n":"\xff","v":1}]', b'[{"n":"a\\u0000","v":1}]', b'[{"n":"","v":1}]',
    b'[{"bn":"' + b"x" * 60_000 + b'","v":1}]',
    b'[{"bn":"a","bt":1e18,"t":1e18,"v":1}]', b'[{"bn":"a","bt":-1e18,"t":-1e18,"v":1}]',
    b'[{"bver":1e9,"n":"a","v":1}]',
    b"[" + b'{"n":"a","v":1},' * 3_000 + b'{"n":"a","v":1}]', b"[" + b'{"n":"zz","v":1},' * 3_000 + b'{"n":"a","v":1}]',
    # varints, lengths and fields of protobuf
    b"\x08" + b"\xff" * 9 + b"\x01", b"\x08" + b"\xff" * 9 + b"\x02", b"\x08" + b"\xff" * 10 + b"\x01", b"\x08\x80",
    b"\x12\xff\xff\xff\xff\x0f", b"\x12\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", b"\x12\x05\x10\x80\x80", b"\x00\x00",
    b"\x0b\x0c", b"\x13", b"\x12\x02\x69\x00", b"\x12\x03\x0a\x7f\x61", b"\xfa\xff\xff\xff\xff\x01\x00",
    b"\x18\x01" * 50,
    struct.pack("<d", float("nan")), struct.pack("<d", float("inf")),
    b"\x12\x0b\x10\x0a\x69" + b"\xff" * 8 + b"\x18\x02",
)  # fmt: skip
WORDS: Final = (
    b'"v"', b'"n"', b'"a"', b'"bn"', b'"t"', b'"bt"', b":", b",", b"{", b"}", b"[", b"]", b"1", b"-", b"e",
    b".", b"9" * 18, b"e-" + b"9" * 20,
    b"null", b"true", b'"', b"\\", b"\x12", b"\x10\x0a", b"\x69", b"\x18", b"\x80", b"\xff", b"\x0a", b" ", b"\x00",
)  # fmt: skip


def some_payload(random_: random.Random) -> bytes:
    """One of the corpus or a sound payload, mostly with something done to it."""
    payload = random_.choice((_json(random_), _sparkplug(random_), random_.choice(CORPUS)))[:20_000]
    return _spoiled(payload, random_, random_.randrange(4))


def some_data(random_: random.Random) -> bytes:
    """A data message of Sparkplug, every second one with something done to it."""
    return _spoiled(_sparkplug(random_), random_, random_.randrange(2))


def _spoiled(payload: bytes, random_: random.Random, times: int) -> bytes:
    for _ in range(times):
        at = random_.randrange(len(payload) + 1)
        match random_.randrange(5):
            case 0:
                payload = payload[:at]
            case 1:
                payload = payload[:at] + random_.choice(WORDS) + payload[at:]
            case 2:
                payload = payload[:at] + bytes((random_.randrange(256),)) + payload[at + 1 :]
            case 3:
                payload = payload[:at] + payload[at + random_.randrange(1, 9) :]
            case _:
                payload = payload[at:] + payload[:at]
    return payload


def _json(random_: random.Random) -> bytes:
    value = random_.choice((1, -2.5, 1e300, 10**17, True, None, "x", 2**64))
    time = random_.choice((1_700_000_005_000, 1_700_000_005, -3, 0, 1e300, "2023-11-14T23:36:40.5+01:30", "2023-02-30"))
    kind = random_.randrange(5)
    document: object = value
    if kind == 1:
        document = {"v": value, "n": 1, "t": time}
    elif kind == 2:
        document = [{"n": random_.choice("abcz"), "v": value, "t": time} for _ in range(random_.randrange(5))]
    elif kind == 3:
        document = [{"bn": random_.choice(("", "a")), "bt": time}] + [
            {"n": random_.choice(("", "a")), "v": value, "t": time} for _ in range(random_.randrange(5))
        ]
    elif kind == 4:
        inner = {"v": value, "a": [1, {"n": 2}, random_.choice(([], {}, [[{}]], "°", value))], "t": time}
        document = {
            "x": random_.choice(([], {"y": {}}, "°C\n", 1)),
            "d": inner,
            "q": random_.choice(("good", "bad", 64)),
        }
    return json.dumps(document, ensure_ascii=random_.random() < 0.5).encode()


def _sparkplug(random_: random.Random) -> bytes:
    edge = EdgeNode()
    edge.seq = 2
    metrics = [
        {
            "alias": random_.choice((10, 10, 10, 11, 20, 99)),
            "value": random_.choice((1.5, 2.0, -1e300, None)),
            "quality": random_.choice((None, None, None, None, 0, 192, 500)),
            "historical": random_.random() < 0.05,
        }
        for _ in range(random_.randrange(4))
    ]
    return edge.data("press", *metrics)[1]
