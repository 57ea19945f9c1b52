"""Far ends of every kind, alike to a test: a session, what they hold, and how they go away and come back."""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiomqtt
import nats as nats_client
from nats.js.errors import NotFoundError
from pyarrow.parquet import read_table

from gateway.core.ports import Upstream
from gateway.core.record import Identity
from gateway.protocol.records.form import CANONICAL, Compression, Encoding, Form, written
from gateway.runtime.encoding import encoded
from gateway.settings.schema import (
    BrokerAddress,
    FileAddress,
    HttpAddress,
    HttpFormat,
    MqttVersion,
    NatsAddress,
    ParquetAddress,
    SparkplugAddress,
)
from gateway.upstreams import file, http, mqtt, nats, parquet, sparkplug
from gateway.upstreams.parquet import folder
from gateway.upstreams.parquet.files import finished
from hil.ports import free_port
from tests.support import spool_brokers
from tests.support.http_ends import HttpServer, Keeper, TimeSeries
from tests.support.kafka_ends import Cluster, session, settled
from tests.support.sparkplug_host import HostSide
from tests.support.spool_brokers import Broker

SECOND_NS = 1_000_000_000
BYTES_MAX = 200_000
"""The largest record that the far ends with a limit are set to take."""


class FarEnd(ABC):
    holds_once = True
    """Whether the far end itself keeps a record that is sent twice once; if not, a receiver has to."""
    refuses_what_is_too_large = True
    keeps_what_it_acknowledged = True
    """Over its own SIGKILL."""

    @abstractmethod
    def connect(self) -> AbstractAsyncContextManager[Upstream]: ...

    def form(self, payload: bytes) -> bytes:
        """What a far end that keeps everything has of a payload: the payload, if it does not take it apart."""
        return payload

    @abstractmethod
    async def held(self) -> list[bytes]:
        """What it has of the payloads, in the order of arrival."""

    async def lose(self, identity: Identity) -> None:  # noqa: B027, most need nothing
        """As in a restore from a backup. One that appends whatever comes need not: it has a record once more then."""

    @abstractmethod
    async def go_away(self) -> None: ...

    @abstractmethod
    async def come_back(self) -> None: ...

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FarEnd]:
        await self.come_back()
        try:
            yield self
        finally:
            await self.go_away()


class Mosquitto(FarEnd):
    holds_once = False
    keeps_what_it_acknowledged = False

    def __init__(self, folder: Path, version: MqttVersion, form: Form = CANONICAL) -> None:
        self._version = version
        self._form = form
        self._broker = spool_brokers.mosquitto(folder, "allow_anonymous true", f"max_packet_size {BYTES_MAX}")
        self.messages: list[tuple[str, bytes]] = []
        self._reader: asyncio.Task[None] | None = None
        # MQTT 3.1.1 cannot say that a record is too large: the broker hangs up.
        self.refuses_what_is_too_large = version is MqttVersion.V5

    def connect(self) -> AbstractAsyncContextManager[Upstream]:
        address = BrokerAddress(host="127.0.0.1", port=self._broker.port, version=self._version, client_id="contract")
        session = mqtt.connect(
            address, topic="contract/{stream}", acknowledge_timeout_ns=2 * SECOND_NS, form=self._form
        )
        return session if self._form.is_canonical else encoded(session, self._form)

    def form(self, payload: bytes) -> bytes:
        return written(payload, self._form)

    async def held(self) -> list[bytes]:
        await self.settle()
        return [payload for _, payload in self.messages]

    async def settle(self) -> None:
        """QoS 1 delivers to the subscriber in order: when a marker of ours is through, so is everything before it."""
        self._marked.clear()
        async with mqtt.Client("127.0.0.1", self._broker.port) as client:
            await client.publish("contract/mark", b"", qos=1)
        await asyncio.wait_for(self._marked.wait(), 5)

    async def go_away(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError, aiomqtt.MqttError):
                await self._reader
        await asyncio.to_thread(self._broker.kill)

    async def come_back(self) -> None:
        await asyncio.to_thread(self._broker.start)
        self._marked = asyncio.Event()
        ready = asyncio.Event()
        self._reader = asyncio.create_task(self._read(ready))
        await asyncio.wait_for(ready.wait(), 5)

    async def _read(self, ready: asyncio.Event) -> None:
        async with mqtt.Client("127.0.0.1", self._broker.port) as client:
            await client.subscribe([("contract/#", 1), ("spBv1.0/#", 1)])
            ready.set()
            async for message in client.messages:
                if str(message.topic) == "contract/mark":
                    self._marked.set()
                else:
                    self.messages.append((str(message.topic), bytes(message.payload)))  # type: ignore[arg-type]


