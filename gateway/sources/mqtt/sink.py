"""Where a session's samples go, and when their messages are acknowledged.

A plain session fills its lane and acknowledges at once. A durable one has what each turn brought kept on disk first
(`core.ports.Intake`); only then the samples enter the lane and the acknowledgements go out, in the order of the
messages (MQTT-4.6.0-2). Acknowledgements of a connection that has ended meanwhile are dropped: the broker repeats
those messages, and they are known as repetitions.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeAlias

import numpy as np

from gateway.core.inbox import Lane
from gateway.core.intake import Frame
from gateway.core.limits import INTAKE_FRAMES_MAX
from gateway.core.ports import Intake
from gateway.core.types import SAMPLE, Int32s, Int64s, Quality, Samples
from gateway.protocol.mqtt.ingest import STEP_SAMPLES_MAX, Ingest

Send: TypeAlias = Callable[[bytes], None]

POLL_S: Final = 0.005


class Sink(Protocol):
    lane: Lane
    """Takes what is decoded now."""

    may_shed: bool
    """Whether messages of QoS 0 may be left out when too much comes; else nothing is decoded while it must wait."""

    is_held: bool
    """Acknowledgements are to be held back, where there are any that may wait."""

    @property
    def must_wait(self) -> bool:
        """Whether nothing more may be decoded for the time being."""
        ...

    def hand_on(self, acks: bytes, send: Send) -> None:
        """What the lane took since the last call is to go on, and `acks` with it, in its time."""
        ...

    def begin_session(self) -> None:
        """The broker knows nothing of an earlier session."""
        ...

    async def restore(self) -> None:
        """Go on where the last run stopped; once, before anything else."""
        ...


class DirectSink:
    may_shed = True
    is_held = False

    def __init__(self, lane: Lane) -> None:
        self.lane = lane

    @property
    def must_wait(self) -> bool:
        return self.lane.is_past_mark

    def hand_on(self, acks: bytes, send: Send) -> None:
        if acks:
            send(acks)

    def begin_session(self) -> None:
        pass

    async def restore(self) -> None:
        pass


class _Waiting(NamedTuple):
    frame: Frame
    send: Send


class DurableSink:
    """`lane` stages one turn; `target` is the lane that the engine empties. Used on the loop's thread only."""

    may_shed = False
    is_held = False

    def __init__(self, target: Lane, intake: Intake, ingest: Ingest) -> None:
        self.lane = Lane(target.name, min(STEP_SAMPLES_MAX, target.capacity // 4))
        self._target = target
        self._intake = intake
        self._ingest = ingest
        self._waiting: deque[_Waiting] = deque()
        self._waiting_samples = 0
        self._next = 0
        self._is_new_session = False

    @property
    def must_wait(self) -> bool:
        room = self._target.room - self._waiting_samples
        return self.is_held or room < self.lane.capacity or len(self._waiting) >= INTAKE_FRAMES_MAX

    def begin_session(self) -> None:
        """So does the next frame, from its start on."""
        self._is_new_session = True

    async def restore(self) -> None:
        """Bring back what an earlier run kept and nobody made safe, then be ready for new samples."""
        identities = self._intake.identities
        self._ingest.remember(identities.unreleased, identities.keys)
        for samples in self._intake.restored():
            left = samples
            while len(left):
                left = left[self._target.append(left[: self._target.room]) :]
                if len(left):
                    await asyncio.sleep(POLL_S)
        self._next = self._target.appended + 1
        self._intake.start()

    def hand_on(self, acks: bytes, send: Send) -> None:
        samples: Samples = np.empty(len(self.lane), SAMPLE)
        self.lane.take_into(samples)
        keys: Int64s = self._ingest.take_keys()
        if not (len(samples) or acks or len(keys) or self._is_new_session):
            return
        frame = Frame(self._next, samples, acks, keys, self._is_new_session)
        self._is_new_session = False
        self._next += len(samples)
        self._waiting.append(_Waiting(frame, send))
        self._waiting_samples += len(samples)
        self._intake.put(frame, partial(_soon, asyncio.get_running_loop(), self._on_kept))

    def _on_kept(self) -> None:
        """The oldest waiting frame is on disk."""
        frame, send = self._waiting.popleft()
        taken = self._target.append(frame.samples)
        assert taken == len(frame.samples), "room was reserved"
        self._waiting_samples -= taken
        if frame.acks:
            send(frame.acks)


async def mark(sink: Sink, rows: Int32s, quality: Quality, now_ns: int) -> None:
    """One sample of this quality for each row, as the lane has room."""
    samples: Samples = np.zeros(len(rows), SAMPLE)
    samples["row"] = rows
    samples["quality"] = quality
    samples["source_ns"] = samples["arrival_ns"] = now_ns
    while len(samples):
        if not sink.must_wait:
            samples = samples[sink.lane.append(samples[: sink.lane.room]) :]
            sink.hand_on(b"", lambda acks: None)
        if len(samples):
            await asyncio.sleep(POLL_S)


def _soon(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    """From another thread; a loop that has ended meanwhile has nobody left to tell."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(what)
