"""The clients of the Modbus benchmark: the poll thread, pymodbus's asynchronous client, and a bare protocol."""

from __future__ import annotations

import asyncio
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from gateway.core.kernels.lanes import SharedLanes
from gateway.core.limits import CYCLE_NS, CYCLE_SAMPLES_MAX
from gateway.core.symbols import Symbols
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Kind
from gateway.protocol.modbus.plan import plan
from gateway.protocol.modbus.schedule_rows import LATE
from gateway.settings.planning import point_of
from gateway.settings.schema import ModbusLink, ModbusPoint, RegisterType, Table, Tag
from gateway.sources.modbus.fast_memory import REQUESTS, RESPONSES
from gateway.sources.modbus.fast_source import FastModbusSource
from gateway.sources.modbus.fast_thread import PollThread, Share

BARE_REQUEST = struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 0, 100)
CONNECTIONS = 50
REGISTERS = 100
PACE_NS = 25 * NS_PER_MS
SETTLE_S = 0.3
LANE_SAMPLES_PER_TAG = 64


@dataclass(frozen=True, slots=True)
class Phase:
    """One client, measured once."""

    reads: int
    cpu_ns: int
    wall_ns: int

    @property
    def cpu_us_per_read(self) -> float:
        return self.cpu_ns / 1_000 / max(1, self.reads)

    @property
    def reads_per_s(self) -> float:
        return self.reads * NS_PER_S / self.wall_ns


async def measured(count: Callable[[], int], seconds: float) -> Phase:
    """What happens in some seconds of a client that runs."""
    await asyncio.sleep(SETTLE_S)
    reads, cpu_ns, wall_ns = count(), time.process_time_ns(), time.monotonic_ns()
    await asyncio.sleep(seconds)
    return Phase(count() - reads, time.process_time_ns() - cpu_ns, time.monotonic_ns() - wall_ns)


@contextmanager
def simulator() -> Iterator[int]:
    """Its port."""
    command = [sys.executable, "-m", "hil.devices.fast_modbus"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


@asynccontextmanager
async def tasks(*coroutines: Any) -> AsyncIterator[None]:
    running = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        yield
        for task in running:
            assert not task.done(), task.exception()
    finally:
        for task in running:
            task.cancel()
        for task in running:
            with suppress(asyncio.CancelledError):
                await task


@dataclass(frozen=True, slots=True)
class Polled:
    """Links of one poll thread, as the gateway has them."""

    thread: PollThread
    sources: tuple[FastModbusSource, ...]

    @property
    def requests(self) -> int:
        return sum(int(row[REQUESTS]) for row in self.thread.memory.connections)

    @property
    def responses(self) -> int:
        return sum(int(row[RESPONSES]) for row in self.thread.memory.connections)

    @property
    def late(self) -> int:
        return sum(int(row[LATE]) for row in self.thread.memory.s.links)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with tasks(*(each.run() for each in self.sources)):
            yield

    @asynccontextmanager
    async def drained(self) -> AsyncIterator[None]:
        """With somebody who does what the engine's thread does with the lanes."""
        async with tasks(*(each.run() for each in self.sources), drain(self.thread.waiting)):
            yield


def polled(port: int, tags: Sequence[Tag], *, links: int = 1, in_flight: int = 1, timeout_s: float = 1.0) -> Polled:
    """Each link reads the same tags; each with devices of its own, so that their phases are spread."""
    plans = [plan(point_of(row, of_link(tag, link)) for row, tag in enumerate(tags)) for link in range(links)]
    shares = [Share(f"link{n}", blocks, LANE_SAMPLES_PER_TAG * len(tags)) for n, blocks in enumerate(plans)]
    thread = PollThread(shares, Symbols(), time.monotonic_ns)
    made = [
        FastModbusSource(
            link=ModbusLink(
                name=f"link{index}",
                host="127.0.0.1",
                port=port,
                connect_timeout_ns=10 * NS_PER_S,
                response_timeout_ns=round(timeout_s * NS_PER_S),
                requests_in_flight=in_flight,
            ),
            index=index,
            blocks=blocks,
            thread=thread,
            emit=lambda _: None,
        )
        for index, blocks in enumerate(plans)
    ]
    return Polled(thread, tuple(made))


def of_link(tag: Tag, link: int) -> Tag:
    return msgspec.structs.replace(tag, device=f"{tag.device}.{link}")


def tag(unit: int, address: int, period_ns: int) -> Tag:
    return Tag(
        name=f"u{unit}.r{address}",
        device=f"u{unit}",
        kind=Kind.F64,
        windows_ns=(),
        stale_after_ns=10 * period_ns,
        point=ModbusPoint(
            unit=unit, table=Table.HOLDING, address=address, type=RegisterType.UINT16, scale=0.1, every_ns=period_ns
        ),
    )


async def drain(lanes: SharedLanes) -> None:
    """What the engine's thread does with the lanes, in its rhythm."""
    out = np.zeros(CYCLE_SAMPLES_MAX, SAMPLE)
    while True:
        await asyncio.sleep(CYCLE_NS / NS_PER_S)
        lanes.take_into(out)


async def ours(port: int, period_ns: int, seconds: float) -> Phase:
    links = polled(port, [tag(1, a, period_ns) for a in range(REGISTERS)], links=CONNECTIONS)
    async with links.drained():
        return await measured(lambda: links.responses, seconds)


async def theirs(port: int, period_ns: int, seconds: float) -> Phase:
    from pymodbus.client import AsyncModbusTcpClient

    loop = asyncio.get_running_loop()
    counts = [0] * CONNECTIONS
    is_over = False  # a cancelled read of this client goes on with its next try

    async def poll(index: int) -> None:
        client = AsyncModbusTcpClient("127.0.0.1", port=port)
        await client.connect()
        due_s = loop.time() + index * period_ns / NS_PER_S / CONNECTIONS
        while not is_over:
            due_s = max(due_s + period_ns / NS_PER_S, loop.time())
            if period_ns > NS_PER_MS:
                await asyncio.sleep(due_s - loop.time())
            reply = await client.read_holding_registers(0, count=REGISTERS, device_id=1)
            counts[index] += len(reply.registers) == REGISTERS
        client.close()

    polls = [asyncio.ensure_future(poll(index)) for index in range(CONNECTIONS)]
    phase = await measured(lambda: sum(counts), seconds)
    is_over = True
    await asyncio.gather(*polls)
    return phase


class Bare(asyncio.BufferedProtocol):
    """Sends a request and reads the reply, without a look at either."""

    def __init__(self) -> None:
        self.replies = 0
        self.transport: Any = None
        self._buffer = memoryview(bytearray(4_096))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.write(BARE_REQUEST)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.replies += 1
        self.transport.write(BARE_REQUEST)


async def floor(port: int, seconds: float) -> Phase:
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(Bare, "127.0.0.1", port) for _ in range(CONNECTIONS)]
    phase = await measured(lambda: sum(bare.replies for _, bare in made), seconds)
    for transport, _ in made:
        transport.abort()
    return phase
