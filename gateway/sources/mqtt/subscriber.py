"""What a session subscribes to, asked for as a whole at its start, and in parts when it goes to another source.

What the broker does not give as asked is told once, and again when it changes; the tags that get nothing are marked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

import msgspec
import numpy as np

from gateway.core.events import Emit, Event, Severity
from gateway.core.ports import Clock
from gateway.core.types import Int32s, Quality
from gateway.protocol.mqtt import codec
from gateway.protocol.mqtt.codes import ProtocolError, reason_text
from gateway.protocol.mqtt.ingest import Ingest
from gateway.protocol.mqtt.table import Topic
from gateway.settings.schema import MqttSession
from gateway.sources.mqtt.session import Session, reply
from gateway.sources.mqtt.sink import Sink, mark
from gateway.sources.mqtt.sparkplug import host_filters
from gateway.sources.mqtt.subscriptions import filter_of, in_packets, judge, refused_beforehand
from gateway.sources.mqtt.tenants import Tenants

Called: TypeAlias = tuple[str, Int32s]
"""A subscription in words, and the rows that get nothing without it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two lists of subscriptions: filters that are to be asked for, and such as are not wanted any more."""

    asked: frozenset[str]
    gone: tuple[str, ...]


class Subscriber:
    """For one source. `told` is what the broker did not give as asked, by what that is called."""

    def __init__(
        self,
        subject: str,
        ingest: Ingest,
        tenants: Tenants | None,
        sink: Sink,
        settings: MqttSession,
        version: int,
        *,
        now_ns: Clock,
        emit: Emit,
    ) -> None:
        self.told: dict[str, str] = {}
        self._subject = subject
        self._ingest = ingest
        self._tenants = tenants
        self._sink = sink
        self._settings = settings
        self._version = version
        self._now_ns = now_ns
        self._emit = emit

    def after(self, before: Subscriber) -> Difference:
        """What is other here. A filter that feeds other tags is asked for again, since the last value, where the broker
        has it, is theirs, too; its messages go on meanwhile (MQTT-3.8.4-3)."""
        were, are = before._forms(), self._forms()
        asked = frozenset(name for name, form in are.items() if were.get(name) != form)
        return Difference(asked, tuple(name for name in were if name not in are))

    async def ask(self, session: Session, connack: codec.Connack, only: Collection[str] | None = None) -> None:
        """For everything, or for these filters. Raises as `reply`, and ProtocolError."""
        wanted = {each: called for each, called in self._wanted().items() if only is None or each.topic in only}
        told_before, names = self.told, {name for name, _ in wanted.values()}
        self.told = {} if only is None else {name: told for name, told in told_before.items() if name not in names}
        asked = []
        for each, called in wanted.items():
            code = refused_beforehand(each, connack)
            if code is None:
                asked.append(each)
            else:
                await self._note(called, False, reason_text(code), told_before)
        for packet in in_packets(asked, connack.packet_bytes_max):
            packet_id = session.next_packet_id()
            waiting = session.subacks[packet_id] = asyncio.get_running_loop().create_future()
            session.send(codec.encode_subscribe(packet_id, packet, self._version))
            suback = await reply(session, waiting, "SUBSCRIBE")
            if len(suback.codes) != len(packet):
                raise ProtocolError(f"a SUBACK of {len(suback.codes)} codes for {len(packet)} topics")
            for each, code in zip(packet, suback.codes, strict=True):
                is_given, wrong = judge(each, code)
                if wrong:
                    await self._note(wanted[each], is_given, wrong, told_before)

    def give_back(self, session: Session, connack: codec.Connack, gone: Collection[str]) -> None:
        """Unsubscribe from these filters."""
        for packet in in_packets([codec.Filter(name, 0) for name in gone], connack.packet_bytes_max):
            names = [each.topic for each in packet]
            session.send(codec.encode_unsubscribe(session.next_packet_id(), names, self._version))

    def _topics(self) -> list[Topic]:
        """Those that no pattern covers."""
        tenants = self._tenants
        return [topic for topic in self._ingest.topics if tenants is None or not tenants.is_covered(topic)]

    def _wanted(self) -> dict[codec.Filter, Called]:
        wanted = {
            filter_of(topic, self._settings): (topic.name, np.array([feed.row for feed in topic.feeds], np.int32))
            for topic in self._topics()
        }
        if self._tenants is not None:
            wanted |= self._tenants.wildcards(self._settings)
        if self._ingest.host is not None:
            wanted |= host_filters(self._ingest.host)
        return wanted

    def _forms(self) -> dict[str, tuple[object, ...]]:
        """By filter, what it is asked with and what it feeds, but for the rows, which move."""
        forms: dict[str, tuple[object, ...]] = {
            filter_of(topic, self._settings).topic: (topic.qos, *(_form(feed) for feed in topic.feeds))
            for topic in self._topics()
        }
        wildcards = self._tenants.wildcards(self._settings) if self._tenants is not None else {}
        return forms | {each.topic: (each.qos,) for each in wildcards}

    async def _note(self, called: Called, is_given: bool, wrong: str, told_before: dict[str, str]) -> None:
        name, rows = called
        self.told[name] = wrong
        if not is_given:
            await mark(self._sink, rows, Quality.BAD_CONFIG, self._now_ns())
        if told_before.get(name) != wrong:
            severity, kind = (Severity.WARNING, "topic.lowered") if is_given else (Severity.ERROR, "topic.refused")
            message = f"topic {name!r}: {wrong}" if is_given else f"the broker refuses topic {name!r}: {wrong}"
            self._emit(Event(self._now_ns(), severity, kind, self._subject, message))


def _form(feed: msgspec.Struct) -> tuple[object, ...]:
    return msgspec.structs.astuple(msgspec.structs.replace(feed, row=0))
