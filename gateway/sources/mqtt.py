"""One session with an MQTT broker: keeps it up, keeps it honest, and lets `Ingest` do the work on its bytes.

A connection is refused, up, or down; the source tries for ever, with back-off. Each change is one event, and going
down marks every tag of the link as not connected, once.

Back-pressure: past its lane's mark the session stops reading, so that TCP holds the broker up; nothing is decoded
that would not fit. While paused it cannot hear the broker and does not judge it silent.

The broker keeps the session (its queue for us) only when every tag of QoS 1 or 2 names a time field: without one, an
old message that was kept for us could not be told from a fresh one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar, cast
from zlib import crc32

import numpy as np

from gateway.core.events import Emit, Event, Severity
from gateway.core.inbox import Lane
from gateway.core.ports import Clock
from gateway.core.readings import HistogramReading, Reading
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Quality, Samples
from gateway.protocol.mqtt import codec
from gateway.protocol.mqtt.codes import FAILURE_MIN, V5, V311, ProtocolError, connack_text, reason_text
from gateway.protocol.mqtt.ingest import Ingest, Step
from gateway.protocol.mqtt.table import Feed, Topic
from gateway.settings.schema import BrokerAddress, MqttLink, MqttPoint, MqttVersion, Tag

CONNECT_TIMEOUT_S: Final = 10.0
REPLY_TIMEOUT_S: Final = 10.0
PAUSE_POLL_S: Final = 0.005
STEADY_S: Final = 10.0
"""A connection that held this long was a good one: the next back-off starts small again."""
SUBSCRIBE_TOPICS_MAX: Final = 64
"""Topics of one SUBSCRIBE."""
SESSION_EXPIRY_S: Final = 3_600
"""How long a broker of MQTT 5 keeps the session: payload times are not believed beyond an hour either."""
RECEIVE_MAXIMUM: Final = 1_024
BACKOFF_BASE_NS: Final = 200 * NS_PER_MS
BACKOFF_CAP_NS: Final = 30 * NS_PER_S

METRICS: Final[tuple[tuple[str, str, str], ...]] = (
    ("fieldgate_mqtt_messages_total", "counter", "Messages received from the broker."),
    ("fieldgate_mqtt_fast_messages_total", "counter", "Messages decoded on the fast path."),
    ("fieldgate_mqtt_slow_messages_total", "counter", "Messages that needed the slow path."),
    ("fieldgate_mqtt_samples_total", "counter", "Samples put into the lane."),
    ("fieldgate_mqtt_received_bytes_total", "counter", "Bytes received from the broker."),
    ("fieldgate_mqtt_unusable_messages_total", "counter", "Messages with at least one wanted value that is unusable."),
    ("fieldgate_mqtt_unknown_topic_messages_total", "counter", "Messages of topics that no tag names."),
    ("fieldgate_mqtt_duplicate_messages_total", "counter", "QoS 2 messages received again before their release."),
    ("fieldgate_mqtt_times_refused_total", "counter", "Messages whose own time was too far from their arrival."),
    ("fieldgate_mqtt_reconnects_total", "counter", "Connections made after the first one."),
    ("fieldgate_mqtt_connected", "gauge", "1 while the session with the broker is up."),
    ("fieldgate_mqtt_paused_seconds_total", "counter", "Time for which reading was held back for want of room."),
)


Reply = TypeVar("Reply", codec.Connack, codec.Suback)


class LinkError(Exception):
    """The connection cannot be made or cannot go on; the text says why, and what to check."""


class Backoff:
    """Doubling delays with a cap. Same shape as `gateway.core.backoff.Backoff`."""

    def __init__(self, base_ns: int, cap_ns: int) -> None:
        self._base_ns = base_ns
        self._cap_ns = cap_ns

    def delay_ns(self, failures: int, seed: int = 0) -> int:
        whole_ns = min(self._cap_ns, self._base_ns << min(failures - 1, 30))
        return whole_ns - whole_ns * (seed % 1024) // 4096


def explain(error: BaseException, broker: BrokerAddress) -> str:
    """What went wrong with the connection, in words for whoever is on call."""
    where = f"{broker.host}:{broker.port}"
    match error:
        case LinkError():
            return str(error)
        case ProtocolError():
            return f"{where} does not keep to MQTT: it sent {error}; check that an MQTT broker listens there"
        case ConnectionRefusedError():
            return f"nothing listens on {where}; check that the broker runs, and host and port"
        case socket.gaierror():
            return f"the name {broker.host!r} cannot be resolved; check host and the DNS of this machine"
        case ssl.SSLCertVerificationError():
            return f"the certificate of {where} is not trusted ({error.verify_message}); check ca_file and host"
        case ssl.SSLError():
            return f"TLS with {where} failed ({error.reason}); check that this port speaks TLS"
        case TimeoutError():
            return f"{where} does not answer within {CONNECT_TIMEOUT_S:.0f} s; check network and firewall"
        case OSError() if error.filename is not None:
            return f"{error.filename} cannot be read ({error.strerror}); check the path and its permissions"
        case _:
            return f"the connection to {where} failed ({error}); check the network and the broker's log"


class _Session(asyncio.BufferedProtocol):
    """One TCP connection: bytes to `Ingest` and back, replies to the futures that wait for them."""

    def __init__(
        self, *, ingest: Ingest, lane: Lane, version: int, now_ns: Clock, wall_offset_ns: Clock, emit: Emit
    ) -> None:
        self._ingest = ingest
        self._lane = lane
        self._version = version
        self._now_ns = now_ns
        self._wall_offset_ns = wall_offset_ns
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._is_writable = True
        self._timer: asyncio.Handle | None = None
        self._packet_id = 0
        self._strangers: set[bytes] = set()
        self._paused_since_ns: int | None = None
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
        self.heard_s = self._loop.time()
        self._ingest.received(nbytes, self._now_ns())
        if self._timer is None:
            self._pump()

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or LinkError("the broker closed the connection; see its log"))

    # What the source calls.

    def send(self, packet: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(packet)

    def next_packet_id(self) -> int:
        self._packet_id = self._packet_id % 65_535 + 1
        return self._packet_id

    @property
    def is_paused(self) -> bool:
        return self._timer is not None

    def paused_ns_until(self, now_ns: int) -> int:
        since_ns = self._paused_since_ns
        return self.paused_ns + (now_ns - since_ns if since_ns is not None else 0)

    async def close(self, politely: bool) -> None:
        """The end of the connection; returns when it is closed."""
        if self._transport is None:
            return
        if politely:
            self.send(codec.DISCONNECT)
            self._transport.close()
            await asyncio.wait({self.closed}, timeout=1.0)
        self._transport.abort()
        self._end(LinkError("closed by the gateway"))

    # The inner works.

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
        step = self._ingest.step(self._lane, self._wall_offset_ns())
        self.send(step.acks)
        self._act_on(step)
        if self._must_wait or step.is_full:
            self._hold(self._must_wait)
        elif self._timer is not None:
            self._timer = None
            self._count_pause(False)
            self.heard_s = self._loop.time()
            self._reading(True)

    @property
    def _must_wait(self) -> bool:
        return self._lane.is_past_mark or not self._is_writable

    def _hold(self, for_room: bool) -> None:
        if self.closed.done():
            return
        if self._timer is None:
            self._reading(False)
        self._count_pause(for_room)
        self._timer = self._loop.call_later(PAUSE_POLL_S if for_room else 0.0, self._come_back)

    def _come_back(self) -> None:
        if self._must_wait:
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
        for event in step.events:
            self._emit(event)
        self._give_back(step.strangers)
        try:
            for first, body in step.control:
                self._on_packet(codec.parse(first, body, self._version))
            if step.error is not None:
                raise ProtocolError(step.error)
        except ProtocolError as error:
            self._end(error)

    def _give_back(self, topics: list[bytes]) -> None:
        """Unsubscribe from what a kept session of an earlier configuration still brings."""
        unknown = [topic for topic in dict.fromkeys(topics) if topic not in self._strangers]
        if unknown:
            self._strangers.update(unknown)
            self.send(codec.encode_unsubscribe(self.next_packet_id(), unknown, self._version))

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
            case codec.Unsuback():
                pass
            case codec.Disconnect():
                said = f" ({packet.reason})" if packet.reason else ""
                self._end(LinkError(f"the broker disconnected: {reason_text(packet.code)}{said}"))


class MqttSource:
    """The tags of one MQTT link. `tags` are pairs of row and tag; wall time is engine time plus `wall_offset_ns()`."""

    def __init__(
        self,
        *,
        link: MqttLink,
        tags: Sequence[tuple[int, Tag]],
        lane: Lane,
        now_ns: Clock,
        wall_offset_ns: Callable[[], int],
        emit: Emit,
    ) -> None:
        self.name = link.name
        self._broker = link.broker
        self._version = V5 if link.broker.version is MqttVersion.V5 else V311
        self._lane = lane
        self._now_ns = now_ns
        self._wall_offset_ns = wall_offset_ns
        self._emit = emit
        feeds = [_feed(row, tag) for row, tag in tags]
        self._rows = np.array([feed.row for feed in feeds], np.int32)
        self._keeps_session = _keeps_session(feeds)
        self._ingest = Ingest(feeds, self._version)
        assert lane.capacity >= 4 * self._ingest.samples_per_message_max
        self._backoff = Backoff(BACKOFF_BASE_NS, BACKOFF_CAP_NS)
        self._session: _Session | None = None
        self._is_up = False
        self._connections = 0
        self._paused_ns = 0
        self._down_reason = ""
        self._refused: dict[str, str] = {}

    async def run(self) -> None:
        failures = 0
        while True:
            started_s = asyncio.get_running_loop().time()
            try:
                reason = await self._one_connection()
            except (LinkError, ProtocolError, OSError) as error:
                reason = error
            was_steady = self._is_up and asyncio.get_running_loop().time() - started_s > STEADY_S
            failures = 1 if was_steady else failures + 1
            await self._go_down(explain(reason, self._broker))
            delay_ns = self._backoff.delay_ns(failures, crc32(self.name.encode()))
            await asyncio.sleep(delay_ns / NS_PER_S)

    def readings(self) -> Iterator[Reading | HistogramReading]:
        labels = (("link", self.name),)
        ingest, session = self._ingest, self._session
        paused_ns = self._paused_ns + (session.paused_ns_until(self._now_ns()) if session is not None else 0)
        values = (
            ingest.messages,
            ingest.fast_messages,
            ingest.slow_messages,
            ingest.samples,
            ingest.received_bytes,
            ingest.unusable_messages,
            ingest.unknown_topic_messages,
            ingest.duplicate_messages,
            ingest.times_refused,
            max(0, self._connections - 1),
            int(self._is_up),
            paused_ns / NS_PER_S,
        )
        for (name, _, _), value in zip(METRICS, values, strict=True):
            yield Reading(name, value, labels)

    async def _one_connection(self) -> BaseException:
        """Connect, subscribe, and stay until the connection is over; returns or raises why."""
        loop = asyncio.get_running_loop()
        self._ingest.begin_connection()
        session = _Session(
            ingest=self._ingest,
            lane=self._lane,
            version=self._version,
            now_ns=self._now_ns,
            wall_offset_ns=self._wall_offset_ns,
            emit=self._emit,
        )
        politely = True
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.create_connection(
                    lambda: session, self._broker.host, self._broker.port, ssl=_tls(self._broker)
                )  # fmt: skip
                self._session = session
                connack = await self._greet(session)
            await self._subscribe(session)
            self._go_up()
            await self._stay(session, connack)
            return session.closed.result()
        except (LinkError, ProtocolError, OSError):
            politely = False
            raise
        finally:
            await session.close(politely and not session.closed.done())
            self._session = None
            self._paused_ns += session.paused_ns

    async def _greet(self, session: _Session) -> codec.Connack:
        broker = self._broker
        password = None
        if broker.password_file is not None:
            password = broker.password_file.read_bytes().rstrip(b"\r\n")
        session.send(
            codec.encode_connect(
                version=self._version,
                client_id=broker.client_id,
                clean_start=not self._keeps_session,
                keep_alive_s=broker.keep_alive_s,
                username=broker.username,
                password=password,
                session_expiry_s=SESSION_EXPIRY_S if self._keeps_session else 0,
                receive_maximum=RECEIVE_MAXIMUM,
            )
        )
        connack = await _reply(session, session.connack, "CONNECT")
        if connack.code:
            said = f" ({connack.reason})" if connack.reason else ""
            raise LinkError(f"the broker refused the connection: {connack_text(connack.code, self._version)}{said}")
        if not connack.session_present:
            self._ingest.begin_session()
        return connack

    async def _subscribe(self, session: _Session) -> None:
        refused: dict[str, str] = {}
        topics = self._ingest.topics
        for first in range(0, len(topics), SUBSCRIBE_TOPICS_MAX):
            chunk = topics[first : first + SUBSCRIBE_TOPICS_MAX]
            packet_id = session.next_packet_id()
            waiting = session.subacks[packet_id] = asyncio.get_running_loop().create_future()
            wanted = [(topic.name, topic.qos) for topic in chunk]
            session.send(codec.encode_subscribe(packet_id, wanted, self._version))
            suback = await _reply(session, waiting, "SUBSCRIBE")
            if len(suback.codes) != len(chunk):
                raise ProtocolError(f"a SUBACK of {len(suback.codes)} codes for {len(chunk)} topics")
            for topic, code in zip(chunk, suback.codes, strict=True):
                if code >= FAILURE_MIN:
                    refused[topic.name] = reason_text(code)
                    await self._refuse(topic, refused[topic.name])
        self._refused = refused

    async def _refuse(self, topic: Topic, why: str) -> None:
        rows = np.array([feed.row for feed in topic.feeds], np.int32)
        await self._mark(rows, Quality.BAD_CONFIG)
        if self._refused.get(topic.name) != why:
            message = f"the broker refuses topic {topic.name!r}: {why}; check the broker's access rules for this client"
            self._say(Severity.ERROR, "topic.refused", message)

    async def _stay(self, session: _Session, connack: codec.Connack) -> None:
        """Until the connection is over: ping, and give a broker up that has gone silent."""
        given_s = connack.server_keep_alive_s
        keep_alive_s = self._broker.keep_alive_s if given_s is None else given_s
        loop = asyncio.get_running_loop()
        while not session.closed.done():
            await asyncio.wait({session.closed}, timeout=keep_alive_s / 2 if keep_alive_s else None)
            session.send(codec.PINGREQ)
            if keep_alive_s and not session.is_paused and loop.time() - session.heard_s > keep_alive_s:
                raise LinkError(f"the broker has been silent for {keep_alive_s} s in spite of pings; check the network")

    def _go_up(self) -> None:
        self._is_up = True
        self._down_reason = ""
        self._connections += 1
        count = len(self._ingest.topics)
        message = f"connected to {self._broker.host}:{self._broker.port} as {self._broker.client_id!r}, {count} topics"
        self._say(Severity.NOTICE, "link.up", message)

    async def _go_down(self, reason: str) -> None:
        is_change = self._is_up or not self._down_reason
        if reason != self._down_reason:
            self._say(Severity.WARNING, "link.down", reason)
        self._is_up = False
        self._down_reason = reason
        if is_change:
            await self._mark(self._rows, Quality.BAD_NOT_CONNECTED)

    async def _mark(self, rows: np.ndarray[tuple[int], np.dtype[np.int32]], quality: Quality) -> None:
        """One sample of this quality for each row, as the lane has room."""
        samples: Samples = np.zeros(len(rows), SAMPLE)
        samples["row"] = rows
        samples["quality"] = quality
        samples["source_ns"] = samples["arrival_ns"] = self._now_ns()
        while len(samples):
            fits = self._lane.append(samples[: self._lane.room])
            samples = samples[fits:]
            if len(samples):
                await asyncio.sleep(PAUSE_POLL_S)

    def _say(self, severity: Severity, kind: str, message: str) -> None:
        self._emit(Event(self._now_ns(), severity, kind, self.name, message))


def _feed(row: int, tag: Tag) -> Feed:
    point = tag.point
    assert isinstance(point, MqttPoint)
    return Feed(
        topic=point.topic,
        row=row,
        device=tag.device,
        kind=tag.kind,
        field=point.field,
        time_field=point.time_field,
        qos=point.qos,
        scale=point.scale,
        offset=point.offset,
    )


def _keeps_session(feeds: Sequence[Feed]) -> bool:
    assured = [feed for feed in feeds if feed.qos]
    return bool(assured) and all(feed.time_field for feed in assured)


def _tls(broker: BrokerAddress) -> ssl.SSLContext | None:
    if not broker.tls:
        return None
    return ssl.create_default_context(cafile=broker.ca_file)


async def _reply(session: _Session, waiting: asyncio.Future[Reply], to: str) -> Reply:
    """The broker's answer. Raises why there is none."""
    either: set[asyncio.Future[Any]] = {waiting, session.closed}
    await asyncio.wait(either, timeout=REPLY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
    if waiting.done():
        return waiting.result()
    if session.closed.done():
        raise session.closed.result()
    raise LinkError(f"the broker does not answer a {to} within {REPLY_TIMEOUT_S:.0f} s; see its log")
