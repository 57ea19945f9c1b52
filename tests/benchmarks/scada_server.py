"""CPU of a server for each request of 100 registers: ours and pymodbus's, in turn, in the same run.

    python -m tests.benchmarks.scada_server

Each server runs in a process of its own and reports its CPU time; the client keeps a few requests under way on several
connections. Ours answers from a plant of 200 tags with a clock that runs, so images are refreshed as in service. The
last line is one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import platform
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

import uvloop

from tests.support.scada import Bench, read_request, settings_of, tag

TAGS = 200
CLIENTS = 4
REQUESTS_IN_FLIGHT = 4
REGISTERS = 100
SECONDS = 2.0
ROUNDS = 5
ANSWER_BYTES = 9 + 2 * REGISTERS


def serve_ours(pipe: Connection) -> None:
    async def scenario() -> None:
        bench = Bench(settings_of([tag(f"plant.t{number}") for number in range(TAGS)], {"plant": 1}))
        bench.clock = time.monotonic_ns
        for definition in bench.model.tags:
            bench.plant.set(definition.name, 1.0, time.monotonic_ns())
        await bench.server.start()
        await _until_told(pipe, bench.server.port)

    uvloop.run(scenario())


def serve_pymodbus(pipe: Connection) -> None:
    from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
    from pymodbus.server import ModbusTcpServer

    async def scenario() -> None:
        device = ModbusDeviceContext(hr=ModbusSequentialDataBlock(1, [17] * 10_000))
        server = ModbusTcpServer(ModbusServerContext(devices=device, single=True), address=("127.0.0.1", 0))
        task = asyncio.create_task(server.serve_forever())
        while server.transport is None:
            await asyncio.sleep(0.01)
        listener: Any = server.transport
        await _until_told(pipe, listener.sockets[0].getsockname()[1])
        task.cancel()

    uvloop.run(scenario())


async def _until_told(pipe: Connection, port: int) -> None:
    """Send the port, then at each word the CPU time, until the word is empty."""
    pipe.send(port)
    while await asyncio.to_thread(pipe.recv):
        pipe.send(time.process_time())


async def ask(port: int, until: float) -> int:
    """Keep requests under way on one connection; returns the answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = read_request(5_000, REGISTERS)
    writer.write(request * REQUESTS_IN_FLIGHT)
    answers = 0
    while time.monotonic() < until:
        await reader.readexactly(ANSWER_BYTES)
        answers += 1
        writer.write(request)
    writer.close()
    return answers


def measure(serve: Any) -> tuple[float, float]:
    """CPU in µs a request, and requests/s."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    process.start()
    port = ours.recv()

    async def load() -> int:
        until = time.monotonic() + SECONDS
        return sum(await asyncio.gather(*(ask(port, until) for _ in range(CLIENTS))))

    ours.send("now")
    before = ours.recv()
    answers = uvloop.run(load())
    ours.send("now")
    cpu_s = ours.recv() - before
    ours.send("")
    process.join(5)
    process.kill()
    return 1e6 * cpu_s / answers, answers / SECONDS


def main() -> None:
    measured: dict[str, list[tuple[float, float]]] = {"fieldgate": [], "pymodbus": []}
    for _ in range(ROUNDS):
        measured["fieldgate"].append(measure(serve_ours))
        measured["pymodbus"].append(measure(serve_pymodbus))
    figures = {
        name: {
            "cpu_us_per_request": round(statistics.median(cpu for cpu, _ in rounds), 1),
            "requests_per_s": round(statistics.median(rate for _, rate in rounds)),
        }
        for name, rounds in measured.items()
    }
    ours, theirs = figures["fieldgate"], figures["pymodbus"]
    print(
        json.dumps(
            {
                "bench": "scada_server",
                "environment": {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()},
                "figures": ours,
                "peers": {"pymodbus": theirs},
                "ratios": {
                    "ratio_to_pymodbus_cpu": round(theirs["cpu_us_per_request"] / ours["cpu_us_per_request"], 1)
                },
            }
        )
    )


if __name__ == "__main__":
    main()
