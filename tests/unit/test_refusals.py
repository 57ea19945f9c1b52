"""What is told of an upstream that refuses some records for ever and takes the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from gateway.core.events import Event
from gateway.core.pacing import Pace
from gateway.core.ports import Answer, Refusal, Upstream, Verdict
from gateway.core.record import Identity, Stream
from gateway.core.types import NS_PER_S
from gateway.runtime.delivery import REFUSALS_TOLD_EVERY_NS, Delivery
from tests.support.spool import draft, envelope, running_spool
from tests.support.uplink import running, until


class Picky:
    """It refuses what `refuses` says; `answered` counts the others' answers."""

    def __init__(self) -> None:
        self.refuses: set[tuple[str, int]] = set()
        self.refused_streams: set[str] = set()
        self.answered = 0

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Upstream]:
        yield self

    async def send(self, identity: Identity, payload: bytes) -> Answer:
        self.answered += identity.stream != Stream.EVENTS  # which tells the losses
        is_refused = identity.stream in self.refused_streams or (identity.stream, identity.sequence) in self.refuses
        return Refusal("not by this scheme") if is_refused else Verdict.ACCEPTED


def test_a_stream_that_is_refused_beside_others_that_are_taken_is_told_once(tmp_path: Path) -> None:
    now_ns, events = [NS_PER_S], list[Event]()
    far = Picky()
    far.refused_streams = {Stream.AGGREGATES}

    async def scenario() -> None:
        with running_spool(tmp_path / "spool.db", events) as spool:
            delivery = Delivery(
                gateway_id="plant", name="cloud", spool=spool, connect=far.connect, envelope=envelope,
                retry_after_ns=lambda failures: NS_PER_S, pace=Pace(2_000), now_ns=lambda: now_ns[0],
                emit=events.append,
            )  # fmt: skip

            async def send(*streams: Stream) -> None:
                for stream in streams:
                    put = far.answered + 1
                    spool.put(draft(put, stream=stream))
                    await until(partial(lambda put: far.answered == put, put))

            async with running(delivery.run()):
                await until(lambda: delivery.is_up)
                await spool.flush()
                for _ in range(6):
                    await send(Stream.SAMPLES, Stream.AGGREGATES)
                assert told(events) == ["aggregates 1/1"]
                # Every second one of another stream: that is one piece of news, too, and again after a while.
                far.refuses = {(Stream.SAMPLES, number) for number in range(7, 30, 2)}
                await send(*[Stream.SAMPLES] * 6)
                assert told(events) == ["aggregates 1/1", "samples 1/7"]
                now_ns[0] += REFUSALS_TOLD_EVERY_NS
                await send(*[Stream.SAMPLES] * 6, Stream.AGGREGATES)
                assert told(events) == ["aggregates 1/1", "samples 1/7", "samples 1/13"]

    asyncio.run(scenario())


def told(events: list[Event]) -> list[str]:
    """The records that were named, with small numbers for segments."""
    named = [event.message.split(" first ")[1].split(" of ")[0] for event in events if event.kind == "uplink.rejected"]
    return [f"{stream} 1/{place.split('/')[1]}" for stream, place in (one.split() for one in named)]
