"""The gateway as an edge node of Sparkplug B, wired: its births' numbers and the values that its births tell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

import numpy as np

from gateway.core.cells import cell_value
from gateway.core.symbols import TextOf
from gateway.core.types import NS_PER_MS, Quality
from gateway.protocol.sparkplug.datatypes import DataType
from gateway.protocol.sparkplug.edge import SEQUENCE_NUMBERS, TYPES, Present
from gateway.runtime.clock import EngineClock
from gateway.runtime.plant import Plant
from gateway.spool.records import StoreUnavailable
from gateway.spool.worker import SpoolWorker
from gateway.upstreams.sparkplug import Surroundings

BD_SEQ_KEY: Final = "sparkplug_bd_seq"
ON_DISK_S: Final = 1.0


def surroundings(
    worker: SpoolWorker, plant: Callable[[], Plant | None], clock: EngineClock, text_of: TextOf
) -> Surroundings:
    async def next_bd_seq() -> int:
        number = (int(await worker.read_meta(BD_SEQ_KEY, "-1")) + 1) % SEQUENCE_NUMBERS
        worker.write_meta(BD_SEQ_KEY, str(number))
        # A disk that takes nothing now must not keep the node away; the number is kept when it can be.
        with suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(ON_DISK_S):
                await worker.flush()
        return number

    def present() -> Iterator[Present]:
        here = plant()
        if here is not None:
            yield from present_values(here, clock.wall_offset_ns(), text_of)

    return Surroundings(next_bd_seq, present, clock, time.time_ns)


def present_values(plant: Plant, wall_offset_ns: int, text_of: TextOf) -> Iterator[Present]:
    """All tags there are, as they stand."""
    directory = plant.engine.directory
    known = [(tag, row) for _, row in directory.rows() if (tag := directory.tags[row]) is not None]
    live = plant.engine.view.live(np.array([row for _, row in known], np.int32))
    columns = (live[name].tolist() for name in ("quality", "source_ns", "value", "bits"))
    for (tag, _), quality, source_ns, number, bits in zip(known, *columns, strict=True):
        yield Present(
            device=directory.device_name(tag.device),
            tag=tag.name,
            datatype=TYPES.get(tag.kind, DataType.DOUBLE),
            value=None if quality == Quality.BAD_NOT_INITIALISED else cell_value(tag.kind, number, bits, text_of),
            quality=quality,
            time_ms=max(0, source_ns + wall_offset_ns) // NS_PER_MS,
        )
