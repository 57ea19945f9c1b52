"""Serial lines and TLS: pseudo-terminals, pymodbus and libmodbus as peers, real certificates."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from pymodbus import FramerType

from gateway.core.types import Quality
from gateway.protocol.modbus import pdu
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.role import role_in
from gateway.serialport import open_port
from gateway.settings.schema import RegisterType, Table
from gateway.settings.schema_modbus import Framing, Parity, Rs485, SerialPort, TlsFiles
from gateway.sources.modbus.tls import role_of
from hil.ports import free_port
from tests.support.certificates import Authority, role
from tests.support.lines import Line, converter, libmodbus, plugged, pymodbus_line, served
from tests.support.modbus import Asked, Rig, pymodbus_server, running, scripted, tag, until

Run = Callable[[Coroutine[Any, Any, None]], None]
# linux/serial.h
SER_RS485_ENABLED, SER_RS485_RTS_ON_SEND, SER_RS485_RTS_AFTER_SEND = 1, 2, 4
on_both_loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


def at_port(line: Line, framing: Framing = Framing.RTU, **options: Any) -> dict[str, Any]:
    baud = options.pop("baud", 115_200)
    return {
        "framing": framing,
        "baud": baud,
        "serial": SerialPort(path=str(line.path), baud=baud, data_bits=8, **options),
    }


@on_both_loops
def test_units_at_a_serial_line_take_turns_and_are_read(run: Run, tmp_path: Path) -> None:
    async def body() -> None:
        with plugged(tmp_path / "port") as line:
            async with served(line, turnaround_s=0.002) as bus:
                tags = [tag("a", 5, unit=unit) for unit in (1, 2, 3)]
                async with running(Rig(tags, **at_port(line))) as rig:
                    await until(lambda: all(len(rig.of(row)) > 5 for row in range(3)), "all are read")
                    assert [rig.of(row)["value"][0] for row in range(3)] == [1005, 2005, 3005]
                    assert bus.overlaps == 0
                    assert rig.kinds() == ["link.up"]
                    assert rig.reading("discarded_bytes_total") == 0

    run(body())


def test_an_adapter_that_was_plugged_out_is_found_again_by_its_path(tmp_path: Path) -> None:
    async def body() -> None:
        with plugged(tmp_path / "by-id") as line:
            async with served(line) as bus, running(Rig([tag("a", 5)], **at_port(line))) as rig:
                await until(lambda: len(rig.of(0)) > 3, "it is read")
                device = line.device
                bus.stop()
                line.unplug()
                await until(lambda: "link.down" in rig.kinds(), "the loss is told")
                assert "check the adapter and its plug" in rig.events[-1].message
                await until(lambda: rig.reading("failed_connects_total") >= 2, "it is looked for")
                with plugged(tmp_path / "somebody-else"):  # has taken its number, as happens at a hub
                    line.plug()
                assert line.device != device
                bus.start()
                await until(lambda: rig.of(0)[-1]["quality"] == Quality.GOOD, "it is read again")
                assert rig.kinds() == ["link.up", "link.down", "link.up"]
                assert rig.qualities(0) == [Quality.GOOD, Quality.BAD_NOT_CONNECTED, Quality.GOOD]

    asyncio.run(body())


@pytest.mark.parametrize(
    ("rs485", "flags", "before", "after"),
    [
        (Rs485(), SER_RS485_ENABLED | SER_RS485_RTS_ON_SEND, 0, 0),
        (Rs485(before_ms=2, after_ms=5), SER_RS485_ENABLED | SER_RS485_RTS_ON_SEND, 2, 5),
        (Rs485(after_ms=1, is_inverted=True), SER_RS485_ENABLED | SER_RS485_RTS_AFTER_SEND, 0, 1),
    ],
)
def test_the_driver_of_a_port_is_told_how_to_switch_the_direction(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rs485: Rs485, flags: int, before: int, after: int
) -> None:
    """As linux/serial.h has struct serial_rs485: flags, two delays in ms, 20 bytes. A pseudo-terminal has no driver."""
    asked: list[tuple[int, bytes]] = []
    monkeypatch.setattr("gateway.serialport.fcntl.ioctl", lambda _, what, how: asked.append((what, how)))
    with plugged(tmp_path / "port") as line:
        os.close(open_port(SerialPort(path=str(line.path), rs485=rs485)))
    assert asked == [(0x542F, struct.pack("=III20x", flags, before, after))]
    assert len(asked[0][1]) == 32


def test_what_is_wrong_with_a_port_is_said(tmp_path: Path) -> None:
    async def why(**settings: Any) -> str:
        async with running(Rig([tag("a", 5)], **settings)) as rig:
            await until(lambda: bool(rig.events), "it is told")
            return rig.events[0].message

    async def body() -> None:
        nothing = Line(tmp_path / "nothing")
        assert "is not there: plug the adapter in" in await why(**at_port(nothing))
        plain = Line(tmp_path / "plain")
        plain.path.touch()
        assert "cannot be set to 115200 baud, 8E1" in await why(**at_port(plain))
        with plugged(tmp_path / "port") as line:
            said = await why(**at_port(line, rs485=Rs485(after_ms=1)))
            assert "has a driver without RS-485 direction control" in said
            other = os.open(line.path, os.O_RDWR | os.O_NOCTTY)
            fcntl.flock(other, fcntl.LOCK_EX)
            assert "is in use by another program" in await why(**at_port(line))
            os.close(other)

    asyncio.run(body())


def test_garbled_replies_are_told_as_such_and_cost_no_other_unit_anything(tmp_path: Path) -> None:
    async def body() -> None:
        with plugged(tmp_path / "port") as line:
            async with served(line) as bus:
                bus.spoil = lambda unit, reply: b"\xff" + reply if unit == 1 else reply[:-1] + b"\x00\x00"
                tags = [tag("a", 5, unit=unit, every_ms=50) for unit in (1, 2)]
                async with running(Rig(tags, timeout_ms=100, **at_port(line))) as rig:
                    await until(lambda: "unit.silent" in rig.kinds(), "unit 2 is given up")
                    message = next(event.message for event in rig.events if event.kind == "unit.silent")
                    assert "unit 2 on plc is silent (no reply within 0.1 s, but" in message
                    assert "bytes that are no frame: check baud rate, parity and wiring" in message
                    good = len(rig.of(0))
                    await until(lambda: len(rig.of(0)) > good + 5, "unit 1 is read through its noise")
                    assert rig.qualities(0) == [Quality.GOOD]
                    assert rig.reading("discarded_bytes_total") > 10

    asyncio.run(body())


@pytest.mark.parametrize(("framing", "framer"), [(Framing.RTU, FramerType.RTU), (Framing.ASCII, FramerType.ASCII)])
@pytest.mark.parametrize("over_tcp", [True, False], ids=["tcp", "port"])
def test_a_pymodbus_server_is_read_and_written(
    framing: Framing, framer: FramerType, over_tcp: bool, tmp_path: Path
) -> None:
    async def body() -> None:
        async with pymodbus_line(framer, [7] * 20) as port:
            if over_tcp:
                await talk(Rig([tag("a", 3, RegisterType.UINT32)], port, framing=framing))
                return
            with plugged(tmp_path / "port") as line:
                async with converter(line, port):
                    await talk(Rig([tag("a", 3, RegisterType.UINT32)], **at_port(line, framing)))

    async def talk(rig: Rig) -> None:
        async with running(rig):
            await until(lambda: len(rig.of(0)) > 3, "it is read")
            assert rig.of(0)[-1]["value"] == 7 * 65_536 + 7
            written = pdu.write_registers(3, b"\x00\x00\x30\x39")
            pdu.check_echo(written, await rig.source.request(1, written))
            await until(lambda: rig.of(0)[-1]["value"] == 12_345, "what was written is read")

    asyncio.run(body())


@pytest.mark.parametrize("kind", ["tcp", "rtu"])
def test_a_libmodbus_server_is_read_and_written(kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        with plugged(tmp_path / "ours") as ours, plugged(tmp_path / "theirs") as theirs:
            port = free_port()
            where = {"tcp": ["tcp", str(port)], "rtu": ["rtu", str(theirs.path), "1"]}[kind]
            with libmodbus(tmp_path, *where):
                if kind == "tcp":
                    await talk(Rig([tag("a", 9, table=Table.INPUT), tag("b", 3, table=Table.DISCRETE)], port))
                    return
                async with joined(ours, theirs):
                    rig = Rig(
                        [tag("a", 9, table=Table.INPUT), tag("b", 3, RegisterType.BOOL, table=Table.DISCRETE)],
                        **at_port(ours, baud=19_200),
                    )
                    await talk(rig)

    async def talk(rig: Rig) -> None:
        async with running(rig):
            await until(lambda: len(rig.of(0)) > 3 and len(rig.of(1)) > 3, "it is read")
            assert (rig.of(0)[-1]["value"], rig.of(1)[-1]["value"]) == (1009, 1)
            for written in (
                pdu.write_coil(3, True),
                pdu.write_coils(4, [True, True]),
                pdu.write_register(4, b"\x12\x34"),
                pdu.write_registers(5, b"\x00\x01\x00\x02"),
                pdu.mask_write(4, keep=0xFF00, put=0x0056),
            ):
                pdu.check_echo(written, await rig.source.request(1, written))
            both = pdu.read_write(4, 3, 6, b"\x00\x09")
            assert pdu.read_data(both, await rig.source.request(1, both)) == b"\x12\x56\x00\x01\x00\x09"
            coils = pdu.read(Function.READ_COILS, 0, 8)
            assert pdu.read_data(coils, await rig.source.request(1, coils)) == b"\x38"

    asyncio.run(body())


@asynccontextmanager
async def joined(one: Line, other: Line) -> AsyncIterator[None]:
    """Two ports at one cable."""
    loop = asyncio.get_running_loop()
    loop.add_reader(one.master, lambda: os.write(other.master, os.read(one.master, 4_096)))
    loop.add_reader(other.master, lambda: os.write(one.master, os.read(other.master, 4_096)))
    try:
        yield
    finally:
        loop.remove_reader(one.master)
        loop.remove_reader(other.master)


# Connections that are not kept, and where they come from


def test_a_connection_that_is_not_kept_is_closed_after_each_round_and_opened_for_an_errand() -> None:
    async def body() -> None:
        async with scripted({}) as server:
            tags = [tag("a", 1, every_ms=400), tag("b", 500, every_ms=400)]
            async with running(Rig(tags, server.port, keep_open=False)) as rig:
                await until(lambda: rig.reading("connects_total") >= 3 and len(rig.of(1)) >= 2, "three rounds")
                assert rig.kinds() == ["link.up"]
                assert set(rig.drain()["quality"]) == {int(Quality.GOOD)}
                assert abs(len(rig.of(0)) - server.connections) <= 1
                await until(lambda: rig.reading("connected") == 0, "it rests")
                asked = pdu.read(Function.READ_HOLDING_REGISTERS, 7, 1)
                answer = await asyncio.wait_for(rig.source.request(1, asked), 0.3)
                assert pdu.read_data(asked, answer) == (1007).to_bytes(2, "big")

    asyncio.run(body())


@on_both_loops
@pytest.mark.parametrize(
    ("bound", "seen"), [({"source_address": "127.0.0.9"}, "127.0.0.9"), ({"interface": "lo"}, "127.0.0.1")]
)
def test_a_connection_comes_from_where_the_plant_wants_it(run: Run, bound: dict[str, str], seen: str) -> None:
    async def body() -> None:
        peers: list[str] = []

        async def noting(asked: Asked, writer: asyncio.StreamWriter) -> None:
            peers.append(writer.get_extra_info("peername")[0])
            writer.write(asked.reply())

        async with scripted({None: noting}) as server, running(Rig([tag("a", 1)], server.port, **bound)) as rig:
            await until(lambda: len(rig.of(0)) > 0, "it is read")
            assert peers[0] == seen
        async with running(Rig([tag("a", 1)], server.port, interface="nosuch0")) as rig:
            await until(lambda: bool(rig.events), "it is told")
            assert "cannot be reached by interface nosuch0" in rig.events[0].message

    run(body())


# TLS


class Certificates:
    def __init__(self, folder: Path) -> None:
        plant, stranger = Authority(folder, "plant"), Authority(folder, "stranger")
        self.plant, self.stranger = plant.certificate, stranger.certificate
        self.server = plant.issue("server")
        self.server_expired = plant.issue("oldserver", is_expired=True)
        self.client = plant.issue("client", role("Operator"))
        self.client_critical = plant.issue("critical", role("Operator", is_critical=True))
        self.client_expired = plant.issue("oldclient", is_expired=True)
        self.client_strange = stranger.issue("client")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


class TlsFront:
    """Takes TLS off and passes the bytes on to a server, one client at a time.

    A blocking one: asyncio's servers end a handshake without the alert that says why.
    """

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        self._context = context
        self._behind = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.settimeout(5)
                with client, suppress(OSError):
                    self._pass_on(client)

    def _pass_on(self, client: socket.socket) -> None:
        with (
            self._context.wrap_socket(client, server_side=True) as secure,
            socket.create_connection(("127.0.0.1", self._behind), 5) as behind,
        ):
            while request := secure.recv(260):
                behind.sendall(request)
                secure.sendall(behind.recv(260))


@asynccontextmanager
async def tls_server(made: Certificates, shown: tuple[Path, Path], version: ssl.TLSVersion) -> AsyncIterator[int]:
    """A pymodbus server behind TLS that wants a certificate of the plant; yields the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    context.load_cert_chain(*shown)
    context.load_verify_locations(made.plant)
    context.verify_mode = ssl.CERT_REQUIRED
    async with pymodbus_server([7] * 20, [False] * 20) as port:
        front = TlsFront(context, port)
        try:
            yield front.port
        finally:
            await asyncio.to_thread(front.stop)


