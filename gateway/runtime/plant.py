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
from gateway.core.inbox import Drained, Inbox, Lane
from gateway.core.letters import Keep, Letter, keep_nothing
from gateway.core.limits import LANE_SAMPLES_MAX, LANE_SAMPLES_MIN, LANE_SAMPLES_PER_TAG
from gateway.core.ports import Source
from gateway.core.readings import Measured
from gateway.core.symbols import Symbols
from gateway.protocol.modbus.errands import Requester
from gateway.protocol.modbus.plan import Block, plan
from gateway.runtime.clock import EngineClock, WallStamp
from gateway.runtime.cycle import EngineThread, HandOn
from gateway.runtime.eventbook import EventBook
from gateway.runtime.heart import Heart
from gateway.runtime.intakes import Intakes, durable_link, durable_name, is_durable
from gateway.runtime.outputs import Outputs
from gateway.runtime.supervisor import Supervisor
from gateway.serving.scada import lock
from gateway.serving.scada.map import build_map
from gateway.serving.scada.server import ScadaServer
from gateway.settings.planning import point_of
from gateway.settings.schema import Block as LoopBlock
from gateway.settings.schema import FormulaPoint, Link, ModbusLink, MqttLink, PidLoop, Settings, Tag, registers_of
from gateway.sources.modbus import FastModbusSource, ModbusSource, PollThread, Share, is_for_thread
from gateway.sources.mqtt import MqttSource
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


def lane_capacity(tags: int) -> int:
    """In samples: a plant of a thousand small links must not pay for a thousand large lanes."""
    return min(LANE_SAMPLES_MAX, max(LANE_SAMPLES_MIN, LANE_SAMPLES_PER_TAG * tags))


