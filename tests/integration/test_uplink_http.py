"""The uplink by HTTP: log-in, TLS, what each answer means, connections that end, and what becomes of a bad record."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop
from click.testing import CliRunner

from gateway.cli.app import app
from gateway.core.encode import FORMAT, envelope
from gateway.core.events import Event
from gateway.core.ports import Answer, LinkDown, Refusal, Verdict
from gateway.core.readings import Reading
from gateway.core.record import Identity
from gateway.settings.schema import HttpAddress, HttpFormat
from gateway.spool.worker import SpoolWorker
from gateway.upstreams.http import connect
from hil.ports import free_port
from tests.support.http_ends import HttpServer, Keeper, Request, Response, TimeSeries
from tests.support.spool import draft, running_spool
from tests.support.uplink import delivery_by, running, until

SECOND_NS = 1_000_000_000


@contextmanager
def serving(answer: Callable[[Request], Response], tls: ssl.SSLContext | None = None) -> Iterator[HttpServer]:
    server = HttpServer(answer, free_port(), tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def session(server: HttpServer, *, timeout_ns: int = 5 * SECOND_NS, **more: Any) -> Any:
    address = HttpAddress(**{"host": "127.0.0.1", "port": server.port, "target": "/records", **more})
    return connect(address, acknowledge_timeout_ns=timeout_ns, wall_offset_ns=lambda: 0)


def record(sequence: int, *values: Any, stream: str = "samples") -> tuple[Identity, bytes]:
    identity = Identity("plant", stream, 7, sequence)
    times = [sequence * 1_000 + place for place in range(len(values))]
    body = {"format": FORMAT, "wall_offset_ns": 10**18, "first_ns": 0, "last_ns": 0, "tags": ["press.force"]}
    body |= {"tag": [0] * len(values), "time_ns": times, "value": list(values), "quality": [192] * len(values)}
    return identity, envelope(identity, json.dumps(body).encode())


def send_one(server: HttpServer, **more: Any) -> Answer:
    async def scenario() -> Answer:
        async with session(server, **more) as upstream:
            answer: Answer = await upstream.send(*record(1, 1.5))
            return answer

    return uvloop.run(scenario())


def end_of(server: HttpServer, **more: Any) -> LinkDown:
    with pytest.raises(LinkDown) as caught:
        send_one(server, **more)
    return caught.value


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_each_status_of_success_accepts(status: int) -> None:
    with serving(lambda _: Response(status)) as server:
        assert send_one(server) is Verdict.ACCEPTED


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_is_about_the_record_refuses_it_for_ever_with_the_servers_words(status: int) -> None:
    with serving(lambda _: Response(status, b'{"message":\n "no such field"}')) as server:
        assert send_one(server) == Refusal(f'{status}: {{"message": "no such field"}}')


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(401, "token_file"), (403, "token_file"), (404, "path"), (405, "path"), (301, "the address that it names: /new")],
)
def test_what_is_about_the_set_up_keeps_the_record_and_says_what_to_do(status: int, remedy: str) -> None:
    with serving(lambda _: Response(status, b"no", {"Location": "/new"})) as server:
        end = end_of(server)
        assert f"http://127.0.0.1:{server.port}/records" in end.reason
        assert f"({status}: no)" in end.reason
        assert remedy in end.remedy


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 599])
def test_what_is_about_the_moment_keeps_the_record_for_later(status: int) -> None:
    with serving(lambda _: Response(status)) as server:
        end = end_of(server)
        assert "does not take records now" in end.reason
        assert end.retry_after_ns == 0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30),
        ({"Retry-After": "soon"}, 0),
        ({"Retry-After": "-5"}, 0),
    ],
)
def test_an_upstream_that_asks_to_be_left_alone_is_heard(headers: dict[str, str], seconds: int) -> None:
    with serving(lambda _: Response(503, b"", headers)) as server:
        assert end_of(server).retry_after_ns == seconds * SECOND_NS


def test_a_record_carries_its_identity_as_key_and_the_token_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    with serving(Keeper(10**6)) as server:
        assert send_one(server, token_file=tmp_path / "token", gzip=True) is Verdict.ACCEPTED
        (request,) = server.requests
    assert request.headers["idempotency-key"] == '"plant/samples/7/1"'
    assert request.headers["authorization"] == "Bearer s3cret"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-encoding"] == "gzip"
    assert request.body == record(1, 1.5)[1]


def test_a_user_logs_in_with_the_password_of_the_file_and_influx_has_its_own_scheme(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("päss:word\n")
    with serving(lambda _: Response()) as server:
        send_one(server, username="anna", password_file=tmp_path / "secret")
        send_one(server, token_file=tmp_path / "secret", format=HttpFormat.INFLUX)
        basic, token = (request.headers["authorization"] for request in server.requests)
    assert basic == "Basic YW5uYTpww6Rzczp3b3Jk"
    assert token.encode("latin-1").decode() == "Token päss:word"


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    with serving(Keeper(10**6)) as server:
        end = end_of(server, token_file=tmp_path / "none")
        assert f"cannot use the token file {tmp_path / 'none'}" in end.reason
        assert server.requests == []


def test_the_stream_stands_in_the_path() -> None:
    with serving(Keeper(10**6)) as server:
        send_one(server, target="/in/{stream}?x=1")
        assert server.requests[0].path == "/in/samples?x=1"


def test_what_the_server_says_it_holds_is_not_sent_again_and_what_lies_behind_it_is() -> None:
    keeper = Keeper(10**6)

    async def send(server: HttpServer, *sequences: int) -> None:
        async with session(server, position="/position") as upstream:
            for sequence in sequences:
                assert await upstream.send(*record(sequence, 1.0)) is Verdict.ACCEPTED

    with serving(keeper) as server:
        uvloop.run(send(server, 1, 2, 4))
        server.requests.clear()
        uvloop.run(send(server, 1, 2, 3, 4, 5))
        keys = [request.headers.get("idempotency-key", "the question")[-2:-1] for request in server.requests]
    assert keys == ["o", "3", "4", "5"], "4 lies behind a gap, so the server did not say that it has it"
    assert len(keeper.records) == 5


def test_what_somebody_asked_for_is_sent_whatever_the_server_says_it_holds() -> None:
    async def send(server: HttpServer, *, is_asked: bool) -> None:
        async with session(server, position="/position") as upstream:
            identity, payload = record(1, 1.0)
            assert await upstream.send(replace(identity, is_asked=is_asked), payload) is Verdict.ACCEPTED

    with serving(Keeper(10**6)) as server:
        for is_asked in (False, False, True):
            uvloop.run(send(server, is_asked=is_asked))
        posts = [request.method for request in server.requests if request.path == "/records"]
    assert posts == ["POST", "POST"], "the second was known, the third was asked for"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"held": [{"stream": "samples"}]}', b"<html>"])
def test_a_position_that_cannot_be_read_is_told_with_an_example(body: bytes) -> None:
    with serving(lambda _: Response(200, body)) as server:
        end = end_of(server, position="/position")
        assert f"http://127.0.0.1:{server.port}/position: does not say what the server holds" in end.reason
        assert '{"held": [' in end.remedy


def test_a_connection_that_the_server_ended_between_records_is_made_anew_in_silence() -> None:
    async def scenario(server: HttpServer) -> None:
        async with session(server) as upstream:
            for sequence in range(1, 4):
                assert await upstream.send(*record(sequence, 1.0)) is Verdict.ACCEPTED
                server.drop_connections()

    keeper = Keeper(10**6)
    with serving(keeper) as server:
        uvloop.run(scenario(server))
        assert server.connections == 3
    assert len(keeper.records) == 3


def test_a_server_that_answers_nothing_ends_the_session_and_every_record_in_it() -> None:
    async def scenario(server: HttpServer) -> list[Any]:
        async with session(server) as upstream:
            tasks = [asyncio.create_task(upstream.send(*record(n, 1.0))) for n in range(1, 4)]
            return await asyncio.gather(*tasks, return_exceptions=True)

    with serving(lambda _: Response(hang_up=True)) as server:
        ends = uvloop.run(scenario(server))
    assert [type(end) for end in ends] == [LinkDown] * 3
    assert "closed by the other side" in ends[0].reason


def test_a_server_that_is_silent_is_given_up_after_the_time_out() -> None:
    async def scenario() -> LinkDown:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        silence = await asyncio.start_server(silent, "127.0.0.1", 0)
        address = HttpAddress(host="127.0.0.1", port=silence.sockets[0].getsockname()[1], target="/")
        async with (
            silence,
            connect(address, acknowledge_timeout_ns=SECOND_NS // 5, wall_offset_ns=lambda: 0) as upstream,
        ):
            with pytest.raises(LinkDown) as caught:
                await upstream.send(*record(1, 1.0))
        return caught.value

    assert "no answer for 0.2 s" in uvloop.run(scenario()).reason


@pytest.mark.parametrize(
    "noise", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x46"]
)
def test_what_is_no_http_ends_the_session(noise: bytes) -> None:
    async def scenario() -> None:
        async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(noise)
            writer.write_eof()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(other, "127.0.0.1", 0)
        address = HttpAddress(host="127.0.0.1", port=server.sockets[0].getsockname()[1], target="/")
        async with server, connect(address, acknowledge_timeout_ns=5 * SECOND_NS, wall_offset_ns=lambda: 0) as upstream:
            with pytest.raises(LinkDown):
                await upstream.send(*record(1, 1.0))

    uvloop.run(scenario())


def test_tls_is_spoken_and_a_stranger_certificate_refused(tmp_path: Path) -> None:
    for name in ("ours", "strangers"):
        subprocess.run(
            f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=server"
            f" -addext subjectAltName=IP:127.0.0.1 -keyout {name}.key -out {name}.pem".split(),
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "ours.pem", tmp_path / "ours.key")
    with serving(Keeper(10**6), tls) as server:
        stranger = end_of(server, tls=True, ca_file=tmp_path / "strangers.pem")
        assert stranger.remedy == "check ca_file, and that the certificate names this host"
        assert "cannot use the CA file" in end_of(server, tls=True, ca_file=tmp_path / "no").reason
        assert send_one(server, tls=True, ca_file=tmp_path / "ours.pem") is Verdict.ACCEPTED


# -- line protocol -----------------------------------------------------------------------------------------------


def influx(scenario: Callable[[HttpServer, TimeSeries, Any], Awaitable[None]]) -> None:
    database = TimeSeries(10**6)

    async def whole(server: HttpServer) -> None:
        async with session(server, format=HttpFormat.INFLUX, gzip=True) as upstream:
            await scenario(server, database, upstream)

    with serving(database) as server:
        uvloop.run(whole(server))


def test_a_record_that_is_sent_twice_is_the_same_points() -> None:
    async def scenario(server: HttpServer, database: TimeSeries, upstream: Any) -> None:
        for _ in range(2):
            assert await upstream.send(*record(1, 1.5, 2.5)) is Verdict.ACCEPTED
        tags = (("gateway", "plant"), ("tag", "press.force"))
        assert database.points == {
            ("samples", tags, 10**18 + 1_000): {"value": 1.5, "quality": 192},
            ("samples", tags, 10**18 + 1_001): {"value": 2.5, "quality": 192},
        }

    influx(scenario)


def test_records_that_wait_go_together_and_one_that_is_refused_condemns_no_other() -> None:
    async def scenario(server: HttpServer, database: TimeSeries, upstream: Any) -> None:
        bad = record(3, 1.0)[1].replace(b'"quality": [192]', b'"quality": [1.5]')
        records = [record(1, 1.0), record(2, 2.0), (record(3)[0], bad), record(4, 4.0)]
        tasks = [asyncio.create_task(upstream.send(*each)) for each in records]
        answers = await asyncio.gather(*tasks)
        assert [isinstance(answer, Refusal) for answer in answers] == [False, False, True, False]
        assert "field type conflict" in answers[2].reason
        assert sorted(fields["value"] for fields in database.points.values()) == [1.0, 2.0, 4.0]
        sent = [request.body.count(b"\n") for request in server.requests]
        assert max(sent) > 1, "some went together"

    influx(scenario)


def test_what_is_no_record_is_refused_without_a_request_and_the_end_of_a_segment_needs_none() -> None:
    async def scenario(server: HttpServer, database: TimeSeries, upstream: Any) -> None:
        identity = Identity("plant", "samples", 7, 1)
        refused = await upstream.send(identity, envelope(identity, b'{"format":"other"}'))
        assert isinstance(refused, Refusal)
        assert "it cannot be written as influx: KeyError 'tags'" in refused.reason
        end = envelope(identity, b'{"record":"segment-end","length":1}')
        assert await upstream.send(identity, end) is Verdict.ACCEPTED
        assert server.requests == []

    influx(scenario)


# -- a record that is refused for ever -----------------------------------------------------------------------------


def test_a_poisoned_record_is_a_dead_letter_with_its_reason_and_blocks_nothing(tmp_path: Path) -> None:
    events: list[Event] = []
    keeper = Keeper(10**6)

    def fussy(request: Request) -> Response:
        if b"/samples/" in request.headers["idempotency-key"].encode() and b'"first_ns":2,' in request.body:
            return Response(422, b"no such asset")
        return keeper(request)

    async def scenario(server: HttpServer, spool: SpoolWorker) -> dict[str, float]:
        delivery = delivery_by(partial(session, server), spool, events)
        async with running(delivery.run()):
            for number in range(1, 5):
                spool.put(draft(number))
            await until(lambda: spool.depth() == 0 and any("/events/" in key for key in keeper.records))
        return {r.name: r.value for r in delivery.readings() if isinstance(r, Reading)}

    config = tmp_path / "plant.toml"
    config.write_text('[gateway]\nid = "plant"\n[uplink.cloud]\nhttp = "http://127.0.0.1/records"\n', encoding="utf-8")
    (tmp_path / "state").mkdir()
    with serving(fussy) as server, running_spool(tmp_path / "state" / "spool.db", events) as spool:
        figures = uvloop.run(scenario(server, spool))
    kept = [json.loads(record) for record in keeper.records.values()]
    assert [record["first_ns"] for record in kept if "first_ns" in record] == [1, 3, 4]
    assert [record["dropped"][0]["reason"] for record in kept if "dropped" in record] == ["rejected"], (
        "the loss is told"
    )
    assert figures["fieldgate_uplink_rejected_records_total"] == 1
    assert [event.kind for event in events] == ["uplink.up", "uplink.rejected"]
    assert "(422: no such asset)" in events[1].message

    listed = CliRunner().invoke(app, ["dead-letters", "list", str(config), "--json"])
    (letter,) = json.loads(listed.output)
    assert (letter["way"], letter["of"], letter["reason"]) == ("up", "samples", "422: no such asset")
    shown = json.loads(CliRunner().invoke(app, ["dead-letters", "show", str(config), letter["id"], "--json"]).output)
    assert '"first_ns":2,' in shown["payload"]


def test_a_server_that_asks_for_time_gets_it(tmp_path: Path) -> None:
    events: list[Event] = []
    keeper = Keeper(10**6)
    keeper.says = Response(429, b"slow down", {"Retry-After": "1"})

    async def scenario(server: HttpServer, spool: SpoolWorker) -> None:
        delivery = delivery_by(partial(session, server), spool, events)
        async with running(delivery.run()):
            spool.put(draft(1))
            await until(lambda: len(server.requests) == 1)
            keeper.says = None
            await until(lambda: spool.depth() == 0)

    with serving(keeper) as server, running_spool(tmp_path / "spool.db", events) as spool:
        began = time.monotonic()
        uvloop.run(scenario(server, spool))
        assert time.monotonic() - began >= 1, "the delivery of these tests tries again after 50 ms"
    assert sum(b'"first_ns":1,' in record for record in keeper.records.values()) == 1