class JetStream(FarEnd):
    def __init__(self, folder: Path, form: Form = CANONICAL) -> None:
        self._form = form
        self.port = free_port()
        configuration = folder / "nats.conf"
        configuration.write_text(
            f'host: "127.0.0.1"\nport: {self.port}\nmax_payload: {BYTES_MAX}\n'
            f'jetstream {{ store_dir: "{folder / "jetstream"}", sync_interval: always }}\n'
        )
        self._broker: Broker = spool_brokers.nats_server(configuration, self.port)

    def address(self) -> NatsAddress:
        return NatsAddress(host="127.0.0.1", port=self.port, client_name="contract")

    def connect(self) -> AbstractAsyncContextManager[Upstream]:
        session = nats.connect(
            self.address(), subject="contract.{stream}", acknowledge_timeout_ns=2 * SECOND_NS, form=self._form
        )
        return session if self._form.is_canonical else encoded(session, self._form)

    def form(self, payload: bytes) -> bytes:
        return written(payload, self._form)

    async def held(self) -> list[bytes]:
        client = await nats_client.connect(f"nats://127.0.0.1:{self.port}")
        try:
            jetstream = client.jetstream()
            state = (await jetstream.stream_info("CONTRACT")).state
            found = []
            for number in range(state.last_seq):
                with suppress(NotFoundError):  # deleted
                    found.append(await jetstream.get_msg("CONTRACT", number + 1))
            return [message.data or b"" for message in found]
        finally:
            await client.close()

    async def lose(self, identity: Identity) -> None:
        client = await nats_client.connect(f"nats://127.0.0.1:{self.port}")
        try:
            subject = f"contract.{identity.stream}.{identity.segment}.{identity.sequence}"
            assert await client.jetstream().purge_stream("CONTRACT", subject=subject)
        finally:
            await client.close()

    async def go_away(self) -> None:
        await asyncio.to_thread(self._broker.kill)

    async def come_back(self) -> None:
        await asyncio.to_thread(self._broker.start)
        await self.make_stream(storage="file")

    async def make_stream(self, **more: Any) -> None:
        client = await nats_client.connect(f"nats://127.0.0.1:{self.port}")
        try:
            await client.jetstream().add_stream(name="CONTRACT", subjects=["contract.>"], **more)
        finally:
            await client.close()

    async def delete_stream(self) -> None:
        client = await nats_client.connect(f"nats://127.0.0.1:{self.port}")
        try:
            await client.jetstream().delete_stream("CONTRACT")
        finally:
            await client.close()


class Kafka(FarEnd):
    keeps_what_it_acknowledged = False
    """The server of the tests writes to its disk a moment later; it is no cluster."""

    def __init__(self, folder: Path, form: Form = CANONICAL) -> None:
        self._form = form
        self.cluster = Cluster(folder, BYTES_MAX)

    def connect(self) -> AbstractAsyncContextManager[Upstream]:
        return session(self.cluster.port, form=self._form)

    def form(self, payload: bytes) -> bytes:
        return written(payload, self._form)

    async def held(self) -> list[bytes]:
        return await settled(self.cluster)

    async def go_away(self) -> None:
        await asyncio.to_thread(self.cluster.server.kill)

    async def come_back(self) -> None:
        await asyncio.to_thread(self.cluster.start)


