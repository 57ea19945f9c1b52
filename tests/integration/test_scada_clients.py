"""The server under clients that others wrote: pymodbus and mbpoll, over real sockets."""

from __future__ import annotations

import asyncio
import re
import shutil
import struct
import threading
import time
from typing import Any

import pytest
import uvloop
from pymodbus.client import AsyncModbusTcpClient

from gateway.core.types import Quality
from gateway.serving.scada.server import ListenError, ScadaServer
from tests.support.scada import Bench, boiler_house, map_of, model_of, read_request, serving

needs_mbpoll = pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll is not installed")


async def mbpoll(port: int, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *("mbpoll", "-m", "tcp", "-p", str(port), "-0", "-1", "-B", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0, output.decode()
    return output.decode()


async def mbpoll_read(bench: Bench, unit: int, key: str, kind: str) -> str:
    address = bench.points[unit, key].address
    output = await mbpoll(bench.server.port, "-a", str(unit), "-r", str(address), "-t", kind, "127.0.0.1")
    found = re.search(rf"\[{address}\]:\s+(\S+)", output)
    assert found is not None, output
    return found[1]


@needs_mbpoll
def test_mbpoll_reads_value_quality_and_heartbeat_and_writes_a_setpoint() -> None:
    async def scenario() -> None:
        async with serving(Bench(boiler_house())) as bench:
            bench.plant.set("boiler.temperature", 78.5, bench.now_ns)
            bench.beats = 4_711
            assert float(await mbpoll_read(bench, 1, "boiler.temperature/value", "4:float")) == 78.5
            assert float(await mbpoll_read(bench, 1, "boiler.temperature/value", "3:float")) == 78.5
            assert await mbpoll_read(bench, 1, "boiler.temperature/quality", "4") == "192"
            assert await mbpoll_read(bench, 1, "gateway/heartbeat", "4") == "4711"
            address = str(bench.points[100, "control.boiler/setpoint"].address)
            await mbpoll(bench.server.port, "-a", "100", "-r", address, "-t", "4:float", "127.0.0.1", "66.25")
            assert bench.control.state["setpoint"][0] == 66.25
            assert float(await mbpoll_read(bench, 100, "control.boiler/setpoint", "4:float")) == 66.25

    uvloop.run(scenario())


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])
def test_pymodbus_reads_everything_and_writes_a_setpoint(run: Any) -> None:
    async def scenario() -> None:
        async with serving(Bench(boiler_house())) as bench:
            bench.plant.set("boiler.temperature", 78.5, bench.now_ns)
            bench.plant.set("meter.energy", 2**63 + 1, bench.now_ns)
            bench.plant.rows["alarms"][0] = 2
            client = AsyncModbusTcpClient("127.0.0.1", port=bench.server.port)
            assert await client.connect()
            types = client.DATATYPE
            block = await client.read_holding_registers(5_000, count=30, device_id=1)
            assert client.convert_from_registers(block.registers[0:2], types.FLOAT32) == 78.5
            assert block.registers[4] == Quality.GOOD
            same = await client.read_input_registers(5_000, count=30, device_id=1)
            assert same.registers == block.registers
            energy = await client.read_holding_registers(5_000, count=4, device_id=2)
            assert client.convert_from_registers(energy.registers, types.UINT64) == 2**63 + 1
            for read_bits in (client.read_discrete_inputs, client.read_coils):
                bits = await read_bits(5_000, count=5, device_id=1)
                assert bits.bits[:5] == [True, False, True, False, False]
            words = client.convert_to_registers(61.5, types.FLOAT32)
            assert not (await client.write_registers(100, words, device_id=100)).isError()
            assert not (await client.write_register(104, 0, device_id=100)).isError()
            assert bench.control.state["setpoint"][0] == 61.5
            assert bench.control.state["mode"][0] == 0
            assert (await client.write_register(100, 1, device_id=100)).exception_code == 3
            assert (await client.write_coil(5_000, True, device_id=1)).exception_code == 1
            assert (await client.read_holding_registers(40_000, device_id=1)).exception_code == 2
            assert (await client.read_holding_registers(0, device_id=77)).exception_code == 10
            client.close()

    run(scenario())


def test_no_reader_ever_sees_half_of_a_value() -> None:
    """A thread writes values whose words are all the same, and whose quality follows from them."""

    async def hammer(bench: Bench, unit: int, address: int, until: float) -> tuple[set[int], int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.server.port)
        seen: set[int] = set()
        answers = 0
        while time.monotonic() < until:
            writer.write(read_request(address, 5, unit) * 8)
            for _ in range(8):
                answer = await reader.readexactly(9 + 10)
                words = struct.unpack(">5H", answer[9:])
                assert len(set(words[:4])) == 1, f"torn: {words}"
                assert words[4] == (Quality.GOOD if words[0] % 2 else Quality.UNCERTAIN), f"of two samples: {words}"
                seen.add(words[0])
                answers += 1
        writer.close()
        return seen, answers

    async def scenario() -> None:
        bench = Bench(boiler_house())
        bench.clock = time.monotonic_ns
        energy, starts = bench.model.row_of["meter.energy"], bench.model.row_of["boiler.starts"]
        done = threading.Event()

        def write() -> None:
            word = 0
            both = bench.plant.rows[[energy, starts]]
            while not done.is_set():
                word = (word + 1) & 0x7FFF
                both["bits"] = word * 0x0001_0001_0001_0001
                both["quality"] = Quality.GOOD if word % 2 else Quality.UNCERTAIN
                both["source_ns"] = 1
                bench.plant.rows[[energy, starts]] = both

        for name in ("meter.energy", "boiler.starts"):
            bench.plant.set(name, 0, 1, Quality.UNCERTAIN)
        async with serving(bench):
            thread = threading.Thread(target=write)
            thread.start()
            try:
                until = time.monotonic() + 1.5
                results = await asyncio.gather(
                    *(hammer(bench, 2, 5_000, until) for _ in range(3)),
                    *(hammer(bench, 1, 5_020, until) for _ in range(3)),
                )
            finally:
                done.set()
                thread.join()
        for seen, answers in results:
            assert answers > 50
            assert len(seen) > 5, "the value must have changed under the reader"

    uvloop.run(scenario())


def test_a_port_that_is_taken_is_named_with_a_remedy() -> None:
    async def scenario() -> None:
        async with serving(Bench(boiler_house())) as bench:
            settings = boiler_house()
            assert settings.scada is not None
            taken = ScadaServer(
                settings=type(settings.scada)(
                    host="127.0.0.1",
                    port=bench.server.port,
                    units={},
                    loops_unit=1,
                    tags=(),
                    writable=(),
                    lock_file=settings.scada.lock_file,
                ),
                registers=map_of(settings),
                plant=bench.plant,
                text_of=bench.symbols.text_of,
                control=None,
                model=model_of(settings),
                loops=("boiler",),
                now_ns=lambda: 1,
                heartbeat=lambda: 0,
                emit=bench.events.append,
            )
            with pytest.raises(ListenError, match="another program listens there"):
                await taken.start()

    uvloop.run(scenario())
