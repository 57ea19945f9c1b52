"""Whole plants in the Modbus benchmark: many endpoints, and a large one."""

from __future__ import annotations

import asyncio

from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.runtime.benches.modbus_clients import Polled, polled, tag

ENDPOINTS = 1_000
ENDPOINTS_PERIOD_NS = 100 * NS_PER_MS
BLOCKS = 200
TAGS_PER_BLOCK = 50
BLOCK_STRIDE = 100
"""Addresses from block to block: more than the gap that the planner bridges."""
CROWD_SECONDS = 5
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
