"""The pools, wired: which lenders a link has, and the parking behind them.

Lives and dies with its plant. What its tags remember is parked at the end, as far as there is time, so that the next
plant, after a reload or a restart, finds it there; after a reload their topics are also called back at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from gateway.core.cycle import Influence, Lent
from gateway.core.engine import Engine, StepResult
from gateway.core.events import Emit
from gateway.core.lending import Lending
from gateway.core.model import Model
from gateway.core.ports import Clock
from gateway.core.readings import Measured
from gateway.protocol.mqtt.lender import Lender, Offer, Terms, Wanted
from gateway.protocol.mqtt.newcomers import Answer, Newcomers
from gateway.protocol.mqtt.patterns import parse
from gateway.runtime.statedir import PARKING_FILE
from gateway.settings.schema import Settings, TopicGroup
from gateway.sources.mqtt.feeds import feed_of
from gateway.sources.mqtt.reporting import ruled_of
from gateway.spool.parking import Parking, Question

PARK_ALL_S: Final = 1.0
PARKING_STOP_S: Final = 1.5


class Pools:
    """`ask_engine` has the engine take an influence; False when too many wait. Nobody does before the engine runs."""

    def __init__(
        self,
        settings: Settings,
        model: Model,
        engine: Engine,
        *,
        now_ns: Clock,
        emit: Emit,
    ) -> None:
        self.ask_engine: Callable[[Influence], bool] = lambda influence: False
        self._engine = engine
        self._is_used = bool(settings.topics)
        self.newcomers: dict[str, Newcomers] = {}
        lenders: dict[str, list[Lender]] = {}
        taken = frozenset(tag.name for tag in model.tags)
        seen_ns = engine.state.tables.cells["arrival_ns"]
        for number, group in enumerate(settings.topics):
            written = {device.name: at for at, device in enumerate(model.devices) if device.link == group.link}
            terms = _terms(group, number, model)
            lenders.setdefault(group.link, []).append(Lender(terms, seen_ns=seen_ns, taken=taken, numbers=written))
        for link, of_link in lenders.items():
            self.newcomers[link] = Newcomers(of_link, self._lend)
        self.parking = Parking(
            settings.state_dir / PARKING_FILE,
            bytes_max=settings.parking_bytes_max,
            layouts=engine.tenancy.layouts,
            now_ns=now_ns,
            emit=emit,
        )

    def start(self) -> None:
        """The engine is about to run; it may have been restored."""
        if not self._is_used:
            return
        evictions = self._engine.tenancy.evictions
        for newcomers in self.newcomers.values():
            newcomers.adopt(self._engine.directory.lendings, self._engine.state.generations, evictions)
        if evictions:
            self.parking.go_on_from(evictions)
        self.parking.start()

    def take(self, result: StepResult) -> None:
        """What left with a cycle. On the engine's thread."""
        for parked in result.parked:
            self.parking.put(parked)

    def stop(self) -> None:
        """The engine has ended: park everybody, those seen last first, as far as there is time."""
        if not self._is_used:
            return
        until_s = time.monotonic() + PARK_ALL_S
        for parked in self._engine.tenancy.park_all():
            self.parking.put(parked)
            if time.monotonic() > until_s:
                break
        if not self.parking.stop(PARKING_STOP_S):
            raise TimeoutError(f"the parking did not reach the disk within {PARKING_STOP_S:g} s")

    def rows_of(self, link: str) -> int:
        """Rows that may be lent on a link."""
        found = self.newcomers.get(link)
        return 0 if found is None else found.spare

    def topics(self) -> dict[str, list[str]]:
        """By link, the topics of all that have a row, seen last first."""
        return {link: newcomers.all_topics() for link, newcomers in self.newcomers.items()}

    def call_back(self, topics: dict[str, list[str]]) -> None:
        """Give rows to these as soon as the links are up and running."""
        for link, newcomers in self.newcomers.items():
            newcomers.recall.extend(topics.get(link, ()))

    def ask(self, wanted: list[Wanted], answered: Callable[[list[Answer]], None]) -> None:
        """On the loop's thread, where the answers come, too."""
        loop = asyncio.get_running_loop()
        by_pool: dict[int, list[Wanted]] = {}
        for each in wanted:
            by_pool.setdefault(each.pool, []).append(each)
        for pool, of_pool in by_pool.items():
            self._ask_of(pool, of_pool, lambda answers: _call(loop, answered, answers))

    def measured(self) -> Iterator[Measured]:
        if self._is_used:
            yield self.parking
            yield from self.newcomers.values()

    def _ask_of(self, pool: int, wanted: Sequence[Wanted], answered: Callable[[list[Answer]], None]) -> None:
        def tell(states: list[bytes | None]) -> None:
            answered(
                [Answer(pool, each.row, each.generation, state) for each, state in zip(wanted, states, strict=True)]
            )

        names = tuple(each.name for each in wanted)
        self.parking.ask(Question(pool, names, max(each.after_evictions for each in wanted), tell))

    def _lend(self, lendings: tuple[Lending, ...]) -> bool:
        return self.ask_engine(Lent(lendings))


def _terms(group: TopicGroup, number: int, model: Model) -> Terms:
    return Terms(
        name=group.name,
        pool=number,
        patterns=tuple(parse(pattern, group.tag) for pattern in group.patterns),
        offers=tuple(
            Offer(glob, shape, feed_of(-1, tag), ruled_of(-1, tag)) for shape, (glob, tag) in enumerate(group.offers)
        ),
        rows=model.pool_rows[number],
        devices=model.pool_devices[number],
        tags_per_device=group.tags_per_device,
        evict_idle_after_ns=group.evict_idle_after_ns,
    )


def _call(loop: asyncio.AbstractEventLoop, answered: Callable[[list[Answer]], None], answers: list[Answer]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(answered, answers)
