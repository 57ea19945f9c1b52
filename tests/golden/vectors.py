"""The vectors by name; each makes its inputs, and gives bytes, whole numbers and floats under names."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import zstandard

from gateway.control import pid
from gateway.core.encode import TimeQuality, encode
from gateway.core.inbox import Lane
from gateway.core.kernels.shape import shape_series
from gateway.core.record import RecordDraft, Stream
from gateway.core.shapes import LAGS, PROTOTYPES, SHAPE
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Kind
from gateway.protocol.modbus import pdu
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.decode import decode_block
from gateway.protocol.modbus.line import crc16, lrc
from gateway.protocol.modbus.points import POINT, WORDS, WireType
from gateway.protocol.mqtt.codec import encode_string, frame
from gateway.protocol.mqtt.ingest import Ingest
from gateway.protocol.mqtt.table import Feed
from gateway.spool.journal.format import encode_cycles, open_block
from tests.support.engine import T0, batch, engine, tag
from tests.support.journal import cycle
from tests.support.payloads import ARRIVAL_NS, SENML, WALL_OFFSET_NS, named, struct_feeds

Vector = dict[str, Any]

HOSTILE: Final = (
    b"", b"{", b'{"v":', b'{"v":1', b"1e999999999999999999", b"-1e-999999999999999999", b"0." + b"0" * 400 + b"1",
    b"9007199254740993", b"1.7976931348623159e308", b"5e-324", b"2.2250738585072011e-308", b"1234567890123456789",
    b"NaN", b"-Infinity", b'"\\ud800"', b"\xff" * 64, b'{"v":1,"v":2}', b'{"\\u0076":1}', b"[" * 300,
    b'[{"n":"a","v":1e999}]', b'[{"bn":"a","bt":1e18,"t":1e18,"v":1}]', b"\x08" + b"\xff" * 10 + b"\x01",
)  # fmt: skip
"""Payloads of their own: a vector must not change because a test elsewhere got another one."""


def numbers(seed: int) -> Iterator[int]:
    """32-bit numbers without end: the 64-bit linear congruential generator of Knuth's MMIX."""
    state = seed
    while True:
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        yield state >> 32


def columns(records: Any) -> Vector:
    return {name: records[name].tolist() for name in records.dtype.names}


def windows_and_scores() -> Vector:
    """A slow tag with faults, a ranged one, and one whose windows rotate quickly; every 50th state and all records."""
    tags = (
        tag("a.slow", windows_ns=(10 * NS_PER_S, 61 * NS_PER_S)),
        tag("a.ranged", windows_ns=(3 * NS_PER_S,), valid_low=-50.0, valid_high=60.0),
        tag("b.plain", windows_ns=(NS_PER_S, 7 * NS_PER_S)),
    )
    gate = engine(*tags, panes=5)
    rows = np.arange(3, dtype=np.int32)
    some = numbers(1)
    now_ns = T0
    live, windows = [], []
    for step in range(1_500):
        now_ns += (next(some) % 200) * NS_PER_MS
        row = next(some) % 3
        value = 20.0 + sum(next(some) % 1_000 for _ in range(6)) / 1_000.0 + (step % 40) * 0.1
        value += 30.0 if 700 < step < 760 else 0.0
        quality = 24 if next(some) % 50 == 0 else 192
        source_ns = now_ns - (next(some) % 300) * NS_PER_MS
        gate.step(now_ns, batch((row, quality, source_ns, now_ns, value)))
        if step % 50 == 49:
            live.append(gate.view.live(rows))
            windows.append(gate.view.aggregates(rows))
    return {"live": columns(np.concatenate(live)), "windows": columns(np.concatenate(windows))}


def shapes() -> Vector:
    some = numbers(2)
    wave = [abs((place % 40) - 20) / 20 + (next(some) % 100) * 1e-3 for place in range(1_200)]
    wave[900:940] = [0.5] * 40
    out = np.full(len(wave), np.nan)
    used = np.zeros(PROTOTYPES, np.int64)
    shape_series(np.zeros(1, SHAPE), np.zeros(2 * LAGS), np.zeros(LAGS * PROTOTYPES), used, np.array(wave), out)
    return {"score": out[::7].tolist(), "used": used.tolist()}


def loops() -> Vector:
    """A PID loop that saturates and comes back."""
    given = {
        "action": 1.0, "setpoint": 50.0, "kp": 2.5, "ti_s": 3.0, "td_s": 0.2, "output_max": 100.0, "rate_max": 200.0,
        "setpoint_weight": 0.7, "derivative_filter": 8.0, "tracking_s": 1.0, "feed_forward": 5.0,
    }  # fmt: skip
    state = np.array([[given.get(field, 0.0) for field in pid.FIELDS]])
    pid.track(state, 0, 20.0, 10.0)
    some = numbers(3)
    outputs = [pid.step(state, 0, 20.0 + step * 0.2 + (next(some) % 100) * 0.01, 0.02) for step in range(400)]
    return {"output": outputs, "state": state[0].tolist()}


