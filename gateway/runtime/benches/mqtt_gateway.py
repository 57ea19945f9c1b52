"""The gateway's side of the MQTT benchmark: session, lane, inbox and engine thread, as in the daemon.

The session runs on the caller's loop, the engine on its thread. When a sample was due follows from its place in the
order: one publisher, one broker, one session, and nothing lost, so the k-th sample is the publisher's k-th. (Were one
lost, all later ones would seem later than they are.)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from gateway.core.engine import Engine, StepResult
from gateway.core.events import Event
from gateway.core.histogram import SIZE
from gateway.core.inbox import Inbox, Lane
from gateway.core.kernels.histogram import observe_due
from gateway.core.limits import LANE_SAMPLES_MAX
from gateway.core.model import DeviceDefinition, Model, TagDefinition
from gateway.core.types import NS_PER_S, Kind, Samples
from gateway.runtime.benches.mqtt_frames import Shape
from gateway.runtime.benches.mqtt_shared import AHEAD, RECEIVED, STARTED_NS, Words
from gateway.runtime.clock import EngineClock
from gateway.runtime.cycle import EngineThread
from gateway.runtime.eventbook import EventBook
from gateway.settings.schema import BrokerAddress, MqttLink, Tag
from gateway.sources.mqtt.source import MqttSource

TAGS_PER_DEVICE = 100
WINDOW_NS = 60 * NS_PER_S
CLOCK = EngineClock(0)


class WatchedEngine(Engine):
    """Counts what it has folded, for the publisher to see, and how late that was."""

    words: Words
    tags_per_message: int
    rate: float
    """Messages a second that are due; 0 when they come flat out."""

    def watch(self, words: Words, tags_per_message: int, rate: float) -> None:
        self.words = words
        self.tags_per_message = tags_per_message
        self.rate = rate
        self.taken = 0
        self.late = np.zeros(SIZE, np.int64)

    def step(self, now_ns: int, batch: Samples) -> StepResult:
        result = super().step(now_ns, batch)
        started_ns = int(self.words[STARTED_NS])
        if self.rate and started_ns:
            first = self.taken - int(self.words[AHEAD]) * self.tags_per_message
            observe_due(self.late, first, len(batch), started_ns, self.rate / NS_PER_S, self.tags_per_message, CLOCK())
        self.taken += len(batch)
        self.words[RECEIVED] = self.taken // self.tags_per_message - self.words[AHEAD]
        return result


@dataclass(frozen=True, slots=True)
class Plant:
    """An engine and the tags that feed it; outlives the phases."""

    engine: WatchedEngine
    tags: tuple[Tag, ...]
    shape: Shape


def plant(shape: Shape, tags: int) -> Plant:
    devices = -(-tags // TAGS_PER_DEVICE)
    model = Model(
        tuple(DeviceDefinition(f"d{d}", "bench") for d in range(devices)),
        tuple(
            TagDefinition(
                f"d{row // TAGS_PER_DEVICE}.t{row}", row // TAGS_PER_DEVICE, Kind.F64, "", 10 * NS_PER_S, (WINDOW_NS,)
            )
            for row in range(tags)
        ),
    )
    engine = WatchedEngine(model, aggregates_every_ns=NS_PER_S, samples_every_ns=NS_PER_S, streams=frozenset())
    return Plant(
        engine,
        tuple(
            Tag(
                name=tag.name,
                device=f"d{tag.device}",
                point=shape.point(row),
                kind=tag.kind,
                windows_ns=tag.windows_ns,
                stale_after_ns=tag.stale_after_ns,
            )
            for row, tag in enumerate(model.tags)
        ),
        shape,
    )


class Subscriber:
    """One session with the broker at `port`, its lane and the engine's thread."""

    def __init__(self, of: Plant, port: int, words: Words, rate: float) -> None:
        self.events: list[Event] = []
        self.died = False
        of.engine.watch(words, of.shape.tags_per_message, rate)
        self.lane = Lane("bench", LANE_SAMPLES_MAX)
        self.thread = EngineThread(
            engine=of.engine,
            inbox=Inbox((self.lane,)),
            now_ns=CLOCK,
            book=EventBook(self.events.append),
            hand_on=lambda cycle, result: None,
            died=self._engine_died,
        )
        self.source = MqttSource(
            link=MqttLink(name="bench", broker=BrokerAddress(host="127.0.0.1", port=port, client_id="bench-gateway")),
            tags=list(enumerate(of.tags)),
            lane=self.lane,
            now_ns=CLOCK,
            wall_offset_ns=CLOCK.wall_offset_ns,
            emit=self.events.append,
        )

    def _engine_died(self, thread: str, error: BaseException) -> None:
        self.died = True

    def reading(self, name: str) -> float:
        return next(float(r.value) for r in self.source.readings() if r.name == f"fieldgate_mqtt_{name}")  # type: ignore[union-attr]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The session is up inside. Raises what ended it."""
        task = asyncio.create_task(self.source.run())
        self.thread.start()
        try:
            while not self.reading("connected"):
                if task.done():
                    task.result()
                await asyncio.sleep(0.01)
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            await asyncio.to_thread(self.thread.stop, 5.0)
