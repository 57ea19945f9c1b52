"""A delivery with its spool's thread, for as long as a bench needs it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.core.encode import envelope
from gateway.core.events import Emit
from gateway.core.pacing import Pace
from gateway.core.types import NS_PER_MS
from gateway.runtime.delivery import Connect, Delivery
from gateway.spool.worker import SpoolWorker

STOP_S = 10.0


@asynccontextmanager
async def delivering(worker: SpoolWorker, connect: Connect, *, records_per_s: int, emit: Emit) -> AsyncIterator[None]:
    """`records_per_s`: of the backlog."""
    delivery = Delivery(
        gateway_id="bench",
        name="far",
        spool=worker,
        connect=connect,
        envelope=envelope,
        retry_after_ns=lambda failures: 100 * NS_PER_MS,
        pace=Pace(records_per_s),
        now_ns=time.monotonic_ns,
        emit=emit,
    )
    worker.start()
    task = asyncio.create_task(delivery.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await asyncio.to_thread(worker.stop, STOP_S)
