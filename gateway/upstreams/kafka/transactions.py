"""Transactions with a Kafka cluster, by librdkafka. Everything here blocks, and is called by one thread.

A group of records and the position behind them are one transaction: both are there, or neither is. The producer's
name is the uplink's: whoever begins under it ends what a predecessor left open, and shuts the predecessor out.

What is said of one record by a broker spoils the transaction. It is aborted, and each record of the group goes alone,
so that one does not condemn the others.

A cluster is silent where nothing moved for the time that an answer may take (`gateway.upstreams.kafka.moving`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gateway.core.limits import RECORD_BYTES_MAX
from gateway.core.patience import LOOKS
from gateway.core.ports import Answer, Clock, LinkDown, Refusal, Verdict
from gateway.core.record import Identity
from gateway.core.types import NS_PER_S
from gateway.upstreams.kafka.errors import (
    ABOUT_THE_RECORD,
    ALL_BROKERS_DOWN,
    FENCED,
    LOG_IN,
    NO_TOPIC,
    NOT_ALLOWED,
    TIMED_OUT,
    TLS,
    TRANSPORT,
    Heard,
    Names,
    how_to_make_topics,
    link_down,
    silent,
)
from gateway.upstreams.kafka.moving import Moving
from gateway.upstreams.kafka.position import PARTITION, Position, Reader

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer
    from confluent_kafka.admin import AdminClient

_T = TypeVar("_T")

SLICE_S: Final = 0.1
SLICE_S_MAX: Final = 2.0
"""A call that waits is made again after so long, when it was looked whether it is still worth while; each time it is
given twice as long, because some calls begin anew and a line may be slow."""
RECORD_ROOM: Final = 1_024
"""Bytes that key, headers and batch may take of a topic's largest message."""
BATCH_BYTES: Final = 1_000_000
ATTEMPTS: Final = 3
"""At a transaction that broke for a reason that does not last: sequence numbers, for one, begin anew after an abort."""
CONFIG_SHARE: Final = 0.25
"""Of the time to open a session: servers that do not know the question of configurations leave it unanswered."""
OPENINGS_MAX: Final = 6
"""So many times as long as an answer may take, a session may take to open while something moves."""
TRANSACTION_S_MIN: Final = 120.0
"""What a cluster waits for a transaction: behind a narrow line its largest record takes as long."""


class _Condemned(Exception):
    """A broker refuses a record of the transaction for good; it was aborted."""


