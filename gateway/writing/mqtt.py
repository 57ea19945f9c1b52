"""Orders by MQTT: a message on a tag's topic is an order to write it, its result goes to the tag's reply topic.

An order is for now. The session is a clean one, so that nothing waits in the broker while the gateway is away, and a
retained message is refused: carried out at each connection, it would write what somebody wanted long ago. MQTT does not
say who published, so the broker's own access control decides who may; what an order says of itself is only noted.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator
from typing import Any, Final

import aiomqtt
import msgspec
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.core.backoff import Backoff
from gateway.core.events import Emit, Event, Severity
from gateway.core.ports import Clock, LinkDown
from gateway.core.readings import Reading
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.mqttclient import Client, refused, terms
from gateway.settings.schema import MqttWrites
from gateway.writing.order import Value
from gateway.writing.service import Outcome, Writer

RECONNECT: Final = Backoff(base_ns=500 * NS_PER_MS, cap_ns=30 * NS_PER_S)
PAYLOAD_BYTES_MAX: Final = 4_096
ORDERS_WAITING_MAX: Final = 1_000
ANSWER_S_MAX: Final = 5.0
"""How long the broker may take for a subscription or a reply."""
CLAIM_CHARACTERS_MAX: Final = 64

METRICS = (
    ("fieldgate_mqtt_orders_total", "counter", "Orders to write that came by MQTT."),
    ("fieldgate_mqtt_order_replies_lost_total", "counter", "Results of orders that could not be published."),
)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The payload, where it is a JSON object. `id` comes back with the result; `who` is what the sender says."""

    value: Value
    id: str = ""
    who: str = ""
    verify: bool | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    tag: str
    ok: bool
    result: str
    id: str = ""
    old: str = ""
    new: str = ""
    reason: str = ""


def order_in(payload: bytes) -> Order:
    """A JSON object, or the bare value. Raises ValueError."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"an order has at most {PAYLOAD_BYTES_MAX} bytes")
    if payload.lstrip().startswith(b"{"):
        return msgspec.json.decode(payload, type=Order)
    return Order(value=payload.decode("utf-8").strip().strip('"'))


class MqttOrders:
    """Until cancelled: a session, and another when it ends."""

    def __init__(self, settings: MqttWrites, writer: Writer, *, now_ns: Clock, emit: Emit) -> None:
        self._settings = settings
        self._writer = writer
        self._now_ns = now_ns
        self._emit = emit
        self._level = settings.topic.split("/").index("{tag}")
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._is_told_down = False
        self.orders = 0
        self.replies_lost = 0

    async def run(self) -> None:
        broker = self._settings.broker
        seed = zlib.crc32(broker.client_id.encode())
        while True:
            try:
                await self._converse()
            except LinkDown as error:
                if not self._is_told_down:
                    self._is_told_down = True
                    what = f"orders by MQTT cannot come in: {error}"
                    self._emit(Event(self._now_ns(), Severity.WARNING, "writes.down", "writes", what))
            self._failures += 1
            await asyncio.sleep(RECONNECT.delay_ns(self._failures, seed) / NS_PER_S)

    async def _converse(self) -> None:
        """One session. Raises LinkDown when it ends."""
        broker = self._settings.broker
        name = broker.name
        client = Client(max_queued_incoming_messages=ORDERS_WAITING_MAX, **await terms(broker, ANSWER_S_MAX))
        try:
            async with client:
                await client.subscribe(self._settings.topic.replace("{tag}", "+"), qos=1)
                self._failures = 0
                self._is_told_down = False
                what = f"orders come in by {name}, on {self._settings.topic}"
                self._emit(Event(self._now_ns(), Severity.INFO, "writes.up", "writes", what))
                async for message in client.messages:
                    self._take(client, message)
        except aiomqtt.MqttError as error:
            raise refused(name, error) from error
        finally:
            client.hang_up()

    def _take(self, client: Client, message: aiomqtt.Message) -> None:
        self.orders += 1
        task = asyncio.create_task(self._carry_out(client, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, client: Client, message: aiomqtt.Message) -> None:
        levels = str(message.topic).split("/")
        tag = levels[self._level]
        payload = message.payload if isinstance(message.payload, bytes) else b""
        order = Order(value="")
        try:
            order = order_in(payload)
            if message.retain:
                raise ValueError("a retained message is no order: publish it without retain")
        except ValueError as error:
            outcome = await self._writer.refuse(tag, way="mqtt", who="somebody", reason=str(error))
        else:
            who = f"{order.who[:CLAIM_CHARACTERS_MAX]!r} as it says" if order.who else "somebody"
            outcome = await self._writer.write(tag, order.value, way="mqtt", who=who, verify=order.verify)
        await self._reply(client, message, order.id, outcome)

    async def _reply(self, client: Client, message: aiomqtt.Message, number: str, outcome: Outcome) -> None:
        answer = Answer(
            tag=outcome.tag, ok=outcome.is_ok, result=outcome.result, id=number, old=outcome.old, new=outcome.new,
            reason=outcome.reason,
        )  # fmt: skip
        topic = self._settings.reply.replace("{tag}", outcome.tag)
        try:
            await client.publish(topic, msgspec.json.encode(answer), qos=1, properties=_correlation(message))
        except aiomqtt.MqttError:
            self.replies_lost += 1

    def readings(self) -> Iterator[Reading]:
        yield Reading("fieldgate_mqtt_orders_total", self.orders)
        yield Reading("fieldgate_mqtt_order_replies_lost_total", self.replies_lost)


def _correlation(message: aiomqtt.Message) -> Properties | None:
    """MQTT 5, 3.3.2.3.6: what the requester knows its answer by."""
    asked: dict[str, Any] = vars(message.properties) if message.properties is not None else {}
    if "CorrelationData" not in asked:
        return None
    properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.CorrelationData = asked["CorrelationData"]
    found: Properties = properties
    return found
