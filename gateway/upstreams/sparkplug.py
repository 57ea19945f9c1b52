"""Sparkplug B as an upstream: the gateway as an edge node (`gateway.protocol.sparkplug.edge`), over MQTT 3.1.1 or 5.

A session is: CONNECT with the node's death certificate as its will, SUBSCRIBE to the node's commands and, where there
is a primary host, to its STATE; wait until that is online; births; data. When the host goes offline the node says its
death and leaves, as it does at every end that it means, and begins anew.

Data of Sparkplug is of QoS 0, which nobody acknowledges. So behind each record the node subscribes to its commands once
more: a broker takes packets in their order, so that its SUBACK says that it has the record's messages. That is what an
acknowledgement of QoS 1 says too, for a broker that stays alive, and its time counts from when the bytes ahead of it
had left (`core.patience`: a narrow line is not silent). What a broker does with messages while no host is
there is nothing: with `primary_host` records wait for it in the spool, without one they do not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, TypeAlias

import aiomqtt
import msgspec
import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.core.patience import LOOKS, Patience
from gateway.core.ports import Answer, Clock, LinkDown, Refusal, Resized, Verdict, as_given
from gateway.core.record import Identity
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.mqttclient import FAREWELL_S, Client, enter, leave, terms, why_lost
from gateway.protocol.sparkplug.edge import Edge, HostState, NotForSparkplug, Present
from gateway.protocol.sparkplug.nodes import Command
from gateway.settings.schema import MqttVersion, SparkplugAddress

HOST_WAIT_S: Final = 60.0
"""A session whose primary host does not come online for so long is told as down, and begun anew."""
PACKET_ROOM: Final = 16
"""Bytes of a PUBLISH of QoS 0 beside topic and payload."""
SUBSCRIPTION_REFUSED: Final = 0x80

NextBdSeq: TypeAlias = Callable[[], Awaitable[int]]
"""The number of this CONNECT, which no other will have before 255 more: kept over restarts."""


class Surroundings(NamedTuple):
    """What the node has from the gateway. `now_ns` is engine time, which is what records are dated by."""

    next_bd_seq: NextBdSeq
    present: Callable[[], Iterable[Present]]
    now_ns: Clock
    wall_ns: Clock


class _Session(Client):
    """With messages and subscriptions handed over at once, in the order in which they are begun."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._subscriptions: dict[int, asyncio.Future[ReasonCode | int]] = {}

    def begin(self, command: Command) -> None:
        sent = self._client.publish(command.topic, command.payload, qos=command.qos)
        if sent.rc != paho.MQTT_ERR_SUCCESS:
            raise LinkDown(f"cannot publish: {paho.error_string(sent.rc)}", "it is tried again by itself")

    def begin_subscribe(self, topic: str) -> asyncio.Future[ReasonCode | int]:
        """A future with what is granted."""
        result, packet = self._client.subscribe(topic, qos=1)
        if result != paho.MQTT_ERR_SUCCESS or packet is None:
            raise LinkDown(f"cannot subscribe: {paho.error_string(result)}", "it is tried again by itself")
        self._subscriptions[packet] = answered = asyncio.get_running_loop().create_future()
        return answered

    def _on_subscribe(
        self,
        client: paho.Client,
        userdata: Any,
        mid: int,
        reason_codes: tuple[int, ...] | list[ReasonCode],
        properties: Properties | None = None,
    ) -> None:
        answered = self._subscriptions.pop(mid, None)
        if answered is not None and not answered.done():
            answered.set_result(reason_codes[0])


