"""The two pumps of a session: live records as they are stored, and the backlog beside them, paced.

Live is what lies in open segments, the backlog what lies in closed ones; behind that comes what somebody asked for
again (`fieldgate reconcile --repair`). Each pump keeps the order within a segment and has a window of sends under way.
When the backlog may send is decided by `gateway.core.pacing`, and by the hours that are set for it.

The backlog is fetched a few records at a time: the spool's thread reads and decompresses them, and stores nothing
meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeAlias

from gateway.core.limits import UPLINK_DRAIN_IN_FLIGHT, UPLINK_IN_FLIGHT
from gateway.core.pacing import Pace, Pacer
from gateway.core.ports import Clock
from gateway.core.types import NS_PER_S
from gateway.spool.records import Key, Lane, Stored, StoreUnavailable
from gateway.spool.worker import SpoolWorker

Send: TypeAlias = Callable[[Stored], Awaitable[None]]
"""Hands a record over, and returns when it was answered; raises LinkDown. What is begun in order is sent in order."""

FETCH_LIVE: Final = 16
FETCH_BACKLOG: Final = 2
LOOK_AGAIN_S: Final = 1.0
"""A pump with nothing to send looks again after this, should a wake-up have come too early for it."""
STORE_RETRY_S: Final = 1.0
QUIET_NS: Final = 2 * NS_PER_S
"""Without a live record for so long there is no live traffic to make room for."""


class Pumps:
    """`may_drain` says whether the backlog has its hours; `stopwatch_ns` measures."""

    def __init__(
        self, *, spool: SpoolWorker, send: Send, pace: Pace, may_drain: Callable[[], bool], stopwatch_ns: Clock
    ) -> None:
        self.pacer = Pacer(pace, UPLINK_DRAIN_IN_FLIGHT)
        self._spool = spool
        self._send = send
        self._may_drain = may_drain
        self._stopwatch_ns = stopwatch_ns
        self._live_waiting = 0
        self._live_last_ns = 0
        self._backlog_under_way = 0
        self._backlog: set[Key] = set()
        self._stored = asyncio.Event()
        self._answered = asyncio.Event()

    async def run(self) -> None:
        """Until something ends the session: raises what did, in a group."""
        loop = asyncio.get_running_loop()
        self._spool.listen(lambda: _wake(loop, self._stored))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump_live(tasks), name="uplink live")
                tasks.create_task(self._pump_backlog(tasks), name="uplink drain")
        finally:
            self._spool.listen_no_more()

    def resized(self, key: Key, more: int) -> None:
        """A record under way has so many bytes more on the link than in the spool."""
        self.pacer.resized(more, is_backlog=key in self._backlog)

    async def _pump_live(self, tasks: asyncio.TaskGroup) -> None:
        window = asyncio.Semaphore(UPLINK_IN_FLIGHT)
        after: dict[str, tuple[int, int]] = {}
        while True:
            self._stored.clear()
            records = await self._fetch(Lane.LIVE, after, FETCH_LIVE)
            self._live_waiting = len(records)
            for record in records:
                await window.acquire()
                while wait_ns := self.pacer.live_waits_ns(self._stopwatch_ns()):
                    await asyncio.sleep(wait_ns / NS_PER_S)
                self._live_waiting -= 1
                self.pacer.live_sent(self._stopwatch_ns(), len(record.body))
                tasks.create_task(self._send_live(record, window))
            if not records:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN_S):
                        await self._stored.wait()

    async def _pump_backlog(self, tasks: asyncio.TaskGroup) -> None:
        after: dict[str, tuple[int, int]] = {}
        again: dict[str, tuple[int, int]] = {}
        while True:
            records = await self._fetch(Lane.BACKLOG, after, FETCH_BACKLOG)
            records = records or await self._fetch(Lane.AGAIN, again, FETCH_BACKLOG)
            for record in records:
                await self._wait_for_turn()
                self._backlog_under_way += 1
                self._backlog.add(record.key)
                self.pacer.backlog_sent(self._stopwatch_ns(), len(record.body))
                tasks.create_task(self._send_backlog(record))
            if not records:
                # Asking for records starts a new list, whose beginning may lie before the end of the last one.
                again.clear()
                await asyncio.sleep(LOOK_AGAIN_S)

    async def _wait_for_turn(self) -> None:
        while True:
            if not self._may_drain():
                await asyncio.sleep(LOOK_AGAIN_S)
            elif self._backlog_under_way >= int(self.pacer.window):
                self._answered.clear()
                await self._answered.wait()
            elif wait_ns := self.pacer.backlog_waits_ns(self._stopwatch_ns(), is_live_waiting=self._live_waiting > 0):
                await asyncio.sleep(min(wait_ns / NS_PER_S, LOOK_AGAIN_S))
            else:
                return

    async def _send_live(self, record: Stored, window: asyncio.Semaphore) -> None:
        """Tasks of this are made in the records' order, and reach the upstream in it."""
        began_ns = self._live_last_ns = self._stopwatch_ns()
        try:
            await self._send(record)
        finally:
            window.release()
        now_ns = self._live_last_ns = self._stopwatch_ns()
        self.pacer.live_answered(now_ns, now_ns - began_ns)
        self._answered.set()

    async def _send_backlog(self, record: Stored) -> None:
        try:
            await self._send(record)
        finally:
            self._backlog_under_way -= 1
            self._backlog.discard(record.key)
        self.pacer.backlog_answered(is_live_quiet=self._stopwatch_ns() - self._live_last_ns > QUIET_NS)
        self._answered.set()

    async def _fetch(self, lane: Lane, after: dict[str, tuple[int, int]], limit: int) -> list[Stored]:
        """The next records of a lane; moves `after` past them."""
        while True:
            try:
                records = await self._spool.next_records(lane, after, limit)
                break
            except StoreUnavailable:
                # The spool has said so; what it stored before is still to be sent once it can be read.
                await asyncio.sleep(STORE_RETRY_S)
        for record in records:
            after[record.key.stream] = (record.key.segment, record.key.sequence)
        return records


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    # A loop that was closed meanwhile has nothing left to wake.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(event.set)
