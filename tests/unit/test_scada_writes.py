"""Writing: only what is permitted, only whole, and never unseen."""

from __future__ import annotations

import asyncio
import contextlib
import struct

import msgspec
import pytest

from gateway.core.types import NS_PER_S
from gateway.core.view import Mode
from gateway.serving.scada.access import Access
from gateway.serving.scada.audit import EVENTS_PER_PERIOD_MAX
from tests.support.scada import Bench, Caller, boiler_house, serving

SETPOINT, OUTPUT, MODE, QUALITY, PROCESS_VALUE = 100, 102, 104, 105, 106


def write(bench: Bench, address: int, data: bytes, unit: int = 100) -> bytes:
    pdu = struct.pack(">BHHB", 16, address, len(data) // 2, len(data)) + data
    return Caller(bench).ask(pdu, unit)


def write_one(bench: Bench, address: int, value: int, unit: int = 100) -> bytes:
    pdu = struct.pack(">BHH", 6, address, value)
    return Caller(bench).ask(pdu, unit)


def read_float(bench: Bench, address: int) -> float:
    pdu = struct.pack(">BHH", 3, address, 2)
    value: float = struct.unpack(">f", Caller(bench).ask(pdu, 100)[2:])[0]
    return value


@pytest.fixture
def bench() -> Bench:
    return Bench(boiler_house())


def test_a_setpoint_is_written_audited_and_read_back_at_once(bench: Bench) -> None:
    assert read_float(bench, SETPOINT) == 50.0
    assert write(bench, SETPOINT, struct.pack(">f", 78.5)) == struct.pack(">BHH", 16, SETPOINT, 2)
    assert bench.control.state["setpoint"][0] == 78.5
    assert read_float(bench, SETPOINT) == 78.5
    (event,) = bench.events
    assert (event.kind, event.subject) == ("scada.write.accepted", "control.boiler/setpoint")
    assert event.message == "192.0.2.1:50000 wrote control.boiler/setpoint: 50 -> 78.5"
    assert bench.counted("writes_total", result="accepted") == 1


def test_the_output_follows_in_manual_only(bench: Bench) -> None:
    assert write(bench, OUTPUT, struct.pack(">f", 10)) == b"\x90\x03"
    assert write_one(bench, MODE, Mode.MANUAL)[0] == 6
    assert write(bench, OUTPUT, struct.pack(">f", 10))[0] == 16
    assert bench.control.state["output"][0] == 10
    assert [event.kind for event in bench.events] == [
        "scada.write.refused",
        "scada.write.accepted",
        "scada.write.accepted",
    ]


@pytest.mark.parametrize("value", [100.5, -1.0, float("nan"), float("inf")])
def test_a_value_out_of_range_is_refused_and_changes_nothing(bench: Bench, value: float) -> None:
    assert write(bench, SETPOINT, struct.pack(">f", value)) == b"\x90\x03"
    assert bench.control.state["setpoint"][0] == 50.0
    (event,) = bench.events
    assert event.kind == "scada.write.refused"
    assert event.subject == "control.boiler/setpoint"
    assert bench.counted("writes_total", result="refused") == 1


@pytest.mark.parametrize("mode", [Mode.FAILSAFE, Mode.INITIALISING, 4, 65_535])
def test_only_manual_and_auto_can_be_written(bench: Bench, mode: int) -> None:
    assert write_one(bench, MODE, mode) == b"\x86\x03"
    assert bench.control.state["mode"][0] == Mode.AUTO


def test_half_a_float_is_refused(bench: Bench) -> None:
    assert write_one(bench, SETPOINT, 0x4290) == b"\x86\x03"
    assert write_one(bench, SETPOINT + 1, 0) == b"\x86\x03"
    assert write(bench, SETPOINT + 1, b"\0\0") == b"\x90\x03"
    assert write(bench, SETPOINT + 1, b"\0\0\0\0") == b"\x90\x03"
    assert bench.control.state["setpoint"][0] == 50.0


def test_one_request_writes_one_point_so_that_it_is_done_or_not_done(bench: Bench) -> None:
    assert write(bench, SETPOINT, struct.pack(">ff", 60, 10)) == b"\x90\x03"
    assert bench.control.state["setpoint"][0] == 50.0


@pytest.mark.parametrize(
    ("unit", "address", "code"),
    [
        (100, PROCESS_VALUE, 1),
        (100, QUALITY, 1),
        (100, 0, 1),
        (1, 5_000, 1),
        (100, 110, 2),
        (1, SETPOINT, 2),
        (9, 0, 10),
    ],
)
def test_what_may_not_be_written_is_refused(bench: Bench, unit: int, address: int, code: int) -> None:
    assert write_one(bench, address, 1, unit) == bytes([0x86, code])
    (event,) = bench.events
    assert event.kind == "scada.write.refused"


def test_writes_are_off_unless_the_configuration_allows_them() -> None:
    settings = boiler_house()
    assert settings.scada is not None
    bench = Bench(msgspec.structs.replace(settings, scada=msgspec.structs.replace(settings.scada, writable=())))
    assert write(bench, SETPOINT, struct.pack(">f", 60)) == b"\x90\x01"
    assert write_one(bench, MODE, 0) == b"\x86\x01"
    assert bench.control.state["setpoint"][0] == 50.0


def test_coils_are_never_writable(bench: Bench) -> None:
    for pdu in ("05 1388 ff00", "0f 1388 0001 01 01"):
        answer = Caller(bench).ask(bytes.fromhex(pdu))
        assert answer[1] == 1


def test_a_flood_of_refused_writes_is_counted_and_not_told_one_by_one(bench: Bench) -> None:
    for _ in range(1_000):
        write_one(bench, QUALITY, 1)
    assert len(bench.events) == EVENTS_PER_PERIOD_MAX
    assert bench.counted("writes_total", result="refused") == 1_000
    assert bench.counted("events_suppressed_total") == 1_000 - EVENTS_PER_PERIOD_MAX
    bench.now_ns += 10 * NS_PER_S
    write_one(bench, QUALITY, 1)
    assert len(bench.events) == EVENTS_PER_PERIOD_MAX + 1
    write(bench, SETPOINT, struct.pack(">f", 60))
    assert bench.events[-1].kind == "scada.write.accepted"


# --- who may do what


@pytest.mark.parametrize(
    ("networks", "host", "may"),
    [
        ((), "192.0.2.1", True),
        (("192.0.2.0/24",), "192.0.2.1", True),
        (("192.0.2.1/32",), "192.0.2.2", False),
        (("10.0.0.0/8", "192.0.2.0/24"), "192.0.2.9", True),
        (("192.0.2.0/24",), "::ffff:192.0.2.1", True),
        (("192.0.2.0/24",), "2001:db8::1", False),
        (("fe80::/10",), "fe80::1%eth0", True),
    ],
)
def test_a_client_is_known_by_its_network(networks: tuple[str, ...], host: str, may: bool) -> None:
    access = Access(clients=networks, write_clients=networks)
    assert (access.may_connect(host), access.read_only(host) == "") == (may, may)


def with_access(**lists: tuple[str, ...]) -> Bench:
    settings = boiler_house()
    assert settings.scada is not None
    return Bench(msgspec.structs.replace(settings, scada=msgspec.structs.replace(settings.scada, **lists)))


def test_a_client_outside_the_write_clients_reads_and_writes_nothing() -> None:
    bench = with_access(write_clients=("192.0.2.7/32",))
    assert write(bench, SETPOINT, struct.pack(">f", 78.5)) == b"\x90\x01"
    assert bench.control.state["setpoint"][0] == 50.0
    assert read_float(bench, SETPOINT) == 50.0
    assert bench.counted("writes_total", result="refused") == 1
    (event,) = bench.events
    assert event.kind == "scada.write.refused"
    assert "write_clients in [scada]" in event.message


def test_a_client_outside_the_clients_is_cut_off_unheard_and_told_once() -> None:
    bench = with_access(clients=("192.0.2.0/24",))

    async def knock() -> None:
        async with serving(bench):
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", bench.server.port)
                with contextlib.suppress(ConnectionResetError):
                    assert await asyncio.wait_for(reader.read(1), 5) == b""
                writer.close()

    asyncio.run(knock())
    assert bench.counted("forbidden_clients_total") == 3
    assert [event.kind for event in bench.events] == ["scada.client.forbidden"]