def files(made: Certificates, client: tuple[Path, Path] | None, **options: Any) -> TlsFiles:
    certificate, key = client or (None, None)
    return TlsFiles(**({"ca_file": made.plant, "cert_file": certificate, "key_file": key} | options))


on_both_versions = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@on_both_loops
@on_both_versions
def test_a_device_is_read_over_tls_with_certificates_on_both_sides(
    run: Run, version: ssl.TLSVersion, certificates: Certificates
) -> None:
    async def body() -> None:
        async with tls_server(certificates, certificates.server, version) as port:
            tls = files(certificates, certificates.client)
            async with running(Rig([tag("a", 3)], port, tls=tls)) as rig:
                await until(lambda: len(rig.of(0)) > 3, "it is read")
                assert rig.of(0)[-1]["value"] == 7
                assert rig.kinds() == ["link.role", "link.up"]
                assert 'presents it as "Operator"' in rig.events[0].message
            tls = files(certificates, certificates.client, server_name="drives.plant")
            async with running(Rig([tag("a", 3)], port, tls=tls)) as rig:
                await until(lambda: len(rig.of(0)) > 3, "it is read by its name")

    run(body())


@on_both_loops
@on_both_versions
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("server of a stranger", "shows a certificate that ca_file does not vouch for"),
        ("server expired", "shows an expired certificate: renew it on the device"),
        ("server of another name", "shows a certificate for another name"),
        ("client missing", "refuses the gateway because it shows no certificate that the device takes"),
        ("client expired", "refuses the gateway's certificate as expired"),
        ("client of a stranger", "refuses the gateway's certificate (unknown ca)"),
        ("key of another", "certificate and key do not belong together"),
    ],
)
def test_each_fault_of_a_certificate_has_its_own_message(
    run: Run, version: ssl.TLSVersion, fault: str, says: str, certificates: Certificates
) -> None:
    made = certificates
    shown = made.server_expired if fault == "server expired" else made.server
    clients = {
        "client missing": None,
        "client expired": made.client_expired,
        "client of a stranger": made.client_strange,
        "key of another": (made.client[0], made.server[1]),
    }
    options: dict[str, Any] = {
        "server of a stranger": {"ca_file": made.stranger},
        "server of another name": {"server_name": "pumps.plant"},
    }.get(fault, {})

    async def body() -> None:
        async with tls_server(made, shown, version) as port:
            tls = files(made, clients.get(fault, made.client), **options)
            async with running(Rig([tag("a", 3)], port, tls=tls)) as rig:
                await until(lambda: "link.down" in rig.kinds(), "it is refused")
                message = next(event.message for event in rig.events if event.kind == "link.down")
                assert says in message
                assert len(rig.of(0)) == 1
                assert rig.of(0)[0]["quality"] == Quality.BAD_NOT_CONNECTED

    run(body())


