"""The polling session against a real Modbus server, on both event loops."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.core.types import NS_PER_S, Kind, Quality
from gateway.settings.schema import RegisterType, Report, Table
from tests.support.modbus import Asked, Rig, ScriptedServer, pymodbus_server, running, scripted, tag, until

Run = Callable[[Coroutine[Any, Any, None]], None]
on_both_loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


@pytest.fixture(autouse=True, params=["thread", pytest.param("loop", marks=pytest.mark.slow)])
def polled_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rig, "polled_by", request.param)


def client_socket(port: int) -> socket.socket:
    """A second handle on this process's connection to a port."""
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            sock = socket.socket(fileno=os.dup(int(fd.name)))
            with suppress(OSError):
                if sock.family == socket.AF_INET and sock.getpeername()[1] == port:
                    return sock
            sock.close()
    raise AssertionError(f"no connection to port {port}")


@on_both_loops
def test_values_of_all_four_tables_arrive_as_a_pymodbus_server_holds_them(run: Run) -> None:
    energy = (1 << 60) + 1
    registers = [0] * 200
    registers[10:12] = struct.unpack(">2H", struct.pack(">f", 21.5))
    registers[12:16] = struct.unpack(">4H", energy.to_bytes(8, "big"))
    registers[16:18] = reversed(struct.unpack(">2H", struct.pack(">i", -70_000)))
    registers[150] = 65_535
    registers[20:28] = struct.unpack(">8H", "Süd 2".encode().ljust(16, b"\0"))
    bits = [index % 3 == 0 for index in range(100)]

    async def body() -> None:
        async with pymodbus_server(registers, bits) as port:
            tags = [
                tag("temperature", 10, RegisterType.FLOAT32),
                tag("energy", 12, RegisterType.UINT64, kind=Kind.U64),
                tag("level", 16, RegisterType.INT32, big_endian_words=False),
                tag("count", 150, RegisterType.INT16, table=Table.INPUT, kind=Kind.I64),
                tag("on", 33, RegisterType.BOOL, table=Table.COIL),
                tag("off", 34, RegisterType.BOOL, table=Table.DISCRETE),
                tag("power", 150, scale=0.5),
                tag("name", 20, RegisterType.STRING, kind=Kind.SYMBOL, text_registers=8),
            ]
            async with running(Rig(tags, port)) as rig:
                await until(lambda: all(len(rig.of(row)) >= 3 for row in range(len(tags))), "every tag has 3 samples")
                last = [rig.of(row)[-1] for row in range(len(tags))]
                assert [last[row]["value"] for row in (0, 2, 4, 5, 6)] == [21.5, -70_000, 1, 0, 32_767.5]
                assert last[1]["bits"] == energy
                assert last[3]["bits"] == -1
                assert rig.symbols.text_of(int(last[7]["bits"])) == "Süd 2"
                assert set(rig.samples["quality"]) == {int(Quality.GOOD)}
                assert rig.kinds() == ["link.up"]
                assert rig.reading("connected") == 1
                assert rig.reading("device_up", device="u1") == 1
                assert rig.reading("blocks") == 5
                assert rig.reading("responses_total") > 10

    run(body())


def test_only_news_is_passed_on_and_the_rest_is_counted() -> None:
    async def counting(asked: Asked, writer: asyncio.StreamWriter) -> None:
        registers = (server.asked[1], 7, 0x8000)
        writer.write(asked.reply(data=struct.pack(">3H", *registers)))

    async def body() -> None:
        hour = Report(heartbeat_ns=3_600 * NS_PER_S)
        tags = [
            tag("count", 0, report=Report(change=9.5, heartbeat_ns=3_600 * NS_PER_S)),
            tag("constant", 1, report=hour),
            tag("missing", 2, not_available=(0x8000,), report=hour),
        ]
        async with running(Rig(tags, server.port)) as rig:
            await until(lambda: len(rig.of(0)) >= 3, "the count was reported three times")
            assert [value - rig.of(0)["value"][0] for value in rig.of(0)["value"][:3]] == [0, 10, 20]
            assert list(rig.of(1)["value"]) == [7]
            assert list(rig.of(2)["quality"]) == [Quality.BAD_SENSOR_FAILURE]
            assert rig.reading("unchanged_samples_total") == 3 * rig.reading("responses_total") - len(rig.samples)
            for writer in list(server.writers):
                writer.transport.abort()
            await until(lambda: len(rig.of(1)) == 3, "a value is reported again after a lost connection")
            assert rig.qualities(1) == [Quality.GOOD, Quality.BAD_NOT_CONNECTED, Quality.GOOD]

    async def served() -> None:
        nonlocal server
        async with scripted({1: counting}) as server:
            await body()

    server: ScriptedServer
    asyncio.run(served())


