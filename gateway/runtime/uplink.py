"""The way out, wired: the spool's thread, and the delivery that empties it over the uplink's connection.

The spool lives as long as the daemon, uplink or not: it also keeps what the gateway must remember over restarts.
Delivery is replaced when a reload changes the uplink; what waits in the spool stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path

from gateway.core.backoff import Backoff
from gateway.core.encode import Encoder, envelope
from gateway.core.events import Event, Severity
from gateway.core.model import Model
from gateway.core.ports import Upstream
from gateway.core.readings import Measured
from gateway.core.record import RecordDraft
from gateway.core.symbols import TextOf
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.runtime.clock import EngineClock
from gateway.runtime.delivery import Delivery
from gateway.runtime.eventbook import EventBook
from gateway.runtime.letters import Letters
from gateway.runtime.statedir import SPOOL_FILE
from gateway.runtime.supervisor import Supervisor
from gateway.serving.http.status import UplinkState
from gateway.settings.schema import FileAddress, NatsAddress, Uplink
from gateway.spool.records import Grace, StoreUnavailable
from gateway.spool.salvage import damage, salvage
from gateway.spool.store import Store
from gateway.spool.worker import SpoolWorker
from gateway.upstreams import file, mqtt, nats

RETRY = Backoff(base_ns=500 * NS_PER_MS, cap_ns=15 * NS_PER_S)
LEASE_KEY = "engine_time_ns"
LEASE_EVERY_S = 2.0
UNUSED_BYTES_MAX = 1_000_000
"""The spool's cap without an uplink: nothing is put into it then."""
SPOOL_STOP_S = 1.5
SEND_LAST_S = 1.0
LOOK_EVERY_S = 0.02


def open_store(state_dir: Path, uplink: Uplink | None) -> Store:
    """Raises StoreUnavailable when the file cannot be used, StoreRefused when a newer fieldgate wrote it."""
    path = state_dir / SPOOL_FILE
    reason = damage(path)
    salvaged = str(salvage(path, reason)) if reason else ""
    bytes_max = uplink.buffer_bytes_max if uplink else UNUSED_BYTES_MAX
    grace = _grace(uplink) if uplink else Grace()
    return Store(path, bytes_max=bytes_max, grace=grace, salvaged=salvaged, goes_on=True)


def _grace(uplink: Uplink) -> Grace:
    return Grace(uplink.grace_ns, uplink.grace_bytes_max)


def _session(uplink: Uplink) -> AbstractAsyncContextManager[Upstream]:
    """One session with the other end, of whatever kind it is."""
    address, timeout_ns = uplink.address, uplink.acknowledge_timeout_ns
    if isinstance(address, FileAddress):
        return file.connect(address)
    if isinstance(address, NatsAddress):
        return nats.connect(address, subject=uplink.topic, acknowledge_timeout_ns=timeout_ns)
    return mqtt.connect(address, topic=uplink.topic, acknowledge_timeout_ns=timeout_ns)


class Way:
    """The spool and what empties it."""

    def __init__(self, store: Store, *, gateway_id: str, clock: EngineClock, book: EventBook, text_of: TextOf) -> None:
        self._gateway_id = gateway_id
        self._clock = clock
        self._book = book
        self._text_of = text_of
        self._encoder = Encoder(Model((), ()), text_of)
        self.worker = SpoolWorker(store=store, encode=self._encode, now_ns=clock, emit=book.emit)
        self.letters = Letters(store.path.parent, clock=clock, emit=book.emit)
        self.delivery: Delivery | None = None
        self._settings: Uplink | None = None
        if store.salvaged:
            book.emit(Event(clock(), Severity.ERROR, "spool.salvaged", "spool", store.salvaged))

    def start(self, supervisor: Supervisor) -> None:
        self.worker.start()
        self.letters.start()
        supervisor.start("engine time lease", self._keep_lease)

    async def use(self, model: Model) -> None:
        """From now on records are of this model; those of the one before are all stored first."""
        await self.worker.flush()
        self._encoder = Encoder(model, self._text_of)

    async def connect(self, uplink: Uplink | None, supervisor: Supervisor) -> None:
        """Deliver to this uplink from now on, to none if None."""
        if self.delivery is not None:
            await supervisor.stop("uplink")
            self.delivery = None
        self._settings = uplink
        if uplink is None:
            return
        self.worker.limit(uplink.buffer_bytes_max, _grace(uplink))
        self.delivery = Delivery(
            gateway_id=self._gateway_id,
            name=uplink.name,
            spool=self.worker,
            connect=partial(_session, uplink),
            envelope=envelope,
            retry_after_ns=RETRY.delay_ns,
            drain_records_per_s=uplink.drain_records_per_s,
            now_ns=self._clock,
            emit=self._book.emit,
        )
        supervisor.start("uplink", self.delivery.run)

    async def stop(self, supervisor: Supervisor) -> None:
        if self.delivery is not None:
            await self._send_last(self.delivery)
            await supervisor.stop("uplink")
        await supervisor.stop("engine time lease")
        await self.letters.stop()
        self.worker.write_meta(LEASE_KEY, str(self._clock()))
        if not await asyncio.to_thread(self.worker.stop, SPOOL_STOP_S):
            raise TimeoutError(f"the spool did not reach the disk within {SPOOL_STOP_S:g} s")

    async def _send_last(self, delivery: Delivery) -> None:
        """Give what was made last a moment to arrive; what does not waits in the spool for the next start."""
        with suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(SEND_LAST_S):
                await self.worker.flush()
                await asyncio.sleep(LOOK_EVERY_S)
                while delivery.is_up and self.worker.depth():
                    await asyncio.sleep(LOOK_EVERY_S)

    def state(self) -> UplinkState | None:
        if self.delivery is None or self._settings is None:
            return None
        seen = self.worker.snapshot()
        return UplinkState(
            name=self.delivery.name,
            is_connected=self.delivery.is_up,
            since_ns=self.delivery.since_ns,
            detail=self.delivery.detail,
            waiting_records=seen.records,
            waiting_bytes=seen.bytes,
            bytes_max=self._settings.buffer_bytes_max,
            oldest_ns=seen.oldest_ns[0] if seen.oldest_ns else None,
            segments=seen.segments_open + seen.segments_closed,
            delivered_records=self.delivery.acknowledged,
            dropped_records=sum(count for what, count in seen.counts.items() if what[0] == "dropped_records"),
        )

    def measured(self) -> Iterator[Measured]:
        yield self.worker
        yield self.letters.store
        if self.delivery is not None:
            yield self.delivery

    def _encode(self, draft: RecordDraft) -> bytes:
        return self._encoder(draft)

    async def _keep_lease(self) -> None:
        while True:
            self.worker.write_meta(LEASE_KEY, str(self._clock.lease_ns()))
            await asyncio.sleep(LEASE_EVERY_S)
