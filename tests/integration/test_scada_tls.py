"""Modbus/TCP Security as clients meet it: real certificates, pymodbus and OpenSSL over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from pymodbus.client import AsyncModbusTlsClient

from gateway.serving.scada import client as scada_client
from gateway.serving.scada import tls as scada_tls
from gateway.serving.scada.server import ListenError
from gateway.settings.schema_scada import Right, ScadaTls
from tests.support.certificates import Authority, role
from tests.support.scada import Bench, boiler_house, read_request, request, serving
from tests.support.settings import HEAD, LOOP, examine_text, problems_of

Run = Callable[[Coroutine[Any, Any, None]], None]
Pair = tuple[Path, Path]
ROLES = (("Operator", Right.WRITE), ("Viewer", Right.READ))
SETPOINT = request(struct.pack(">BHHBf", 16, 100, 2, 4, 61.5), unit=100)
on_both_loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
on_both_versions = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


class Certificates:
    def __init__(self, folder: Path) -> None:
        plant, stranger = Authority(folder, "plant"), Authority(folder, "stranger")
        self.plant, self.stranger = plant.certificate, stranger.certificate
        self.gateway = plant.issue("gateway")
        self.renewed = plant.issue("renewed")
        self.operator = plant.issue("hmi-1", role("Operator"))
        self.viewer = plant.issue("historian", role("Viewer"))
        self.nobody = plant.issue("laptop")
        self.expired = plant.issue("old", is_expired=True)
        self.strange = stranger.issue("hmi-1", role("Operator"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


def bench_of(made: Certificates, *, shown: Pair | None = None, **more: Any) -> Bench:
    settings = boiler_house()
    assert settings.scada is not None
    certificate, key = shown or made.gateway
    tls = ScadaTls(host="127.0.0.1", port=0, ca_file=made.plant, cert_file=certificate, key_file=key, **more)
    return Bench(msgspec.structs.replace(settings, scada=msgspec.structs.replace(settings.scada, tls=tls)))


def context_of(made: Certificates, shown: Pair | None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(made.plant)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if shown is not None:
        context.load_cert_chain(*shown)
    return context


def ask(port: int, context: ssl.SSLContext, *requests: bytes) -> list[bytes]:
    """The PDUs of the answers. Blocking: such a client hears the alert that says why it is refused."""
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(b"".join(requests))
        return [_answer(secure) for _ in requests]


def _answer(secure: ssl.SSLSocket) -> bytes:
    head = _exactly(secure, 6)
    return _exactly(secure, int.from_bytes(head[4:], "big"))[1:]


def _exactly(secure: ssl.SSLSocket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        more = secure.recv(n - len(data))
        if not more:
            raise ConnectionError("closed")
        data += more
    return data


@on_both_loops
@on_both_versions
def test_pymodbus_reads_and_writes_as_an_operator(run: Run, version: ssl.TLSVersion, made: Certificates) -> None:
    async def body() -> None:
        async with serving(bench_of(made, roles=ROLES)) as bench:
            bench.plant.set("boiler.temperature", 78.5, bench.now_ns)
            context = context_of(made, made.operator, version)
            client = AsyncModbusTlsClient("127.0.0.1", port=bench.server.tls_port, sslctx=context)
            assert await client.connect()
            address = bench.points[1, "boiler.temperature/value"].address
            read = await client.read_holding_registers(address, count=2, device_id=1)
            assert client.convert_from_registers(read.registers, client.DATATYPE.FLOAT32) == 78.5
            words = client.convert_to_registers(61.5, client.DATATYPE.FLOAT32)
            assert not (await client.write_registers(100, words, device_id=100)).isError()
            assert bench.control.state["setpoint"][0] == 61.5
            client.close()
            (event,) = bench.events
            assert event.kind == "scada.write.accepted"
            assert event.message.startswith("hmi-1 at 127.0.0.1:"), "the audit names the certificate"
            assert bench.counted("tls_refused_total") == 0

    run(body())


@on_both_loops
def test_a_role_says_what_its_certificate_may_and_none_has_no_right(run: Run, made: Certificates) -> None:
    async def body() -> None:
        async with serving(bench_of(made, roles=ROLES)) as bench:
            port = bench.server.tls_port
            read = read_request(5_000, 2)
            answers = await asyncio.to_thread(ask, port, context_of(made, made.viewer), read, SETPOINT)
            assert [answer[0] for answer in answers] == [3, 0x90]
            assert answers[1] == b"\x90\x01"
            assert "hmi" not in bench.events[-1].message
            assert 'its certificate has the role "Viewer", which may read only' in bench.events[-1].message
            answers = await asyncio.to_thread(ask, port, context_of(made, made.nobody), read, SETPOINT)
            assert answers == [b"\x83\x01", b"\x90\x01"]
            assert "has no role, which has no right under roles in [scada.modbus_tls]" in bench.events[-1].message
            assert bench.control.state["setpoint"][0] == 50.0
            assert bench.counted("denied_requests_total") == 2

    run(body())


def test_without_roles_every_certificate_of_the_authority_may_what_scada_permits(made: Certificates) -> None:
    async def body() -> None:
        async with serving(bench_of(made)) as bench:
            (answer,) = await asyncio.to_thread(ask, bench.server.tls_port, context_of(made, made.nobody), SETPOINT)
            assert answer[0] == 16

    uvloop.run(body())


@on_both_loops
@on_both_versions
@pytest.mark.parametrize(
    ("fault", "reason", "says"),
    [
        ("nothing", "handshake", "shows no certificate: Modbus Security wants one of both sides"),
        ("strange", "handshake", "shows a certificate that ca_file does not vouch for"),
        ("expired", "handshake", "shows an expired certificate: renew it there"),
        ("viewer", "stranger", "is not under allow in [scada.modbus_tls]"),
    ],
)
def test_who_is_refused_is_told_with_the_reason_and_hears_of_it(
    run: Run, version: ssl.TLSVersion, fault: str, reason: str, says: str, made: Certificates
) -> None:
    async def body() -> None:
        async with serving(bench_of(made, allow=("hmi-1",))) as bench:
            port = bench.server.tls_port
            context = context_of(made, getattr(made, fault, None), version)
            with pytest.raises((ssl.SSLError, ConnectionError)) as refused:
                await asyncio.to_thread(ask, port, context, read_request(5_000, 2))
            if reason == "handshake":
                assert isinstance(refused.value, ssl.SSLError)
                assert "alert" in str(refused.value).lower(), "the client hears why"
            (event,) = bench.events
            assert event.kind == f"scada.client.tls.{reason}"
            assert says in event.message
            assert bench.counted("tls_refused_total", reason=reason) == 1
            (answer,) = await asyncio.to_thread(
                ask, port, context_of(made, made.operator, version), read_request(5_000, 2)
            )
            assert answer[0] == 3
            assert bench.events[-1].kind == "scada.client.recovered"
            assert sum(bench.counted("requests_total", function=str(f)) for f in range(20)) == 1

    run(body())


def test_a_certificate_is_allowed_by_its_fingerprint(made: Certificates) -> None:
    der = ssl.PEM_cert_to_DER_cert(made.viewer[0].read_text())
    allow = ("sha256:" + hashlib.sha256(der).hexdigest(),)

    async def body() -> None:
        async with serving(bench_of(made, allow=allow)) as bench:
            port = bench.server.tls_port
            (answer,) = await asyncio.to_thread(ask, port, context_of(made, made.viewer), read_request(5_000, 2))
            assert answer[0] == 3
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.to_thread(ask, port, context_of(made, made.operator), read_request(5_000, 2))

    uvloop.run(body())


@on_both_loops
def test_what_is_no_tls_ends_the_connection_and_says_so(
    run: Run, made: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scada_tls, "HANDSHAKE_S", 0.3)

    async def body() -> None:
        async with serving(bench_of(made)) as bench:
            reader, writer = await asyncio.open_connection("127.0.0.1", bench.server.tls_port)
            writer.write(read_request(5_000, 2))
            with pytest.raises(asyncio.IncompleteReadError):
                await asyncio.wait_for(reader.readexactly(260), 5)
            writer.close()
            assert bench.events[-1].kind == "scada.client.tls.handshake"
            assert "plain Modbus belongs to the port under modbus_tcp" in bench.events[-1].message
            reader, writer = await asyncio.open_connection("127.0.0.1", bench.server.tls_port)
            assert await asyncio.wait_for(reader.read(), 5) == b"", "whoever says nothing is cut off"
            writer.close()
            assert bench.events[-1].kind == "scada.client.tls.slow"
            assert bench.counted("tls_refused_total") == 2
            assert bench.counted("clients") == 0

    run(body())


@on_both_loops
def test_a_flood_in_one_tls_record_is_answered_whole_and_in_order(run: Run, made: Certificates) -> None:
    requests = [read_request(5_000 + number % 3, 1, transaction=number) for number in range(3_000)]

    def client(port: int) -> list[int]:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            context_of(made, made.operator).wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            secure.sendall(b"".join(requests))
            return [int.from_bytes(_exactly(secure, 11)[:2], "big") for _ in requests]

    async def body() -> None:
        async with serving(bench_of(made)) as bench:
            seen = await asyncio.to_thread(client, bench.server.tls_port)
            assert seen == list(range(3_000))

    run(body())


@on_both_loops
def test_a_client_that_does_not_read_is_cut_off_and_others_are_served(
    run: Run, made: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scada_client, "UNREAD_S", 0.3)

    def ask_and_never_read(port: int) -> None:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        plain.settimeout(10)
        plain.connect(("127.0.0.1", port))
        with context_of(made, made.operator).wrap_socket(plain, server_hostname="127.0.0.1") as secure:
            while True:  # until it is cut off: the server stops listening, and then hangs up
                secure.sendall(read_request(5_000, 40) * 400)

    async def body() -> None:
        async with serving(bench_of(made)) as bench:
            port = bench.server.tls_port
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.to_thread(ask_and_never_read, port)
            assert bench.counted("slow_clients_total") == 1
            assert bench.events[-1].kind == "scada.client.slow"
            (answer,) = await asyncio.to_thread(ask, port, context_of(made, made.operator), read_request(5_000, 2))
            assert answer[0] == 3

    run(body())


def test_a_renewed_certificate_holds_without_a_restart_and_a_broken_one_does_not_replace_it(
    made: Certificates, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "gateway.crt", tmp_path / "gateway.key"

    def put(pair: Pair) -> None:
        for source, to in zip(pair, (certificate, key), strict=True):
            shutil.copy(source, to.with_suffix(".new"))
            to.with_suffix(".new").rename(to)

    def shown(port: int) -> str:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            context_of(made, made.operator).wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            secure.sendall(read_request(5_000, 2))
            _answer(secure)
            found = secure.getpeercert()
            assert found is not None
            return str(found["subject"][0][0][1])  # type: ignore[index]

    async def body() -> None:
        put(made.gateway)
        async with serving(bench_of(made, shown=(certificate, key))) as bench:
            port = bench.server.tls_port
            assert await asyncio.to_thread(shown, port) == "gateway"
            put(made.renewed)
            assert await asyncio.to_thread(shown, port) == "renewed"
            assert [event.kind for event in bench.events] == ["scada.tls.renewed"]
            key.write_text("no key")
            assert await asyncio.to_thread(shown, port) == "renewed"
            assert bench.events[-1].kind == "scada.tls.kept"
            assert str(certificate) in bench.events[-1].message

    uvloop.run(body())


def test_files_that_cannot_be_used_are_named_and_nothing_listens(made: Certificates) -> None:
    async def body() -> None:
        bench = bench_of(made, shown=(made.gateway[0], made.renewed[1]))
        with pytest.raises(ListenError, match="certificate and key do not belong together"):
            await bench.server.start()
        with pytest.raises(RuntimeError):
            _ = bench.server.port
        bench = bench_of(made, shown=(Path("missing.crt"), made.renewed[1]))
        with pytest.raises(ListenError, match=r"cert_file and key_file cannot be used \(missing.crt"):
            await bench.server.start()

    uvloop.run(body())


# --- settings


TABLE = 'modbus_tls = { listen = "0.0.0.0:802", ca_file = "ca.crt", cert_file = "fg.crt", key_file = "fg.key" }\n'


def test_with_tls_plain_modbus_is_served_only_where_it_is_written(tmp_path: Path) -> None:
    scada = examine_text(tmp_path, HEAD + "[scada]\n" + TABLE).settings.scada
    assert scada is not None
    assert scada.places == ("0.0.0.0:802 (TLS)",)
    both = examine_text(tmp_path, HEAD + '[scada]\nmodbus_tcp = "127.0.0.1:1502"\n' + TABLE).settings.scada
    assert both is not None
    assert both.places == ("127.0.0.1:1502", "0.0.0.0:802 (TLS)")
    assert both.tls is not None
    assert both.tls.cert_file == tmp_path / "fg.crt"


def test_allow_and_roles_are_read_and_wrong_ones_named(tmp_path: Path) -> None:
    colons = ":".join(["AB"] * 32)
    more = f'allow = ["hmi-1", "SHA256:{colons}"], roles = {{ Operator = "write", Viewer = "read" }} }}\n'
    scada = examine_text(tmp_path, HEAD + "[scada]\n" + TABLE.replace("}\n", ", " + more)).settings.scada
    assert scada is not None
    assert scada.tls is not None
    assert scada.tls.allow == ("hmi-1", "sha256:" + "ab" * 32)
    assert scada.tls.roles == ROLES
    for wrong, says in (
        ('allow = ["sha256:abc"] }\n', "is no fingerprint"),
        ('roles = { Operator = "all" } }\n', 'Operator has "all"; a role may read or write'),
    ):
        (problem,) = problems_of(tmp_path, HEAD + "[scada]\n" + TABLE.replace("}\n", ", " + wrong))
        assert says in str(problem)
    problems = [str(problem) for problem in problems_of(tmp_path, HEAD + "[scada]\nmodbus_tls = {}\n")]
    assert len(problems) == 2
    assert (
        'scada.modbus_tls.ca_file: is missing: both sides show a certificate; write ca_file = "plant-ca.crt"'
        in (problems[0])
    )


def test_writing_for_every_certificate_of_an_authority_is_warned_of(tmp_path: Path) -> None:
    text = HEAD + LOOP + 'setpoint_limits = { min = 0, max = 100 }\n[scada]\nwrite = ["control.*.setpoint"]\n'
    warned = [str(warning) for warning in examine_text(tmp_path, text + TABLE).warnings]
    assert any("every certificate of ca.crt may write" in warning for warning in warned), warned
    named = TABLE.replace(" }\n", ', allow = ["hmi-1"] }\n')
    assert not any("every certificate" in str(warning) for warning in examine_text(tmp_path, text + named).warnings)
