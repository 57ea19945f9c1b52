"""CPU of a server for each request of 100 registers: ours and pymodbus's, in turn, in the same run.

    python -m tests.benchmarks.scada_server

Each server runs in a process of its own and reports its CPU time; the client keeps one request, then four, under way on
each of four connections. Ours answers from a plant of 200 tags with a clock that runs, so images are refreshed as in
service. The last line is one JSON object.
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
IN_FLIGHT = (1, 4)
REGISTERS = 100
SECONDS = 1.0
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
    from pymodbus import pymodbus_apply_logging_config
    from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
    from pymodbus.server import ModbusTcpServer

    pymodbus_apply_logging_config("CRITICAL")

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


async def ask(port: int, in_flight: int, until: float) -> int:
    """Keep requests under way on one connection; returns the answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = read_request(5_000, REGISTERS)
    writer.write(request * in_flight)
    answers = 0
    while time.monotonic() < until:
        await reader.readexactly(ANSWER_BYTES)
        answers += 1
        writer.write(request)
    writer.close()
    return answers


def measure(serve: Any, in_flight: int) -> tuple[float, float]:
    """CPU in µs a request, and requests/s."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    process.start()
    port = ours.recv()

    async def load() -> int:
        until = time.monotonic() + SECONDS
        return sum(await asyncio.gather(*(ask(port, in_flight, until) for _ in range(CLIENTS))))

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
    servers = {"fieldgate": serve_ours, "pymodbus": serve_pymodbus}
    figures: dict[str, dict[str, float]] = {name: {} for name in servers}
    ratios = {}
    for in_flight in IN_FLIGHT:
        rounds = [{name: measure(serve, in_flight) for name, serve in servers.items()} for _ in range(ROUNDS)]
        for name in servers:
            cpu_us = statistics.median(measured[name][0] for measured in rounds)
            rate = statistics.median(measured[name][1] for measured in rounds)
            figures[name][f"cpu_us_per_request_{in_flight}_in_flight"] = round(cpu_us, 1)
            figures[name][f"requests_per_s_{in_flight}_in_flight"] = round(rate)
        ratio = statistics.median(measured["pymodbus"][0] / measured["fieldgate"][0] for measured in rounds)
        ratios[f"ratio_to_pymodbus_cpu_{in_flight}_in_flight"] = round(ratio, 1)
    environment = {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()}
    outcome = {
        "bench": "scada_server",
        "environment": environment,
        "figures": figures["fieldgate"],
        "peers": {"pymodbus": figures["pymodbus"]},
        "ratios": ratios,
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
