"""Sparkplug B as an upstream: the gateway as an edge node (`gateway.protocol.sparkplug.edge`), over MQTT 3.1.1 or 5.

A session is: CONNECT with the node's death certificate as its will, SUBSCRIBE to the node's commands and, where there
is a primary host, to its STATE; wait until that is online; births; data. When the host goes offline the node says its
death and leaves, as it does at every end that it means, and begins anew.

Data of Sparkplug is of QoS 0, which nobody acknowledges. So behind each record the node subscribes to its commands once
more: a broker takes packets in their order, so that its SUBACK says that it has the record's messages. That is what an
acknowledgement of QoS 1 says too, for a broker that stays alive. What a broker does with messages while no host is
there is nothing: with `primary_host` records wait for it in the spool, without one they do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, TypeAlias

import aiomqtt
import msgspec
import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

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
PENDING_MAX: Final = 1_000
"""Records under way are bounded by their delivery; aiomqtt would warn from ten on."""

NextBdSeq: TypeAlias = Callable[[], Awaitable[int]]
"""The number of this CONNECT, which no other will have before 255 more: kept over restarts."""


class Surroundings(NamedTuple):
    """What the node has from the gateway. `now_ns` is engine time, which is what records are dated by."""

    next_bd_seq: NextBdSeq
    present: Callable[[], Iterable[Present]]
    now_ns: Clock
    wall_ns: Clock


class _Session(Client):
    """With messages handed over at once."""

    def begin(self, command: Command) -> None:
        sent = self._client.publish(command.topic, command.payload, qos=command.qos)
        if sent.rc != paho.MQTT_ERR_SUCCESS:
            raise LinkDown(f"cannot publish: {paho.error_string(sent.rc)}", "it is tried again by itself")


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
    ) -> None:
        self._resized = resized
        self._session = session
        self._edge = edge
        self._name = address.name
        self._around = around
        self._timeout_s = timeout_s
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
        self._publish(commands)
        self._resized(identity, sum(len(command.payload) for command in commands) - len(payload))
        await self._subscribe(self._edge.command_topic)
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
        self._publish(self._edge.births(self._around.present(), self._wall_ms(), self._around.now_ns()))
        self._is_born = True

    def _publish(self, commands: Sequence[Command]) -> None:
        for command in commands:
            self._session.begin(command)

    def _end(self, error: LinkDown) -> None:
        self._lost = error
        self._ended.set_result(error)
        self._turned.set()

    def _wall_ms(self) -> int:
        return self._around.wall_ns() // NS_PER_MS

    async def _subscribe(self, topic: str) -> None:
        """Raises LinkDown when the connection ends, or the broker does not answer, or not with yes."""
        if self._lost is not None:
            raise self._lost
        subscribing = asyncio.ensure_future(self._session.subscribe(topic, qos=1, timeout=self._timeout_s))
        try:
            ends: set[asyncio.Future[Any]] = {subscribing, self._ended}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not subscribing.done():
                raise self._ended.result()
            (granted,) = subscribing.result()
        except aiomqtt.MqttError as error:
            raise LinkDown(
                f"{self._name}: no answer to SUBSCRIBE for {self._timeout_s:g} s ({error})",
                "check the broker's load and the route to it",
            ) from error
        finally:
            subscribing.cancel()
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
    session.pending_calls_threshold = PENDING_MAX
    await enter(session, address.name)
    upstream = SparkplugUpstream(session, edge, address, around, timeout_s, resized)
    watcher = asyncio.create_task(upstream.watch(), name="uplink watch")
    try:
        await upstream.open()
        yield upstream
    finally:
        await upstream.leave()
        watcher.cancel()
        await asyncio.wait([watcher])
        # MQTT 5 would have to say in its DISCONNECT that the will counts: hanging up says the same.
        await leave(session, says_goodbye=broker.version is MqttVersion.V311)
