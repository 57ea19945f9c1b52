"""Whole plants in the Modbus benchmark: many endpoints, a large one, and one with units that die."""

from __future__ import annotations

import asyncio
import heapq
import time
from contextlib import suppress

import numpy as np

from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Kind, Quality
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.plan import Point, plan
from gateway.protocol.modbus.points import WireType
from gateway.protocol.modbus.polling import Poller
from gateway.runtime.benches.modbus_clients import Polled, polled, tag

ENDPOINTS = 1_000
ENDPOINTS_PERIOD_NS = 100 * NS_PER_MS
BLOCKS = 200
TAGS_PER_BLOCK = 50
BLOCK_STRIDE = 100
"""Addresses from block to block: more than the gap that the planner bridges."""
CROWD_SECONDS = 5
UNITS = 10
DYING = (150, 151, 152)
THEIR_DYING = (160, 161, 162)
UNITS_TIMEOUT_S = 3
UNITS_SECONDS = 20
SIMULATED_S = 600
SIMULATED_ONSET_S = 60
SIMULATED_TRIP_NS = 5 * NS_PER_MS
LOOK_S = 0.05


async def late_share(links: Polled) -> float:
    """Share of the polls that were left out because their time was over, once all connections are made."""
    async with links.drained():
        while not links.thread.memory.trips.any(axis=1).all():
            await asyncio.sleep(LOOK_S)
        sent, late = links.requests, links.late
        await asyncio.sleep(CROWD_SECONDS)
        sent, late = links.requests - sent, links.late - late
    return late / (sent + late)


async def thousand_endpoints(port: int) -> float:
    return await late_share(polled(port, [tag(1, 0, ENDPOINTS_PERIOD_NS)], links=ENDPOINTS))


async def large_endpoint(port: int) -> float:
    tags = [tag(1, BLOCK_STRIDE * b + i, NS_PER_S) for b in range(BLOCKS) for i in range(TAGS_PER_BLOCK)]
    return await late_share(polled(port, tags))


async def with_dead_units(port: int) -> tuple[float, float]:
    """Share of the reads of live units that were answered, ours and pymodbus's, each over one connection of its own.

    The dying units answer three times and then never again: the onset is part of it.
    """
    from pymodbus.client import AsyncModbusTcpClient
    from pymodbus.exceptions import ModbusIOException

    live = list(range(1, UNITS - len(DYING) + 1))
    links = polled(port, [tag(unit, 0, NS_PER_S) for unit in (*live, *DYING)], timeout_s=UNITS_TIMEOUT_S)
    out = np.zeros(1 << 16, SAMPLE)
    answered = [0]

    async def poll() -> None:
        client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=UNITS_TIMEOUT_S, retries=0)
        end_s = time.monotonic() + UNITS_SECONDS
        while (begun_s := time.monotonic()) < end_s:
            for unit in (*live, *THEIR_DYING):
                if time.monotonic() >= end_s:
                    break
                if not client.connected:
                    await client.connect()
                with suppress(ModbusIOException):
                    reply = await client.read_holding_registers(0, count=1, device_id=unit)
                    answered[0] += not reply.isError() and unit in live
            await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - begun_s)))
        client.close()

    async with links.running():
        theirs_runs = asyncio.ensure_future(poll())
        await asyncio.sleep(UNITS_SECONDS)
        samples = out[: links.thread.waiting.take_into(out)]
    await theirs_runs
    good = int(((samples["row"] < len(live)) & (samples["quality"] == Quality.GOOD)).sum())
    due = UNITS_SECONDS * len(live)
    return min(1.0, good / due), min(1.0, answered[0] / due)


def simulated_dead_units() -> float:
    """The same over ten minutes of simulated time: the least share of reads that a live unit had answered."""
    dying = range(UNITS - len(DYING), UNITS)
    poller = Poller(
        plan(
            Point(
                row=0, name=f"u{unit}", device=f"u{unit}", unit=unit, function=Function.READ_HOLDING_REGISTERS,
                address=0, wire=WireType.UINT16, kind=Kind.F64, period_ns=NS_PER_S,
            )
            for unit in range(UNITS)
        ),
        requests_in_flight=1,
        response_timeout_ns=UNITS_TIMEOUT_S * NS_PER_S,
    )  # fmt: skip
    reads = dict.fromkeys(range(UNITS), 0)
    replies: list[tuple[int, int]] = []
    now_ns = 0
    poller.begin(now_ns)
    while now_ns < SIMULATED_S * NS_PER_S:
        while replies and replies[0][0] <= now_ns:
            transaction = poller.take_reply(heapq.heappop(replies)[1], now_ns)
            if transaction is not None:
                poller.read(transaction, now_ns)
                reads[transaction.poll.unit.id] += 1
        poller.expired(now_ns)
        while (transaction := poller.next_request(now_ns)) is not None:
            if transaction.poll.unit.id not in dying or now_ns < SIMULATED_ONSET_S * NS_PER_S:
                heapq.heappush(replies, (now_ns + SIMULATED_TRIP_NS, transaction.id))
        now_ns = min([poller.wake_ns(now_ns), *(due_ns for due_ns, _ in replies[:1])])
    return min(1.0, min(reads[unit] for unit in range(UNITS) if unit not in dying) / SIMULATED_S)
