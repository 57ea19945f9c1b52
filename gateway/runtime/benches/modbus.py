"""What a Modbus read costs, ours against pymodbus's asynchronous client: same loop, same simulator, same reads.

A simulator at compiled speed (`hil.devices.fast_modbus`) runs in a process of its own. Both clients hold the same
number of connections to it and read 100 registers each time; CPU is that of this process, all of it: socket calls,
schedule, checking, decoding, and on our side also the way through the lane. Two ways of asking, interleaved:

- paced: every connection on a period, as a plant is polled; each read pays for its own wake-up;
- flat out: the next read as soon as the last one is answered, on our side at the next millisecond.

Beside them, what no client on this loop can go below (`floor`): the same bytes sent and received flat out by a bare
protocol that looks at nothing. Then, at the plan's own pace: a thousand endpoints every 100 ms, one endpoint with
10,000 tags in 200 blocks every second, and ten units behind one connection of which three are dead, beside pymodbus.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import uvloop

from gateway.core.inbox import Lane
from gateway.core.symbols import Symbols
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Kind, Quality, Samples
from gateway.runtime.benches.environment import environment
from gateway.settings.schema import ModbusLink, ModbusPoint, RegisterType, Table, Tag
from gateway.sources.modbus import ModbusSource

BARE_REQUEST = struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 0, 100)
CONNECTIONS = 50
REGISTERS = 100
PACE_NS = 25 * NS_PER_MS
ROUNDS = 5
SETTLE_S = 0.2
DRAIN_S = 0.05
ENDPOINTS = 1_000
ENDPOINTS_PERIOD_NS = 100 * NS_PER_MS
BLOCKS = 200
TAGS_PER_BLOCK = 50
BLOCK_STRIDE = 100
"""Addresses from block to block: more than the gap that the planner bridges."""
CROWD_SECONDS = 3
UNITS = 10
DEAD = (200, 201, 202)
UNITS_TIMEOUT_S = 3
UNITS_SECONDS = 10

Progress = Callable[[str], None]


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


def source(port: int, tags: Sequence[Tag], *, in_flight: int = 1, timeout_s: float = 1.0) -> tuple[ModbusSource, Lane]:
    lane = Lane("bench", 64 * len(tags))
    link = ModbusLink(
        name="bench",
        host="127.0.0.1",
        port=port,
        connect_timeout_ns=10 * NS_PER_S,
        response_timeout_ns=round(timeout_s * NS_PER_S),
        requests_in_flight=in_flight,
    )
    rows = list(enumerate(tags))
    source = ModbusSource(
        link=link, tags=rows, lane=lane, symbols=Symbols(), now_ns=time.monotonic_ns, emit=lambda _: None
    )
    return source, lane


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


async def drain(lanes: Sequence[Lane], out: Samples) -> None:
    """What the engine's thread does with the lanes."""
    while True:
        await asyncio.sleep(DRAIN_S)
        for lane in lanes:
            lane.take_into(out)


async def ours(port: int, period_ns: int, seconds: float) -> Phase:
    pairs = [source(port, [tag(1, a, period_ns) for a in range(REGISTERS)]) for _ in range(CONNECTIONS)]
    lanes = [lane for _, lane in pairs]
    async with tasks(*(each.run() for each, _ in pairs), drain(lanes, np.zeros(1 << 16, SAMPLE))):
        return await measured(lambda: sum(each.counts.responses for each, _ in pairs), seconds)


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


async def late_share(pairs: Sequence[tuple[ModbusSource, Lane]]) -> float:
    """Share of the polls that were left out because their time was over, once all connections are made."""
    sources = [each for each, _ in pairs]
    async with tasks(*(each.run() for each in sources), drain([lane for _, lane in pairs], np.zeros(1 << 16, SAMPLE))):
        while not all(each.counts.responses for each in sources):
            await asyncio.sleep(DRAIN_S)
        sent, late = sum(each.counts.requests for each in sources), sum(each.poller.late for each in sources)
        await asyncio.sleep(CROWD_SECONDS)
        sent = sum(each.counts.requests for each in sources) - sent
        late = sum(each.poller.late for each in sources) - late
    return late / (sent + late)


async def thousand_endpoints(port: int) -> float:
    return await late_share([source(port, [tag(1, 0, ENDPOINTS_PERIOD_NS)]) for _ in range(ENDPOINTS)])


async def large_endpoint(port: int) -> float:
    tags = [tag(1, BLOCK_STRIDE * b + i, NS_PER_S) for b in range(BLOCKS) for i in range(TAGS_PER_BLOCK)]
    return await late_share([source(port, tags)])


