"""The spool thread: encodes, compresses and stores drafts, and serves the uplink.

Drafts come in by `put` from any thread into a bounded queue (`gateway.spool.queue` has its overflow rule). Commits are
grouped: the first draft after a pause waits `LINGER_NS` for its companions, further ones until `STORE_EVERY_NS` after
the last commit, a full group not at all. Acknowledgements go along, or by themselves every `COMMIT_EVERY_NS`.

The loop thread asks by coroutines (`next_records`); answers go back by `call_soon_threadsafe`. Requests, link changes
and acknowledgements are served in the order in which they were made.

When the store is unavailable (disk full, I/O error) the group in hand is kept and tried again every `RETRY_NS`; the
queue fills behind it and overflows by its rule. One event says so, one more that it is over.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

import numpy as np

from gateway.core.events import Emit, Event, Severity
from gateway.core.histogram import SIZE
from gateway.core.kernels.histogram import observe
from gateway.core.limits import SPOOL_GROUP_DRAFTS, SPOOL_QUEUE_DRAFTS
from gateway.core.ports import Clock
from gateway.core.readings import HistogramReading, Reading, histogram_reading
from gateway.core.record import RecordDraft
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.spool.backfill import STOP_S, Backfill
from gateway.spool.checkpoints import note_outputs
from gateway.spool.group import Encode as Encode
from gateway.spool.group import Group
from gateway.spool.metrics import METRICS, Snapshot, look
from gateway.spool.pressing import Pressing
from gateway.spool.queue import DraftQueue
from gateway.spool.records import Grace, Key, Lane, Stored, StoreDamaged, StoreUnavailable
from gateway.spool.requests import Companion, Request, SpoolStopped, answer, call, fail, nothing
from gateway.spool.sieve import NamesOf, own_names
from gateway.spool.store import Store
from gateway.spool.thread import DiskThread

T = TypeVar("T")

__all__ = ["METRICS", "SpoolStopped", "SpoolWorker"]

LINGER_NS: Final = 5 * NS_PER_MS
STORE_EVERY_NS: Final = 25 * NS_PER_MS
COMMIT_EVERY_NS: Final = 100 * NS_PER_MS
RETRY_NS: Final = NS_PER_S
IDLE_NS: Final = NS_PER_S


class SpoolWorker(DiskThread):
    """Owns `store` from `start` to `stop`. `now_ns` is engine time, `stopwatch_ns` measures and paces."""

    def __init__(
        self,
        *,
        store: Store,
        encode: Encode,
        now_ns: Clock,
        emit: Emit,
        stopwatch_ns: Clock = time.monotonic_ns,
        queue_max: int = SPOOL_QUEUE_DRAFTS,
        names_of: NamesOf = own_names,
        uplink: str = "",
    ) -> None:
        super().__init__("spool")
        self.uplink = uplink
        """Whose records these are, for its metrics and events."""
        self._store = store
        self._now_ns = now_ns
        self._emit = emit
        self._stopwatch_ns = stopwatch_ns
        # Shared between threads, under the condition.
        self._queue = DraftQueue(queue_max, names_of)
        self._queued_ns = 0
        self._requests: deque[Request] = deque()
        self._acknowledged: list[Key] = []
        self._meta: dict[str, str] = {}
        self._companion: Companion | None = None
        self._ended = False
        self._on_stored: Callable[[], None] = nothing
        # The spool thread's own.
        self._group = Group(encode, names_of)
        self.pressing = Pressing(store.path, now_ns=now_ns, emit=emit)
        """How near the spool is to what it can take, and what it does about it."""
        self._backfill = Backfill(store.path)
        self._available = True
        self._failures = 0
        self._link_up = False
        self._last_commit_ns = 0
        self._last_report_ns = 0
        self._commit_counts = np.zeros(SIZE, np.int64)
        self._snapshot, self._in_hand = look(self._store), 0

    # -- from any thread ----------------------------------------------------------------------------------------

    def put(self, draft: RecordDraft) -> None:
        with self._changed:
            if not self._queue:
                self._queued_ns = self._stopwatch_ns()
            self._queue.append(draft, self._now_ns())
            self._changed.notify()

    def acknowledge(self, keys: Iterable[Key]) -> None:
        with self._changed:
            self._acknowledged.extend(keys)
            self._changed.notify()

    def reject(self, key: Key, reason: str) -> None:
        self._post(lambda: self._store.reject(key, reason, self._now_ns()))

    def note_link(self, up: bool) -> None:
        """When a link comes up, segments with unacknowledged records are closed, so that live data need not wait."""
        self._post(lambda: self._link_changed(up))

    def write_meta(self, key: str, value: str) -> None:
        """Stored with the next commit, within a second at the latest; the last value of a key counts."""
        with self._changed:
            self._meta[key] = value

    async def read_meta(self, key: str, default: str) -> str:
        return await self._ask(lambda: self._store.read_meta(key, default))

    def accompany(self, companion: Companion) -> None:
        """Have this stored in one transaction with all drafts put before."""
        with self._changed:
            ended = self._ended
            if not ended:
                self._companion = companion
                self._changed.notify()
        if ended:
            companion.given_up()

    def begin_segments(self, ordinals: dict[str, int]) -> None:
        """What comes from now on does not go on from what is stored; `ordinals` are those of its last drafts."""
        self._post(lambda: self._begin_segments(ordinals))

    def listen(self, on_stored: Callable[[], None]) -> None:
        """Have `on_stored` called, in the spool thread, when there may be more to send."""
        with self._changed:
            self._on_stored = on_stored

    def listen_no_more(self) -> None:
        self.listen(nothing)

    async def next_records(self, lane: Lane, after: dict[str, tuple[int, int]], limit: int) -> list[Stored]:
        """See `Store.next_records`. Raises StoreUnavailable or SpoolStopped."""
        return await self._ask(lambda: self._next_records(lane, after, limit))

    async def flush(self) -> None:
        """Returns when everything put before is stored or dropped. Raises StoreUnavailable or SpoolStopped."""
        await self._ask(self._store_all)

    def depth(self) -> int:
        """Records and drafts that wait. Read in the order in which a draft moves, so that none slips through."""
        return len(self._queue) + self._in_hand + self._snapshot.records

    def has_room(self) -> bool:
        """Whether half of the queue is free, or nobody empties it: who makes drafts faster than any plant waits."""
        return self._ended or 2 * len(self._queue) < self._queue.capacity

    def snapshot(self) -> Snapshot:
        return self._snapshot

    def limit(self, bytes_max: int, grace: Grace, floor_bytes: int, age_ns_max: int = 0) -> None:
        """From the next commit on: what may wait, what is kept once acknowledged, what of the disk is to stay free, for
        how long anything may wait (0: for ever)."""
        self._store.bytes_max, self._store.grace, self._store.ageing.limit_ns = bytes_max, grace, age_ns_max
        self.pressing.floor_bytes = floor_bytes

    def readings(self) -> Iterator[Reading | HistogramReading]:
        whose = (("uplink", self.uplink),) if self.uplink else ()
        yield from self._snapshot.readings(whose)
        yield from self.pressing.readings(whose)
        yield Reading("fieldgate_spool_unavailable_total", self._failures, whose)
        yield Reading("fieldgate_spool_available", float(self._available), whose)
        yield Reading("fieldgate_spool_backfill_failures_total", self._backfill.failures, whose)
        yield Reading("fieldgate_spool_limit_bytes", self._store.bytes_max, whose)
        yield Reading("fieldgate_spool_queue_drafts", len(self._queue), whose)
        yield Reading("fieldgate_spool_oldest_age_seconds", self.oldest_age_s(), whose)
        yield histogram_reading("fieldgate_spool_commit_seconds", self._commit_counts, whose)

    def oldest_age_s(self) -> float:
        """How far upstream is behind: the age of the oldest record that it has not acknowledged."""
        oldest = self._snapshot.oldest_ns
        return max(0, self._now_ns() - oldest[0]) / NS_PER_S if oldest else 0.0

    def _post(self, serve: Callable[[], None]) -> None:
        with self._changed:
            self._requests.append(Request(serve, nothing))
            self._changed.notify()

    async def _ask(self, question: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[T] = loop.create_future()

        def serve() -> None:
            try:
                result = question()
            except StoreUnavailable as error:
                call(loop, fail, waiting, error)
                raise
            call(loop, answer, waiting, result)

        def refuse() -> None:
            call(loop, fail, waiting, SpoolStopped("the spool has stopped"))

        with self._changed:
            if self._ended:
                raise SpoolStopped("the spool has stopped")
            self._requests.append(Request(serve, refuse))
            self._changed.notify()
        return await waiting

    # -- the spool thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Until `stop`. What comes out is a programmer's error, or a file that somebody must look at."""
        try:
            self._backfill.start()
            while self._turn():
                pass
        except StoreDamaged:
            self._store.mark_damaged()
            raise
        finally:
            with self._changed:
                self._ended = True
                refused = list(self._requests)
                self._requests.clear()
                companion, self._companion = self._companion, None
            for request in refused:
                request.refuse()
            if companion is not None:
                companion.given_up()
            has_ended = self._backfill.stop(STOP_S)
            self._store.close()
            if has_ended:
                self._backfill.close()

    def _turn(self) -> bool:
        with self._changed:
            if not self._requests and not self._stopping:
                self._changed.wait(self._wait_s())
            stopping = self._stopping
            requests = list(self._requests)
            due = self._wait_s() <= 0
        for request in requests:
            self._try(request.serve)
            self._requests.popleft()  # not before: whoever asked what this thread dies of is refused an answer
        if stopping:
            self._try(self._store_all)
            self._tell_lost()
        elif due:
            self._try(self._store_group)
        if requests or due or stopping:
            self._snapshot = seen = look(self._store)
            self._in_hand = len(self._group)
            if news := self._store.ageing.news(seen.counts, seen.oldest_ns, self._now_ns()):
                self._say(Severity.WARNING, "spool.expired", f"{news}, the oldest first; the loss ledger has them")
        return not stopping

    def _wait_s(self) -> float:
        """How long until a commit is due."""
        now = self._stopwatch_ns()
        if not self._available:
            due = self._last_commit_ns + RETRY_NS
        elif len(self._queue) >= SPOOL_GROUP_DRAFTS:
            due = now
        elif self._queue or self._group:
            due = max(self._queued_ns + LINGER_NS, self._last_commit_ns + STORE_EVERY_NS)
        elif self._acknowledged or self._companion is not None:
            due = max(self._queued_ns + LINGER_NS, self._last_commit_ns + COMMIT_EVERY_NS)
        else:
            due = self._last_commit_ns + IDLE_NS
        return max(0, due - now) / NS_PER_S

    def _try(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except StoreUnavailable as error:
            self._failures += 1
            self._backfill.want()
            if self._available:
                self._available = False
                self._say(Severity.ERROR, "spool.unavailable", f"{error}; records wait in memory")

    def _store_all(self) -> None:
        self._store_group()
        while self._group or self._queue:
            self._store_group()

    def _store_group(self) -> None:
        """One transaction: acknowledgements, losses, the group, what else has come up."""
        with self._changed:
            acknowledged, self._acknowledged = self._acknowledged, []
            meta, self._meta = self._meta, {}
            dropped, fill = self._queue.take_left_out(), len(self._queue) / self._queue.capacity
            self._in_hand += len(self._queue)  # at most so many of them are taken
            drafts = self._queue.take(SPOOL_GROUP_DRAFTS - len(self._group))
            companion = None if self._queue else self._companion
            self._queued_ns = self._stopwatch_ns()
        self.pressing.look(fill, self._store.totals.fill(self._store.bytes_max), self._queued_ns, self._subject)
        self._group.take_in(drafts, dropped, self.pressing, self._now_ns())
        losses = self._group.take_losses()
        if companion is not None:
            companion.prepare()
        started_ns = self._stopwatch_ns()
        self._last_commit_ns = started_ns
        try:
            if self._backfill.take_done():
                self._store.finish_backfill()
            if self._available and (news := self._backfill.news()):
                self._say(Severity.ERROR, "spool.backfill", f"{self._store.path}: {news}")
            if not self._available:
                # Deleting makes room, and must not depend on whether the group fits.
                self._store.acknowledge(acknowledged, self._now_ns())
                acknowledged = []
            with self._store.transaction():
                self._store.acknowledge(acknowledged, self._now_ns())
                for loss in losses:
                    self._store.record_loss(loss)
                for key, value in meta.items():
                    self._store.write_meta(key, value)
                self._store.append(self._group.encoded, self._now_ns())
                note_outputs(self._store.connection, self._group.ordinals)
                if companion is not None:
                    companion.write(self._store.connection)
                self._store.expire(self._now_ns())
                reported = self._report_losses(started_ns)
        except StoreUnavailable:
            with self._changed:
                self._acknowledged[:0] = acknowledged
                self._meta = meta | self._meta
            self._group.give_back(losses)
            raise
        self._backfill.committed(sum(len(each.body) for each in self._group.encoded))
        stored = len(self._group) + reported
        self._group.stored()
        self._last_commit_ns = self._stopwatch_ns()
        observe(self._commit_counts, self._last_commit_ns - started_ns)
        if not self._available:
            self._available = True
            self._backfill.forgive()
            self._say(Severity.NOTICE, "spool.available", f"{self._store.path}: records are stored again")
        if companion is not None:
            with self._changed:
                self._companion = None if self._companion is companion else self._companion
            companion.stored(self._store.connection)
        if stored:
            self._on_stored()

    def _begin_segments(self, ordinals: dict[str, int]) -> None:
        self._store_all()
        with self._store.transaction():
            self._store.close_open_segments()
            note_outputs(self._store.connection, ordinals)

    def _next_records(self, lane: Lane, after: dict[str, tuple[int, int]], limit: int) -> list[Stored]:
        records = self._store.next_records(lane, after, limit)
        damaged = self._store.drop_damaged(self._now_ns())
        if damaged:
            first = f"{damaged[0].stream} {damaged[0].segment}/{damaged[0].sequence}"
            what = f"{len(damaged)} records were damaged on the disk, first {first}"
            self._say(Severity.ERROR, "spool.damaged", f"{what}; they are in the loss ledger, look at the disk")
        return records

    def _report_losses(self, now_ns: int) -> int:
        """While the link is down lines are drawn together; one report a second when it is up, fewer when refused."""
        if not self._link_up or now_ns - self._last_report_ns < self._store.reporting.wait_ns:
            return 0
        self._last_report_ns = now_ns
        return self._store.report_losses(self._now_ns())

    def _link_changed(self, up: bool) -> None:
        self._link_up = up
        if not up:
            return
        self._store.reporting.taken()  # who comes back may take what they refused
        self._store_group()
        self._store.close_waiting_segments()
        self._on_stored()

    def _tell_lost(self) -> None:
        lost = len(self._group) + len(self._queue)
        if lost:
            self._say(Severity.ERROR, "spool.lost", f"stopped with {lost} records that could not be stored")

    def _say(self, severity: Severity, kind: str, message: str) -> None:
        self._emit(Event(self._now_ns(), severity, kind, self._subject, message))

    @property
    def _subject(self) -> str:
        return f"spool {self.uplink}" if self.uplink else "spool"