class SparkplugUpstream:
    """One session; `gateway.core.ports.Upstream`. Made by `connect`."""

    def __init__(
        self,
        session: _Session,
        edge: Edge,
        address: SparkplugAddress,
        around: Surroundings,
        timeout_s: float,
        resized: Resized,
        stopwatch_ns: Clock = time.monotonic_ns,
    ) -> None:
        self._stopwatch_ns = stopwatch_ns
        self._resized = resized
        self._session = session
        self._edge = edge
        self._name = address.name
        self._around = around
        self._timeout_s = timeout_s
        self._patience = Patience(round(timeout_s * NS_PER_S))
        self._host = HostState(address.primary_host) if address.primary_host is not None else None
        self._turned = asyncio.Event()
        self._is_born = False
        self._lost: LinkDown | None = None
        self._ended: asyncio.Future[LinkDown] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Up to the births; raises LinkDown."""
        if self._host is not None:
            await self._subscribe(self._host.topic)
        await self._subscribe(self._edge.command_topic)
        if self._host is not None:
            try:
                async with asyncio.timeout(HOST_WAIT_S):
                    while not self._host.is_online and self._lost is None:
                        self._turned.clear()
                        await self._turned.wait()
            except TimeoutError as error:
                raise LinkDown(
                    f"{self._name}: the primary host is not online ({self._host.topic})",
                    "records wait for it; check that it runs, and its id",
                ) from error
        self._give_birth()

    async def send(self, identity: Identity, payload: bytes) -> Answer:
        # Its messages leave in one go, numbered in the order in which they leave; what comes next waits for neither.
        if self._lost is not None:
            raise self._lost
        try:
            commands = self._edge.messages(msgspec.json.decode(payload), self._wall_ms(), self._around.now_ns())
        except (NotForSparkplug, msgspec.MsgspecError) as why:
            return Refusal(str(why))
        most, largest = self._session.packet_bytes_max, max(map(_size, commands))
        if most and largest > most:
            return Refusal(f"a message of it has {largest} bytes, and the broker takes packets of up to {most}")
        size = self._publish(commands)
        self._resized(identity, sum(len(command.payload) for command in commands) - len(payload))
        await self._subscribe(self._edge.command_topic, behind_bytes=size)
        return Verdict.ACCEPTED

    async def watch(self) -> None:
        """Commands, the host's state, and the connection's end."""
        try:
            async for message in self._session.messages:
                self._take(str(message.topic), bytes(message.payload))
        except aiomqtt.MqttError as error:
            self._end(LinkDown(f"{self._name}: connection lost ({why_lost(error)})", "it is tried again by itself"))
        except LinkDown as error:
            self._end(error)

    async def judge(self) -> None:
        """Ends the session when an answer is waited for too long."""
        while self._lost is None:
            await asyncio.sleep(self._timeout_s / LOOKS)
            if self._patience.is_over(self._session.queued_bytes(), self._stopwatch_ns()):
                why = f"{self._name}: no answer to SUBSCRIBE for {self._timeout_s:g} s"
                self._end(LinkDown(why, "check the broker's load and the route to it"))

    async def leave(self) -> None:
        """Say the death that the will would say."""
        with suppress(aiomqtt.MqttError, TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                death = self._edge.death(self._wall_ms())
                await self._session.publish(death.topic, death.payload, qos=death.qos)

    def _take(self, topic: str, content: bytes) -> None:
        if self._host is not None:
            self._host.note(topic, content)
            if self._is_born and not self._host.is_online:
                raise LinkDown(f"{self._name}: the primary host went offline", "records wait for it")
        self._turned.set()
        if self._is_born and self._edge.asks_for_births(topic, content):
            self._give_birth()

    def _give_birth(self) -> None:
        if self._lost is not None:
            raise self._lost
        size = self._publish(self._edge.births(self._around.present(), self._wall_ms(), self._around.now_ns()))
        # Nobody answers births; what is sent behind them waits for them to leave.
        self._patience.ended(self._patience.sent(size, self._stopwatch_ns()), is_answered=False)
        self._is_born = True

    def _publish(self, commands: Sequence[Command]) -> int:
        """Returns how many bytes it was."""
        for command in commands:
            self._session.begin(command)
        return sum(map(_size, commands))

    def _end(self, error: LinkDown) -> None:
        if self._lost is not None:
            return
        self._lost = error
        self._ended.set_result(error)
        self._turned.set()

    def _wall_ms(self) -> int:
        return self._around.wall_ns() // NS_PER_MS

    async def _subscribe(self, topic: str, *, behind_bytes: int = 0) -> None:
        """Raises LinkDown when the connection ends, or the broker does not answer, or not with yes."""
        if self._lost is not None:
            raise self._lost
        answered = self._session.begin_subscribe(topic)
        number = self._patience.sent(behind_bytes + len(topic.encode()) + PACKET_ROOM, self._stopwatch_ns())
        try:
            ends: set[asyncio.Future[Any]] = {answered, self._ended}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not answered.done():
                raise self._ended.result()
            granted = answered.result()
        finally:
            self._patience.ended(number, is_answered=answered.done())
        code = granted.value if isinstance(granted, ReasonCode) else granted
        if code >= SUBSCRIPTION_REFUSED:
            raise LinkDown(f"{self._name}: the broker refuses {topic}", "permit the node to subscribe to it")


def _size(command: Command) -> int:
    return len(command.topic.encode()) + len(command.payload) + PACKET_ROOM


@asynccontextmanager
async def connect(
    address: SparkplugAddress, *, acknowledge_timeout_ns: int, around: Surroundings, resized: Resized = as_given
) -> AsyncIterator[SparkplugUpstream]:
    """A session in which births are out, or LinkDown."""
    broker = address.broker
    timeout_s = acknowledge_timeout_ns / NS_PER_S
    made_with = await terms(broker, timeout_s)
    edge = Edge(address.group, address.edge, await around.next_bd_seq())
    death = edge.death(around.wall_ns() // NS_PER_MS)
    will = aiomqtt.Will(death.topic, death.payload, qos=death.qos, retain=death.retain)
    session = _Session(will=will, **made_with)
    await enter(session, address.name)
    upstream = SparkplugUpstream(session, edge, address, around, timeout_s, resized)
    watchers = [asyncio.create_task(each, name="uplink watch") for each in (upstream.watch(), upstream.judge())]
    try:
        await upstream.open()
        yield upstream
    finally:
        await upstream.leave()
        for watcher in watchers:
            watcher.cancel()
        await asyncio.wait(watchers)
        # MQTT 5 would have to say in its DISCONNECT that the will counts: hanging up says the same.
        await leave(session, says_goodbye=broker.version is MqttVersion.V311)
