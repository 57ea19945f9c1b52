"""Clients that flood, babble, do not read or never leave: the others are served all the same."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

import pytest
import uvloop

from gateway.core.limits import SCADA_CLIENTS_MAX
from gateway.serving.scada import client as client_module
from tests.support.scada import Bench, boiler_house, read_request, serving

HOST = "127.0.0.1"
HEARTBEAT = read_request(0, 1)


async def ask_heartbeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    writer.write(HEARTBEAT)
    answer = await asyncio.wait_for(reader.readexactly(11), 5)
    assert answer[:9] == struct.pack(">HHHBBB", 7, 0, 5, 1, 3, 2)
    return int.from_bytes(answer[9:], "big")


async def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def is_closed(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(), 5) == b""
    except ConnectionResetError:
        return True


def test_one_connection_too_many_is_refused_at_once_and_told_once() -> None:
    async def scenario() -> None:
        async with serving(Bench(boiler_house(connections_per_client=SCADA_CLIENTS_MAX))) as bench:
            bench.beats = 5
            port = bench.server.port
            held = [await asyncio.open_connection(HOST, port) for _ in range(SCADA_CLIENTS_MAX)]
            assert [await ask_heartbeat(*pair) for pair in held] == [5] * SCADA_CLIENTS_MAX
            for _ in range(200):
                reader, writer = await asyncio.open_connection(HOST, port)
                assert await is_closed(reader)
                writer.close()
            assert bench.counted("refused_clients_total") == 200
            assert bench.counted("clients") == SCADA_CLIENTS_MAX
            assert [event.kind for event in bench.events] == ["scada.clients.full"]
            assert await ask_heartbeat(*held[0]) == 5
            held[3][1].close()
            await eventually(lambda: bench.counted("clients") == SCADA_CLIENTS_MAX - 1)
            late = await asyncio.open_connection(HOST, port)
            assert await ask_heartbeat(*late) == 5
            for _, writer in (*held, late):
                writer.close()
            await eventually(lambda: bench.counted("clients") == 0)

    uvloop.run(scenario())


def test_one_client_has_its_part_of_the_connections_and_others_are_served() -> None:
    async def scenario() -> None:
        async with serving(Bench(boiler_house(connections_per_client=4))) as bench:
            port = bench.server.port
            other = ("127.0.0.2", 0)  # Linux has the whole of 127.0.0.0/8
            held = [await asyncio.open_connection(HOST, port, local_addr=other) for _ in range(4)]
            assert [await ask_heartbeat(*pair) for pair in held] == [0] * 4
            for number in range(1, 101):
                reader, writer = await asyncio.open_connection(HOST, port, local_addr=other)
                assert await is_closed(reader)
                writer.close()
                assert bench.counted("crowded_clients_total") == number
                assert await ask_heartbeat(*held[0]) == 0
            good = await asyncio.open_connection(HOST, port)
            assert await ask_heartbeat(*good) == 0
            assert [(event.kind, event.subject) for event in bench.events] == [("scada.client.crowded", "127.0.0.2")]
            held.pop()[1].close()
            await eventually(lambda: bench.counted("clients") == 4)
            held.append(await asyncio.open_connection(HOST, port, local_addr=other))
            assert await ask_heartbeat(*held[-1]) == 0
            for _, writer in (*held, good):
                writer.close()
            await eventually(lambda: bench.counted("clients") == 0)
            assert bench.counted("refused_clients_total") == 0

    uvloop.run(scenario())


def test_a_babbling_client_is_closed_and_told_once_however_often_it_returns() -> None:
    async def scenario() -> None:
        async with serving(Bench(boiler_house())) as bench:
            good = await asyncio.open_connection(HOST, bench.server.port)
            for _ in range(50):
                reader, writer = await asyncio.open_connection(HOST, bench.server.port)
                writer.write(b"GET / HTTP/1.1\r\nHost: plc\r\n\r\n")
                assert await is_closed(reader)
                writer.close()
            assert bench.counted("malformed_total") == 50
            assert [event.kind for event in bench.events] == ["scada.client.malformed"]
            assert await ask_heartbeat(*good) == 0
            assert [event.kind for event in bench.events][1:] == ["scada.client.recovered"]
            good[1].close()

    uvloop.run(scenario())


def test_requests_before_the_garbage_are_answered() -> None:
    async def scenario() -> None:
        async with serving(Bench(boiler_house())) as bench:
            reader, writer = await asyncio.open_connection(HOST, bench.server.port)
            writer.write(HEARTBEAT * 3 + b"\xff" * 20)
            assert len(await asyncio.wait_for(reader.read(), 5)) == 33
            writer.close()

    uvloop.run(scenario())


def test_a_request_may_arrive_byte_by_byte() -> None:
    async def scenario() -> None:
        async with serving(Bench(boiler_house())) as bench:
            reader, writer = await asyncio.open_connection(HOST, bench.server.port)
            for byte in HEARTBEAT + HEARTBEAT[:5]:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.001)
            assert len(await asyncio.wait_for(reader.readexactly(11), 5)) == 11
            writer.write(HEARTBEAT[5:])
            assert len(await asyncio.wait_for(reader.readexactly(11), 5)) == 11
            writer.close()

    uvloop.run(scenario())


def test_thousands_of_requests_in_one_write_are_all_answered_in_order() -> None:
    async def scenario() -> None:
        async with serving(Bench(boiler_house())) as bench:
            reader, writer = await asyncio.open_connection(HOST, bench.server.port)
            count = 5_000
            writer.write(b"".join(read_request(5_000, 30, transaction=number) for number in range(count)))
            other = await asyncio.open_connection(HOST, bench.server.port)
            assert await ask_heartbeat(*other) == 0
            for number in range(count):
                answer = await asyncio.wait_for(reader.readexactly(9 + 60), 10)
                assert int.from_bytes(answer[:2], "big") == number
            for _, each in ((reader, writer), other):
                each.close()

    uvloop.run(scenario())


def test_a_client_that_does_not_read_is_cut_off_and_costs_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "UNREAD_S", 0.3)

    async def scenario() -> None:
        async with serving(Bench(boiler_house())) as bench:
            good = await asyncio.open_connection(HOST, bench.server.port)
            _, deaf = await asyncio.open_connection(HOST, bench.server.port, limit=1)
            deaf.transport.pause_reading()  # type: ignore[attr-defined]
            await eventually(lambda: bench.counted("clients") == 2)
            (client,) = (each for each in bench.server._admission.clients if each.peer.endswith(f":{_port(deaf)}"))
            unsent_max = 0
            while bench.counted("slow_clients_total") == 0:
                if not deaf.transport.is_closing():
                    deaf.write(read_request(5_000, 30) * 100)
                unsent_max = max(unsent_max, client._transport.get_write_buffer_size())
                assert await ask_heartbeat(*good) == 0
            assert unsent_max < client_module.UNSENT_BYTES_MAX + 85 * 259
            await eventually(lambda: bench.counted("clients") == 1)
            assert "scada.client.slow" in [event.kind for event in bench.events]
            deaf.transport.abort()
            good[1].close()

    uvloop.run(asyncio.wait_for(scenario(), 20))


def test_clients_that_vanish_in_the_middle_of_a_flood_leave_nothing_behind() -> None:
    async def scenario() -> None:
        complaints: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        async with serving(Bench(boiler_house())) as bench:
            for number in range(60):
                link = socket.create_connection((HOST, bench.server.port))
                link.setblocking(False)
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                await loop.sock_sendall(link, read_request(5_000, 30) * 2_000)
                if number % 2:
                    await asyncio.sleep(0)
                link.close()
            await eventually(lambda: bench.counted("clients") == 0)
            good = await asyncio.open_connection(HOST, bench.server.port)
            assert await ask_heartbeat(*good) == 0
            good[1].close()
        assert complaints == []

    uvloop.run(scenario())


def _port(writer: asyncio.StreamWriter) -> int:
    return int(writer.get_extra_info("sockname")[1])


def test_stopping_closes_everyone_and_frees_the_port() -> None:
    async def scenario() -> None:
        bench = Bench(boiler_house())
        await bench.server.start()
        port = bench.server.port
        reader, writer = await asyncio.open_connection(HOST, port)
        await ask_heartbeat(reader, writer)
        await asyncio.wait_for(bench.server.stop(), 5)
        assert await is_closed(reader)
        await bench.server.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)
        writer.close()

    uvloop.run(scenario())