@on_both_loops
@pytest.mark.parametrize("is_early", [True, False])
def test_a_device_that_hangs_up_on_tls_without_a_word_is_told_with_what_it_may_be(
    run: Run, is_early: bool, certificates: Certificates
) -> None:
    async def body() -> None:
        context = None if is_early else ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if context is not None:
            context.load_cert_chain(*certificates.server)

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            async with running(Rig([tag("a", 3)], port, tls=files(certificates, certificates.client))) as rig:
                await until(lambda: "link.down" in rig.kinds(), "it is told")
                message = next(event.message for event in rig.events if event.kind == "link.down")
                assert "without a word" in message
                assert "it may refuse the gateway's certificate" in message

    run(body())


def test_the_role_is_read_from_the_certificate(certificates: Certificates) -> None:
    assert role_of(certificates.client[0]) == "Operator"
    assert role_of(certificates.server[0]) is None


def test_the_role_is_the_extension_and_nothing_that_only_looks_like_it(certificates: Certificates) -> None:
    der = ssl.PEM_cert_to_DER_cert(certificates.client[0].read_text())
    assert role_in(der) == "Operator"
    assert role_in(ssl.PEM_cert_to_DER_cert(certificates.client_critical[0].read_text())) == "Operator"
    extension = bytes.fromhex("060b2b0601040183890c862201")
    assert extension in der
    assert role_in(extension + bytes.fromhex("040a0c08") + b"Engineer") is None, "not a certificate"
    assert role_in(der.replace(extension, extension[:-1] + b"\x02")) is None
    for cut in range(0, len(der), 7):
        assert role_in(der[:cut]) is None