class Files(FarEnd):
    refuses_what_is_too_large = False

    def __init__(self, folder: Path, *, rotate_bytes: int = 1_000) -> None:
        self.folder = folder / "records"
        self._rotate_bytes = rotate_bytes

    def connect(self) -> AbstractAsyncContextManager[Upstream]:
        return file.connect(FileAddress(path=self.folder / "records.jsonl", rotate_bytes=self._rotate_bytes))

    async def held(self) -> list[bytes]:
        rotated = sorted(self.folder.glob("records-*.jsonl"))
        files = [*rotated, self.folder / "records.jsonl"]
        return [line for each in files for line in each.read_bytes().splitlines()]

    async def go_away(self) -> None:
        self.folder.rename(self.folder.with_name("away"))

    async def come_back(self) -> None:
        away = self.folder.with_name("away")
        if away.exists():
            away.rename(self.folder)
        else:
            self.folder.mkdir()


class ParquetFolder(Files):
    """The log is closed at each look, so what is held lies in files and in the log."""

    def connect(self) -> AbstractAsyncContextManager[Upstream]:
        return parquet.connect(self.address(), wall_ns=time.time_ns)

    def address(self) -> ParquetAddress:
        return ParquetAddress(
            path=self.folder, rotate_bytes=self._rotate_bytes, rotate_every_ns=3_600 * SECOND_NS, room_bytes=1 << 30
        )

    def form(self, payload: bytes) -> bytes:
        record = json.loads(payload)
        who = (record["gateway"], record["stream"], record["segment"], record["sequence"])
        return repr((*who, record["time_ns"][0], *record.get("value", record.get("message")))).encode()

    async def held(self) -> list[bytes]:
        return await asyncio.to_thread(self.look)

    def look(self) -> list[bytes]:
        """Files first: they are of earlier logs. Only while nobody converts."""
        found = [_row(row) for _, path in finished(self.folder) for row in read_table(path).to_pylist()]
        for number in folder.logs(self.folder):
            with folder.log_path(self.folder, number).open("rb") as log:
                for frame in folder.frames(log):
                    assert frame is not None, "a damaged frame"
                    found += map(self.form, frame.payloads())
        return found


def _row(row: dict[str, Any]) -> bytes:
    """As `form`."""
    stream = "samples" if "text" in row else "events"
    who = (row["gateway"], stream, row["segment"], row["sequence"])
    return repr((*who, row["time_ns"], row.get("text", row.get("message")))).encode()


class Sparkplug(Mosquitto):
    """A broker, and a host application that watches the edge node."""

    def __init__(self, folder: Path, version: MqttVersion) -> None:
        super().__init__(folder, version)
        self._bd_seq = -1

    def address(self, **more: Any) -> SparkplugAddress:
        broker = BrokerAddress(host="127.0.0.1", port=self._broker.port, version=self._version, client_id="contract")
        return SparkplugAddress(broker=broker, group="plant", edge="boiler-house", **more)

    async def _next_bd_seq(self) -> int:
        self._bd_seq += 1
        return self._bd_seq

    def connect(self) -> AbstractAsyncContextManager[Upstream]:
        around = sparkplug.Surroundings(self._next_bd_seq, lambda: (), lambda: 0, lambda: SECOND_NS)
        return sparkplug.connect(self.address(), acknowledge_timeout_ns=2 * SECOND_NS, around=around)

    def form(self, payload: bytes) -> bytes:
        record = json.loads(payload)
        (said,) = record.get("value", record.get("message"))
        return repr((record["stream"], record["segment"], record["sequence"], said)).encode()

    async def held(self) -> list[bytes]:
        await self.settle()
        host = HostSide()
        for topic, payload in self.messages:
            host.take(topic, payload)
        return [
            repr((*each.who[:3], json.loads(each.value)["message"] if each.device == "" else each.value)).encode()
            for each in host.samples
        ]


