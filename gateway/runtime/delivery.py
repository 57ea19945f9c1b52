"""Delivery: takes what the spool holds to the upstream, each record until it is acknowledged.

Two pumps share a session (`gateway.runtime.pumps`): one sends the records of open segments as they are stored, the
other those of closed segments, in order, at a pace that never holds up what happens now.

When segments are closed: at the moment a session is established, each stream's open segment that has unacknowledged
records. So one outage makes one closed segment a stream, with what was under way when the link went and all that was
stored since; what is stored from then on goes into a new one. Records without acknowledgement are sent again from
the first, byte-identical. While SEGMENTS_MAX segments of a stream wait, or the disk takes nothing, an outage goes on in
the segment it has, and the live pump sends it.

What ends a session (`LinkDown`, or a record that the upstream wants later) ends it for both pumps; the next attempt
follows after a back-off that starts again only when what was under way then is answered. One event for each change of
the link.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from enum import Enum
from functools import partial
from typing import Final, TypeAlias

import numpy as np

from gateway.core.events import Emit, Event, Severity
from gateway.core.histogram import SIZE
from gateway.core.kernels.histogram import observe
from gateway.core.limits import SEGMENTS_MAX
from gateway.core.pacing import Pace
from gateway.core.ports import Answer, Clock, LinkDown, Refusal, Upstream, Verdict
from gateway.core.readings import HistogramReading, Reading, histogram_reading
from gateway.core.record import Identity, Stream
from gateway.core.setbacks import Setbacks
from gateway.core.types import NS_PER_S
from gateway.runtime.pumps import Pumps
from gateway.spool.records import Key, Stored
from gateway.spool.worker import SpoolStopped, SpoolWorker

Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[Upstream]]
Envelope: TypeAlias = Callable[[Identity, bytes], bytes]
RetryAfter: TypeAlias = Callable[[int], int]
"""Nanoseconds to wait after so many failures in a row (1 or more)."""

REASON_CHARACTERS_MAX: Final = 500
"""Of what an upstream says about a record that it refuses."""
REFUSALS_TOLD_EVERY_NS: Final = 600 * NS_PER_S
"""Of one stream, where records that are refused lie between others that are taken."""
RETRY_AFTER_MAX_NS: Final = 600 * NS_PER_S
"""An upstream that asks to be left alone for longer is tried after this all the same."""
SEGMENTS_REMEMBERED: Final = SEGMENTS_MAX * len(Stream) * 2

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_uplink_connected", "gauge", "1 while a session with the upstream stands."),
    ("fieldgate_uplink_sent_records_total", "counter", "Records handed to the link, each time it was."),
    ("fieldgate_uplink_resent_records_total", "counter", "Records handed to the link again since the start."),
    ("fieldgate_uplink_acknowledged_records_total", "counter", "Records that the upstream acknowledged."),
    ("fieldgate_uplink_rejected_records_total", "counter", "Records that the upstream refused for ever."),
    ("fieldgate_uplink_in_flight_records", "gauge", "Records sent and not yet answered."),
    ("fieldgate_uplink_outages_total", "counter", "Sessions that were lost."),
    ("fieldgate_uplink_connect_failures_total", "counter", "Attempts to connect that failed."),
    ("fieldgate_uplink_outage_seconds_total", "counter", "Time without a session, the present outage included."),
    ("fieldgate_uplink_lag_seconds", "gauge", "Age of the oldest record that upstream has not acknowledged."),
    ("fieldgate_uplink_sent_bytes_total", "counter", "Bytes of records, as they went to the link."),
    ("fieldgate_uplink_in_flight_age_seconds", "gauge", "For how long the oldest record sent has not been answered."),
    (
        "fieldgate_uplink_drain_window_records",
        "gauge",
        "Records of the backlog that may be under way.",
    ),
    ("fieldgate_uplink_acknowledge_seconds", "histogram", "From handing a record to the link to the answer."),
)


def always() -> bool:
    return True


def _first(group: BaseExceptionGroup[LinkDown]) -> LinkDown:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


class Link(Enum):
    STARTING = "starting"
    """No attempt has ended yet."""
    UP = "up"
    DOWN = "down"


class Delivery:
    """One uplink. `envelope` puts an identity in front of a body; `connect` makes one session."""

    def __init__(
        self,
        *,
        gateway_id: str,
        name: str,
        spool: SpoolWorker,
        connect: Connect,
        envelope: Envelope,
        retry_after_ns: RetryAfter,
        pace: Pace,
        now_ns: Clock,
        emit: Emit,
        may_drain: Callable[[], bool] = always,
        stopwatch_ns: Clock = time.monotonic_ns,
    ) -> None:
        self.name = name
        self._gateway_id = gateway_id
        self._spool = spool
        self._connect = connect
        self._envelope = envelope
        self._retry_after_ns = retry_after_ns
        self._pace = pace
        self._may_drain = may_drain
        self._stopwatch_ns = stopwatch_ns
        self._pumps: Pumps | None = None
        self._now_ns = now_ns
        self._emit = emit
        self._link = Link.STARTING
        self._down_since_ns = now_ns()
        self._up_since_ns = 0
        self._detail = "connecting"
        self._outage_ns = 0
        self._outages = 0
        self._connect_failures = 0
        self._setbacks: Setbacks[Key] = Setbacks()
        self._sent_up_to: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._sent = 0
        self._resent = 0
        self._acknowledged = 0
        self._rejected = 0
        self._refused_last: set[str] = set()
        self._told_refused_ns: dict[str, int] = {}
        self._sent_bytes = 0
        self._under_way: dict[Key, int] = {}
        self._answers = np.zeros(SIZE, np.int64)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            began_ns = self._stopwatch_ns()
            end = await self._session()
            self._setbacks.ended(self._stopwatch_ns() - began_ns)
            self._note_down(str(end))
            asked_ns = min(end.retry_after_ns, RETRY_AFTER_MAX_NS)
            await asyncio.sleep(max(asked_ns, self._retry_after_ns(self._setbacks.failures)) / NS_PER_S)

    async def _session(self) -> LinkDown:
        """One session from connecting to its end; returns what ended it."""
        end = LinkDown("", "")
        try:
            async with self._connect() as upstream:
                self._note_up()
                self._pumps = Pumps(
                    spool=self._spool,
                    send=partial(self._send, upstream),
                    pace=self._pace,
                    may_drain=self._may_drain,
                    stopwatch_ns=self._stopwatch_ns,
                )
                await self._pumps.run()
        except* LinkDown as downs:
            end = _first(downs)
        except* SpoolStopped:
            end = LinkDown(f"{self.name}: the spool has stopped", "the gateway ends")
        return end

    async def _send(self, upstream: Upstream, record: Stored) -> None:
        """Called in the records' order, and reaches `upstream.send` in it."""
        identity = Identity(self._gateway_id, *record.key, is_asked=record.is_asked)
        payload = self._envelope(identity, record.body)
        self._count_sent(identity)
        self._sent_bytes += len(record.body)
        self.resized(identity, len(payload) - len(record.body))
        self._under_way[record.key] = began_ns = self._stopwatch_ns()
        answer: Answer = Verdict.RETRY
        try:
            answer = await upstream.send(identity, payload)
        finally:
            del self._under_way[record.key]
            if answer is Verdict.RETRY:
                self._setbacks.left(record.key)
        observe(self._answers, self._stopwatch_ns() - began_ns)
        if answer is Verdict.RETRY:
            raise LinkDown(f"{self.name}: the upstream does not take records now", "look into its log and its limits")
        self._setbacks.answered(record.key)
        if isinstance(answer, Refusal):
            self._rejected += 1
            self._note_rejected(identity, len(record.body), answer.reason)
            self._spool.reject(record.key, answer.reason[:REASON_CHARACTERS_MAX])
            return
        self._acknowledged += 1
        self._refused_last.discard(identity.stream)
        self._spool.acknowledge([record.key])

    def resized(self, identity: Identity, more: int) -> None:
        """A record that is handed to the link has so many bytes more than were counted (`core.ports.Resized`)."""
        self._sent_bytes += more
        if self._pumps is not None:
            self._pumps.resized(Key(identity.stream, identity.segment, identity.sequence), more)

    def _count_sent(self, identity: Identity) -> None:
        self._sent += 1
        segment = (identity.stream, identity.segment)
        sent_up_to = self._sent_up_to.get(segment, 0)
        if identity.sequence <= sent_up_to:
            self._resent += 1
            return
        self._sent_up_to[segment] = identity.sequence
        self._sent_up_to.move_to_end(segment)
        if len(self._sent_up_to) > SEGMENTS_REMEMBERED:
            self._sent_up_to.popitem(last=False)

    def _note_up(self) -> None:
        outage_ns = self._now_ns() - self._down_since_ns
        self._outage_ns += outage_ns
        started = self._link is Link.STARTING
        self._link = Link.UP
        self._up_since_ns = self._now_ns()
        self._detail = "connected"
        self._spool.note_link(True)
        waiting = self._spool.depth()
        after = "" if started else f" after {outage_ns / NS_PER_S:.1f} s"
        self._say(Severity.NOTICE, "uplink.up", f"connected{after}; {waiting} records wait")

    def _note_down(self, reason: str) -> None:
        before, self._link = self._link, Link.DOWN
        self._detail = reason
        if before is Link.UP:
            self._outages += 1
            self._down_since_ns = self._now_ns()
            self._spool.note_link(False)
        else:
            self._connect_failures += 1
        if before is not Link.DOWN:
            self._say(Severity.WARNING, "uplink.down", f"{reason}; records wait in the spool")

    def _note_rejected(self, identity: Identity, size: int, reason: str) -> None:
        """By stream: one that is refused as a whole is told once, one in which some are every now and then."""
        is_going_on = identity.stream in self._refused_last
        self._refused_last.add(identity.stream)
        told_ns, now_ns = self._told_refused_ns.get(identity.stream), self._now_ns()
        if is_going_on or (told_ns is not None and now_ns - told_ns < REFUSALS_TOLD_EVERY_NS):
            return
        self._told_refused_ns[identity.stream] = now_ns
        place = f"{identity.stream} {identity.segment}/{identity.sequence}"
        self._say(
            Severity.ERROR,
            "uplink.rejected",
            f"the upstream refuses records for ever, first {place} of {size} bytes ({reason[:REASON_CHARACTERS_MAX]});"
            " they are kept as dead letters: fieldgate dead-letters list",
        )

    def _say(self, severity: Severity, kind: str, message: str) -> None:
        self._emit(Event(self._now_ns(), severity, kind, self.name, message))

    @property
    def is_up(self) -> bool:
        return self._link is Link.UP

    @property
    def since_ns(self) -> int:
        """When the link came up, or went down."""
        return self._up_since_ns if self.is_up else self._down_since_ns

    @property
    def detail(self) -> str:
        """One sentence: mostly why it is down."""
        return self._detail

    @property
    def acknowledged(self) -> int:
        return self._acknowledged

    def readings(self) -> Iterator[Reading | HistogramReading]:
        labels = (("uplink", self.name),)
        under_way = tuple(self._under_way.values())
        is_up = self._link is Link.UP
        outage_ns = self._outage_ns + (0 if is_up else self._now_ns() - self._down_since_ns)
        values = (
            float(is_up),
            self._sent,
            self._resent,
            self._acknowledged,
            self._rejected,
            len(self._under_way),
            self._outages,
            self._connect_failures,
            outage_ns / NS_PER_S,
            self._spool.oldest_age_s(),
            self._sent_bytes,
            (self._stopwatch_ns() - min(under_way)) / NS_PER_S if under_way else 0.0,
            self._pumps.pacer.window if is_up and self._pumps else 0.0,
        )
        for (name, _, _), value in zip(METRICS[:-1], values, strict=True):
            yield Reading(name, value, labels)
        yield histogram_reading(METRICS[-1][0], self._answers, labels)
