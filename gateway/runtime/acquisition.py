"""What a plant acquires by: the sources of its links, and the lanes that they fill.

A reload leaves the source of a link that is as it was, and has the tags that it had, to itself: connection,
subscriptions, schedule and what waits in its lane go on, and only the numbers of its rows are put right
(`gateway.core.moving`). The source of another link goes on until the new one can begin, so that the rest of the link's
tags miss as little as can be; with a broker the new one has the old one's session (`gateway.sources.mqtt.handover`).
Links that lend rows or keep their messages on disk begin anew as a whole, since their memory is laid out with the
plant; of those that lend, the session with the broker goes on all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np

from gateway.core.events import Emit
from gateway.core.inbox import Drained, Lane
from gateway.core.letters import Keep
from gateway.core.limits import LANE_SAMPLES_MAX, LANE_SAMPLES_MIN, LANE_SAMPLES_PER_TAG
from gateway.core.ports import Source
from gateway.core.readings import Measured
from gateway.core.symbols import Symbols
from gateway.core.types import Int32s
from gateway.protocol.modbus.plan import Block, plan
from gateway.runtime.clock import EngineClock
from gateway.runtime.intakes import Intakes, durable_link, durable_name
from gateway.runtime.polling import Places, Polling, those_of_most
from gateway.runtime.pools import Pools
from gateway.runtime.supervisor import Supervisor
from gateway.settings.planning import point_of
from gateway.settings.schema import FormulaPoint, Link, ModbusLink, MqttLink, Settings, Tag
from gateway.sources.modbus.fast_source import FastModbusSource, is_for_thread
from gateway.sources.modbus.fast_thread import Share
from gateway.sources.modbus.source import ModbusSource
from gateway.sources.mqtt.source import MqttSource

Placed = Sequence[tuple[int, Tag]]
"""Tags with their rows."""


def lane_capacity(tags: int) -> int:
    """In samples: a plant of a thousand small links must not pay for a thousand large lanes."""
    return min(LANE_SAMPLES_MAX, max(LANE_SAMPLES_MIN, LANE_SAMPLES_PER_TAG * tags))


def points_in(blocks: Sequence[Block]) -> int:
    return sum(len(block.points) for block in blocks)


def tags_by_link(settings: Settings) -> dict[str, Placed]:
    """What each link's session acquires: the executive reads and writes the tags of loops by itself."""
    of_loops = settings.executive_tags
    link_of = settings.link_of
    found: dict[str, list[tuple[int, Tag]]] = {link.name: [] for link in settings.links}
    for row, tag in enumerate(settings.tags):
        if tag.name not in of_loops and not isinstance(tag.point, FormulaPoint):
            found[link_of[tag.device]].append((row, tag))
    return dict(found)


def goes_on(old: Settings, new: Settings) -> frozenset[str]:
    """Links whose sources need not know of a change from `old` to `new`."""
    return _unchanged(old, tags_by_link(old), new, tags_by_link(new))


def _unchanged(
    old: Settings, before: Mapping[str, Placed], new: Settings, after: Mapping[str, Placed]
) -> frozenset[str]:
    were = {link.name: link for link in old.links}
    return frozenset(
        link.name
        for link in new.links
        if were.get(link.name) == link
        and [_acquired(tag) for _, tag in before[link.name]] == [_acquired(tag) for _, tag in after[link.name]]
        and not _is_laid_out_anew(old, new, link.name, after[link.name])
    )


def _is_laid_out_anew(old: Settings, new: Settings, link: str, tags: Placed) -> bool:
    lends = any(group.link == link for settings in (old, new) for group in settings.topics)
    return lends or any(tag.is_durable for _, tag in tags)


def _acquired(tag: Tag) -> tuple[object, ...]:
    """What of a tag is its source's concern."""
    return tag.name, tag.device, tag.kind, tag.point, tag.stale_after_ns


def _sessions(before: Acquisition, after: Acquisition) -> list[tuple[MqttSource, MqttSource]]:
    """The sources of brokers that others take the place of, with those."""
    pairs = ((before.sources[name], source) for name, source in after.sources.items() if name in before.sources)
    return [
        (old, new)
        for old, new in pairs
        if isinstance(old, MqttSource) and isinstance(new, MqttSource) and old is not new
    ]


