"""One TCP connection to a broker: bytes to `Ingest` and back, and the words for what can go wrong with it.

Back-pressure: past its lane's mark the session stops reading, so that TCP holds the broker up; nothing is decoded
that would not fit. While paused it cannot hear the broker, and is not to be judged by its silence. What lasts longer
than a moment goes by `pressure.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from gateway.core.events import Emit, Event, Severity
from gateway.core.letters import Keep
from gateway.core.ports import Clock
from gateway.core.types import NS_PER_MS
from gateway.protocol.mqtt import codec
from gateway.protocol.mqtt.codes import DISCONNECT_PROTOCOL_ERROR, ProtocolError
from gateway.protocol.mqtt.ingest import Ingest
from gateway.protocol.mqtt.step import Step
from gateway.settings.schema import MqttSession
from gateway.sources.mqtt.explain import CLOSED, LinkError, farewell
from gateway.sources.mqtt.pressure import Pressure
from gateway.sources.mqtt.sink import Sink
from gateway.sources.mqtt.subscriptions import names_of

REPLY_TIMEOUT_S: Final = 10.0
PAUSE_POLL_S: Final = 0.005
FAREWELL_S: Final = 1.0
TELL_S: Final = 0.5
BAD_METHOD: Final = 0x8C

Reply = TypeVar("Reply", codec.Connack, codec.Suback)


class Session(asyncio.BufferedProtocol):
    """The protocol of one connection; the futures are done when their packet, or the end, has come."""

    def __init__(
        self,
        *,
        subject: str,
        ingest: Ingest,
        sink: Sink,
        settings: MqttSession,
        version: int,
        now_ns: Clock,
        wall_offset_ns: Callable[[], int],
        emit: Emit,
        keep: Keep,
    ) -> None:
        self._subject = subject
        self._ingest = ingest
        self._settings = settings
        self._sink = sink
        self._pressure = Pressure(ingest.shed_messages)
        self._telling: asyncio.TimerHandle | None = None
        self._version = version
        self._now_ns = now_ns
        self._wall_offset_ns = wall_offset_ns
        self._emit = emit
        self._keep = keep
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._is_writable = True
        self._timer: asyncio.Handle | None = None
        self._packet_id = 0
        self._strangers: set[bytes] = set()
        self._paused_since_ns: int | None = None
        self._stands_still = False
        self.paused_ns = 0
        self.heard_s = self._loop.time()
        self.connack: asyncio.Future[codec.Connack] = self._loop.create_future()
        self.subacks: dict[int, asyncio.Future[codec.Suback]] = {}
        self.closed: asyncio.Future[BaseException] = self._loop.create_future()
        """Done, with the reason, when the connection is over."""

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._ingest.free_space()

    def buffer_updated(self, nbytes: int) -> None:
        if self.closed.done():
            return
        self.heard_s = self._loop.time()
        self._ingest.received(nbytes, self._now_ns())
        if self._timer is None and not self._stands_still:
            self._pump()

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or LinkError(CLOSED))

    # What the source calls.

    def send(self, packet: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(packet)

    def publish_commands(self) -> None:
        """What the Sparkplug host has to say by now."""
        host = self._ingest.host
        if host is None:
            return
        for command in host.out.take_commands((self._now_ns() + self._wall_offset_ns()) // NS_PER_MS):
            packet_id = self.next_packet_id() if command.qos else 0
            self.send(
                codec.encode_publish(
                    command.topic, command.payload, self._version, packet_id=packet_id, retain=command.retain
                )
            )

    def next_packet_id(self) -> int:
        self._packet_id = self._packet_id % 65_535 + 1
        return self._packet_id

    @property
    def is_paused(self) -> bool:
        return self._timer is not None

    def paused_ns_until(self, now_ns: int) -> int:
        since_ns = self._paused_since_ns
        return self.paused_ns + (now_ns - since_ns if since_ns is not None else 0)

    async def stay(self, keep_alive_s: int) -> None:
        """Until the connection is over: ping, and give a broker up that has gone silent."""
        while not self.closed.done():
            await asyncio.wait({self.closed}, timeout=keep_alive_s / 2 if keep_alive_s else None)
            self.send(codec.PINGREQ)
            if keep_alive_s and not self.is_paused and self._loop.time() - self.heard_s > keep_alive_s:
                raise LinkError(f"the broker has been silent for {keep_alive_s} s in spite of pings; check the network")

    @property
    def stands_still(self) -> bool:
        return self._stands_still

    def stand_still(self) -> None:
        """Take in nothing more, until `go_on`."""
        self._stands_still = True
        for timer in (self._timer, self._telling):
            if timer is not None:
                timer.cancel()
        self._timer = self._telling = None
        self._count_pause(False)
        self._reading(False)

    def go_on(self, ingest: Ingest, sink: Sink) -> None:
        """With another reader, behind what the one before took in."""
        ingest.go_on_after(self._ingest)
        self._ingest, self._sink = ingest, sink
        self._pressure = Pressure(ingest.shed_messages)
        self._strangers.clear()
        self._stands_still = False
        self.heard_s = self._loop.time()
        self._reading(True)
        self._pump()

    async def close(self, politely: bool) -> None:
        """The end of the connection; returns when it is closed."""
        if self._transport is None:
            return
        if politely:
            self._say_goodbye()
            self.send(codec.encode_disconnect(0, self._version))
            self._transport.close()
            await asyncio.wait({self.closed}, timeout=FAREWELL_S)
        self._transport.abort()
        self._end(LinkError("closed by the gateway"))

    # The inner works.

    def _say_goodbye(self) -> None:
        host = self._ingest.host
        last = host.goodbye((self._now_ns() + self._wall_offset_ns()) // NS_PER_MS) if host is not None else None
        if last is not None:
            self.send(codec.encode_publish(*last, self._version, packet_id=self.next_packet_id(), retain=True))

    def _end(self, reason: BaseException) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._count_pause(False)
        if not self.closed.done():
            self.closed.set_result(reason)

    def _pump(self) -> None:
        """Take in what has arrived; when there is more than fits, stop reading and come back."""
        if self.closed.done():
            return
        level = self._level()
        step = self._ingest.step(self._sink.lane, self._wall_offset_ns(), level)
        self._sink.hand_on(step.acks, self.send)
        self._act_on(step)
        if self._telling is None:
            self._tell_shedding()
        # While messages are shed, reading goes on; the broker would cut off whoever does not read.
        if self._must_wait(level) or step.is_full:
            self._hold(self._must_wait(level) or (step.is_full and level > 0))
        elif self._timer is not None:
            self._timer = None
            self._count_pause(False)
            self.heard_s = self._loop.time()
            self._reading(True)

    def _level(self) -> int:
        """Of what is left out. Where an acknowledgement waits for the disk there is no QoS 0, and all of it waits."""
        return self._pressure.level(self._sink.must_wait, self._now_ns()) if self._sink.may_shed else 0

    def _tell_shedding(self) -> None:
        """Also when nothing comes any more."""
        told = self._pressure.told(self._ingest.shed_messages, self._now_ns())
        if told:
            self._emit(Event(self._now_ns(), Severity.WARNING, "messages.shed", self._subject, told))
        is_due = self._pressure.is_told and not self.closed.done()
        self._telling = self._loop.call_later(TELL_S, self._tell_shedding) if is_due else None

    def _must_wait(self, level: int) -> bool:
        return (self._sink.must_wait and level == 0) or self._ingest.must_wait or not self._is_writable

    def _hold(self, for_room: bool) -> None:
        if self.closed.done():
            return
        if self._timer is None:
            self._reading(False)
        self._count_pause(for_room)
        self._timer = self._loop.call_later(PAUSE_POLL_S if for_room else 0.0, self._come_back)

    def _come_back(self) -> None:
        if self._ingest.must_wait:
            self._act_on(self._ingest.advance(self._sink.lane, self._wall_offset_ns()))
        if self._must_wait(self._level()):
            self._hold(True)
        else:
            self._pump()

    def _reading(self, wanted: bool) -> None:
        if self._transport is not None and not self._transport.is_closing():
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _count_pause(self, is_paused: bool) -> None:
        now_ns = self._now_ns()
        if self._paused_since_ns is not None:
            self.paused_ns += now_ns - self._paused_since_ns
        self._paused_since_ns = now_ns if is_paused else None

    def _act_on(self, step: Step) -> None:
        step.tell(self._emit, self._keep)
        self._give_back(step.strangers)
        self.publish_commands()
        try:
            for first, body in step.control:
                self._on_packet(codec.parse(first, body, self._version))
            if step.error is not None:
                self._break_off(ProtocolError(step.error), step.error_code)
        except ProtocolError as error:
            self._break_off(error, DISCONNECT_PROTOCOL_ERROR)

    def _break_off(self, error: Exception, code: int) -> None:
        """End the connection for what the broker did, and tell it the reason code (MQTT 5)."""
        if not self.closed.done():
            self.send(codec.encode_disconnect(code, self._version))
        self._end(error)

    def _give_back(self, topics: list[bytes]) -> None:
        """Unsubscribe from what a kept session of an earlier configuration still brings."""
        unknown = [topic for topic in dict.fromkeys(topics) if topic not in self._strangers]
        if unknown:
            self._strangers.update(unknown)
            names = [name for topic in unknown for name in names_of(topic, self._settings)]
            self.send(codec.encode_unsubscribe(self.next_packet_id(), names, self._version))

    def _on_packet(self, packet: codec.Packet) -> None:
        match packet:
            case codec.Connack():
                if not self.connack.done():
                    self.connack.set_result(packet)
            case codec.Suback():
                waiting = self.subacks.pop(packet.packet_id, None)
                if waiting is None:
                    raise ProtocolError(f"a SUBACK of packet identifier {packet.packet_id}, which was not asked for")
                waiting.set_result(packet)
            case codec.Unsuback() | codec.Puback():
                pass
            case codec.Disconnect():
                self._end(farewell(packet.code, packet.reason, packet.server_reference))
            case codec.Auth():
                method = packet.method or "one that it does not name"
                why = f"the broker asks for an authentication method that the gateway does not have ({method})"
                self._break_off(LinkError(f"{why}; allow it user and password, or a client certificate"), BAD_METHOD)


async def reply(session: Session, waiting: asyncio.Future[Reply], to: str) -> Reply:
    """The broker's answer. Raises why there is none."""
    either: set[asyncio.Future[Any]] = {waiting, session.closed}
    await asyncio.wait(either, timeout=REPLY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
    if waiting.done():
        return waiting.result()
    if session.closed.done():
        raise session.closed.result()
    raise LinkError(f"the broker does not answer a {to} within {REPLY_TIMEOUT_S:.0f} s; see its log")
