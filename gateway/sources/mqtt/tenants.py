"""The tags that appear on one MQTT link: their subscriptions, their questions to the parking, and the house-keeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from gateway.core.events import Event, Severity
from gateway.protocol.mqtt.codec import Filter
from gateway.protocol.mqtt.ingest import Ingest
from gateway.protocol.mqtt.lender import Wanted
from gateway.protocol.mqtt.newcomers import Answer, Newcomers
from gateway.protocol.mqtt.table import Topic
from gateway.settings.schema import MqttSession
from gateway.sources.mqtt.sink import Sink
from gateway.sources.mqtt.subscriptions import filter_of

Ask: TypeAlias = Callable[[list[Wanted], Callable[[list[Answer]], None]], None]
"""Puts questions to the parking; the answers come on the loop's thread."""

TIDY_S: Final = 1.0
RECALL_S: Final = 0.02
FORGIVE_EVERY: Final = 60
"""Rounds of house-keeping after which refused topics may try again, and a full pool is told again."""
NO_ROWS: Final = np.zeros(0, np.int32)


def wildcards(
    newcomers: Newcomers, session: MqttSession
) -> dict[Filter, tuple[str, np.ndarray[tuple[int], np.dtype[np.int32]]]]:
    """The subscriptions of the patterns, with what to call them; no row hangs on them yet."""
    wanted = {}
    for lender in newcomers.lenders:
        qos = max(offer.feed.qos for offer in lender.terms.offers)
        for pattern in lender.terms.patterns:
            wanted[filter_of(Topic(pattern.wildcard, qos, 0, ()), session)] = (pattern.text, NO_ROWS)
    return wanted


def is_covered(newcomers: Newcomers, topic: Topic) -> bool:
    """Whether a pattern's subscription brings this topic anyhow: asked for twice, it might come twice."""
    for lender in newcomers.lenders:
        qos = max(offer.feed.qos for offer in lender.terms.offers)
        if qos >= topic.qos and lender.fits(topic.name) is not None:
            return True
    return False


class Tenants:
    """Keeps house for `ingest`, whose newcomers these are."""

    def __init__(
        self,
        newcomers: Newcomers,
        *,
        now_ns: Callable[[], int],
        wall_offset_ns: Callable[[], int],
        emit: Callable[[Event], None],
    ) -> None:
        self._newcomers = newcomers
        self._now_ns = now_ns
        self._wall_offset_ns = wall_offset_ns
        self._emit = emit
        self._told_full: dict[str, int] = {}

    def settle(self, ingest: Ingest, sink: Sink, answers: list[Answer]) -> None:
        """What the parking said."""
        self._newcomers.answer(answers)
        for event in ingest.advance(sink.lane, self._wall_offset_ns()):
            self._emit(event)

    async def keep_house(self, ingest: Ingest, sink: Sink) -> None:
        """Until cancelled: idle tags leave, those of before a reload come back, refused topics may try again."""
        rounds = 0
        while True:
            rounds += 1
            for event in ingest.tidy(sink.lane, self._now_ns(), self._wall_offset_ns()):
                self._emit(event)
            self._tell_full()
            if rounds % FORGIVE_EVERY == 0:
                self._newcomers.forgive()
                self._told_full.clear()
            await asyncio.sleep(RECALL_S if self._newcomers.recall else TIDY_S)

    def _tell_full(self) -> None:
        for lender in self._newcomers.lenders:
            name, count = lender.terms.name, lender.evictions_for_room
            if count and name not in self._told_full and count != lender.evictions_for_room_told:
                self._told_full[name] = lender.evictions_for_room_told = count
                limits = f"{len(lender.terms.devices)} devices and {len(lender.terms.rows)} tags"
                message = f"topics.{name}: its {limits} are all taken; those seen least recently leave for new ones"
                self._emit(Event(self._now_ns(), Severity.WARNING, "pool.full", name, message))
