"""The plant, wired: from settings to model, inbox, engine, sources, executive and register image.

Everything here lives and dies with one configuration of links, devices, tags and loops; a reload that changes those
builds another one. What outlives it (clock, event book, symbols, spool, http) is handed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict

from gateway.control.handle import ControlExecutive
from gateway.core.cycle import Cycle
from gateway.core.engine import StepResult
from gateway.core.inbox import Inbox, Lane
from gateway.core.letters import Keep, Letter, keep_nothing
from gateway.core.limits import LANE_SAMPLES_MIN
from gateway.core.ports import Source
from gateway.core.readings import Measured
from gateway.core.symbols import Symbols
from gateway.protocol.modbus.errands import Requester
from gateway.runtime.acquisition import Acquisition
from gateway.runtime.clock import EngineClock, WallStamp
from gateway.runtime.cycle import EngineThread, HandOn
from gateway.runtime.eventbook import EventBook
from gateway.runtime.heart import Heart
from gateway.runtime.intakes import Intakes
from gateway.runtime.outputs import Outputs
from gateway.runtime.supervisor import Supervisor
from gateway.serving.scada import lock
from gateway.serving.scada.map import build_map
from gateway.serving.scada.server import ScadaServer
from gateway.settings.schema import Block as LoopBlock
from gateway.settings.schema import Link, ModbusLink, PidLoop, Settings, Tag
from gateway.sources.mqtt.source import MqttSource
from gateway.spool.thread import Died
from gateway.writing.arbiter import Held
from gateway.writing.audit import Trail
from gateway.writing.mqtt import MqttOrders
from gateway.writing.scada import ScadaDoor
from gateway.writing.service import Writer

ENGINE_STOP_S = 2.0
WRITES_STOP_S = 0.5
CONTROL_STOP_S = 1.5
STATE_CHANGES_EVERY_CYCLES = 10
CONTROL_LANE_WEIGHT = 4
"""The executive's samples are few and dear: when all lanes are full they get four shares."""


class OfExecutive(TypedDict):
    """What of a configuration the executive runs."""

    loops: Sequence[PidLoop]
    blocks: Sequence[LoopBlock]
    tags: Mapping[str, tuple[int, Tag]]
    links: Mapping[str, ModbusLink]