# A line in proportion


@pytest.mark.slow
def test_three_dead_units_of_ten_at_a_line_cost_the_living_less_than_5_percent(tmp_path: Path) -> None:
    """Ten units, read twice a second over a pseudo-terminal, 5 ms of bus time each; three fall silent on the way."""

    async def body() -> None:
        with plugged(tmp_path / "port") as line:
            async with served(line, turnaround_s=0.005) as bus:
                tags = [tag("a", 5, unit=unit, every_ms=500) for unit in range(1, 11)]
                async with running(Rig(tags, timeout_ms=1_500, **at_port(line))) as rig:
                    await until(lambda: all(len(rig.of(row)) > 1 for row in range(10)), "all are read")
                    before = [len(rig.of(row)) for row in range(10)]
                    bus.dead = {2, 5, 9}
                    seconds = 12
                    await asyncio.sleep(seconds)
                    alive = [row for row in range(10) if row + 1 not in bus.dead]
                    shares = [(len(rig.of(row)) - before[row]) / (2 * seconds) for row in alive]
                    print(f"least share of reads: {min(shares):.3f}")
                    assert min(shares) >= 0.95 - 1 / (2 * seconds)  # a read may fall on either side of the end
                    assert bus.overlaps == 0

    asyncio.run(body())


def test_parity_and_stop_bits_make_a_character_long() -> None:
    assert SerialPort(path="p").character_bits == 11
    assert SerialPort(path="p", parity=Parity.NONE, stop_bits=1).character_bits == 10
