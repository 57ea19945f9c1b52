"""What an upstream gets in another form says of itself what it is, and a receiver takes it by that."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiomqtt
import nats as nats_client
import pytest
import uvloop

from gateway.core.ports import LinkDown, Refusal, Upstream, Verdict
from gateway.core.record import Identity
from gateway.protocol.records.form import Compression, Encoding, Form
from gateway.receiver import Offer, Receiver
from gateway.runtime.encoding import encoded
from gateway.runtime.uplink import _session
from gateway.settings.schema import MqttVersion
from tests.support.records import content, payloads
from tests.support.settings import HEAD, examine_text
from tests.support.spool import draft, running_spool
from tests.support.uplink import delivery_by, running, until
from tests.support.upstreams import FarEnd, HttpInflux, HttpJson, JetStream, Mosquitto

Message = tuple[bytes, str, str]
"""Payload, content type, content coding."""

FORMS = [
    Form(Encoding.MSGPACK),
    Form(Encoding.PROTOBUF, Compression.ZSTD),
    Form(Encoding.ARROW, Compression.ZSTD),
    Form(Encoding.JSON, Compression.ZSTD),
]
PAYLOADS = list(payloads().values())


def identity_of(payload: bytes) -> Identity:
    said = content(payload)
    return Identity(said["gateway"], said["stream"], said["segment"], said["sequence"])


async def send(far_end: FarEnd) -> None:
    async with far_end.connect() as upstream:
        for payload in PAYLOADS:
            assert await upstream.send(identity_of(payload), payload) is Verdict.ACCEPTED


def assert_received(messages: list[Message], folder: Path) -> None:
    receiver = Receiver(folder / "plant.db")
    for message in messages:
        assert receiver.accept(*message) is not Offer.DUPLICATE
    receiver.commit()
    rows = receiver._connection.execute("SELECT payload FROM records ORDER BY id").fetchall()
    receiver.close()
    assert [content(payload) for (payload,) in rows] == [content(payload) for payload in PAYLOADS]


def name(form: Form) -> str:
    return f"{form.encoding.value}-{form.compression.value}"


@pytest.mark.parametrize("form", FORMS, ids=name)
def test_mqtt_5_says_the_form_in_its_properties(form: Form, tmp_path: Path) -> None:
    async def scenario() -> list[Message]:
        found: list[Message] = []
        far_end = Mosquitto(tmp_path, MqttVersion.V5, form)
        async with far_end.running():
            version = aiomqtt.ProtocolVersion.V5
            async with aiomqtt.Client("127.0.0.1", far_end._broker.port, protocol=version) as client:
                await client.subscribe("contract/#", 1)
                await send(far_end)
                async for message in client.messages:
                    assert isinstance(message.payload, bytes)
                    user = dict(getattr(message.properties, "UserProperty", []))
                    content_type = str(getattr(message.properties, "ContentType", ""))
                    found.append((message.payload, content_type, user.get("content-encoding", "")))
                    if len(found) == len(PAYLOADS):
                        return found
        raise AssertionError("the broker ended first")

    messages = uvloop.run(asyncio.wait_for(scenario(), 30))
    assert {message[1:] for message in messages} == {(form.content_type, form.content_coding)}
    assert_received(messages, tmp_path)


def test_mqtt_3_says_nothing_and_a_receiver_sees_the_form_all_the_same(tmp_path: Path) -> None:
    async def scenario() -> list[bytes]:
        far_end = Mosquitto(tmp_path, MqttVersion.V311, Form(Encoding.PROTOBUF, Compression.ZSTD))
        async with far_end.running():
            await send(far_end)
            return await far_end.held()

    assert_received([(payload, "", "") for payload in uvloop.run(scenario())], tmp_path)


@pytest.mark.parametrize("form", FORMS[:2], ids=name)
def test_nats_says_the_form_in_headers(form: Form, tmp_path: Path) -> None:
    async def scenario() -> list[Message]:
        far_end = JetStream(tmp_path, form)
        async with far_end.running():
            await send(far_end)
            client = await nats_client.connect(f"nats://127.0.0.1:{far_end.port}")
            try:
                numbers = range(1, len(PAYLOADS) + 1)
                kept = [await client.jetstream().get_msg("CONTRACT", number) for number in numbers]
            finally:
                await client.close()
        told = [(message.data or b"", message.headers or {}) for message in kept]
        return [(data, says["Content-Type"], says.get("Content-Encoding", "")) for data, says in told]

    messages = uvloop.run(scenario())
    assert {message[1:] for message in messages} == {(form.content_type, form.content_coding)}
    assert_received(messages, tmp_path)


@pytest.mark.parametrize("form", FORMS, ids=name)
def test_http_says_the_form_in_headers(form: Form, tmp_path: Path) -> None:
    async def scenario() -> list[Message]:
        far_end = HttpJson(tmp_path, form=form)
        async with far_end.running():
            await send(far_end)
        return [
            (request.body, request.headers["content-type"], request.headers.get("content-encoding", ""))
            for request in far_end.server.requests
        ]

    messages = uvloop.run(scenario())
    assert {message[1:] for message in messages} == {(form.content_type, form.content_coding)}
    assert_received(messages, tmp_path)


class Slow:
    """Takes the first records last."""

    def __init__(self) -> None:
        self.begun: list[int] = []

    async def send(self, identity: Identity, payload: bytes) -> Verdict:
        self.begun.append(identity.sequence)
        await asyncio.sleep(0)
        return Verdict.ACCEPTED


def test_records_reach_an_upstream_in_their_order_whatever_their_encoding_takes() -> None:
    async def scenario() -> list[int]:
        slow = Slow()

        @asynccontextmanager
        async def session() -> AsyncIterator[Upstream]:
            yield slow

        async with encoded(session(), Form(Encoding.PROTOBUF)) as upstream:
            large = payloads()["samples"]
            sizes = [large if number % 3 else payloads()["segment end"] for number in range(60)]
            tasks = [
                asyncio.create_task(upstream.send(Identity("g", "samples", 1, number), payload))  # type: ignore[arg-type]
                for number, payload in enumerate(sizes)
            ]
            await asyncio.gather(*tasks)
        return slow.begun

    assert uvloop.run(scenario()) == list(range(60))


def test_a_record_that_an_encoding_cannot_hold_is_refused_with_the_reason() -> None:
    async def scenario() -> object:
        @asynccontextmanager
        async def session() -> AsyncIterator[Upstream]:
            yield Slow()

        async with encoded(session(), Form(Encoding.PROTOBUF)) as upstream:
            strange = (
                b'{"gateway":"g","stream":"samples","segment":1,"sequence":1,"format":"fieldgate-record-1","new":1}'
            )
            return await upstream.send(Identity("g", "samples", 1, 1), strange)

    answer = uvloop.run(scenario())
    assert isinstance(answer, Refusal)
    assert "no field for new" in answer.reason


def test_without_pyarrow_the_link_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        @asynccontextmanager
        async def session() -> AsyncIterator[Upstream]:
            yield Slow()

        async with encoded(session(), Form(Encoding.ARROW)):
            pytest.fail("a session that cannot encode")

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(LinkDown) as caught:
        uvloop.run(scenario())
    assert caught.value.remedy == "pip install 'fieldgate[arrow]'"


SHAPES = [
    'encoding = "msgpack"',
    'encoding = "protobuf"\ncompress = "zstd"',
    'encoding = "arrow"',
    'compress = "zstd"',
    "gzip = true",
    "",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bytes_that_count_are_those_that_went_to_the_server(shape: str, tmp_path: Path) -> None:
    more: dict[Identity, int] = {}

    def resized(identity: Identity, by: int) -> None:
        more[identity] = more.get(identity, 0) + by

    async def scenario() -> list[int]:
        far_end = HttpJson(tmp_path)
        where = f'[uplink.u]\nhttp = "http://127.0.0.1:{far_end.server.port}/records"\n'
        examined = examine_text(tmp_path, f"{HEAD}{where}{shape}\n")
        assert examined.settings is not None
        (uplink,) = examined.settings.uplinks
        async with far_end.running(), _session(uplink, Clock(), None, resized) as upstream:  # type: ignore[arg-type]
            for payload in PAYLOADS:
                assert await upstream.send(identity_of(payload), payload) is Verdict.ACCEPTED
        return [int(request.headers["content-length"]) for request in far_end.server.requests]

    sent = uvloop.run(scenario())
    assert [len(payload) + more.get(identity_of(payload), 0) for payload in PAYLOADS] == sent
    assert sum(sent) != sum(map(len, PAYLOADS)) or shape == "", "it was to be another form"


def test_the_metric_of_bytes_sent_is_what_the_broker_got(tmp_path: Path) -> None:
    far_end = Mosquitto(tmp_path, MqttVersion.V311)

    async def scenario() -> tuple[int, float]:
        with running_spool(tmp_path / "spool.db", []) as spool:

            def connect() -> AbstractAsyncContextManager[Upstream]:
                return encoded(far_end.connect(), Form(Encoding.JSON, Compression.ZSTD), delivery.resized)

            delivery = delivery_by(connect, spool, [])
            async with far_end.running(), running(delivery.run()):
                for number in range(40):
                    spool.put(draft(number, samples=200))
                await spool.flush()
                await until(lambda: delivery.acknowledged >= 40 and spool.depth() == 0)
                got = sum(map(len, await far_end.held()))
                readings = {reading.name: getattr(reading, "value", 0.0) for reading in delivery.readings()}
                return got, readings["fieldgate_uplink_sent_bytes_total"]

    got, counted = uvloop.run(scenario())
    assert got == counted > 0


def test_points_that_go_in_one_request_count_together(tmp_path: Path) -> None:
    more = 0

    def resized(identity: Identity, by: int) -> None:
        nonlocal more
        more += by

    async def scenario() -> int:
        far_end = HttpInflux(tmp_path)
        where = f'[uplink.u]\nhttp = "http://127.0.0.1:{far_end.server.port}/write"\nformat = "influx"\n'
        examined = examine_text(tmp_path, f"{HEAD}{where}")
        assert examined.settings is not None
        (uplink,) = examined.settings.uplinks
        async with far_end.running(), _session(uplink, Clock(), None, resized) as upstream:  # type: ignore[arg-type]
            answers = await asyncio.gather(*(upstream.send(identity_of(payload), payload) for payload in PAYLOADS))
        assert set(answers) == {Verdict.ACCEPTED}
        return sum(int(request.headers["content-length"]) for request in far_end.server.requests)

    sent = uvloop.run(scenario())
    rounded = len(PAYLOADS)
    assert sent - rounded <= sum(map(len, PAYLOADS)) + more <= sent


class Clock:
    def wall_offset_ns(self) -> int:
        return 0


def test_what_the_configuration_asks_for_is_what_the_gateway_sends(tmp_path: Path) -> None:
    async def scenario() -> list[Message]:
        far_end = HttpJson(tmp_path)
        where = f'[uplink.u]\nhttp = "http://127.0.0.1:{far_end.server.port}/records"\n'
        examined = examine_text(tmp_path, f'{HEAD}{where}encoding = "protobuf"\ncompress = "zstd"\n')
        assert examined.settings is not None
        (uplink,) = examined.settings.uplinks
        async with far_end.running(), _session(uplink, Clock(), None) as upstream:  # type: ignore[arg-type]
            for payload in PAYLOADS:
                assert await upstream.send(identity_of(payload), payload) is Verdict.ACCEPTED
        return [
            (request.body, request.headers["content-type"], request.headers["content-encoding"])
            for request in far_end.server.requests
        ]

    messages = uvloop.run(scenario())
    assert {message[1:] for message in messages} == {("application/protobuf", "zstd")}
    assert_received(messages, tmp_path)