class Acquisition:
    """`before` is that of the plant before."""

    def __init__(
        self,
        settings: Settings,
        *,
        pools: Pools,
        intakes: Intakes,
        symbols: Symbols,
        clock: EngineClock,
        emit: Emit,
        keep: Keep,
        before: Acquisition | None = None,
    ) -> None:
        self.settings = settings
        self._pools = pools
        self._intakes = intakes
        self._symbols = symbols
        self._clock = clock
        self._emit = emit
        self._keep = keep
        self.sources: dict[str, Source] = {}
        self.lanes: list[Drained] = []
        self._own_lanes: dict[str, Lane] = {}
        self._tags = tags_by_link(settings)
        self._running: set[str] = set()
        self._planned: dict[str, Sequence[Block]] = {}
        """What links of a thread that is new here read, until their sources are built."""
        polled = {link.name: blocks for link in settings.links if (blocks := self._blocks_of(link))}
        going_on: frozenset[str] = frozenset()
        places: Places = {}
        if before is not None:
            going_on = before.running & _unchanged(before.settings, before._tags, settings, self._tags)
            carried = {name: place for name, place in before.polling.places.items() if name in going_on}
            places = those_of_most(carried, wants_another=not polled.keys() <= carried.keys())
        self.carried = frozenset(name for name in going_on if name in places or name not in polled)
        """Links whose sources are those of the plant before."""
        shares = [
            Share(name, blocks, lane_capacity(points_in(blocks)))
            for name, blocks in polled.items()
            if name not in self.carried
        ]
        self._planned.update((share.name, share.blocks) for share in shares)
        self.polling: Polling = Polling(shares, places, symbols, clock)
        """Polls the plain Modbus TCP links, each at its place."""
        self._rows_before: Int32s = np.zeros(0, np.int32)
        self._replaced: frozenset[str] = frozenset()
        """Links whose sources of the plant before go on until those of this one begin."""
        self._before = before
        if before is not None:
            self._carry(before)
        self._build()
        self._planned.clear()
        if before is not None:
            self._follow(before)

    @property
    def running(self) -> frozenset[str]:
        """The sources that run, by name."""
        return frozenset(self._running)

    @property
    def kept(self) -> frozenset[str]:
        """Links whose sources must not be stopped with the plant before."""
        return self.carried | self._replaced

    @property
    def leaving(self) -> list[Drained]:
        """The lanes of sources that go on until their successors begin."""
        return [] if self._before is None else [self._before.lane_of(name) for name in sorted(self._replaced)]

    def lane_of(self, link: str) -> Drained:
        place = self.polling.places.get(link)
        return place.lane if place is not None else self._own_lanes[link]

    def _carry(self, before: Acquisition) -> None:
        """Take over the sources that go on, and note where the rows of tags are now."""
        self._rows_before = np.full(len(before.settings.tags), -1, np.int32)
        self._replaced = frozenset(
            name
            for name in (before.running & self._tags.keys()) - self.carried
            if not _is_laid_out_anew(before.settings, self.settings, name, (*before._tags[name], *self._tags[name]))
        )
        row_of = {tag.name: row for name in self.kept for row, tag in self._tags[name]}
        for name in self.kept:
            for row, tag in before._tags[name]:
                now = row_of.get(tag.name, -1)
                if now >= 0 and self.settings.tags[now].kind == tag.kind:
                    self._rows_before[row] = now
        for name in self.carried:
            self.sources[name] = before.sources[name]
            if name in before._own_lanes:
                self._own_lanes[name] = before._own_lanes[name]

    def _follow(self, before: Acquisition) -> None:
        for old, new in _sessions(before, self):
            new.follow(old)

    def _build(self) -> None:
        """The sources of all links, and their lanes."""
        for link in self.settings.links:
            tags = self._tags[link.name]
            durable = [(row, tag) for row, tag in tags if tag.is_durable]
            plain = [(row, tag) for row, tag in tags if not tag.is_durable] if durable else tags
            lent = self._pools.rows_of(link.name)
            if plain or lent:
                self.lanes.append(self._lane_of(link, len(plain) + lent))
                if link.name not in self.sources:
                    self.sources[link.name] = self._source(link, plain)
            if durable:
                lane = Lane(durable_name(link.name), lane_capacity(len(durable)))
                self.lanes.append(lane)
                self.sources[lane.name] = self._durable(link, durable, lane)

    def move(self) -> None:
        """The engine before has ended: what waits, and what comes, is of the rows that tags have now."""
        self._running |= self.carried
        if self._before is not None:
            places = self._before.polling.places
            leaving = {name: place for name, place in places.items() if name in self._replaced}
            self.polling.move(self._rows_before, leaving)
            for name in self.kept & self._before._own_lanes.keys():
                self._before._own_lanes[name].moved.move(self._rows_before)

    async def start(self, supervisor: Supervisor) -> None:
        """All sources, but for those that run already; some in the place of those of the plant before."""
        before, self._before = self._before, None
        if before is not None:
            for old, new in _sessions(before, self):
                if new.name in self._replaced:
                    new.take_over(old)
            await supervisor.stop(*(f"link {name}" for name in self._replaced))
        for name, source in self.sources.items():
            if name not in self.carried:
                supervisor.start(f"link {name}", source.run)
                self._running.add(name)
            if isinstance(source, MqttSource) and name in self._pools.newcomers:
                supervisor.start(f"tags of link {name}", source.keep_house)

    async def give_up(self, supervisor: Supervisor) -> None:
        """This plant does not start: nobody comes in the place of the sources before."""
        if self._before is not None:
            await supervisor.stop(*(f"link {name}" for name in self._replaced))
            self._before = None
        for source in self.sources.values():
            if isinstance(source, MqttSource) and source.name not in self.carried:
                await source.let_go()

    async def stop(self, supervisor: Supervisor, kept: Collection[str], heir: Acquisition | None = None) -> None:
        """All sources but these. The heir gets the sessions with brokers that it can go on with."""
        if heir is not None:
            for old, new in _sessions(self, heir):
                if new.name not in kept:
                    new.take_over(old)
        houses = [f"tags of link {name}" for name in self._pools.newcomers]
        await supervisor.stop(*(f"link {name}" for name in self.sources if name not in kept), *houses)

    async def replace(self, link: Link, settings: Settings, supervisor: Supervisor) -> None:
        """Restart one link's session as `settings`, which differ in links only, have it; its lane and rows stay."""
        self.settings = settings
        await supervisor.stop(f"link {link.name}")
        plain = [(row, tag) for row, tag in self._tags[link.name] if not tag.is_durable]
        self.sources[link.name] = self._source(link, plain)
        supervisor.start(f"link {link.name}", self.sources[link.name].run)

    def measured(self) -> Iterator[Measured]:
        yield from self.sources.values()
        yield self.polling
        yield self._intakes

    def _blocks_of(self, link: Link, as_built: Callable[[int], int] = int) -> Sequence[Block]:
        """What the poll thread reads of this link; nothing of a link that is not its."""
        if not is_for_thread(link):
            return ()
        return plan(point_of(as_built(row), tag) for row, tag in self._tags[link.name])

    def _lane_of(self, link: Link, tags: int) -> Drained:
        place = self.polling.places.get(link.name)
        if place is not None:
            return place.lane
        return self._own_lanes.setdefault(link.name, Lane(link.name, lane_capacity(tags)))

    def _source(self, link: Link, tags: Placed) -> Source:
        place = self.polling.places.get(link.name)
        if place is not None:
            assert isinstance(link, ModbusLink)
            planned = self._planned.pop(link.name, None)
            return FastModbusSource(
                link=link,
                index=place.at,
                blocks=planned or self._blocks_of(link, place.thread.waiting.moved.as_built()),
                thread=place.thread,
                emit=self._emit,
            )
        lane = self._own_lanes[link.name]
        as_built = lane.moved.as_built()
        known = tags if as_built is int else [(as_built(row), tag) for row, tag in tags]
        if isinstance(link, ModbusLink):
            return ModbusSource(
                link=link, tags=known, lane=lane, symbols=self._symbols, now_ns=self._clock, emit=self._emit
            )
        return MqttSource(
            link=link,
            tags=known,
            lane=lane,
            newcomers=self._pools.newcomers.get(link.name),
            ask=self._pools.ask,
            now_ns=self._clock,
            wall_offset_ns=self._clock.wall_offset_ns,
            emit=self._emit,
            keep=self._keep,
            intern=self._symbols.intern,
        )

    def _durable(self, link: Link, tags: Placed, lane: Lane) -> Source:
        assert isinstance(link, MqttLink)
        return MqttSource(
            link=durable_link(link),
            tags=tags,
            lane=lane,
            intake=self._intakes.make(lane, tags),
            now_ns=self._clock,
            wall_offset_ns=self._clock.wall_offset_ns,
            emit=self._emit,
            keep=self._keep,
        )