@on_both_loops
def test_small_packets_are_not_held_back_by_the_kernel(run: Run) -> None:
    async def body() -> None:
        async with scripted({}) as server, running(Rig([tag("a", 1)], server.port)) as rig:
            await until(lambda: len(rig.of(0)) > 0, "a sample came")
            with client_socket(server.port) as sock:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    run(body())


@on_both_loops
def test_polling_goes_on_after_the_server_was_restarted(run: Run) -> None:
    async def body() -> None:
        registers, bits = [7] * 10, [False] * 10
        async with pymodbus_server(registers, bits) as port:
            rig = Rig([tag("a", 1)], port)
            session = running(rig)
            await session.__aenter__()
            await until(lambda: len(rig.of(0)) > 3, "samples come")
        await until(lambda: Quality.BAD_NOT_CONNECTED in rig.qualities(0), "the tag is not connected")
        async with pymodbus_server([8] * 10, bits, port):
            await until(lambda: rig.of(0)[-1]["value"] == 8, "samples come again")
            await until(
                lambda: len(rig.kinds()) == 3, "it is told"
            )  # the thread's samples may be there before its word
            await session.__aexit__(None, None, None)
        assert rig.qualities(0) == [Quality.GOOD, Quality.BAD_NOT_CONNECTED, Quality.GOOD]
        assert rig.kinds() == ["link.up", "link.down", "link.up"]
        assert rig.reading("connects_total") == 2

    run(body())


def test_an_unreachable_device_is_told_once_and_its_tags_once() -> None:
    async def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        async with running(Rig([tag("a", 1), tag("b", 2)], port)) as rig:
            await until(lambda: rig.reading("failed_connects_total") >= 2, "it was tried twice")
            assert rig.kinds() == ["link.down"]
            assert "check host, port" in rig.events[0].message
            assert list(rig.drain()["quality"]) == [Quality.BAD_NOT_CONNECTED] * 2
            assert rig.reading("connected") == 0
            assert rig.reading("device_up") == 0

    asyncio.run(body())


def test_several_requests_are_in_flight_when_the_link_allows_it() -> None:
    async def body(in_flight: int) -> int:
        most = now = 0

        async def slow(asked, writer) -> None:  # type: ignore[no-untyped-def]
            nonlocal most, now
            now += 1
            most = max(most, now)

            def answer() -> None:
                nonlocal now
                now -= 1
                writer.write(asked.reply())

            asyncio.get_running_loop().call_later(0.02, answer)

        async with scripted({None: slow}) as server:
            tags = [tag("a", 1, unit=unit, every_ms=30) for unit in range(1, 9)]
            async with running(Rig(tags, server.port, in_flight=in_flight)) as rig:
                await until(lambda: all(len(rig.of(row)) >= 2 for row in range(8)), "all are read twice")
                assert all(rig.of(row)[-1]["value"] == 1000 * (row + 1) + 1 for row in range(8))
        return most

    assert asyncio.run(body(1)) == 1
    assert asyncio.run(body(4)) == 4


def test_the_request_gap_is_kept() -> None:
    async def body() -> None:
        times: list[float] = []

        async def timed(asked, writer) -> None:  # type: ignore[no-untyped-def]
            times.append(asyncio.get_running_loop().time())
            writer.write(asked.reply())

        async with scripted({None: timed}) as server:
            tags = [tag("a", 1, unit=unit, every_ms=5) for unit in (1, 2, 3)]
            async with running(Rig(tags, server.port, gap_ms=10)) as rig:
                await until(lambda: len(times) >= 20, "20 requests came")
                # The server's own lateness can shorten one gap, never their mean.
                assert (times[19] - times[0]) / 19 > 0.0099
                assert rig.reading("late_polls_total") > 0

    asyncio.run(body())


def test_a_full_inbox_stops_the_polls_and_they_are_counted() -> None:
    async def body() -> None:
        async with scripted({}) as server, running(Rig([tag("a", 1, every_ms=5)], server.port, lane_samples=8)) as rig:
            await until(lambda: rig.reading("skipped_polls_total", reason="inbox full") > 5, "polls are skipped")
            assert rig.lane.dropped == 0
            asked = server.asked[1]
            rig.drain()
            await until(lambda: server.asked[1] > asked, "polling goes on when there is room")

    asyncio.run(body())


def test_an_error_of_ours_inside_a_callback_comes_out_of_run() -> None:
    async def body() -> None:
        async with scripted({}) as server:
            rig = Rig([tag("a", 1)], server.port)

            def broken(*_: object) -> None:
                raise ZeroDivisionError

            rig.source._tell.link_up = broken  # type: ignore[method-assign]
            with pytest.raises(ZeroDivisionError):
                await asyncio.wait_for(rig.source.run(), 5)

    asyncio.run(body())
