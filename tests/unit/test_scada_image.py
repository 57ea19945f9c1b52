"""What the registers say of the plant, read with a plain decoder."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest

from gateway.core.types import NS_PER_MS, NS_PER_S, Kind, Quality
from gateway.core.view import ALARM_HIGH, ALARM_SCORE
from gateway.protocol.modbus.codes import ModbusException
from gateway.protocol.modbus.server import RequestError
from gateway.serving.scada.image import REFRESH_NS
from gateway.serving.scada.layout import REGISTERS, Type
from gateway.serving.scada.map import Point
from tests.support.scada import (
    Bench,
    Caller,
    boiler_house,
    expect_control_view,
    expect_plant_view,
    map_of,
    settings_of,
    tag,
)

FORMATS = {Type.UINT16: ">H", Type.UINT32: ">I", Type.INT64: ">q", Type.UINT64: ">Q", Type.FLOAT32: ">f"}


def ask(bench: Bench, unit: int, pdu: bytes) -> bytes:
    """The response PDU."""
    return Caller(bench).ask(pdu, unit)


def read(bench: Bench, unit: int, key: str, function: int = 3) -> float:
    point: Point = bench.points[unit, key]
    pdu = ask(bench, unit, struct.pack(">BHH", function, point.address, REGISTERS[point.type]))
    assert pdu[0] == function, f"exception {pdu[1]}"
    value: float = struct.unpack(FORMATS[point.type], pdu[2:])[0]
    return value


def read_bits(bench: Bench, unit: int, address: int, quantity: int, function: int = 2) -> list[int]:
    pdu = ask(bench, unit, struct.pack(">BHH", function, address, quantity))
    assert pdu[0] == function, f"exception {pdu[1]}"
    return [int(bit) for bit in np.unpackbits(np.frombuffer(pdu[2:], np.uint8), bitorder="little")[:quantity]]


@pytest.fixture
def bench() -> Bench:
    return Bench(boiler_house())


def test_the_fakes_hold_what_the_real_views_promise(bench: Bench) -> None:
    expect_plant_view(bench.plant, bench.model)
    expect_control_view(bench.control, len(bench.settings.loops))


def test_a_value_comes_with_quality_and_age(bench: Bench) -> None:
    bench.plant.set("boiler.temperature", 78.5, bench.now_ns)
    bench.now_ns += 1_234 * NS_PER_MS
    for function in (3, 4):
        assert read(bench, 1, "boiler.temperature/value", function) == 78.5
        assert read(bench, 1, "boiler.temperature/quality", function) == Quality.GOOD
        assert read(bench, 1, "boiler.temperature/age_ms", function) == 1_234


def test_integers_keep_all_their_digits(bench: Bench) -> None:
    bench.plant.set("boiler.starts", -(2**60) - 1, bench.now_ns)
    bench.plant.set("meter.energy", 2**63 + 12_345, bench.now_ns)
    assert read(bench, 1, "boiler.starts/value") == -(2**60) - 1
    assert read(bench, 2, "meter.energy/value") == 2**63 + 12_345


def test_a_text_stands_in_its_first_bytes_and_in_a_block_of_its_own() -> None:
    bench = Bench(settings_of([tag("m.x"), tag("m.model", Kind.SYMBOL, unit="", windows_ns=())], {"m": 1}))
    short, whole = bench.points[1, "m.model/value"], bench.points[1, "m.model/text"]
    assert (short.type, short.registers, short.address) == (Type.STRING, 4, 5_010)
    assert (whole.type, whole.registers, whole.address) == (Type.TEXT, 20, 30_020)
    at = {whole.address: (whole, 40), short.address: (short, 8)}

    def texts() -> list[bytes]:
        pdus = [ask(bench, 1, struct.pack(">BHH", 3, point.address, size // 2)) for point, size in at.values()]
        return [pdu[2:] for pdu in pdus]

    assert texts() == [bytes(40), bytes(8)]
    bench.plant.set("m.model", bench.symbols.intern("Pumpwerk Süd, " + "Halle " * 9), bench.now_ns)
    bench.now_ns += REFRESH_NS
    long, cut = texts()
    assert (long.decode()[:20], len(long)) == ("Pumpwerk Süd, Halle ", 40)
    assert cut == b"Pumpwerk"
    bench.plant.set("m.model", bench.symbols.intern("1234567ü"), bench.now_ns)
    bench.now_ns += REFRESH_NS
    assert texts()[1] == b"1234567\0", "it is cut at a character"
    bench.plant.set("m.model", bench.symbols.intern("RUN"), bench.now_ns, Quality.BAD_COMM_FAILURE)
    bench.now_ns += REFRESH_NS
    assert texts() == [bytes(40), bytes(8)]


def test_words_stand_high_first(bench: Bench) -> None:
    bench.plant.set("boiler.temperature", 1.0, bench.now_ns)
    assert ask(bench, 1, struct.pack(">BHH", 3, 5_000, 2))[2:] == bytes.fromhex("3f80 0000")


def test_what_never_arrived_has_no_value_and_no_age(bench: Bench) -> None:
    assert math.isnan(read(bench, 1, "boiler.temperature/value"))
    assert read(bench, 1, "boiler.temperature/quality") == Quality.BAD_NOT_INITIALISED
    assert read(bench, 1, "boiler.temperature/age_ms") == 2**32 - 1
    assert read(bench, 1, "boiler.starts/value") == -(2**63)
    assert read(bench, 2, "meter.energy/value") == 2**64 - 1


def test_a_silent_tag_visibly_ages_and_turns_bad(bench: Bench) -> None:
    arrived_ns = bench.now_ns
    bench.plant.set("boiler.temperature", 20.0, arrived_ns)
    ages = []
    for _ in range(3):
        bench.now_ns += NS_PER_S
        ages.append(read(bench, 1, "boiler.temperature/age_ms"))
    assert ages == [1_000, 2_000, 3_000]
    bench.plant.set("boiler.temperature", 20.0, arrived_ns, Quality.UNCERTAIN_STALE)
    bench.now_ns += NS_PER_S
    assert read(bench, 1, "boiler.temperature/value") == 20.0
    assert read(bench, 1, "boiler.temperature/quality") == Quality.UNCERTAIN_STALE
    bench.plant.set("boiler.temperature", 20.0, arrived_ns, Quality.BAD_COMM_FAILURE)
    bench.now_ns += NS_PER_S
    assert math.isnan(read(bench, 1, "boiler.temperature/value"))
    assert read(bench, 1, "boiler.temperature/age_ms") == 5_000
    bench.now_ns += 2**32 * NS_PER_MS
    assert read(bench, 1, "boiler.temperature/age_ms") == 2**32 - 1


def test_a_source_whose_clock_is_ahead_is_zero_old(bench: Bench) -> None:
    bench.plant.set("boiler.temperature", 20.0, bench.now_ns + NS_PER_S)
    assert read(bench, 1, "boiler.temperature/age_ms") == 0


def test_what_float32_cannot_hold_is_infinite(bench: Bench) -> None:
    bench.plant.set("boiler.temperature", 1e300, bench.now_ns)
    assert read(bench, 1, "boiler.temperature/value") == math.inf


def test_each_window_has_its_own_aggregates(bench: Bench) -> None:
    temperature = bench.plant.windows[0]
    for number, window in enumerate(temperature):
        for field, name in enumerate(("mean", "sd", "min", "max", "rate", "ewma")):
            window[name] = 100 * number + field
        window["count"], window["quality"] = 600 + number, Quality.GOOD
        window["persistent"], window["reasons"] = 0.25 * number, number
        window["score_once_h"], window["persistent_once_h"] = 30.9 + number, np.nan
    bench.plant.windows[1][0]["mean"] = 7.0
    assert read(bench, 1, "boiler.temperature/10s/mean") == 0
    assert read(bench, 1, "boiler.temperature/10s/ewma") == 5
    assert read(bench, 1, "boiler.temperature/1min/mean") == 100
    assert read(bench, 1, "boiler.temperature/1min/sd") == 101
    assert read(bench, 1, "boiler.temperature/1min/rate") == 104
    assert read(bench, 1, "boiler.temperature/1min/count") == 601
    assert read(bench, 1, "boiler.temperature/1min/persistent") == 0.25
    assert read(bench, 1, "boiler.temperature/1min/reasons") == 1
    assert read(bench, 1, "boiler.temperature/1min/score_once_h") == 31
    assert read(bench, 1, "boiler.temperature/1min/persistent_once_h") == 65535
    assert read(bench, 1, "boiler.valve/1min/mean") == 7
    assert math.isnan(read(bench, 2, "meter.power/1min/mean"))


def test_alarms_are_registers_and_bits(bench: Bench) -> None:
    bench.plant.set("boiler.temperature", 99.0, bench.now_ns)
    bench.plant.rows["alarms"][0] = ALARM_HIGH | ALARM_SCORE
    bench.plant.rows["score"][0] = 6.5
    assert read(bench, 1, "boiler.temperature/alarm") == ALARM_HIGH | ALARM_SCORE
    assert read(bench, 1, "boiler.temperature/score") == 6.5
    for function in (1, 2):
        # any, low, high, score, bad; five unused; then those of the valve, which never arrived
        assert read_bits(bench, 1, 5_000, 15, function) == [1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]


def test_a_device_is_rolled_up(bench: Bench) -> None:
    bench.plant.rolled_up[0] = (Quality.UNCERTAIN_STALE, 2, 3, 10_000, 4.5, 0, ALARM_HIGH, 0.75, 34, 0)
    assert read(bench, 1, "boiler/quality") == Quality.UNCERTAIN_STALE
    assert read(bench, 1, "boiler/score") == 4.5
    assert (read(bench, 1, "boiler/persistent"), read(bench, 1, "boiler/reasons")) == (0.75, 34)
    assert read(bench, 1, "boiler/tags_good") == 2
    assert read(bench, 1, "boiler/tags") == 3
    assert read_bits(bench, 1, 1_000, 5) == [1, 0, 1, 0, 0]


def test_the_heartbeat_and_uptime_are_on_every_unit(bench: Bench) -> None:
    bench.beats = 65_536 + 41
    bench.now_ns += 90_000 * NS_PER_S
    for unit in (1, 2, 100):
        assert read(bench, unit, "gateway/heartbeat") == 41
        assert read(bench, unit, "gateway/uptime_s") == 90_000


def test_a_loop_shows_itself(bench: Bench) -> None:
    bench.control.state[0] = (78.0, 77.5, 42.0, 1, Quality.GOOD, bench.now_ns - 5 * NS_PER_MS, 9, 0, 0)
    shown = {name: read(bench, 100, f"control.boiler/{name}") for name in ("setpoint", "process_value", "output")}
    assert shown == {"setpoint": 78.0, "process_value": 77.5, "output": 42.0}
    assert read(bench, 100, "control.boiler/mode") == 1
    assert read(bench, 100, "control.boiler/age_ms") == 5


def test_without_an_executive_loops_are_not_initialised() -> None:
    bench = Bench(boiler_house(), with_control=False)
    assert math.isnan(read(bench, 100, "control.boiler/setpoint"))
    assert read(bench, 100, "control.boiler/quality") == Quality.BAD_NOT_INITIALISED
    assert ask(bench, 100, bytes.fromhex("06 0068 0000")) == bytes.fromhex("86 04")


def test_an_image_serves_for_twenty_milliseconds_and_no_longer(bench: Bench) -> None:
    bench.plant.set("boiler.temperature", 1.0, bench.now_ns)
    assert read(bench, 1, "boiler.temperature/value") == 1.0
    bench.plant.set("boiler.temperature", 2.0, bench.now_ns)
    bench.now_ns += REFRESH_NS - 1
    assert read(bench, 1, "boiler.temperature/value") == 1.0
    bench.now_ns += 1
    assert read(bench, 1, "boiler.temperature/value") == 2.0


def test_gaps_and_reserved_blocks_read_zero() -> None:
    before = map_of(settings_of([tag("a.x"), tag("a.y"), tag("a.z")], {"a": 1}))
    settings = settings_of([tag("a.x"), tag("a.z")], {"a": 1})
    bench = Bench(settings, locked=before.lock)
    for name in ("a.x", "a.z"):
        bench.plant.set(name, 3.0, bench.now_ns)
    words = struct.unpack(">30H", ask(bench, 1, struct.pack(">BHH", 3, 5_000, 30))[2:])
    assert words[:2] == words[20:22] == (0x4040, 0)
    assert words[2:4] == (0, 0)
    assert words[10:20] == (0,) * 10


def test_an_area_of_reserved_blocks_alone_still_answers() -> None:
    before = map_of(settings_of([tag("a.x")], {"a": 1}))
    bench = Bench(settings_of([tag("a.x", windows_ns=())], {"a": 1}), locked=before.lock)
    assert ask(bench, 1, struct.pack(">BHH", 3, 30_000, 20)) == b"\x03\x28" + bytes(40)


@pytest.mark.parametrize(
    ("unit", "address", "quantity", "code"),
    [
        (1, 10, 1, 2),
        (1, 5, 10, 2),
        (1, 99, 2, 2),
        (1, 5_030, 1, 2),
        (1, 5_029, 2, 2),
        (1, 65_535, 1, 2),
        (2, 100, 2, 2),
        (9, 0, 1, 10),
        (9, 60_000, 1, 10),
        (0, 0, 1, 10),
    ],
)
def test_what_is_not_mapped_is_refused(bench: Bench, unit: int, address: int, quantity: int, code: int) -> None:
    assert ask(bench, unit, struct.pack(">BHH", 3, address, quantity)) == bytes([0x83, code])
    assert bench.counted("exceptions_total", code=str(code)) == 1


def test_bits_exist_where_blocks_do(bench: Bench) -> None:
    assert ask(bench, 1, struct.pack(">BHH", 2, 5_030, 1)) == b"\x82\x02"
    with pytest.raises(RequestError) as caught:
        bench.server._answers._image.bits(3, 0, 1)
    assert caught.value.code is ModbusException.GATEWAY_PATH_UNAVAILABLE


def test_rows_follow_the_model_and_not_the_map() -> None:
    """Tags shown in another order than the model's, with one hidden in between, and windows of different number."""
    settings = settings_of(
        [
            tag("a.x", windows_ns=(NS_PER_S, 2 * NS_PER_S)),
            tag("b.hidden", scada=False),
            tag("a.y", windows_ns=(3 * NS_PER_S,)),
            tag("b.z"),
        ],
        {"b": 1, "a": 1},
    )
    bench = Bench(settings)
    values: dict[str, Any] = {"a.x": 1.0, "b.hidden": 2.0, "a.y": 3.0, "b.z": 4.0}
    for row, (name, value) in enumerate(values.items()):
        bench.plant.set(name, value, bench.now_ns)
        for window in bench.plant.windows[row]:
            window["mean"] = 10 * value + window["window_ns"] / NS_PER_S
    assert [read(bench, 1, f"{name}/value") for name in ("a.x", "a.y", "b.z")] == [1.0, 3.0, 4.0]
    assert [read(bench, 1, f"{key}/mean") for key in ("a.x/1s", "a.x/2s", "a.y/3s", "b.z/1min")] == [11, 12, 33, 100]
