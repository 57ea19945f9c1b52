"""The daemon: one process from the first line of the log to the last.

Order of start: state on disk, engine time, http, engine and kernels, the replay beside the rest of the plant, the way
out, READY. Order of stop: sources, loops (to what they declare), engine, delivery, spool. Whatever hangs is left behind
after its time-out, so that the whole leaves within five seconds of SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Mapping
from functools import partial

import msgspec

from gateway.core.events import Event, Severity
from gateway.core.readings import Measured
from gateway.core.symbols import Symbols
from gateway.runtime import garbage
from gateway.runtime.building import Builder
from gateway.runtime.clock import EngineClock
from gateway.runtime.continuity import Continuity
from gateway.runtime.eventbook import EventBook
from gateway.runtime.groundwork import Groundwork
from gateway.runtime.historian import Historian
from gateway.runtime.holdingon import hold_on
from gateway.runtime.lookback import reads
from gateway.runtime.operating import operators
from gateway.runtime.plant import Plant
from gateway.runtime.referencing import ReferenceWatch
from gateway.runtime.reload import Changes, Foreseen, compare, foresee
from gateway.runtime.reloading import Reloading
from gateway.runtime.reloads import Reloads
from gateway.runtime.schooling import Nothing
from gateway.runtime.status import LinkStates, Progress, RuntimeStatus
from gateway.runtime.supervisor import Supervisor
from gateway.runtime.systemd import Notifier, Watchdog, WatchdogTimeout
from gateway.runtime.uplink import Way
from gateway.runtime.wearing import Wearing
from gateway.runtime.web import Web
from gateway.serving.http.server import HttpServerFailed
from gateway.serving.http.status import Phase
from gateway.serving.operator.messages import Answered
from gateway.serving.operator.server import Action, Asker
from gateway.serving.scada.lock import LockError
from gateway.serving.scada.map import MapError
from gateway.serving.scada.server import ListenError
from gateway.settings.load import load
from gateway.settings.problems import ConfigurationError
from gateway.settings.schema import Settings
from gateway.spool.records import StoreDamaged, StoreRefused, StoreUnavailable
from gateway.spool.requests import SpoolStopped
from gateway.writing.audit import Trail

EXIT_OK = 0
EXIT_FAILED = 1
STATUS_EVERY_S = 5.0
HISTORY_STOP_S = 0.5
PRESS_EVERY_S = 0.2

START_FAILURES = (
    ListenError, HttpServerFailed, LockError, MapError, StoreRefused, StoreUnavailable, SpoolStopped, OSError,
)  # fmt: skip
"""What may be wrong with the machine at start: each says what and what to do, in one line."""


class Daemon:
    """One run. `environment` is the process's, `way` owns the state on disk."""

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        *,
        loop: asyncio.AbstractEventLoop,
        clock: EngineClock,
        book: EventBook,
        link_states: LinkStates,
        symbols: Symbols,
        way: Way,
        groundwork: Groundwork,
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._loop = loop
        self._clock = clock
        self._book = book
        self._link_states = link_states
        self._symbols = symbols
        self._way = way
        self._continuity = Continuity(
            settings,
            now_ns=clock,
            emit=book.emit,
            fan=way.fan,
            symbols=symbols,
            use=lambda model: asyncio.run_coroutine_threadsafe(way.use(model), loop).result(),
            died=self._thread_died,
        )
        self._trail = Trail(settings.state_dir, wall_ns=time.time_ns, now_ns=clock, emit=book.emit)
        self._reloads = Reloads(time.time_ns)
        self._builder = Builder(
            clock=clock, book=book, symbols=symbols, trail=self._trail, hand_on=self._continuity.take,
            died=self._thread_died, keep=way.letters.keep, groundwork=groundwork,
        )  # fmt: skip
        self._supervisor = Supervisor(now_ns=clock, emit=book.emit)
        self._notifier = Notifier(environment)
        self._watchdog = Watchdog(
            notifier=self._notifier, timeout=WatchdogTimeout.from_environment(environment, pid=os.getpid())
        )
        self._progress = Progress()
        self._reference = ReferenceWatch(settings, now_ns=clock, emit=book.emit)
        self._reloading = Reloading(
            settings.path, self._progress, uplinks=way.states, trail=self._trail, reloads=self._reloads,
            due=self._reference.whole, now_ns=clock, emit=book.emit,
        )  # fmt: skip
        history = reads(settings.state_dir) if settings.history_bytes_max else None
        self._web = Web(self._trail, loop=loop, now_ns=clock, emit=book.emit, read_history=history)
        self._operator, self._schooling = operators(
            settings.state_dir,
            lambda: self._progress.plant,
            clock,
            book.emit,
            {**self._web.actions(), **self._reloading.actions(), "configuration.diff": Action(Nothing, self._foresee)},
        )
        self._stop = asyncio.Event()
        self._changing = asyncio.Lock()
        self._wearing = Wearing(settings.flash_endurance_bytes, clock)
        self._historian: Historian | None = None
        if settings.history_bytes_max:
            self._historian = Historian(
                settings.state_dir, settings.history_bytes_max, lambda: self._progress.plant, clock, book.emit
            )
        self._failed = False

    async def run(self) -> int:
        """Until SIGTERM or SIGINT; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        self._loop.add_signal_handler(signal.SIGHUP, self._reference.whole)
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(self._stop.wait())
        holding = asyncio.create_task(hold_on(self._notifier, self._progress, self._say))
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        holding.cancel()
        if not self._progress.kernels_warm and not starting.done():
            # Nothing acquires or controls yet, and neither a compilation nor a replay can be called off: leave them
            # behind. The next start goes on from the disk as after a crash.
            self._say(Severity.INFO, "gateway.stopping", "stopped before it was ready")
            await self._way.stop(self._supervisor)
            os._exit(EXIT_FAILED if self._failed else EXIT_OK)
        try:
            await starting
        except START_FAILURES as error:
            self._say(Severity.ERROR, "gateway.failed", f"cannot start: {error}")
            await self._end(None)
            return EXIT_FAILED
        self._supervisor.start("watchdog", self._keep_watch)
        self._supervisor.start("reload", self._keep_reloading)
        self._supervisor.start("schooling", self._schooling.run)
        self._supervisor.start("reference", self._reference.run)
        self._supervisor.start("pressure", self._keep_pressing)
        if self._historian is not None:
            self._historian.start()
        await stopping
        async with self._changing:  # one plant is to be stopped, not a half of each of two
            await self._supervisor.stop("watchdog", "reload", "schooling", "reference", "pressure")
        await self._end(self._progress.plant)
        return EXIT_FAILED if self._failed else EXIT_OK

    async def _start(self) -> None:
        settings = self._settings
        self._reference.note(settings)
        self._way.start(self._supervisor, self._thread_died)
        await self._way.open(settings.uplinks)
        # Before the long part: a port that is taken is said at once, and the page shows the compilation.
        self._web.start(settings.http, self._status(), self._operator)
        await self._operator.start()
        self._tell("compiling kernels (for some minutes, the first time only)")
        heart = await self._builder.heart(settings)
        going_on = partial(self._continuity.recover, heart.spec, heart.engine, heart.pools.parking.put)
        plant = await self._builder.around_beside(heart, going_on)
        self._progress.kernels_warm = True
        self._wearing.begin()
        self._supervisor.start("audit", self._trail.run)
        await self._start_plant(plant)
        await self._way.connect(settings.uplinks, self._supervisor)
        garbage.end_building()
        self._progress.phase = Phase.READY
        self._tell(self._summary())
        self._notifier.ready(self._summary())
        self._say(Severity.INFO, "gateway.ready", self._summary())

    async def _end(self, plant: Plant | None) -> None:
        self._progress.phase = Phase.STOPPING
        self._notifier.stopping("stopping")
        self._say(Severity.INFO, "gateway.stopping", "stopping")
        for step in (
            self._operator.stop(),
            plant.stop(self._supervisor, is_reload=False) if plant else None,
            asyncio.to_thread(self._continuity.stop) if plant else None,
            self._way.stop(self._supervisor),
        ):
            if step is not None:
                try:
                    await step
                except TimeoutError as error:
                    self._failed = True
                    self._say(Severity.ERROR, "gateway.hung", f"{error}; it is left behind")
        if self._historian is not None and not await asyncio.to_thread(self._historian.stop, HISTORY_STOP_S):
            self._say(Severity.ERROR, "gateway.hung", "the history does not end; it is left behind")
        await self._web.stop()
        await self._supervisor.stop_all()
        self._notifier.close()

    async def _keep_pressing(self) -> None:
        """The pressure upstream, to all sources; told again and again."""
        while True:
            self._wearing.look()
            for source in self._progress.plant.sources.values() if self._progress.plant else ():
                source.press(self._way.step())
            await asyncio.sleep(PRESS_EVERY_S)

    async def _keep_reloading(self) -> None:
        while True:
            back = await self._reloading.wait(self._reference.wait)
            self._notifier.reloading(monotonic_ns=time.monotonic_ns())
            self._progress.phase = Phase.RELOADING
            garbage.begin_building(len(self._settings.tags))
            await (self._read_again() if back is None else self._roll_back(*back))
            garbage.end_building()
            self._loop.call_later(garbage.TIDY_AFTER_S, garbage.tidy)
            self._progress.phase = Phase.READY
            self._notifier.ready(self._summary())

    async def _read_again(self) -> None:
        """Restart what changed, or refuse the file whole and go on as before."""
        try:
            again = partial(load, self._settings.path, self._environment)
            is_whole = self._reference.is_whole
            new = await asyncio.to_thread(self._reference.read_again, self._settings, again)
            changes, old = compare(self._settings, new), self._settings
            if changes.refused:
                keys = ", ".join(changes.refused)
                self._reloading.refused(f"{keys} cannot change while running; restart the service")
                return
            await self._reloading.begin()
            await self._apply(new, changes)
            self._reloading.applied(old, new, changes, is_whole=is_whole)
        except ConfigurationError as error:
            for problem in error.problems:
                self._say(Severity.ERROR, "configuration.refused", str(problem))
            self._reloading.refused(f"{len(error.problems)} errors; the running configuration is kept", error.problems)
        except START_FAILURES as error:
            self._reloading.refused(f"{error}; the running configuration is kept")

    async def _roll_back(self, settings: Settings, why: str) -> None:
        changes = compare(self._settings, settings)
        try:
            await self._apply(settings, changes)
        except START_FAILURES as error:
            self._reloading.failed_back(why, error)
        else:
            self._reloading.rolled_back(why, changes)

    async def _foresee(self, asker: Asker, nothing: Nothing) -> Answered:
        """What `_read_again` would do now; nothing is done."""
        try:
            new = await asyncio.to_thread(load, self._settings.path, self._environment)
        except ConfigurationError as error:
            found = Foreseen(refused=tuple(map(str, error.problems)), restarts=(), keeps=(), differences=())
        else:
            found = await asyncio.to_thread(foresee, self._settings, new)
        return Answered(not found.refused, ", ".join(found.refused or found.restarts) or "nothing", found)

    async def _apply(self, new: Settings, changes: Changes) -> None:
        async with self._changing:
            await self._change(new, changes)

    async def _change(self, new: Settings, changes: Changes) -> None:
        old = self._progress.plant
        assert old is not None
        if changes.http:
            await self._web.move(self._settings.http, new.http)
            self._settings = msgspec.structs.replace(self._settings, http=new.http)
        if changes.uplink:
            await self._way.open(new.uplinks)
        if changes.plant:
            await self._swap_plant(old, new)
        for link in new.links:
            if link.name in changes.links and link.name in old.sources:
                await old.replace_source(link, new, self._supervisor)
        if changes.uplink:
            await self._way.connect(new.uplinks, self._supervisor)
        self._settings = new
        self._reference.note(new)

    async def _swap_plant(self, old: Plant, new: Settings) -> None:
        """The new plant in the old one's place; when it cannot start, one like the old is put there again."""
        plant = await asyncio.to_thread(self._builder.whole, new, old)
        await old.stop(self._supervisor, is_reload=True, heir=plant)
        try:
            await self._start_plant(plant)
        except START_FAILURES:
            await self._put_back(old.settings, plant)
            raise

    async def _put_back(self, settings: Settings, failed: Plant) -> None:
        """A plant like the old one; should even that not start, the daemon ends and the service manager begins anew."""
        self._progress.plant = None
        await failed.acquisition.give_up(self._supervisor)
        plant = await asyncio.to_thread(self._builder.whole, settings, failed)
        plant.acquisition.move()
        try:
            await self._start_plant(plant)
        except START_FAILURES as error:
            self._say(Severity.ERROR, "gateway.failed", f"the running configuration does not start again: {error}")
            self._failed = True
            self._stop.set()
            raise

    async def _start_plant(self, plant: Plant) -> None:
        """In place of the one before, if there was one: its records are all stored first."""
        await asyncio.to_thread(self._continuity.flush)
        await self._way.use(plant.model)
        await asyncio.to_thread(self._continuity.begin, plant.spec, plant.engine, plant.settings)
        self._continuity.passed = plant.intakes.passed
        self._schooling.begin(plant)
        await plant.start(self._supervisor, self._continuity.number, self._continuity.positions)
        self._progress.plant = self._way.letters.plant = plant

    def _status(self) -> RuntimeStatus:
        return RuntimeStatus(
            gateway_id=self._settings.gateway_id,
            clock=self._clock,
            book=self._book,
            progress=self._progress,
            link_states=self._link_states,
            uplinks=self._way.states,
            wear=self._wearing.wear,
            measured=self._measured,
        )

    def _measured(self) -> Iterator[Measured]:
        yield self._book
        yield self._wearing
        yield self._reloads
        yield self._symbols
        yield self._supervisor
        yield self._notifier
        yield self._watchdog
        yield self._trail
        yield self._operator
        yield self._reference
        yield self._reloading
        if self._historian is not None:
            yield self._historian
        yield from self._way.measured()
        yield from self._continuity.measured()
        if self._progress.plant is not None:
            yield from self._progress.plant.measured()

    async def _keep_watch(self) -> None:
        told_s = 0.0
        while True:
            plant = self._progress.plant
            self._watchdog.poll(self._clock(), plant.heartbeats() if plant else {})
            if (news := self._watchdog.news()) is not None:
                self._say(*news)
            if self._web.is_dead:
                await self._web.replace(self._settings.http)
            if time.monotonic() - told_s > STATUS_EVERY_S:
                told_s = time.monotonic()
                self._notifier.status(self._summary())
            await asyncio.sleep(self._watchdog.poll_every_s)

    def _thread_died(self, thread: str, error: BaseException) -> None:
        """On that thread's way out. Without it the gateway would not do what it says; a start sets that right."""
        self._failed = True
        what = str(error) if isinstance(error, StoreDamaged) else f"{type(error).__name__}: {error}"
        self._say(Severity.ERROR, "gateway.failed", f"the {thread} thread died: {what}; ending, to be started again")
        self._loop.call_soon_threadsafe(self._stop.set)

    def _summary(self) -> str:
        settings = self._settings
        plant = f"{len(settings.devices)} devices, {len(settings.tags)} tags, {len(settings.loops)} loops"
        return f"{plant}, {self._way.depth()} records waiting"

    def _tell(self, detail: str) -> None:
        self._progress.detail = detail
        self._notifier.status(detail)

    def _say(self, severity: Severity, kind: str, message: str) -> None:
        self._book.emit(Event(self._clock(), severity, kind, "gateway", message))
