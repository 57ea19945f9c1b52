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
from gateway.core.types import NS_PER_MS, NS_PER_S, Quality
from gateway.protocol.mqtt import codec
from gateway.protocol.mqtt.codes import V5, V311, ProtocolError
from gateway.protocol.mqtt.ingest import Ingest
from gateway.protocol.mqtt.newcomers import Newcomers
from gateway.protocol.mqtt.table import Feed
from gateway.settings.credentials import CredentialError, password_of, tls_context, username_of
from gateway.settings.schema import MqttLink, MqttVersion, Tag
from gateway.sources.mqtt.explain import CONNECT_TIMEOUT_S, LinkError, explain, refusal
from gateway.sources.mqtt.feeds import feed_of, keeps_session
from gateway.sources.mqtt.handover import Handover
from gateway.sources.mqtt.metrics import of_ingest
from gateway.sources.mqtt.redirect import Redirects
from gateway.sources.mqtt.reporting import report_of
from gateway.sources.mqtt.session import Session, reply
from gateway.sources.mqtt.sink import DirectSink, DurableSink, Sink, mark
from gateway.sources.mqtt.sparkplug import host_of, host_readings, is_sparkplug
from gateway.sources.mqtt.subscriber import Difference, Subscriber
from gateway.sources.mqtt.tenants import Ask, Tenants