async def with_dead_units(port: int) -> tuple[float, float]:
    """Share of the reads of live units that were answered, ours and pymodbus's, each over one connection of its own."""
    from pymodbus.client import AsyncModbusTcpClient
    from pymodbus.exceptions import ModbusIOException

    units = [*range(1, UNITS - len(DEAD) + 1), *DEAD]
    live = [unit for unit in units if unit not in DEAD]
    polling, lane = source(port, [tag(unit, 0, NS_PER_S) for unit in units], timeout_s=UNITS_TIMEOUT_S)
    out = np.zeros(1 << 16, SAMPLE)
    answered = [0]

    async def poll() -> None:
        client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=UNITS_TIMEOUT_S, retries=0)
        end_s = time.monotonic() + UNITS_SECONDS
        while (begun_s := time.monotonic()) < end_s:
            for unit in units:
                if time.monotonic() >= end_s:
                    break
                if not client.connected:
                    await client.connect()
                with suppress(ModbusIOException):
                    reply = await client.read_holding_registers(0, count=1, device_id=unit)
                    answered[0] += not reply.isError()
            await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - begun_s)))
        client.close()

    async with tasks(polling.run()):
        theirs_runs = asyncio.ensure_future(poll())
        await asyncio.sleep(UNITS_SECONDS)
        samples = out[: lane.take_into(out)]
    await theirs_runs
    good = int(((samples["row"] < len(live)) & (samples["quality"] == Quality.GOOD)).sum())
    due = UNITS_SECONDS * len(live)
    return min(1.0, good / due), min(1.0, answered[0] / due)


def run(*, seconds: float, progress: Progress) -> dict[str, object]:
    """The whole benchmark, as its JSON object."""
    where = environment()
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # it would tell of every dead unit
    phase_s = max(0.3, (seconds - UNITS_SECONDS - 2 * CROWD_SECONDS - 12) / (5 * ROUNDS) - SETTLE_S)
    names = ("paced", "their paced", "flat out", "their flat out", "floor")
    found: dict[str, list[Phase]] = {name: [] for name in names}
    with simulator() as port:
        for turn in range(ROUNDS):
            found["paced"].append(uvloop.run(ours(port, PACE_NS, phase_s)))
            found["their paced"].append(uvloop.run(theirs(port, PACE_NS, phase_s)))
            found["flat out"].append(uvloop.run(ours(port, NS_PER_MS, phase_s)))
            found["their flat out"].append(uvloop.run(theirs(port, NS_PER_MS, phase_s)))
            found["floor"].append(uvloop.run(floor(port, phase_s)))
            said = (f"{name} {phases[-1].cpu_us_per_read:.1f} µs" for name, phases in found.items())
            progress(f"round {turn + 1} of {ROUNDS}, CPU a read: {', '.join(said)}")
        progress(f"{ENDPOINTS:,} endpoints, then one of {BLOCKS} blocks, for {CROWD_SECONDS} s each")
        crowd_late = uvloop.run(thousand_endpoints(port))
        large_late = uvloop.run(large_endpoint(port))
        progress(f"ten units, three of them dead, for {UNITS_SECONDS} s")
        kept, their_kept = uvloop.run(with_dead_units(port))
    cpu = {name: statistics.median(phase.cpu_us_per_read for phase in phases) for name, phases in found.items()}
    rate = {name: statistics.median(phase.reads_per_s for phase in phases) for name, phases in found.items()}

    def figures(prefix: str) -> dict[str, float]:
        return {
            "paced_cpu_us_per_read": round(cpu[f"{prefix}paced"], 2),
            "paced_reads_per_s": round(rate[f"{prefix}paced"]),
            "flat_out_cpu_us_per_read": round(cpu[f"{prefix}flat out"], 2),
            "flat_out_reads_per_s": round(rate[f"{prefix}flat out"]),
            "flat_out_registers_per_s": round(rate[f"{prefix}flat out"] * REGISTERS),
            "live_units_answered_share": round(their_kept if prefix else kept, 3),
        }

    return {
        "bench": "modbus",
        "environment": where,
        "figures": {"connections": CONNECTIONS, "registers_per_read": REGISTERS, **figures("")}
        | {
            "late_share_of_1000_endpoints_at_100_ms": round(crowd_late, 5),
            "late_share_of_200_blocks": round(large_late, 5),
        },
        "peers": {f"pymodbus_{name}": value for name, value in figures("their ").items()}
        | {"floor_cpu_us_per_read": round(cpu["floor"], 2)},
        "ratios": {
            "ratio_to_pymodbus_paced_cpu": round(cpu["their paced"] / cpu["paced"], 2),
            "ratio_to_pymodbus_flat_out_cpu": round(cpu["their flat out"] / cpu["flat out"], 2),
            "ratio_to_floor_flat_out_cpu": round(cpu["floor"] / cpu["flat out"], 2),
            "ratio_to_pymodbus_flat_out_reads": round(rate["flat out"] / rate["their flat out"], 2),
        },
    }