def points_in(blocks: Sequence[Block]) -> int:
    return sum(len(block.points) for block in blocks)


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
        executive: ControlExecutive | None = None,
        held: Mapping[str, Held] | None = None,
    ) -> None:
        """`heart` is this plant's alone. `hand_on` takes the engine's cycles, `keep` payloads that cannot be used.

        `executive` is that of the plant before: it goes on with the loops of this one, without losing a cycle. `held`
        says who held which of them.
        """
        settings = self.settings = heart.settings
        self._give = hand_on
        self._clock = clock
        self._book = book
        self._keep = keep
        self._is_stopped = False
        self.symbols = symbols
        self.model, self.spec, self.engine, self.pools = heart.model, heart.spec, heart.engine, heart.pools
        self._inherits = executive is not None and bool(settings.loops)
        self.executive = executive if self._inherits else self._build_executive() if settings.loops else None
        self._of_loops = {name for loop in settings.loops for name in registers_of(loop)}
        loop_devices = {tag.device for tag in settings.tags if tag.name in self._of_loops}
        self.fast_links = frozenset(device.link for device in settings.devices if device.name in loop_devices)
        """Links to which the executive has a connection of its own."""
        polled = {link.name: blocks for link in settings.links if (blocks := self._blocks_of(link))}
        self._places = {name: place for place, name in enumerate(polled)}
        shares = [Share(name, blocks, lane_capacity(points_in(blocks))) for name, blocks in polled.items()]
        self.polling = PollThread(shares, symbols, clock) if shares else None
        """Polls the plain Modbus TCP links, each at its place."""
        self.pools.parking.died = died
        self.sources: dict[str, Source] = {}
        self.intakes = Intakes(settings.state_dir, now_ns=clock, emit=book.emit, died=died)
        self._lanes: dict[str, Lane] = {}
        lanes = self._build_sources()
        if self.executive is not None:
            self._control_lane = Lane("control", LANE_SAMPLES_MIN, CONTROL_LANE_WEIGHT)
            lanes.append(self._control_lane)
        self.inbox = Inbox(lanes)
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
        self.writer = self._build_writer(trail, held or {})
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

    def _build_sources(self) -> list[Drained]:
        """The sources of all links, and their lanes."""
        lanes: list[Drained] = []
        for link in self.settings.links:
            tags = self._tags_of(link)
            plain = [(row, tag) for row, tag in tags if not is_durable(tag)]
            durable = [(row, tag) for row, tag in tags if is_durable(tag)]
            lent = self.pools.rows_of(link.name)
            if plain or lent:
                lanes.append(self._lane_of(link, len(plain) + lent))
                self.sources[link.name] = self._build_source(link, plain)
            if durable:
                lane = Lane(durable_name(link.name), lane_capacity(len(durable)))
                lanes.append(lane)
                self.sources[lane.name] = self._build_durable(link, durable, lane)
        return lanes

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
        for name, source in self.sources.items():
            supervisor.start(f"link {name}", source.run)
            if isinstance(source, MqttSource) and name in self.pools.newcomers:
                supervisor.start(f"tags of link {name}", source.keep_house)
        if self.orders is not None:
            supervisor.start("writes", self.orders.run)

    async def stop(self, supervisor: Supervisor, *, is_reload: bool, heir: Plant | None = None) -> None:
        """Stop in the order of the flow. On a reload loops hold their outputs, else they do what they declare.

        An heir takes the executive over while it runs, and calls back the tags that appeared here.
        """
        if heir is not None:
            heir.pools.call_back(self.pools.topics())
        self._is_stopped = True
        orders = ["writes"] if self.orders is not None else []
        houses = (f"tags of link {name}" for name in self.pools.newcomers)
        links = [task for name in self.sources if (task := f"link {name}") not in self.outputs.link_tasks()]
        await supervisor.stop(*orders, *links, *houses)
        await self.writer.finish(WRITES_STOP_S)
        await self.intakes.stop()
        if self.executive is not None and not (heir is not None and heir.executive is self.executive):
            await asyncio.to_thread(self.executive.stop, CONTROL_STOP_S, is_handover=is_reload)
        await self.outputs.stop(supervisor)
        if self.scada is not None:
            await self.scada.stop()
        if not await asyncio.to_thread(self.thread.stop, ENGINE_STOP_S):
            raise TimeoutError(f"the engine did not end within {ENGINE_STOP_S:g} s")
        await asyncio.to_thread(self.pools.stop)

    async def replace_source(self, link: Link, settings: Settings, supervisor: Supervisor) -> None:
        """Restart one link's session as `settings`, which differ in links only, have it; its lane and rows stay."""
        self.settings = settings
        await supervisor.stop(f"link {link.name}")
        plain = [(row, tag) for row, tag in self._tags_of(link) if not is_durable(tag)]
        self.sources[link.name] = self._build_source(link, plain)
        supervisor.start(f"link {link.name}", self.sources[link.name].run)

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
        if self.polling is not None and self.polling.is_running:
            beats["polling"] = self.polling.heartbeat_ns()
        return beats

    def measured(self) -> Iterator[Measured]:
        yield self.thread
        yield self.engine
        yield self.inbox
        yield from self.pools.measured()
        yield self.writer
        if self.orders is not None:
            yield self.orders
        yield from self.sources.values()
        if self.polling is not None:
            yield self.polling
        yield self.intakes
        if self.executive is not None:
            yield self.executive
        if self.scada is not None:
            yield self.scada

    def _hand_on(self, cycle: Cycle, result: StepResult) -> None:
        """On the engine's thread, each cycle with what came of it."""
        self.pools.take(result)
        self._give(cycle, result)

    def _tags_of(self, link: Link) -> Sequence[tuple[int, Tag]]:
        """The tags that this link's session acquires: the executive reads and writes those of loops by itself."""
        on_link = {device.name for device in self.settings.devices if device.link == link.name}
        return [
            (row, tag)
            for row, tag in enumerate(self.settings.tags)
            if tag.device in on_link and tag.name not in self._of_loops and not isinstance(tag.point, FormulaPoint)
        ]

    def _blocks_of(self, link: Link) -> Sequence[Block]:
        """What the poll thread reads of this link; nothing of a link that is not its."""
        if not isinstance(link, ModbusLink) or not is_for_thread(link):
            return ()
        return plan(point_of(row, tag) for row, tag in self._tags_of(link))

    def _lane_of(self, link: Link, tags: int) -> Drained:
        if self.polling is not None and link.name in self._places:
            return self.polling.lanes[self._places[link.name]]
        return self._lanes.setdefault(link.name, Lane(link.name, lane_capacity(tags)))

    def _build_source(self, link: Link, tags: Sequence[tuple[int, Tag]]) -> Source:
        emit = self._book.emit
        if self.polling is not None and link.name in self._places:
            assert isinstance(link, ModbusLink)
            return FastModbusSource(
                link=link,
                index=self._places[link.name],
                blocks=self._blocks_of(link),
                thread=self.polling,
                emit=emit,
            )
        lane = self._lanes[link.name]
        if isinstance(link, ModbusLink):
            return ModbusSource(link=link, tags=tags, lane=lane, symbols=self.symbols, now_ns=self._clock, emit=emit)
        return MqttSource(
            link=link,
            tags=tags,
            lane=lane,
            newcomers=self.pools.newcomers.get(link.name),
            ask=self.pools.ask,
            now_ns=self._clock,
            wall_offset_ns=self._clock.wall_offset_ns,
            emit=emit,
            keep=self._keep,
            intern=self.symbols.intern,
        )

    def _build_durable(self, link: Link, tags: Sequence[tuple[int, Tag]], lane: Lane) -> Source:
        assert isinstance(link, MqttLink)
        return MqttSource(
            link=durable_link(link),
            tags=tags,
            lane=lane,
            intake=self.intakes.make(lane, tags),
            now_ns=self._clock,
            wall_offset_ns=self._clock.wall_offset_ns,
            emit=self._book.emit,
            keep=self._keep,
        )

    def _build_executive(self) -> ControlExecutive:
        return ControlExecutive(**self._of_executive(), now_ns=self._clock, emit=self._book.emit)

    def _of_executive(self) -> OfExecutive:
        return {
            "loops": self.settings.loops,
            "blocks": self.settings.blocks,
            "tags": {tag.name: (row, tag) for row, tag in enumerate(self.settings.tags)},
            "links": {
                device.name: link
                for device in self.settings.devices
                for link in self.settings.links
                if link.name == device.link and isinstance(link, ModbusLink)
            },
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
