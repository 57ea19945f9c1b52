"""The way out, wired: for each uplink a spool with its thread, and the delivery that empties it.

`spool.db` lives as long as the daemon, uplink or not: it also keeps what the gateway must remember over restarts.
Further uplinks have a spool file of their own (`gateway.runtime.spoolfiles`), and share nothing with one another but
the drafts (`gateway.runtime.fan`). A delivery is replaced when a reload changes its uplink; what waits stays.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path

from gateway.core.backoff import Backoff
from gateway.core.calendar import Calendar
from gateway.core.encode import Encoder, envelope
from gateway.core.events import Event, Severity
from gateway.core.model import Model
from gateway.core.pacing import Pace
from gateway.core.ports import Resized, Upstream, as_given
from gateway.core.pressure import Step
from gateway.core.readings import Measured
from gateway.core.symbols import TextOf
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.runtime.clock import EngineClock
from gateway.runtime.delivery import Delivery
from gateway.runtime.edgenode import surroundings
from gateway.runtime.encoding import encoded
from gateway.runtime.eventbook import EventBook
from gateway.runtime.fan import Branch, EncodedOnce, Fan
from gateway.runtime.letters import Letters
from gateway.runtime.spoolfiles import OWNER_KEY, left_behind, next_owner, own_file, owner_of
from gateway.runtime.statedir import SPOOL_FILE
from gateway.runtime.supervisor import Supervisor
from gateway.serving.http.status import UplinkState
from gateway.settings.schema import (
    FileAddress,
    Hours,
    HttpAddress,
    NatsAddress,
    ParquetAddress,
    SparkplugAddress,
    Uplink,
)
from gateway.settings.schema_uplink import KafkaAddress
from gateway.spool.checkpoints import noted_outputs
from gateway.spool.records import Grace, StoreUnavailable
from gateway.spool.salvage import damage, salvage
from gateway.spool.store import Store
from gateway.spool.thread import Died, nobody
from gateway.spool.worker import SpoolStopped, SpoolWorker
from gateway.upstreams import file, http, mqtt, nats, parquet, sparkplug
from gateway.upstreams.kafka import upstream as kafka
from gateway.upstreams.sparkplug import Surroundings

RETRY = Backoff(base_ns=500 * NS_PER_MS, cap_ns=15 * NS_PER_S)
LEASE_KEY = "engine_time_ns"
LEASE_EVERY_S = 2.0
UNUSED_BYTES_MAX = 1_000_000
"""The spool's cap without an uplink: nothing is put into it then."""
SPOOL_STOP_S = 1.5
SEND_LAST_S = 1.0
LOOK_EVERY_S = 0.02


def open_first(state_dir: Path, uplinks: Sequence[Uplink]) -> Store:
    """`spool.db`. Raises as `open_store`."""
    owner = next_owner(state_dir, owner_of(state_dir), [uplink.name for uplink in uplinks])
    return open_store(state_dir / SPOOL_FILE, next((uplink for uplink in uplinks if uplink.name == owner), None))


def open_store(path: Path, uplink: Uplink | None) -> Store:
    """Raises StoreUnavailable when the file cannot be used, StoreRefused when a newer fieldgate wrote it."""
    reason = damage(path)
    salvaged = str(salvage(path, reason)) if reason else ""
    bytes_max = uplink.buffer_bytes_max if uplink else UNUSED_BYTES_MAX
    grace = _grace(uplink) if uplink else Grace()
    return Store(path, bytes_max=bytes_max, grace=grace, salvaged=salvaged, goes_on=True)


def _grace(uplink: Uplink) -> Grace:
    return Grace(uplink.grace_ns, uplink.grace_bytes_max)


def _session(
    uplink: Uplink, clock: EngineClock, around: Surroundings, resized: Resized = as_given
) -> AbstractAsyncContextManager[Upstream]:
    """One session with the other end, of whatever kind it is, in the form that it wants."""
    session = _plain_session(uplink, clock, around, resized)
    return session if uplink.form.is_canonical else encoded(session, uplink.form, resized)


def _plain_session(
    uplink: Uplink, clock: EngineClock, around: Surroundings, resized: Resized
) -> AbstractAsyncContextManager[Upstream]:
    address, timeout_ns, form = uplink.address, uplink.acknowledge_timeout_ns, uplink.form
    if isinstance(address, FileAddress):
        return file.connect(address)
    if isinstance(address, ParquetAddress):
        return parquet.connect(address, wall_ns=time.time_ns)
    if isinstance(address, SparkplugAddress):
        return sparkplug.connect(address, acknowledge_timeout_ns=timeout_ns, around=around, resized=resized)
    if isinstance(address, HttpAddress):
        offset_ns = clock.wall_offset_ns
        return http.connect(
            address, acknowledge_timeout_ns=timeout_ns, wall_offset_ns=offset_ns, form=form, resized=resized
        )
    if isinstance(address, KafkaAddress):
        streams = tuple(map(str, uplink.streams))
        return kafka.connect(address, topic=uplink.topic, streams=streams, acknowledge_timeout_ns=timeout_ns, form=form)
    if isinstance(address, NatsAddress):
        return nats.connect(address, subject=uplink.topic, acknowledge_timeout_ns=timeout_ns, form=form)
    return mqtt.connect(address, topic=uplink.topic, acknowledge_timeout_ns=timeout_ns, form=form)