class Transactions:
    """One session; opened, used and closed by one thread. `give_up` may be called by any."""

    def __init__(
        self,
        names: Names,
        client: dict[str, Any],
        *,
        headers: Sequence[tuple[str, bytes]],
        timeout_s: float,
        stopwatch_ns: Clock = time.monotonic_ns,
    ):
        self._names = names
        self._client = client | {"error_cb": self._note_error, "allow.auto.create.topics": False}
        self._headers = list(headers)
        self._timeout_s = timeout_s
        self._stopwatch_ns = stopwatch_ns
        self._admin: AdminClient | None = None
        self._producer: Producer | None = None
        self._position = Position()
        self._held = Position()
        self._bytes_max: dict[str, int] = {}
        self._given_up = threading.Event()
        self._deadline_ns = 0
        self._looked_ns = 0
        self._last_ns = 0
        """While a session is opened: what comes counts as moving, up to then."""
        self._moving = Moving(client["bootstrap.servers"].split(","))
        self._trouble: KafkaError | None = None
        self._is_away = False
        self._heard = Heard()
        self._logger = logging.Logger("gateway.upstreams.kafka")
        self._logger.addHandler(self._heard)

    # -- of one session ------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Look at the topics, end what a predecessor left open, and learn what the cluster holds. Raises LinkDown."""
        self._begin()
        # Half a dozen connections ask for this and that: behind a narrow line that takes its time.
        self._last_ns = self._stopwatch_ns() + round(OPENINGS_MAX * self._timeout_s * NS_PER_S)
        try:
            self._open()
            self._last_ns = 0
        except _exception() as error:
            raise link_down(self._names, error.args[0]) from error
        except TimeoutError as error:
            raise silent(self._names, self._timeout_s) from error

    def _open(self) -> None:
        from confluent_kafka import Producer
        from confluent_kafka.admin import AdminClient

        # One after the other: an object of librdkafka is several threads.
        self._admin = admin = AdminClient(self._client, logger=self._logger)
        self._look_at_topics(admin)
        smallest = min(self._bytes_max.values(), default=BATCH_BYTES)
        transaction_ms = round(max(TRANSACTION_S_MIN, 2 * self._timeout_s) * 1_000)
        self._producer = producer = Producer(
            self._client
            | {
                "transactional.id": self._names.own,
                "transaction.timeout.ms": transaction_ms,
                # Whether somebody is silent is judged here.
                "message.timeout.ms": transaction_ms,
                "message.max.bytes": RECORD_BYTES_MAX,
                "batch.size": max(RECORD_ROOM, min(BATCH_BYTES, smallest)),
                "partitioner": "murmur2_random",
                "linger.ms": 0,
            },
            logger=self._logger,
        )
        self._patiently(producer.init_transactions)
        # What a predecessor committed is complete only now.
        low, high = self._bounds(admin)
        self._admin = None
        self._position = self._held = self._read_position(low, high)

    def _read_position(self, low: int, high: int) -> Position:
        from confluent_kafka import Consumer

        consumer = Consumer(
            self._client
            | {
                "group.id": self._names.own,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
            },
            logger=self._logger,
        )
        try:
            topic, key = self._names.position_topic, self._names.own.encode()
            return Reader(consumer, topic, key, poll_s=SLICE_S, check=self._check).read(low, high)
        finally:
            consumer.close()

    def give_up(self) -> None:
        """Any thread: what waits raises LinkDown soon."""
        self._given_up.set()

    def close(self) -> None:
        """What is not committed is aborted by the next session, or by the cluster after the transaction's time."""
        self._admin = None
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(_exception()):
                producer.purge()
                producer.poll(0)

    # -- of one group --------------------------------------------------------------------------------------------

    def send(self, group: dict[Identity, bytes]) -> dict[Identity, Answer]:
        """An answer to each, in one transaction or, where the cluster refuses a record, in several. Raises LinkDown."""
        self._begin()
        answers: dict[Identity, Answer] = {each: Verdict.ACCEPTED for each in group if self._is_held(each)}
        for identity, payload in group.items():
            if identity not in answers and (refusal := self._refusal(identity, payload)):
                answers[identity] = refusal
        rest = {identity: payload for identity, payload in group.items() if identity not in answers}
        try:
            try:
                self._transact(rest)
                return answers | dict.fromkeys(rest, Verdict.ACCEPTED)
            except _Condemned as condemned:
                if len(rest) == 1:
                    return answers | dict.fromkeys(rest, Refusal(str(condemned)))
            for identity, payload in rest.items():
                self._begin()
                try:
                    self._transact({identity: payload})
                    answers[identity] = Verdict.ACCEPTED
                except _Condemned as condemned:
                    answers[identity] = Refusal(str(condemned))
        except _exception() as error:
            raise link_down(self._names, error.args[0]) from error
        return answers

    def _is_held(self, identity: Identity) -> bool:
        """Whether this is a resend of what the cluster held at connect."""
        return not identity.is_asked and identity.sequence <= self._held.get((identity.stream, identity.segment))

    def _refusal(self, identity: Identity, payload: bytes) -> Refusal | None:
        topic = self._names.topic_of(identity.stream)
        most = self._bytes_max.get(topic, RECORD_BYTES_MAX)
        if len(payload) + RECORD_ROOM <= most:
            return None
        return Refusal(f"it has {len(payload)} bytes, and topic {topic} takes {most - RECORD_ROOM}")

    def _transact(self, group: dict[Identity, bytes]) -> None:
        """Raises _Condemned, LinkDown or KafkaException."""
        if not group:
            return
        for attempt in range(ATTEMPTS):
            try:
                self._commit(group)
                return
            except _exception() as error:
                what: KafkaError = error.args[0]
                if what.code() in FENCED or what.fatal():
                    raise
                self._abort()
                if what.code() in ABOUT_THE_RECORD:
                    raise _Condemned(f"{what.name()}: {what.str()}") from error
                if attempt == ATTEMPTS - 1 or what.code() in NO_TOPIC | NOT_ALLOWED:
                    raise

    def _commit(self, group: dict[Identity, bytes]) -> None:
        producer = self._opened()
        after = self._position.with_these(list(group))
        failed: list[KafkaError] = []

        def note(error: KafkaError | None, message: object) -> None:
            if error is not None:
                failed.append(error)

        producer.begin_transaction()
        for identity, payload in group.items():
            who = f"{identity.gateway}/{identity.stream}/{identity.segment}/{identity.sequence}"
            producer.produce(
                self._names.topic_of(identity.stream),
                payload,
                key=f"{identity.gateway}/{identity.stream}",
                headers=[("fieldgate-identity", who.encode()), *self._headers],
                on_delivery=note,
            )
        producer.produce(
            self._names.position_topic,
            after.encoded(),
            key=self._names.own,
            partition=PARTITION,
            on_delivery=note,
        )
        while producer.flush(SLICE_S) and not failed:
            self._check()
        if failed:
            raise _exception()(_telling(failed))
        self._patiently(producer.commit_transaction)
        self._position = after

    def _abort(self) -> None:
        self._patiently(self._opened().abort_transaction)

    # -- waiting, and what is told of it -------------------------------------------------------------------------

    def _begin(self) -> None:
        self._deadline_ns = self._stopwatch_ns() + round(self._timeout_s * NS_PER_S)
        self._is_away = False

    def _patiently(self, call: Callable[[float], _T]) -> _T:
        """In slices, until it is done. Raises LinkDown when it is no longer worth while, and KafkaException."""
        slice_s = SLICE_S
        while True:
            try:
                return call(slice_s)
            except _exception() as error:
                what: KafkaError = error.args[0]
                if not (what.retriable() or what.code() in (TIMED_OUT, TRANSPORT)) or what.txn_requires_abort():
                    raise
            for each in (self._admin, self._producer):
                if each is not None:
                    each.poll(0)
            self._check()
            slice_s = min(2 * slice_s, SLICE_S_MAX)

    def _check(self) -> None:
        """Raises LinkDown when waiting has no use any more."""
        if self._given_up.is_set():
            raise LinkDown(f"{self._names.cluster}: given up", "")
        if self._is_away:
            raise link_down(self._names, self._trouble, self._heard.last)
        now_ns = self._stopwatch_ns()
        if now_ns - self._looked_ns >= self._timeout_s * NS_PER_S / LOOKS:
            self._looked_ns = now_ns
            if self._moving.has_moved(is_reading=self._last_ns > 0):
                self._deadline_ns = now_ns + round(self._timeout_s * NS_PER_S)
                if self._last_ns:
                    self._deadline_ns = min(self._deadline_ns, self._last_ns)
        if now_ns < self._deadline_ns:
            return
        raise (
            link_down(self._names, self._trouble) if self._trouble is not None else silent(self._names, self._timeout_s)
        )

    def _note_error(self, error: KafkaError) -> None:
        """Any thread of librdkafka's callbacks. That all are down says nothing of why."""
        if error.code() == ALL_BROKERS_DOWN:
            self._is_away = True
        else:
            # What was said of TLS or the log-in says more than that it ended.
            if self._trouble is None or self._trouble.code() not in LOG_IN | {TLS}:
                self._trouble = error
            self._is_away = self._is_away or error.code() in LOG_IN

    def _opened(self) -> Producer:
        assert self._producer is not None
        return self._producer

    # -- the topics ----------------------------------------------------------------------------------------------

    def _look_at_topics(self, admin: AdminClient) -> None:
        topics = [self._names.topic_of(stream) for stream in self._names.streams]
        for topic in dict.fromkeys([*topics, self._names.position_topic]):
            seen = self._patiently(partial(admin.list_topics, topic))
            for broker in seen.brokers.values():
                self._moving.know(str(broker.host), int(broker.port))
            found = seen.topics[topic]
            if found.error is not None and found.error.code() in NO_TOPIC:
                raise LinkDown(f"{self._names.cluster}: there is no topic {topic}", how_to_make_topics(self._names))
            if found.error is not None:
                raise _exception()(found.error)
        self._read_configs(admin, topics)

    def _read_configs(self, admin: AdminClient, topics: list[str]) -> None:
        """The largest message of each topic, and whether positions are kept; where nobody tells, nothing is known."""
        from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]

        position_topic = self._names.position_topic
        asked = [ConfigResource(ResourceType.TOPIC, each) for each in dict.fromkeys([*topics, position_topic])]
        patience_s = CONFIG_SHARE * self._timeout_s
        for resource, future in admin.describe_configs(asked, request_timeout=patience_s).items():
            try:
                config = future.result(self._timeout_s)
            except (_exception(), TimeoutError):
                continue
            if "max.message.bytes" in config and resource.name != position_topic:
                self._bytes_max[resource.name] = int(config["max.message.bytes"].value)
            if resource.name == position_topic and "compact" not in config["cleanup.policy"].value:
                raise LinkDown(
                    f"{self._names.cluster}: topic {position_topic} forgets the position after a while",
                    f"kafka-configs.sh --alter --topic {position_topic} --add-config cleanup.policy=compact",
                )

    def _bounds(self, admin: AdminClient) -> tuple[int, int]:
        """Offsets of the positions: the first, and the one behind the last, of a transaction that is open or not."""
        from confluent_kafka import IsolationLevel, TopicPartition
        from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

        where = TopicPartition(self._names.position_topic, PARTITION)
        ends = []
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):  # type: ignore[no-untyped-call]
            asked = admin.list_offsets(
                {where: spec}, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=self._timeout_s
            )
            ends.append(int(next(iter(asked.values())).result(self._timeout_s).offset))
        return ends[0], ends[1]


def _telling(errors: list[KafkaError]) -> KafkaError:
    """The one that says most: what is purged with others is not to blame."""
    return next((each for each in errors if each.code() in ABOUT_THE_RECORD), errors[0])


def _exception() -> type[Exception]:
    from confluent_kafka import KafkaException

    return KafkaException