STEADY_S: Final = 10.0
"""A connection that held this long was a good one: the next back-off starts small again."""
DURABLE_SESSION_EXPIRY_S: Final = 24 * 3_600
SESSION_EXPIRY_S: Final = 3_600
"""How long a broker of MQTT 5 keeps the session: payload times are not believed beyond an hour either."""
RECONNECT: Final = Backoff(base_ns=200 * NS_PER_MS, cap_ns=30 * NS_PER_S)

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
        metrics = [(row, tag) for row, tag in tags if is_sparkplug(tag)]
        feeds = [feed_of(row, tag) for row, tag in tags if not metrics or not is_sparkplug(tag)]
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
            else self._plain_ingest(feeds, intern, is_durable=intake is not None)
        )
        self._sink: Sink = DirectSink(lane) if intake is None else DurableSink(lane, intake, self._ingest)
        assert lane.capacity >= 4 * self._ingest.samples_per_message_max
        self._session: Session | None = None
        self._is_up = False
        self._connections = 0
        self._paused_ns = 0
        self._down_reason = ""
        self._subscriber = Subscriber(
            self._subject, self._ingest, self._tenants, self._sink, self._settings, self._version,
            now_ns=now_ns, emit=emit,
        )  # fmt: skip
        self._connack: codec.Connack | None = None
        """Of the connection that is up."""
        self._follows: Difference | None = None
        self._taken: Handover | None = None

    def _plain_ingest(self, feeds: Sequence[Feed], intern: Intern, *, is_durable: bool) -> Ingest:
        return Ingest(
            feeds,
            self._version,
            frame_bytes_max=self._settings.message_bytes_max,
            topic_alias_maximum=self._alias_maximum if self._version == V5 else 0,
            is_durable=is_durable,
            host=self._host,
            intern=intern,
            report=self._report,
        )

    def follow(self, before: MqttSource) -> None:
        """Prepare to go on with the session of another source of the same link, where that can be."""
        if self._is_plain and before._is_plain and self._terms == before._terms:
            self._follows = self._subscriber.after(before._subscriber)

    @property
    def _is_plain(self) -> bool:
        """Whether nothing but the topics' tables knows of the session."""
        return self._host is None and isinstance(self._sink, DirectSink)

    @property
    def _terms(self) -> tuple[object, ...]:
        """What a session was agreed on with."""
        return self._redirects.configured, self._settings, self._version, self._keeps_session, self._alias_maximum

    def take_over(self, before: MqttSource) -> None:
        """Have the session that `before` has, if it is up; its `run` is to be cancelled at once, and this one's to
        begin. Whatever `before` took in is in its lane."""
        session, connack, ingest = before._session, before._connack, before._ingest
        if self._follows is None or session is None or connack is None or ingest.is_behind or ingest.must_wait:
            return
        session.stand_still()
        before._session = before._connack = None
        paused_ns = before._paused_ns + session.paused_ns
        session.paused_ns = 0
        self._taken = Handover(
            session, connack, before._redirects, before._subscriber.told, before._connections, paused_ns
        )

    async def let_go(self) -> None:
        """This source does not begin: a session that it was to go on with ends."""
        taken, self._taken = self._taken, None
        if taken is not None:
            await taken.session.close(True)

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
            delay_ns = RECONNECT.delay_ns(failures, crc32(self.name.encode()))
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
        step.tell(self._emit, self._keep)

    def readings(self) -> Iterator[Reading | HistogramReading]:
        session = self._session
        paused_ns = self._paused_ns + (session.paused_ns_until(self._now_ns()) if session is not None else 0)
        unchanged = 0 if self._report is None else self._report.unchanged
        own = max(0, self._connections - 1), int(self._is_up), paused_ns / NS_PER_S
        yield from of_ingest(self._ingest, unchanged, own, self.name)
        if self._host is not None:
            yield from host_readings(self._host, (("link", self.name),))

    async def _one_connection(self) -> BaseException:
        """Begin a connection, or go on with one, and stay until it is over; returns or raises why."""
        taken, self._taken = self._taken, None
        session = self._new_session() if taken is None else taken.session
        politely = True
        ticking: asyncio.Task[None] | None = None
        try:
            self._connack = await (self._begin(session) if taken is None else self._go_on(taken))
            if self._host is not None:
                self._host.begin(self._now_ns())
                session.publish_commands()
                ticking = asyncio.create_task(self._tick(session))
            given_s = self._connack.server_keep_alive_s
            await session.stay(self._redirects.broker.keep_alive_s if given_s is None else given_s)
            return session.closed.result()
        except (LinkError, CredentialError, ProtocolError, OSError):
            politely = False
            raise
        finally:
            if ticking is not None:
                ticking.cancel()
            if not session.stands_still:
                await session.close(politely and not session.closed.done())
                self._session = self._connack = None
                self._paused_ns += session.paused_ns

    def _new_session(self) -> Session:
        return Session(
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

    async def _begin(self, session: Session) -> codec.Connack:
        """Connect and subscribe."""
        broker = self._redirects.broker
        username, password, tls = await asyncio.to_thread(
            lambda: (username_of(broker), password_of(broker), tls_context(broker))
        )
        self._ingest.begin_connection()
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: session, broker.host, broker.port, ssl=tls)
            self._session = session
            connack = await self._greet(session, username, password)
        await self._subscriber.ask(session, connack)
        self._redirects.stayed()
        self._go_up("connected to")
        return connack

    async def _go_on(self, taken: Handover) -> codec.Connack:
        """With a session that the source before had, and what is other about this one's topics."""
        assert self._follows is not None
        session, connack = taken.session, taken.connack
        self._session, self._redirects, self._subscriber.told = session, taken.redirects, taken.told
        self._connections, self._paused_ns = taken.connections - 1, taken.paused_ns
        session.go_on(self._ingest, self._sink)
        session.send(codec.PINGREQ)
        await self._subscriber.ask(session, connack, self._follows.asked)
        self._subscriber.give_back(session, connack, self._follows.gone)
        self._go_up("still connected to")
        return connack

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

    def _go_up(self, how: str) -> None:
        self._is_up = True
        self._down_reason = ""
        self._connections += 1
        count = len(self._ingest.topics)
        broker = self._redirects.broker
        message = f"{how} {broker.host}:{broker.port} as {broker.client_id!r}, {count} topics"
        self._say(Severity.NOTICE, f"{self._kind}up", message)

    async def _go_down(self, reason: str) -> None:
        is_change = self._is_up or not self._down_reason
        if reason != self._down_reason:
            self._say(Severity.WARNING, f"{self._kind}down", reason)
        self._is_up = False
        self._down_reason = reason
        if is_change:
            lent = [] if self._tenants is None else [self._tenants.rows()]
            rows = np.concatenate([self._rows, *lent])
            await mark(self._sink, rows, Quality.BAD_NOT_CONNECTED, self._now_ns())

    def _say(self, severity: Severity, kind: str, message: str) -> None:
        self._emit(Event(self._now_ns(), severity, kind, self._subject, message))
