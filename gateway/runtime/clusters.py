"""Far ends that can be asked what they hold: a JetStream, the topics of a Kafka cluster, an HTTP server's `position`.

Of each message who it is is enough: JetStream is asked for headers alone, Kafka brings the records along. Only what may
be a loss report is looked into, and what says who it is nowhere else. What is written while it is read may be missed,
and is there at the next look.

A position says up to where a server holds everything, and nothing of what lies behind a hole: that counts as missing,
and costs a server that knows keys nothing when it is sent again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from gateway.core.ports import Clock, LinkDown
from gateway.core.record import Stream
from gateway.core.types import NS_PER_S
from gateway.protocol.records.form import Unreadable, read
from gateway.runtime.received import Received, ReceiverUnfit
from gateway.settings.schema import HttpAddress, NatsAddress
from gateway.settings.schema_uplink import KafkaAddress, Uplink
from gateway.upstreams import http, nats
from gateway.upstreams.kafka import upstream as kafka
from gateway.upstreams.kafka.errors import Names
from gateway.upstreams.kafka.position import PARTITION, Reader

if TYPE_CHECKING:
    from confluent_kafka import Consumer
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

FETCH: Final = 500
POLL_S: Final = 0.1
TIMEOUT_NS_MIN: Final = 10 * NS_PER_S


def read_cluster(uplink: Uplink, gateway: str) -> Received:
    """What lies there of a gateway, settled. Raises ReceiverUnfit; TypeError where it is of another kind."""
    try:
        if isinstance(uplink.address, NatsAddress):
            received = asyncio.run(_read_jetstream(uplink.address, uplink, gateway))
        elif isinstance(uplink.address, KafkaAddress):
            received = _Topics(uplink.address, uplink, gateway).read()
        elif isinstance(uplink.address, HttpAddress):
            received = Received()
            for (stream, segment), last in asyncio.run(http.positions(uplink.address, _timeout_ns(uplink))).items():
                received.add(stream, segment, 1, last)
        else:
            raise TypeError(uplink.address)
    except LinkDown as error:
        raise ReceiverUnfit(str(error)) from error
    received.settle()
    return received


def can_be_asked(uplink: Uplink) -> bool:
    if isinstance(uplink.address, HttpAddress):
        return uplink.address.position is not None
    return isinstance(uplink.address, NatsAddress | KafkaAddress)


def _timeout_ns(uplink: Uplink) -> int:
    return max(TIMEOUT_NS_MIN, uplink.acknowledge_timeout_ns)


def _timeout_s(uplink: Uplink) -> float:
    return _timeout_ns(uplink) / NS_PER_S


def _note(received: Received, gateway: str, who: str) -> None:
    """`who`: GATEWAY/STREAM/SEGMENT/SEQUENCE, as uplinks write it."""
    whose, stream, segment, sequence = who.rsplit("/", 3)
    if whose == gateway:
        received.add(stream, int(segment), int(sequence), int(sequence))


def _note_content(received: Received, gateway: str, payload: bytes, headers: Mapping[str, str], where: str) -> str:
    """Of a record that is there as a whole; returns who it is."""
    told = {name.lower(): text for name, text in headers.items()}
    try:
        content = read(payload, told.get("content-type", ""), told.get("content-encoding", ""))
        who = "{gateway}/{stream}/{segment}/{sequence}".format_map(content)
    except (Unreadable, KeyError, ImportError) as error:
        received.unreadable.append(f"{where}: {error}")
        return ""
    if content["gateway"] == gateway:
        received.note_content(content)
    return who


# -- JetStream


async def _read_jetstream(address: NatsAddress, uplink: Uplink, gateway: str) -> Received:
    from nats import errors

    received = Received()
    name, timeout_s = f"nats://{address.host}:{address.port}", _timeout_s(uplink)
    client = await nats.connected(address, name, timeout_s, nats.Ending())
    try:
        jetstream = client.jetstream(timeout=timeout_s)
        for stream in uplink.streams:
            await _read_subjects(jetstream, uplink.topic, stream, gateway, received, timeout_s)
    except errors.Error as error:
        remedy = "allow this user to make and to read consumers of the stream"
        raise LinkDown(f"{name}: the stream cannot be read ({error or type(error).__name__})", remedy) from error
    finally:
        await nats.leave(client)
    return received


async def _read_subjects(
    jetstream: JetStreamContext, topic: str, stream: str, gateway: str, received: Received, timeout_s: float
) -> None:
    """Of one stream of ours, through a consumer that the server forgets by itself."""
    from nats.errors import TimeoutError as NothingThere
    from nats.js.api import AckPolicy, ConsumerConfig

    subject = topic.replace("{stream}", stream)
    kept_in = await jetstream.find_stream_name_by_subject(f"{subject}.1.1")
    config = ConsumerConfig(
        ack_policy=AckPolicy.NONE, headers_only=stream != Stream.EVENTS, inactive_threshold=timeout_s
    )
    reader = await jetstream.pull_subscribe(f"{subject}.*.*", stream=kept_in, config=config)
    waiting = (await reader.consumer_info()).num_pending or 0
    while waiting:
        try:
            messages = await reader.fetch(FETCH, timeout=timeout_s)
        except NothingThere as error:
            raise LinkDown(f"stream {kept_in} does not bring what it has", "look into the server's log") from error
        for message in messages:
            await _note_message(jetstream, kept_in, message, gateway, received)
        waiting = messages[-1].metadata.num_pending
    await reader.unsubscribe()


async def _note_message(
    jetstream: JetStreamContext, kept_in: str, message: Msg, gateway: str, received: Received
) -> None:
    headers, payload = message.headers or {}, message.data
    who = headers.get("Nats-Msg-Id", "")
    if not who and not payload:
        # What was asked for again goes without an id.
        number = message.metadata.sequence.stream
        whole = await jetstream.get_msg(kept_in, number)
        headers, payload = whole.headers or {}, whole.data or b""
    if payload:
        who = _note_content(received, gateway, payload, headers, message.subject) or who
    if who:
        _note(received, gateway, who)


# -- Kafka


class _Topics:
    """What consumers of what is committed find."""

    def __init__(
        self, address: KafkaAddress, uplink: Uplink, gateway: str, *, stopwatch_ns: Clock = time.monotonic_ns
    ) -> None:
        self._address = address
        self._names = Names(
            address.name, address.client_name, uplink.topic, address.position_topic, tuple(map(str, uplink.streams))
        )
        self._gateway = gateway
        self._timeout_s = _timeout_s(uplink)
        self._stopwatch_ns = stopwatch_ns
        self._since_ns = 0
        self._received = Received()

    def read(self) -> Received:
        """Raises LinkDown."""
        from confluent_kafka import Consumer, KafkaException

        consumer = Consumer(
            kafka.client_settings(self._address)
            | {"group.id": self._names.own, "isolation.level": "read_committed", "enable.partition.eof": True}
            | {"enable.auto.commit": False, "log_level": 0}
        )
        try:
            self._read_position(consumer)
            for topic in dict.fromkeys(map(self._names.topic_of, self._names.streams)):
                found = consumer.list_topics(topic, timeout=self._timeout_s).topics[topic]
                for partition in found.partitions or {}:
                    self._read_partition(consumer, topic, partition)
        except KafkaException as error:
            said = error.args[0].str()
            raise LinkDown(
                f"{self._names.cluster}: the topics cannot be read ({said})", "allow us to read them"
            ) from error
        finally:
            consumer.close()
        return self._received

    def _bounds(self, consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
        from confluent_kafka import TopicPartition

        where = TopicPartition(topic, partition)
        bounds: tuple[int, int] | None = consumer.get_watermark_offsets(where, timeout=self._timeout_s)
        if bounds is None:
            raise LinkDown(f"{self._names.cluster}: topic {topic} does not say how long it is", "look into its log")
        return bounds

    def _read_position(self, consumer: Consumer) -> None:
        """What the cluster says it took: what is not there any more was let go of by its retention."""
        topic = self._names.position_topic
        self._since_ns = self._stopwatch_ns()
        reader = Reader(consumer, topic, self._names.own.encode(), poll_s=POLL_S, check=self._check)
        position = reader.read(*self._bounds(consumer, topic, PARTITION))
        self._received.taken_away |= {place: [(1, sequence)] for place, sequence in position.items()}

    def _read_partition(self, consumer: Consumer, topic: str, partition: int) -> None:
        from confluent_kafka import KafkaError, KafkaException, TopicPartition

        low, high = self._bounds(consumer, topic, partition)
        if low == high:
            return
        consumer.assign([TopicPartition(topic, partition, low)])
        self._since_ns = self._stopwatch_ns()
        while True:
            message: Any = consumer.poll(POLL_S)
            if message is None:
                self._check()
                continue
            self._since_ns = self._stopwatch_ns()
            error = message.error()
            if error is None:
                self._note(topic, message)
            elif error.code() == KafkaError._PARTITION_EOF:
                return
            else:
                raise KafkaException(error)
            if message.offset() >= high - 1:
                return

    def _note(self, topic: str, message: Any) -> None:
        headers = {name: value.decode(errors="replace") for name, value in message.headers() or () if value is not None}
        who = headers.get("fieldgate-identity", "")
        where = f"{topic} {message.partition()}/{message.offset()}"
        if not who or f"/{Stream.EVENTS}/" in who:
            who = _note_content(self._received, self._gateway, message.value() or b"", headers, where) or who
        if who:
            _note(self._received, self._gateway, who)

    def _check(self) -> None:
        if self._stopwatch_ns() - self._since_ns > self._timeout_s * NS_PER_S:
            raise LinkDown(f"{self._names.cluster}: nothing comes for {self._timeout_s:g} s", "look into its log")
