"""One session with an MQTT broker: keeps it up, keeps it honest, and lets `Ingest` do the work on its bytes.

A connection is refused, up, or down; the source tries for ever, with back-off. Each change is one event, and going
down marks every tag of the link as not connected, once.

The broker keeps the session (its queue for us) only when every tag of QoS 1 or 2 names a time field, unless the
settings say how long: without one, an old message that was kept for us could not be told from a fresh one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final
from zlib import crc32

import numpy as np

from gateway.core.backoff import Backoff
from gateway.core.events import Emit, Event, Severity
from gateway.core.inbox import Lane
from gateway.core.letters import Keep, Letter, keep_nothing
from gateway.core.ports import Clock, Intake
from gateway.core.pressure import Step
from gateway.core.readings import HistogramReading, Reading
from gateway.core.symbols import Intern, no_symbols
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Quality, Samples
from gateway.protocol.mqtt import codec
from gateway.protocol.mqtt.codes import V5, V311, ProtocolError, reason_text
from gateway.protocol.mqtt.ingest import Ingest
from gateway.protocol.mqtt.newcomers import Newcomers
from gateway.settings.credentials import CredentialError, password_of, tls_context, username_of
from gateway.settings.schema import MqttLink, MqttVersion, Priority, Tag
from gateway.sources.mqtt.explain import CONNECT_TIMEOUT_S, LinkError, explain, refusal
from gateway.sources.mqtt.feeds import feed_of, keeps_session
from gateway.sources.mqtt.metrics import OWN_METRICS, SHED
from gateway.sources.mqtt.redirect import Redirects
from gateway.sources.mqtt.reporting import report_of
from gateway.sources.mqtt.session import PAUSE_POLL_S, Session, reply
from gateway.sources.mqtt.sink import DirectSink, DurableSink, Sink
from gateway.sources.mqtt.sparkplug import Rows, host_filters, host_of, host_readings, is_sparkplug
from gateway.sources.mqtt.subscriptions import filter_of, in_packets, judge, refused_beforehand
from gateway.sources.mqtt.tenants import Ask, Tenants

STEADY_S: Final = 10.0
"""A connection that held this long was a good one: the next back-off starts small again."""
DURABLE_SESSION_EXPIRY_S: Final = 24 * 3_600
SESSION_EXPIRY_S: Final = 3_600
"""How long a broker of MQTT 5 keeps the session: payload times are not believed beyond an hour either."""
BACKOFF_BASE_NS: Final = 200 * NS_PER_MS
BACKOFF_CAP_NS: Final = 30 * NS_PER_S

TICK_S: Final = 0.1


class MqttSource:
    """The tags of one MQTT link. `tags` are pairs of row and tag; wall time is engine time plus `wall_offset_ns()`."""

    def __init__(
        self,
        *,
        link: MqttLink,
        tags: Sequence[tuple[int, Tag]],
        lane: Lane,
        intake: Intake | None = None,
        newcomers: Newcomers | None = None,
        ask: Ask = lambda wanted, answered: None,
        now_ns: Clock,
        wall_offset_ns: Callable[[], int],
        emit: Emit,
        keep: Keep = keep_nothing,
        intern: Intern = no_symbols,
    ) -> None:
        """`keep` takes payloads that cannot be used; `intern` gives texts their numbers."""
        self.name = lane.name
        self._subject = link.name
        self._kind = "durable.link_" if intake is not None else "link."
        self._settings = link.session
        self._redirects = Redirects(link.broker, link.session.follow_redirect)
        self._version = V5 if link.broker.version is MqttVersion.V5 else V311
        self._now_ns = now_ns
        self._wall_offset_ns = wall_offset_ns
        self._emit = emit
        self._keep = keep
        feeds = [feed_of(row, tag) for row, tag in tags if not is_sparkplug(tag)]
        metrics = [(row, tag) for row, tag in tags if is_sparkplug(tag)]
        self._host = host_of(link, metrics, intern) if intake is None else None
        self._report = report_of(tags, () if newcomers is None else newcomers.lenders)
        self._rows = np.array([row for row, _ in tags], np.int32)
        expiry_s = link.session.session_expiry_s
        offered = [] if newcomers is None else [template.feeds[0] for template in newcomers.templates]
        is_kept = keeps_session([*feeds, *offered]) if expiry_s is None else expiry_s > 0
        self._keeps_session = self._host is None and (is_kept or intake is not None)
        default_s = SESSION_EXPIRY_S if intake is None else DURABLE_SESSION_EXPIRY_S
        self._session_expiry_s = expiry_s or default_s
        # A message under an alias does not say its topic, and one that is not in the table could not be given a place.
        has_aliases = self._host is None and newcomers is None
        self._alias_maximum = link.session.topic_alias_maximum if has_aliases else 0
        self._tenants = None
        if newcomers is not None:
            self._tenants = Tenants(
                newcomers, ask, feeds, self._version, link.session.message_bytes_max, self._host, lane, intern,
                self._report, now_ns=now_ns, wall_offset_ns=wall_offset_ns, emit=emit, keep=keep,
            )  # fmt: skip
        self._ingest = (
            self._tenants.ingest
            if self._tenants is not None
            else Ingest(
                feeds,
                self._version,
                frame_bytes_max=link.session.message_bytes_max,
                topic_alias_maximum=self._alias_maximum if self._version == V5 else 0,
                is_durable=intake is not None,
                host=self._host,
                intern=intern,
                report=self._report,
            )
        )
        self._sink: Sink = DirectSink(lane) if intake is None else DurableSink(lane, intake, self._ingest)
        assert lane.capacity >= 4 * self._ingest.samples_per_message_max
        self._backoff = Backoff(BACKOFF_BASE_NS, BACKOFF_CAP_NS)
        self._session: Session | None = None
        self._is_up = False
        self._connections = 0
        self._paused_ns = 0
        self._down_reason = ""
        self._told: dict[str, str] = {}

    def press(self, step: Step) -> None:
        self._sink.is_held = step >= Step.HOLD

    async def run(self) -> None:
        await self._sink.restore()
        failures = 0
        while True:
            started_s = asyncio.get_running_loop().time()
            try:
                reason = await self._one_connection()
            except (LinkError, CredentialError, ProtocolError, OSError) as error:
                reason = error
            where = self._redirects.broker
            goes_on = self._redirects.failed(reason)
            was_steady = self._is_up and asyncio.get_running_loop().time() - started_s > STEADY_S
            failures = 1 if was_steady else failures + 1
            await self._go_down(explain(reason, where))
            if goes_on:
                continue
            delay_ns = self._backoff.delay_ns(failures, crc32(self.name.encode()))
            await asyncio.sleep(delay_ns / NS_PER_S)

    async def keep_house(self) -> None:
        """Until cancelled, beside `run`, where tags may appear by themselves."""
        if self._tenants is not None:
            await self._tenants.keep_house()

    def take_again(self, letter: Letter) -> None:
        """A payload from the dead letters, as if it came now. Where it cannot be used again it is one once more."""
        if self._sink.must_wait:
            self._keep(letter)
            return
        now_ns = self._now_ns()
        step = self._ingest.take_again(
            self._sink.lane, letter.topic, letter.payload, now_ns, self._wall_offset_ns()
        )  # fmt: skip
        if step is None:
            self._keep(replace(letter, reason="no tag names its topic any more"))
            return
        self._sink.hand_on(b"", lambda acks: None)
        for event in step.events:
            self._emit(event)
        for again in step.letters:
            self._keep(again)

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
            ingest.repeated_messages,
            ingest.unidentified_messages,
            ingest.times_refused,
            ingest.unknown_readings,
            0 if self._report is None else self._report.unchanged,
            ingest.sums_ignored,
            max(0, self._connections - 1),
            int(self._is_up),
            paused_ns / NS_PER_S,
        )
        for (name, _, _), value in zip(OWN_METRICS, values, strict=True):
            yield Reading(name, value, labels)
        for priority, count in zip(Priority, ingest.shed_of, strict=True):
            yield Reading(SHED, count, (*labels, ("priority", priority)))
        if self._host is not None:
            yield from host_readings(self._host, labels)

    async def _one_connection(self) -> BaseException:
        """Connect, subscribe, and stay until the connection is over; returns or raises why."""
        loop = asyncio.get_running_loop()
        broker = self._redirects.broker
        username, password, tls = await asyncio.to_thread(
            lambda: (username_of(broker), password_of(broker), tls_context(broker))
        )
        self._ingest.begin_connection()
        session = Session(
            subject=self._subject,
            ingest=self._ingest,
            sink=self._sink,
            settings=self._settings,
            version=self._version,
            now_ns=self._now_ns,
            wall_offset_ns=self._wall_offset_ns,
            emit=self._emit,
            keep=self._keep,
        )
        politely = True
        ticking: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: session, broker.host, broker.port, ssl=tls)
                self._session = session
                connack = await self._greet(session, username, password)
            await self._subscribe(session, connack)
            self._redirects.stayed()
            self._go_up()
            if self._host is not None:
                self._host.begin(self._now_ns())
                session.publish_commands()
                ticking = asyncio.create_task(self._tick(session))
            await self._stay(session, connack)
            return session.closed.result()
        except (LinkError, CredentialError, ProtocolError, OSError):
            politely = False
            raise
        finally:
            if ticking is not None:
                ticking.cancel()
            await session.close(politely and not session.closed.done())
            self._session = None
            self._paused_ns += session.paused_ns

    async def _greet(self, session: Session, username: str | None, password: str | None) -> codec.Connack:
        broker, wanted = self._redirects.broker, self._settings
        session.send(
            codec.encode_connect(
                version=self._version,
                client_id=broker.client_id,
                clean_start=not self._keeps_session,
                keep_alive_s=broker.keep_alive_s,
                username=username,
                password=None if password is None else password.encode(),
                session_expiry_s=self._session_expiry_s if self._keeps_session else 0,
                receive_maximum=wanted.receive_maximum,
                topic_alias_maximum=self._alias_maximum,
                packet_bytes_max=wanted.packet_bytes_max,
                will=self._will(),
            )
        )
        connack = await reply(session, session.connack, "CONNECT")
        if connack.code:
            raise refusal(connack.code, self._version, connack.reason, connack.server_reference)
        if connack.session_present and not self._keeps_session and self._version == V5:
            raise ProtocolError("the broker goes on with a session that was to begin anew")  # MQTT-3.2.2-4
        if not connack.session_present:
            self._ingest.begin_session()
            self._sink.begin_session()
        return connack

    async def _subscribe(self, session: Session, connack: codec.Connack) -> None:
        """Ask for every topic; what the broker does not give as asked is told once, and again when it changes."""
        self._told, told_before = {}, self._told
        wanted = {
            filter_of(topic, self._settings): (topic.name, np.array([feed.row for feed in topic.feeds], np.int32))
            for topic in self._ingest.topics
            if self._tenants is None or not self._tenants.is_covered(topic)
        }
        if self._tenants is not None:
            wanted |= self._tenants.wildcards(self._settings)
        if self._host is not None:
            wanted |= host_filters(self._host)
        asked = []
        for each, topic in wanted.items():
            code = refused_beforehand(each, connack)
            if code is None:
                asked.append(each)
            else:
                await self._note(*topic, False, reason_text(code), told_before)
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
                    await self._note(*wanted[each], is_given, wrong, told_before)

    async def _note(
        self, topic: str, rows: Rows, is_given: bool, wrong: str, told_before: dict[str, str]
    ) -> None:  # fmt: skip
        self._told[topic] = wrong
        if not is_given:
            await self._mark(rows, Quality.BAD_CONFIG)
        if told_before.get(topic) != wrong:
            if is_given:
                self._say(Severity.WARNING, "topic.lowered", f"topic {topic!r}: {wrong}")
            else:
                self._say(Severity.ERROR, "topic.refused", f"the broker refuses topic {topic!r}: {wrong}")

    def _will(self) -> codec.Will | None:
        found = None if self._host is None else self._host.will(self._wall_ms())
        return None if found is None else codec.Will(*found)

    def _wall_ms(self) -> int:
        return (self._now_ns() + self._wall_offset_ns()) // NS_PER_MS

    async def _tick(self, session: Session) -> None:
        """The time-outs of Sparkplug."""
        while not session.closed.done():
            await asyncio.sleep(TICK_S)
            for event in self._ingest.tick(self._sink.lane, self._now_ns()):
                self._emit(event)
            session.publish_commands()

    async def _stay(self, session: Session, connack: codec.Connack) -> None:
        """Until the connection is over: ping, and give a broker up that has gone silent."""
        given_s = connack.server_keep_alive_s
        keep_alive_s = self._redirects.broker.keep_alive_s if given_s is None else given_s
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
        broker = self._redirects.broker
        message = f"connected to {broker.host}:{broker.port} as {broker.client_id!r}, {count} topics"
        self._say(Severity.NOTICE, f"{self._kind}up", message)

    async def _go_down(self, reason: str) -> None:
        is_change = self._is_up or not self._down_reason
        if reason != self._down_reason:
            self._say(Severity.WARNING, f"{self._kind}down", reason)
        self._is_up = False
        self._down_reason = reason
        if is_change:
            lent = [] if self._tenants is None else [self._tenants.rows()]
            await self._mark(np.concatenate([self._rows, *lent]), Quality.BAD_NOT_CONNECTED)

    async def _mark(self, rows: Rows, quality: Quality) -> None:
        """One sample of this quality for each row, as the lane has room."""
        samples: Samples = np.zeros(len(rows), SAMPLE)
        samples["row"] = rows
        samples["quality"] = quality
        samples["source_ns"] = samples["arrival_ns"] = self._now_ns()
        while len(samples):
            if not self._sink.must_wait:
                lane = self._sink.lane
                samples = samples[lane.append(samples[: lane.room]) :]
                self._sink.hand_on(b"", lambda acks: None)
            if len(samples):
                await asyncio.sleep(PAUSE_POLL_S)

    def _say(self, severity: Severity, kind: str, message: str) -> None:
        self._emit(Event(self._now_ns(), severity, kind, self._subject, message))