def _is_within(hours: Hours | None) -> bool:
    """Whether local clocks show a time in this span."""
    if hours is None:
        return True
    now_s = Calendar(hours.zone).second_of_day(time.time_ns())
    if hours.start_s < hours.end_s:
        return hours.start_s <= now_s < hours.end_s
    return now_s >= hours.start_s or now_s < hours.end_s


class Way:
    """The spools and what empties them. `worker` is that of `spool.db`, which is there with or without an uplink."""

    def __init__(self, store: Store, *, gateway_id: str, clock: EngineClock, book: EventBook, text_of: TextOf) -> None:
        self._state_dir = store.path.parent
        self._gateway_id = gateway_id
        self._clock = clock
        self._book = book
        self._text_of = text_of
        self._model = Model((), ())
        self._encoder = Encoder(self._model, text_of)
        self._encoded_once = EncodedOnce(lambda draft: self._encoder(draft))
        self._owner = store.read_meta(OWNER_KEY, "")
        self._died: Died = nobody
        first = self._branch(store)
        self.worker = first.worker
        self.fan = Fan(first)
        self._branches: dict[str, Branch] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._settings: dict[str, Uplink] = {}
        self.letters = Letters(self._state_dir, clock=clock, emit=book.emit)

    def start(self, supervisor: Supervisor, died: Died = nobody) -> None:
        """`died` is told of a spool's thread that ends by itself, now or later."""
        self._died = self.worker.died = died
        self.worker.start()
        self.letters.start()
        supervisor.start("engine time lease", self._keep_lease)

    async def use(self, model: Model) -> None:
        """From now on records are of this model; those of the one before are all stored first."""
        if model is self._model:
            return
        for branch in self.fan.branches:
            await branch.worker.flush()
        self._encoder, self._model = Encoder(model, self._text_of), model

    async def open(self, uplinks: Sequence[Uplink]) -> None:
        """Have a spool for each of these, beside those there are. Raises StoreRefused or StoreUnavailable."""
        names = [uplink.name for uplink in uplinks]
        owner = next_owner(self._state_dir, self._owner, names)
        for uplink in uplinks:
            if uplink.name not in self._branches:
                self._branches[uplink.name] = await self._opened(uplink, owns_first=uplink.name == owner)
            branch = self._branches[uplink.name]
            branch.streams = frozenset(map(str, uplink.streams))
            limits = uplink.buffer_bytes_max, _grace(uplink), uplink.free_disk_bytes_min, uplink.age_ns_max
            branch.worker.limit(*limits)
        self._spread()

    async def _opened(self, uplink: Uplink, *, owns_first: bool) -> Branch:
        if owns_first:
            first = self.fan.branches[0]
            self._branches = {name: branch for name, branch in self._branches.items() if branch is not first}
            self._owner = first.worker.uplink = uplink.name
            self.worker.write_meta(OWNER_KEY, uplink.name)
            return first
        path = own_file(self._state_dir, uplink.name)
        branch = self._branch(await asyncio.to_thread(open_store, path, uplink), uplink.name)
        branch.worker.died = self._died
        branch.worker.start()
        return branch

    def _branch(self, store: Store, name: str = "") -> Branch:
        if store.salvaged:
            self._say(Severity.ERROR, "spool.salvaged", "spool", store.salvaged)
        worker = SpoolWorker(
            store=store,
            encode=self._encoded_once,
            names_of=lambda draft: self._encoder.names(draft),
            now_ns=self._clock,
            emit=self._book.emit,
            uplink=name,
        )
        return Branch(worker, stored=noted_outputs(store.connection))

    def _spread(self) -> None:
        first = self.fan.branches[0]
        self.fan.branches = (first, *(branch for branch in self._branches.values() if branch is not first))

    async def connect(self, uplinks: Sequence[Uplink], supervisor: Supervisor) -> None:
        """Deliver to these from now on, and to no others. Sessions with those that are as they were go on."""
        await self.open(uplinks)
        wanted = {uplink.name: uplink for uplink in uplinks}
        for name in [name for name, settings in self._settings.items() if wanted.get(name) != settings]:
            await supervisor.stop(f"uplink {name}")
            del self._deliveries[name], self._settings[name]
        for name in [name for name in self._branches if name not in wanted]:
            await self._close(name)
        for uplink in uplinks:
            if uplink.name not in self._deliveries:
                self._deliveries[uplink.name] = delivery = self._delivery(uplink)
                self._settings[uplink.name] = uplink
                supervisor.start(f"uplink {uplink.name}", delivery.run)
        self._tell_left_behind([*wanted])

    def _tell_left_behind(self, names: Sequence[str]) -> None:
        left = {path.stem.removeprefix("spool-"): path for path in left_behind(self._state_dir, names)}
        if self._owner and self._owner not in names and self.worker.depth():
            left[self._owner] = self._state_dir / SPOOL_FILE
        for name, path in left.items():
            what = f"holds records of uplink {name}, which is not in the configuration"
            self._say(Severity.WARNING, "spool.left", name, f"{path} {what}; put it back to have them delivered")

    async def _close(self, name: str) -> None:
        """What waits for an uplink that was taken out stays in its file."""
        branch = self._branches.pop(name)
        if branch is self.fan.branches[0]:
            branch.streams = frozenset()
            return
        self._spread()
        if not await asyncio.to_thread(branch.worker.stop, SPOOL_STOP_S):
            raise TimeoutError(f"the spool of {name} did not reach the disk within {SPOOL_STOP_S:g} s")

    def _delivery(self, uplink: Uplink) -> Delivery:
        # Gateways and uplinks that lost one network must not all come back at the same instant.
        seed = zlib.crc32(f"{self._gateway_id}/{uplink.name}".encode())
        worker = self._branches[uplink.name].worker
        around = surroundings(worker, lambda: self.letters.plant, self._clock, self._text_of)
        delivery = Delivery(
            gateway_id=self._gateway_id,
            name=uplink.name,
            spool=worker,
            connect=lambda: _session(uplink, self._clock, around, delivery.resized),
            envelope=envelope,
            retry_after_ns=lambda failures: RETRY.delay_ns(failures, seed),
            pace=Pace(uplink.drain_records_per_s, uplink.bandwidth_bytes_per_s, uplink.drain_share),
            may_drain=partial(_is_within, uplink.drain_between),
            now_ns=self._clock,
            emit=self._book.emit,
        )
        return delivery

    async def stop(self, supervisor: Supervisor) -> None:
        await asyncio.gather(*(self._send_last(name, each) for name, each in self._deliveries.items()))
        await supervisor.stop(*(f"uplink {name}" for name in self._deliveries), "engine time lease")
        await self.letters.stop()
        self.worker.write_meta(LEASE_KEY, str(self._clock()))
        # A checkpoint on its way wanders from the last one to the first.
        for branch in reversed(self.fan.branches):
            if not await asyncio.to_thread(branch.worker.stop, SPOOL_STOP_S):
                raise TimeoutError(f"the spool did not reach the disk within {SPOOL_STOP_S:g} s")

    async def _send_last(self, name: str, delivery: Delivery) -> None:
        """Give what was made last a moment to arrive; what does not waits in the spool for the next start."""
        worker = self._branches[name].worker
        with suppress(TimeoutError, StoreUnavailable, SpoolStopped):
            async with asyncio.timeout(SEND_LAST_S):
                await worker.flush()
                await asyncio.sleep(LOOK_EVERY_S)
                while delivery.is_up and worker.depth():
                    await asyncio.sleep(LOOK_EVERY_S)

    def step(self) -> Step:
        """What the sources are to do: nothing while one uplink is at ease, since what another one sheds is its own."""
        return min((branch.worker.pressing.step for branch in self._branches.values()), default=Step.CALM)

    def depth(self) -> int:
        """Records that wait, for all uplinks together."""
        return sum(branch.worker.depth() for branch in self.fan.branches)

    def states(self) -> tuple[UplinkState, ...]:
        """Any thread; in the configuration's order."""
        return tuple(
            _state(delivery, self._branches[name].worker, self._settings[name].buffer_bytes_max)
            for name, delivery in tuple(self._deliveries.items())
        )

    def measured(self) -> Iterator[Measured]:
        for branch in self.fan.branches:
            yield branch.worker
        yield self.letters.store
        yield from tuple(self._deliveries.values())

    def _say(self, severity: Severity, kind: str, subject: str, message: str) -> None:
        self._book.emit(Event(self._clock(), severity, kind, subject, message))

    async def _keep_lease(self) -> None:
        while True:
            self.worker.write_meta(LEASE_KEY, str(self._clock.lease_ns()))
            await asyncio.sleep(LEASE_EVERY_S)


def _state(delivery: Delivery, worker: SpoolWorker, bytes_max: int) -> UplinkState:
    seen = worker.snapshot()
    return UplinkState(
        name=delivery.name,
        is_connected=delivery.is_up,
        since_ns=delivery.since_ns,
        detail=delivery.detail,
        waiting_records=seen.records,
        waiting_bytes=seen.bytes,
        bytes_max=bytes_max,
        oldest_ns=seen.oldest_ns[0] if seen.oldest_ns else None,
        segments=seen.segments_open + seen.segments_closed,
        delivered_records=delivery.acknowledged,
        dropped_records=sum(count for what, count in seen.counts.items() if what[0] == "dropped_records"),
        dropped_samples=sum(count for what, count in seen.counts.items() if what[0] == "dropped_samples"),
        pressure=worker.pressing.pressure,
        pressure_step=int(worker.pressing.step),
    )
