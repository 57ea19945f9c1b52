"""Two servers of the Kafka protocol for tests, for neither can show everything.

noida-db, from its wheel, shares no code with Apache Kafka or librdkafka, and keeps to what transactions rest on: what
was aborted is not seen by a reader of what is committed, a producer's newer instance shuts out the older one, topics
have their limits, a process can be frozen and killed. It is no cluster, and writes to its disk a moment after it
acknowledges.

librdkafka's own mock (`ThreeBrokers`) is a cluster of three: each partition has its leader, the transactions their
coordinator. But it shows aborted records to everybody, shuts nobody out, makes and limits no topics and lives in this
process, so nothing of transactions can be shown by it.

Replication and elections are Apache Kafka's own, and are not seen here.
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from gateway.core.ports import Upstream
from gateway.core.types import NS_PER_S
from gateway.protocol.records.form import CANONICAL, Form
from gateway.runtime.encoding import encoded
from gateway.settings.schema_uplink import KafkaAddress
from gateway.upstreams.kafka import upstream as kafka
from hil.ports import free_port
from tests.support.spool_brokers import Broker

TOPICS = ("contract.events", "contract.samples")
POSITION = "contract.position"
STREAMS = ("events", "samples")
READY_S = 20.0


class Seen(NamedTuple):
    key: bytes | None
    value: bytes
    headers: dict[str, bytes]


def server(folder: Path, port: int) -> Broker:
    spec = importlib.util.find_spec("noida_db")
    assert spec is not None and spec.origin is not None
    binary = Path(spec.origin).with_name("noida-db")
    data = folder / "kafka"
    return Broker([str(binary), "start", "--only", "kafka", "--kafka-port", str(port), "--data-dir", str(data)], port)


class Cluster:
    """One server, its topics, and what a consumer of committed records finds in them."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self.port = free_port()
        self.server = server(folder, self.port)
        self._bytes_max = bytes_max

    @property
    def client(self) -> dict[str, Any]:
        return {"bootstrap.servers": f"127.0.0.1:{self.port}", "log_level": 0}

    def start(self) -> None:
        self.server.start()
        limit = {"max.message.bytes": str(self._bytes_max)}
        topics = [NewTopic(name, 1, 1, config=limit) for name in TOPICS]
        topics.append(NewTopic(POSITION, 1, 1, config={"cleanup.policy": "compact"}))
        admin = AdminClient(self.client)
        for future in admin.create_topics(topics, request_timeout=READY_S).values():
            try:
                future.result(READY_S)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise

    def delete_topic(self, name: str) -> None:
        admin = AdminClient(self.client)
        admin.delete_topics([name])[name].result(READY_S)

    def make_topic(self, name: str, **config: str) -> None:
        admin = AdminClient(self.client)
        admin.create_topics([NewTopic(name, 1, 1, config=config)])[name].result(READY_S)

    def committed(self, *topics: str) -> list[Seen]:
        """In the order of the topics, up to what lies there now."""
        consumer = Consumer(
            self.client
            | {"group.id": "test", "isolation.level": "read_committed", "enable.partition.eof": True}
            | {"enable.auto.commit": False}
        )
        try:
            return [each for topic in topics for each in _read(consumer, topic)]
        finally:
            consumer.close()

    def producer(self, name: str) -> Producer:
        producer = Producer(self.client | {"transactional.id": name, "transaction.timeout.ms": 20_000})
        producer.init_transactions(READY_S)
        return producer


def _read(consumer: Consumer, topic: str, partition: int = 0) -> list[Seen]:
    found: list[Seen] = []
    consumer.assign([TopicPartition(topic, partition, 0)])
    give_up = time.monotonic() + READY_S
    while time.monotonic() < give_up:
        message: Any = consumer.poll(1.0)
        if message is None:
            continue
        if message.error() is None:
            found.append(Seen(message.key(), message.value(), dict(message.headers() or ())))
        elif message.error().code() == KafkaError._PARTITION_EOF:
            return found
    raise TimeoutError(f"{topic} cannot be read")


class ThreeBrokers:
    """librdkafka's mock, for as long as this lives. The topics are there, with four partitions each."""

    def __init__(self) -> None:
        self._owner = Producer({"bootstrap.servers": "replaced:1", "test.mock.num.brokers": 3, "log_level": 0})
        self._topics = {
            name: self._owner.list_topics(name, timeout=READY_S).topics[name] for name in (*TOPICS, POSITION)
        }
        brokers = self._owner.list_topics(timeout=READY_S).brokers.values()
        self.servers = tuple(f"{each.host}:{each.port}" for each in brokers)

    def held(self, topic: str) -> list[tuple[int, list[bytes]]]:
        """Of the partitions that hold something: the leader, and what they hold."""
        at = {"bootstrap.servers": self.servers[0], "group.id": "test", "enable.partition.eof": True}
        consumer = Consumer(at | {"fetch.wait.max.ms": 10})
        try:
            found = [
                (partition.leader, [each.value for each in _read(consumer, topic, number)])
                for number, partition in self._topics[topic].partitions.items()
            ]
        finally:
            consumer.close()
        return [(leader, values) for leader, values in found if values]


def address(port: int, **more: Any) -> KafkaAddress:
    own = {"servers": (f"127.0.0.1:{port}",), "client_name": "contract-uplink-u", "position_topic": POSITION}
    return KafkaAddress(**own | more)


def session(
    port: int, *, form: Form = CANONICAL, timeout_ns: int = 5 * NS_PER_S, **more: Any
) -> AbstractAsyncContextManager[Upstream]:
    plain = kafka.connect(
        address(port, **more), topic="contract.{stream}", streams=STREAMS, acknowledge_timeout_ns=timeout_ns, form=form
    )
    return plain if form.is_canonical else encoded(plain, form)


async def settled(cluster: Cluster) -> list[bytes]:
    return [each.value for each in await asyncio.to_thread(cluster.committed, *TOPICS)]
