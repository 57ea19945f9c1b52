"""Two uplinks, one of them dead for an hour of simulated time: what the other one sees of it."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from gateway.core.events import Event
from gateway.core.pacing import Pace
from gateway.core.ports import LinkDown, Upstream, Verdict
from gateway.core.record import Identity, Stream
from gateway.core.types import NS_PER_S
from gateway.receiver import Receiver
from gateway.runtime.delivery import Delivery
from gateway.runtime.fan import Branch, Fan
from gateway.spool.records import Grace
from gateway.spool.store import Store
from gateway.spool.worker import SpoolWorker
from tests.support.spool import draft, encode, envelope
from tests.support.uplink import running, until

HOUR_S = 3_600
STEP_S = 120
PLENTY = 1 << 30


class Clock:
    now_ns = 1_000 * NS_PER_S

    def __call__(self) -> int:
        return self.now_ns


class Far:
    """An upstream in this process, and the receiver behind it."""

    def __init__(self, path: Path) -> None:
        self.is_up = True
        self.receiver = Receiver(path)
        self.arrivals: list[Identity] = []
        self.made = 0
        """Arrivals that the plant made: not the ends of segments, nor reports of losses."""

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Upstream]:
        if not self.is_up:
            raise LinkDown("far: no route", "mend it")
        yield self

    async def send(self, identity: Identity, payload: bytes) -> Verdict:
        await asyncio.sleep(0)
        if not self.is_up:
            raise LinkDown("far: cut", "mend it")
        self.receiver.accept(payload)
        self.arrivals.append(identity)
        self.made += b'"first_ns"' in payload
        return Verdict.ACCEPTED

    def samples(self) -> list[int]:
        """The numbers of the drafts, in the order of arrival."""
        self.receiver.commit()
        found = self.receiver._connection.execute("SELECT payload FROM records WHERE stream = 'samples' ORDER BY id")
        records = (json.loads(payload) for (payload,) in found)
        return [record["first_ns"] for record in records if "first_ns" in record]


class Side:
    """One uplink: spool, delivery and far end."""

    def __init__(self, folder: Path, name: str, clock: Clock, events: list[Event], bytes_max: int) -> None:
        self.path = folder / f"spool-{name}.db"
        store = Store(self.path, bytes_max=bytes_max, grace=Grace())
        self.worker = SpoolWorker(store=store, encode=encode, now_ns=clock, emit=events.append, uplink=name)
        self.far = Far(folder / f"received-{name}.db")
        self.delivery = Delivery(
            gateway_id="plant",
            name=name,
            spool=self.worker,
            connect=self.far.connect,
            envelope=envelope,
            retry_after_ns=lambda failures: NS_PER_S // 100,
            pace=Pace(100_000),
            now_ns=clock,
            emit=events.append,
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        self.worker.start()
        try:
            yield
        finally:
            assert self.worker.stop(10.0)


async def play_hour(clock: Clock, fan: Fan, live: Side, dead: Side, cap: int) -> None:
    """A record of samples each second, one of aggregates every ten; `live` must have all of it at every step."""
    made = 0
    for _ in range(HOUR_S // STEP_S):
        for _ in range(STEP_S):
            clock.now_ns += NS_PER_S
            made += 1
            fan.put(draft(made, samples=8))
            if made % 10 == 0:
                fan.put(draft(made, stream=Stream.AGGREGATES, samples=2))
        await live.worker.flush()
        await dead.worker.flush()
        await until(partial(lambda expected: live.far.made == expected, made + made // 10))
        assert dead.worker.snapshot().bytes <= cap
        assert dead.path.stat().st_size <= 1.1 * cap + 200_000


@pytest.mark.parametrize(("cap", "everything"), [(PLENTY, True), (200_000, False)])
def test_an_uplink_that_is_dead_for_an_hour_touches_no_other_and_catches_up_in_order(
    tmp_path: Path, cap: int, everything: bool
) -> None:
    clock, events = Clock(), list[Event]()
    live, dead = (Side(tmp_path, name, clock, events, cap) for name in ("live", "dead"))
    fan = Fan(Branch(live.worker))
    fan.branches = (Branch(live.worker), Branch(dead.worker))
    dead.far.is_up = False

    async def scenario() -> None:
        async with running(live.delivery.run(), dead.delivery.run()):
            await play_hour(clock, fan, live, dead, cap)
            assert [event.kind for event in events if event.subject == "live"] == ["uplink.up"]
            assert not dead.far.arrivals
            dead.far.is_up = True
            await until(lambda: dead.worker.depth() == 0 and dead.delivery.acknowledged > 0)

    with ExitStack() as stack:
        stack.enter_context(live.running())
        stack.enter_context(dead.running())
        asyncio.run(scenario())
    assert live.far.samples() == list(range(1, HOUR_S + 1))
    for stream, arrived in itertools.groupby(
        sorted(dead.far.arrivals, key=lambda each: each.stream), lambda each: each.stream
    ):
        places = [(each.segment, each.sequence) for each in arrived]
        assert places == sorted(places), f"{stream} came out of order"
    caught_up, summary = dead.far.samples(), dead.far.receiver.summary()
    assert (summary.missing, summary.duplicates) == (0, 0)
    assert caught_up == list(range(HOUR_S + 1 - len(caught_up), HOUR_S + 1)), "the newest are kept, without a hole"
    assert (len(caught_up) == HOUR_S) == everything
    assert summary.dropped_by_sender == HOUR_S - len(caught_up), "what was dropped for room is told, to the record"