def registers() -> Vector:
    """Every type in every order, as a float and as a whole number."""
    some = numbers(4)
    qualities, values, bits = [], [], []
    for wire, big_words, big_bytes in itertools.product(WireType, (False, True), (False, True)):
        if wire is WireType.STRING:
            continue
        for kind in (Kind.F64, Kind.I64):
            if kind is Kind.I64 and wire in (WireType.FLOAT32, WireType.FLOAT64):
                continue
            table = np.zeros(1, POINT)
            table[["type", "words", "big_words", "big_bytes"]] = (wire, WORDS[wire], big_words, big_bytes)
            table[["kind", "scale", "offset", "low", "high"]] = (
                kind,
                0.1 if kind is Kind.F64 else 1.0,
                0,
                -1e300,
                1e300,
            )
            out = np.zeros(1, SAMPLE)
            for _ in range(8):
                data = b"".join((next(some) % 65_536).to_bytes(2, "big") for _word in range(WORDS[wire]))
                decode_block(out, table, np.frombuffer(data, np.uint8), 0, 77)
                qualities.append(int(out[0]["quality"]))
                values.append(float(out[0]["value"]) if kind is Kind.F64 else 0.0)
                bits.append(int(out[0]["bits"]) if kind is Kind.I64 else 0)
    return {"quality": qualities, "value": values, "bits": bits}


def modbus_frames() -> Vector:
    some = numbers(5)
    data = [bytes(next(some) % 256 for _ in range(length)) for length in (1, 2, 7, 64, 250)]
    requests = [
        pdu.read(Function.READ_HOLDING_REGISTERS, 100, 125),
        pdu.write_register(7, b"\x12\x34"),
        pdu.write_registers(7, data[3]),
        pdu.mask_write(4, keep=0xF2, put=0x25),
        pdu.read_write(3, 6, 14, data[1]),
    ]
    return {
        "crc": [crc16(each) for each in data],
        "lrc": [lrc(each) for each in data],
        "requests": [each.hex() for each in requests],
    }


def payloads() -> Vector:
    """MQTT payloads, those that are meant to break a decoder among them, in four layouts."""
    plain = (
        Feed("t", 0, "d", Kind.F64, ("v",)),
        Feed("t", 1, "d", Kind.I64, ("n",), ("t",)),
        Feed("t", 2, "d", Kind.F64),
    )
    layouts = {"plain": plain, "senml": named("t", SENML), "struct": struct_feeds("t", kinds=(Kind.F64, Kind.U64))}
    some = numbers(6)
    made = [f'{{"v":{next(some)}.{next(some)}e{next(some) % 40 - 20},"n":{next(some)},"t":1.7e9}}' for _ in range(40)]
    made += [f'[{{"n":"a","v":{next(some)}e-{next(some) % 12}}},{{"n":"b","v":{next(some) % 97}}}]' for _ in range(20)]
    binary = [bytes(next(some) % 256 for _ in range(90)) for _ in range(20)]
    found: Vector = {}
    for name, feeds in layouts.items():
        ingest, lane = Ingest(feeds, 4), Lane("t", 65_536)
        ingest.begin_connection()
        stream = bytes.fromhex("20020000") + b"".join(
            frame(0x30, encode_string("t") + payload)
            for payload in (*HOSTILE, *(each.encode() for each in made), *binary)
        )
        taken = 0
        while taken < len(stream):
            part = stream[taken : taken + min(len(ingest.free_space()), 4_096)]
            ingest.free_space()[: len(part)] = part
            ingest.received(len(part), ARRIVAL_NS)
            step = ingest.step(lane, WALL_OFFSET_NS)
            assert step.error is None, step.error
            taken += len(part)
        out = np.zeros(len(lane), SAMPLE)
        out = out[: lane.take_into(out)]
        taken_columns = [out[column].tolist() for column in ("row", "quality", "source_ns", "bits")]
        found[name] = {
            "first": [column[:100] for column in taken_columns],
            "count": len(out),
            "sha256": hashlib.sha256(json.dumps(taken_columns).encode()).hexdigest(),
        }
    return found


def records_and_blocks() -> Vector:
    some = numbers(7)
    rows = batch(*((next(some) % 3, 192, T0 + step, T0 + step, (next(some) - 2**31) / 1024.0) for step in range(60)))
    body = encode(
        RecordDraft(Stream.SAMPLES, T0, T0 + 59, rows),
        ("a.x", "a.y", "a.z"),
        (Kind.F64, Kind.F64, Kind.F64),
        text_of={}.get,
        labels={},
        wall_offset_ns=WALL_OFFSET_NS,
        time_quality=TimeQuality.SYNCED,
    )
    block = open_block(encode_cycles([cycle(1, rows), cycle(2, rows[:7])], zstandard.ZstdCompressor()), 0)
    return {"record": body.decode(), "block": block.body.hex()}


VECTORS: Final[dict[str, Callable[[], Vector]]] = {
    each.__name__: each
    for each in (windows_and_scores, shapes, loops, registers, modbus_frames, payloads, records_and_blocks)
}