class Plant:
    """Built whole, then warmed, started and stopped once."""

    def __init__(
        self,
        heart: Heart,
        *,
        clock: EngineClock,
        book: EventBook,
        symbols: Symbols,
        trail: Trail,
        hand_on: HandOn,
        died: Died,
        keep: Keep = keep_nothing,
        before: Plant | None = None,
    ) -> None:
        """`heart` is this plant's alone. `hand_on` takes the engine's cycles, `keep` payloads that cannot be used.

        The executive of the plant `before` goes on with the loops of this one, without losing a cycle, and with those
        who held them; its sources go on whose links and tags are as they were.
        """
        settings = self.settings = heart.settings
        self._give = hand_on
        self._clock = clock
        self._book = book
        self._is_stopped = False
        self.symbols = symbols
        self.model, self.spec, self.engine, self.pools = heart.model, heart.spec, heart.engine, heart.pools
        executive = before.executive if before is not None else None
        self._inherits = executive is not None and bool(settings.loops)
        self.executive: ControlExecutive | None = (
            executive if self._inherits else self._build_executive() if settings.loops else None
        )
        of_loops = settings.executive_tags
        loop_devices = {tag.device for tag in settings.tags if tag.name in of_loops}
        self.fast_links = frozenset(device.link for device in settings.devices if device.name in loop_devices)
        """Links to which the executive has a connection of its own."""
        self.pools.parking.died = died
        self.intakes = Intakes(settings.state_dir, now_ns=clock, emit=book.emit, died=died)
        self.acquisition: Acquisition = Acquisition(
            settings,
            pools=self.pools,
            intakes=self.intakes,
            symbols=symbols,
            clock=clock,
            emit=book.emit,
            keep=keep,
            before=before.acquisition if before is not None else None,
        )
        lanes = self.acquisition.lanes
        if self.executive is not None:
            self._control_lane = Lane("control", LANE_SAMPLES_MIN, CONTROL_LANE_WEIGHT)
            lanes.append(self._control_lane)
        self.inbox = Inbox(lanes, self.acquisition.leaving)
        self.thread = EngineThread(
            engine=self.engine,
            inbox=self.inbox,
            now_ns=clock,
            book=book,
            hand_on=self._hand_on,
            stamp=WallStamp(clock),
            symbols=symbols,
            before=[self._take_from_executive] if self.executive is not None else [],
            after=[self._feed_executive] if self.executive is not None else [],
            died=died,
        )
        self.pools.ask_engine = self.thread.ask
        self.outputs = Outputs(
            settings, self.engine.view, self._requester, self.executive, now_ns=clock, emit=book.emit
        )
        self.scada: ScadaServer | None = None
        self.writer: Writer = self._build_writer(trail, before.writer.arbiter.held if before is not None else {})
        mqtt = settings.writes.mqtt
        self.orders = MqttOrders(mqtt, self.writer, now_ns=clock, emit=book.emit) if mqtt is not None else None

    def _build_writer(self, trail: Trail, held: Mapping[str, Held]) -> Writer:
        return Writer(
            self.settings,
            model=self.model,
            view=self.engine.view,
            requesters=self._requester,
            trail=trail,
            text_of=self.symbols.text_of,
            now_ns=self._clock,
            emit=self._book.emit,
            control=self.executive,
            held=held,
        )

    @property
    def sources(self) -> Mapping[str, Source]:
        return self.acquisition.sources

    def _requester(self, link: str) -> Requester | None:
        source = self.sources.get(link)
        return source if isinstance(source, Requester) else None

    def warm(self) -> None:
        """As that of `Heart`, which comes first."""
        if self.executive is not None and not self._inherits:
            self.executive.warm()

    async def start(self, supervisor: Supervisor, number: int, positions: Mapping[str, int]) -> None:
        """Start every thread and session. Raises ListenError when the Modbus server's address is taken.

        The engine goes on after cycle `number`; `positions` are those up to which the lanes' samples are safe already.
        """
        await self.intakes.open(positions)
        self.scada = self._build_scada() if self.settings.scada is not None else None
        if self.scada is not None:
            await self.scada.start()
        self.pools.start()
        self.outputs.start(supervisor)
        if self.executive is not None and self._inherits:
            await asyncio.to_thread(self.executive.take_over, **self._of_executive())
        self.thread.start(number)
        if self.executive is not None and not self._inherits:
            self.executive.start()
        await self.acquisition.start(supervisor)
        self.inbox.have_left()
        if self.orders is not None:
            supervisor.start("writes", self.orders.run)

    async def stop(self, supervisor: Supervisor, *, is_reload: bool, heir: Plant | None = None) -> None:
        """Stop in the order of the flow. On a reload loops hold their outputs, else they do what they declare.

        An heir takes the executive and the sources that go on over while they run, and calls back the tags that
        appeared here.
        """
        if heir is not None:
            heir.pools.call_back(self.pools.topics())
        self._is_stopped = True
        kept = heir.acquisition.kept if heir is not None else frozenset()
        await supervisor.stop(*(["writes"] if self.orders is not None else []))
        await self.acquisition.stop(supervisor, kept | self.outputs.links, heir.acquisition if heir else None)
        await self.writer.finish(WRITES_STOP_S)
        await self.intakes.stop()
        if self.executive is not None and not (heir is not None and heir.executive is self.executive):
            await asyncio.to_thread(self.executive.stop, CONTROL_STOP_S, is_handover=is_reload)
        await self.outputs.stop(supervisor, kept)
        if self.scada is not None:
            await self.scada.stop()
        if not await asyncio.to_thread(self.thread.stop, ENGINE_STOP_S):
            raise TimeoutError(f"the engine did not end within {ENGINE_STOP_S:g} s")
        if heir is not None:
            heir.acquisition.move()
        await asyncio.to_thread(self.pools.stop)

    async def replace_source(self, link: Link, settings: Settings, supervisor: Supervisor) -> None:
        """Restart one link's session as `settings`, which differ in links only, have it."""
        self.settings = settings
        await self.acquisition.replace(link, settings, supervisor)

    def take_again(self, letter: Letter) -> bool:
        """A dead letter to its session; False when there is none any more, or it has ended."""
        source = self.sources.get(letter.link)
        if self._is_stopped or not isinstance(source, MqttSource):
            return False
        source.take_again(letter)
        return True

    def now_ns(self) -> int:
        return self._clock()

    def heartbeats(self) -> dict[str, int]:
        """When each thread that matters last finished a cycle, engine time; 0 before the first."""
        beats = {"engine": self.thread.heartbeat_ns()}
        if self.executive is not None:
            beat_ns = self.executive.heartbeat_ns()
            beats["control"] = beat_ns + self._clock.offset_ns if beat_ns else 0
        if (beat_of_polling_ns := self.acquisition.polling.heartbeat_ns()) is not None:
            beats["polling"] = beat_of_polling_ns
        return beats

    def measured(self) -> Iterator[Measured]:
        yield self.thread
        yield self.engine
        yield self.inbox
        yield from self.pools.measured()
        yield self.writer
        if self.orders is not None:
            yield self.orders
        yield from self.acquisition.measured()
        if self.executive is not None:
            yield self.executive
        if self.scada is not None:
            yield self.scada

    def _hand_on(self, cycle: Cycle, result: StepResult) -> None:
        """On the engine's thread, each cycle with what came of it."""
        self.pools.take(result)
        self._give(cycle, result)

    def _build_executive(self) -> ControlExecutive:
        return ControlExecutive(**self._of_executive(), now_ns=self._clock, emit=self._book.emit)

    def _of_executive(self) -> OfExecutive:
        return {
            "loops": self.settings.loops,
            "blocks": self.settings.blocks,
            "tags": {tag.name: (row, tag) for row, tag in enumerate(self.settings.tags)},
            "links": self.settings.modbus_links,
        }

    def _build_scada(self) -> ScadaServer:
        scada = self.settings.scada
        assert scada is not None
        registers = build_map(self.settings, scada, lock.load(scada.lock_file))
        if registers.lock_changed:
            lock.save(scada.lock_file, registers.lock)
        door = ScadaDoor(self.writer)
        return ScadaServer(
            settings=scada,
            registers=registers,
            write=door.write,
            note=door.note,
            may=door.may,
            plant=self.engine.view,
            text_of=self.symbols.text_of,
            control=self.executive,
            model=self.model,
            loops=tuple(loop.name for loop in self.settings.loops),
            now_ns=self._clock,
            heartbeat=lambda: self.thread.cycles,
            emit=self._book.emit,
        )

    def _feed_executive(self) -> None:
        """After each cycle, on the engine's thread."""
        assert self.executive is not None
        self.executive.feed(self.engine.view, self._clock())

    def _take_from_executive(self) -> None:
        """Before each drain, on the engine's thread."""
        assert self.executive is not None
        self.executive.drain_into(self._control_lane)
        if self.thread.cycles % STATE_CHANGES_EVERY_CYCLES == 0:
            self.executive.poll_state_changes()
