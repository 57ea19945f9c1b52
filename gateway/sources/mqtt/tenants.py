"""The tags that appear on one MQTT link: their subscriptions, their questions to the parking, and the house-keeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np

from gateway.core.events import Emit, Event, Severity
from gateway.core.inbox import Lane
from gateway.core.letters import Keep
from gateway.core.ports import Clock
from gateway.core.symbols import Intern
from gateway.core.types import NS_PER_S, Int32s
from gateway.protocol.mqtt.appearing import AppearingIngest
from gateway.protocol.mqtt.codec import Filter
from gateway.protocol.mqtt.lender import Departure, Wanted
from gateway.protocol.mqtt.newcomers import Answer, Newcomers
from gateway.protocol.mqtt.report import Report
from gateway.protocol.mqtt.table import Feed, Topic
from gateway.protocol.sparkplug.host import Host
from gateway.settings.schema import MqttSession
from gateway.sources.mqtt.subscriptions import filter_of

Ask: TypeAlias = Callable[[list[Wanted], Callable[[list[Answer]], None]], None]
"""Puts questions to the parking; the answers come on the loop's thread."""

TIDY_S: Final = 1.0
RECALL_S: Final = 0.02
FORGIVE_EVERY_NS: Final = 60 * NS_PER_S
"""After this refused topics may try again, and a full pool is told again."""
NO_ROWS: Final = np.zeros(0, np.int32)


class Tenants:
    """`ingest` is the session's, and fills `lane`; `newcomers` are those of the link."""

    def __init__(
        self,
        newcomers: Newcomers,
        ask: Ask,
        feeds: Sequence[Feed],
        version: int,
        frame_bytes_max: int,
        host: Host | None,
        lane: Lane,
        intern: Intern,
        report: Report | None,
        *,
        now_ns: Clock,
        wall_offset_ns: Callable[[], int],
        emit: Emit,
        keep: Keep,
    ) -> None:
        self._newcomers = newcomers
        self._lane = lane
        self._now_ns = now_ns
        self._wall_offset_ns = wall_offset_ns
        self._emit = emit
        self._keep = keep
        self._told_full: dict[str, int] = {}
        self.ingest = AppearingIngest(
            feeds,
            version,
            newcomers=newcomers,
            ask=lambda wanted: ask(wanted, self._settle),
            frame_bytes_max=frame_bytes_max,
            host=host,
            intern=intern,
            report=report,
        )

    def wildcards(self, session: MqttSession) -> dict[Filter, tuple[str, Int32s]]:
        """The subscriptions of the patterns, with what to call them; no row hangs on them yet."""
        wanted = {}
        for lender in self._newcomers.lenders:
            qos = max(offer.feed.qos for offer in lender.terms.offers)
            for pattern in lender.terms.patterns:
                wanted[filter_of(Topic(pattern.wildcard, qos, 0, ()), session)] = (pattern.text, NO_ROWS)
        return wanted

    def is_covered(self, topic: Topic) -> bool:
        """Whether a pattern's subscription brings this topic anyhow: asked for twice, it might come twice."""
        return any(
            lender.fits(topic.name) is not None and max(offer.feed.qos for offer in lender.terms.offers) >= topic.qos
            for lender in self._newcomers.lenders
        )

    def rows(self) -> Int32s:
        """Those that are lent."""
        return self._newcomers.rows_lent().astype(np.int32)

    async def keep_house(self) -> None:
        """Until cancelled: idle tags leave, those of before a reload come back, refused topics may try again."""
        forgive_ns = self._now_ns() + FORGIVE_EVERY_NS
        while True:
            self.ingest.tidy(self._lane, self._now_ns(), self._wall_offset_ns()).tell(self._emit, self._keep)
            self._tell_full()
            if self._now_ns() >= forgive_ns:
                forgive_ns = self._now_ns() + FORGIVE_EVERY_NS
                self._newcomers.forgive()
                self._told_full.clear()
            await asyncio.sleep(RECALL_S if self._newcomers.is_behind else TIDY_S)

    def _settle(self, answers: list[Answer]) -> None:
        """What the parking said."""
        self._newcomers.answer(answers)
        self.ingest.advance(self._lane, self._wall_offset_ns()).tell(self._emit, self._keep)

    def _tell_full(self) -> None:
        for lender in self._newcomers.lenders:
            name, count = lender.terms.name, lender.departures[Departure.ROOM]
            if count and name not in self._told_full and count != lender.departures_told:
                self._told_full[name] = lender.departures_told = count
                limits = f"{len(lender.terms.devices)} devices and {len(lender.terms.rows)} tags"
                message = f"topics.{name}: its {limits} are all taken; those seen least recently leave for new ones"
                self._emit(Event(self._now_ns(), Severity.WARNING, "pool.full", name, message))