class HttpJson(FarEnd):
    def __init__(self, folder: Path, *, position: str | None = None, form: Form = CANONICAL) -> None:
        self._form = form
        # One letter many times is little once it is compressed.
        self.refuses_what_is_too_large = not form.content_coding
        self.keeper = Keeper(BYTES_MAX)
        self.server = HttpServer(self.keeper, free_port())
        self._position = position

    def address(self, **more: Any) -> HttpAddress:
        return HttpAddress(host="127.0.0.1", port=self.server.port, target="/records", position=self._position, **more)

    def connect(self, **more: Any) -> AbstractAsyncContextManager[Upstream]:
        session = http.connect(
            self.address(**more), acknowledge_timeout_ns=2 * SECOND_NS, wall_offset_ns=lambda: 0, form=self._form
        )
        return session if self._form.is_canonical else encoded(session, self._form)

    def form(self, payload: bytes) -> bytes:
        return written(payload, self._form)

    async def held(self) -> list[bytes]:
        return list(self.keeper.records.values())

    async def lose(self, identity: Identity) -> None:
        del self.keeper.records[f"{identity.gateway}/{identity.stream}/{identity.segment}/{identity.sequence}"]

    async def go_away(self) -> None:
        await asyncio.to_thread(self.server.stop)

    async def come_back(self) -> None:
        self.server.start()


class HttpInflux(FarEnd):
    def __init__(self, folder: Path) -> None:
        self.database = TimeSeries(BYTES_MAX)
        self.server = HttpServer(self.database, free_port())

    def connect(self) -> AbstractAsyncContextManager[Upstream]:
        address = HttpAddress(
            host="127.0.0.1", port=self.server.port, target="/write", format=HttpFormat.INFLUX, gzip=True
        )
        return http.connect(address, acknowledge_timeout_ns=2 * SECOND_NS, wall_offset_ns=lambda: 0)

    def form(self, payload: bytes) -> bytes:
        record = json.loads(payload)
        return repr((record["stream"], record["time_ns"][0], *record.get("value", record.get("message")))).encode()

    async def held(self) -> list[bytes]:
        return [
            repr((name, time_ns, fields.get("text", fields.get("message")))).encode()
            for (name, _, time_ns), fields in self.database.points.items()
        ]

    async def lose(self, identity: Identity) -> None:
        """By its time, which `record` of the contract gives to one alone."""
        time_ns = identity.segment * 10**12 + identity.sequence * 10**9
        [point] = [point for point in self.database.points if point[2] == time_ns]
        del self.database.points[point]

    async def go_away(self) -> None:
        await asyncio.to_thread(self.server.stop)

    async def come_back(self) -> None:
        self.server.start()


FAR_ENDS: dict[str, Any] = {
    "mqtt 3.1.1": partial(Mosquitto, version=MqttVersion.V311),
    "mqtt 5": partial(Mosquitto, version=MqttVersion.V5),
    "sparkplug 3.1.1": partial(Sparkplug, version=MqttVersion.V311),
    "sparkplug 5": partial(Sparkplug, version=MqttVersion.V5),
    "mqtt 5, msgpack": partial(Mosquitto, version=MqttVersion.V5, form=Form(Encoding.MSGPACK)),
    "nats jetstream": JetStream,
    "nats jetstream, protobuf": partial(JetStream, form=Form(Encoding.PROTOBUF)),
    "kafka": Kafka,
    "kafka, protobuf": partial(Kafka, form=Form(Encoding.PROTOBUF)),
    "file": Files,
    "parquet": ParquetFolder,
    "http json": HttpJson,
    "http json, asked": partial(HttpJson, position="/position"),
    "http, arrow": partial(HttpJson, form=Form(Encoding.ARROW, Compression.ZSTD)),
    "http influx": HttpInflux,
}
"""A new upstream is a row here, and the contract finds it."""
