"""The intakes of one plant: a durable session's tags have a lane of their own, and files behind it.

The lanes' positions that are safe (the journal has them) come from `runtime.continuity`, at the start and as they grow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from gateway.core.events import Emit
from gateway.core.inbox import Lane
from gateway.core.ports import Clock
from gateway.core.readings import HistogramReading, Reading
from gateway.settings.schema import MqttLink, Tag
from gateway.spool.intake import IntakeFiles
from gateway.spool.thread import Died, nobody

INTAKE_FOLDER: Final = "intake"
INTAKE_STOP_S: Final = 1.0
SUFFIX: Final = "-durable"


def durable_name(link: str) -> str:
    """Of the lane and the session that a link's durable tags have."""
    return link + SUFFIX


def durable_link(link: MqttLink) -> MqttLink:
    """The link of the durable session: another client, so that its acknowledgements have an order of their own."""
    broker = msgspec.structs.replace(link.broker, client_id=link.broker.client_id + SUFFIX)
    return msgspec.structs.replace(link, broker=broker)


class Intakes:
    def __init__(self, state_dir: Path, *, now_ns: Clock, emit: Emit, died: Died = nobody) -> None:
        self._folder = state_dir / INTAKE_FOLDER
        self._now_ns = now_ns
        self._emit = emit
        self._died = died
        self._files: dict[str, IntakeFiles] = {}
        self._lanes: dict[str, Lane] = {}

    def make(self, lane: Lane, tags: Sequence[tuple[int, Tag]]) -> IntakeFiles:
        files = IntakeFiles(
            self._folder / lane.name,
            lane.name,
            tags={row: tag.name for row, tag in tags},
            now_ns=self._now_ns,
            emit=self._emit,
            stopwatch_ns=time.monotonic_ns,
        )
        files.died = self._died
        self._files[lane.name] = files
        self._lanes[lane.name] = lane
        return files

    async def open(self, positions: Mapping[str, int]) -> None:
        """Begin every lane where it is to go on. `positions` are those that are safe."""
        for name, files in self._files.items():
            await asyncio.to_thread(files.open, positions.get(name, 0))
            self._lanes[name].begin(files.begins_at)

    def passed(self, positions: Mapping[str, int]) -> None:
        """Any thread."""
        for name, files in self._files.items():
            files.passed(positions.get(name, 0))

    async def stop(self) -> None:
        """The sessions have ended: what they brought last goes to the disk, and from there into the lanes."""
        for name, files in self._files.items():
            if not await asyncio.to_thread(files.stop, INTAKE_STOP_S):
                raise TimeoutError(f"the intake of {name} did not reach the disk within {INTAKE_STOP_S:g} s")
        await asyncio.sleep(0)

    def readings(self) -> Iterator[Reading | HistogramReading]:
        for files in self._files.values():
            yield from files.readings()
