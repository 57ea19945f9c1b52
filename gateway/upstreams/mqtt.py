"""MQTT as an upstream: QoS 1, acknowledged by the broker, several records under way, in their order.

The session is aiomqtt's, with two things added (beside those of `gateway.mqttclient`). aiomqtt drops the reason code of
a PUBACK, so that an MQTT 5 broker's "quota exceeded" would pass for an acknowledgement; and its publish does not notice
that the connection went. Here a record counts as accepted only with a PUBACK that says success, and
whatever ends the connection ends every send under way with `LinkDown`.

A link that is silent (socket open, nothing coming) ends after `acknowledge_timeout_ns` for a record, counted from when
its bytes left (`core.patience`: a narrow link is not silent), or after the keep-alive. The session is then given up as
a whole: what was under way is sent again, in order, on the next one.

Reason codes (MQTT 5, 3.4.2.1): 0x95 packet too large and 0x99 payload format invalid are about the record and
reject it; all others are about the moment or the set-up, and the record stays in the spool. MQTT 3.1.1 has no reasons:
a broker that denies a topic acknowledges all the same, which only a broker's log shows.

MQTT 5 also says what a record is that is no plain JSON: Content Type (3.3.2.3.9), and a user property
`content-encoding` where it is compressed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.core.limits import UPLINK_DRAIN_IN_FLIGHT, UPLINK_IN_FLIGHT
from gateway.core.patience import LOOKS, Patience
from gateway.core.ports import Answer, Clock, LinkDown, Refusal, Verdict
from gateway.core.record import Identity
from gateway.core.types import NS_PER_S
from gateway.mqttclient import Client, enter, leave, terms, why_lost
from gateway.protocol.records.form import CANONICAL, Form
from gateway.settings.schema import BrokerAddress, MqttVersion

REASON_FAILURE_MIN: Final = 0x80
REASONS_ABOUT_THE_RECORD: Final = {0x95: "packet too large", 0x99: "payload format invalid"}
IN_FLIGHT_MAX: Final = UPLINK_IN_FLIGHT + UPLINK_DRAIN_IN_FLIGHT
PUBLISH_ROOM_BYTES: Final = 160
"""Bytes of a PUBLISH beside topic and payload: fixed header, packet identifier, properties."""


class _Session(Client):
    """With the broker's limits and the reason codes kept."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(max_inflight_messages=IN_FLIGHT_MAX, **settings)
        self._acknowledgements: dict[int, asyncio.Future[int]] = {}

    def begin_publish(
        self, topic: str, payload: bytes, properties: Properties | None
    ) -> tuple[int, asyncio.Future[int]]:
        """Hand a message to the socket at once; its packet identifier, and a future with the PUBACK's reason."""
        sent = self._client.publish(topic, payload, qos=1, properties=properties)
        if sent.rc != paho.MQTT_ERR_SUCCESS:
            raise LinkDown(f"cannot publish: {paho.error_string(sent.rc)}", "")
        reason: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._acknowledgements[sent.mid] = reason
        return sent.mid, reason

    def forget(self, packet: int) -> None:
        self._acknowledgements.pop(packet, None)

    def fail_all(self, error: LinkDown) -> None:
        for reason in self._acknowledgements.values():
            if not reason.done():
                reason.set_exception(error)

    @property
    def in_flight_max(self) -> int:
        """paho does not heed the broker's own, and a broker cuts off who sends more at once."""
        return min(IN_FLIGHT_MAX, int(self.limits.get("ReceiveMaximum", IN_FLIGHT_MAX)))

    def _on_publish(
        self, client: paho.Client, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        reason = self._acknowledgements.pop(mid, None)
        if reason is not None and not reason.done():
            reason.set_result(reason_code.value)


class MqttUpstream:
    """One session; `gateway.core.ports.Upstream`. Made by `connect`."""

    def __init__(
        self,
        session: _Session,
        *,
        name: str,
        topic: str,
        acknowledge_timeout_ns: int,
        properties: Properties | None = None,
        stopwatch_ns: Clock = time.monotonic_ns,
    ) -> None:
        self._session = session
        self._stopwatch_ns = stopwatch_ns
        self._name = name
        self._topic = topic
        self._properties = properties
        self._acknowledge_timeout_s = acknowledge_timeout_ns / NS_PER_S
        self._patience = Patience(acknowledge_timeout_ns)
        self._window = asyncio.Semaphore(session.in_flight_max)
        self._lost: LinkDown | None = None

    async def send(self, identity: Identity, payload: bytes) -> Answer:
        # The window lets in whoever came first, and nothing else is awaited before the message is handed over: tasks
        # started in order send in order.
        async with self._window:
            return await self._send(identity, payload)

    async def _send(self, identity: Identity, payload: bytes) -> Answer:
        if self._lost is not None:
            raise self._lost
        topic = self._topic.replace("{stream}", identity.stream)
        most = self._session.packet_bytes_max
        if most and len(payload) + len(topic.encode()) + PUBLISH_ROOM_BYTES > most:
            return Refusal(f"it has {len(payload)} bytes, and the broker takes packets of up to {most}")
        packet, acknowledged = self._session.begin_publish(topic, payload, self._properties)
        number = self._patience.sent(len(payload), self._stopwatch_ns())
        is_answered = False
        try:
            reason = await acknowledged
            is_answered = True
        finally:
            self._patience.ended(number, is_answered=is_answered)
            self._session.forget(packet)
        if reason in REASONS_ABOUT_THE_RECORD:
            return Refusal(f"reason 0x{reason:02x} of MQTT: {REASONS_ABOUT_THE_RECORD[reason]}")
        return Verdict.RETRY if reason >= REASON_FAILURE_MIN else Verdict.ACCEPTED

    async def watch(self) -> None:
        """Ends every send under way when the connection does."""
        try:
            async for _ in self._session.messages:
                pass
        except aiomqtt.MqttError as error:
            self._end(LinkDown(f"{self._name}: connection lost ({why_lost(error)})", "it is tried again by itself"))

    async def judge(self) -> None:
        """Ends every send under way when one waits for too long."""
        while self._lost is None:
            await asyncio.sleep(self._acknowledge_timeout_s / LOOKS)
            if self._patience.is_over(self._session.queued_bytes(), self._stopwatch_ns()):
                why = f"{self._name}: no acknowledgement for {self._acknowledge_timeout_s:g} s"
                self._end(LinkDown(why, "check the broker's load and the route to it"))

    def _end(self, error: LinkDown) -> None:
        self._lost = error
        self._session.fail_all(error)


@asynccontextmanager
async def connect(
    broker: BrokerAddress, *, topic: str, acknowledge_timeout_ns: int, form: Form = CANONICAL
) -> AsyncIterator[MqttUpstream]:
    """A whole session with the broker, or LinkDown. Records are published to `topic`, its {stream} filled in."""
    name = broker.name
    session = _Session(**await terms(broker, acknowledge_timeout_ns / NS_PER_S))
    await enter(session, name)
    upstream = MqttUpstream(
        session,
        name=name,
        topic=topic,
        acknowledge_timeout_ns=acknowledge_timeout_ns,
        properties=None if form.is_canonical or broker.version is not MqttVersion.V5 else _properties(form),
    )
    watchers = [asyncio.create_task(each, name="uplink watch") for each in (upstream.watch(), upstream.judge())]
    try:
        yield upstream
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.wait(watchers)
        await leave(session)


def _properties(form: Form) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = form.content_type
    if form.content_coding:
        properties.UserProperty = [("content-encoding", form.content_coding)]
    return properties
