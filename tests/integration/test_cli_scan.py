"""`fieldgate scan` against units that answer, refuse, hide behind a gateway and keep silent."""

from __future__ import annotations

import asyncio
import json
import os
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.cli.scan_targets import Line, WrongTarget, links_of, numbers
from gateway.protocol.modbus.line import crc16
from gateway.settings.load import load
from gateway.settings.migrations import PRESENT
from gateway.settings.schema import ModbusLink
from gateway.settings.schema_modbus import Framing, Parity
from hil.ports import free_port
from tests.support.daemon import Outside
from tests.support.lines import Bus, plugged

HOLDING = set(range(120)) | set(range(200, 204))
READ_MAX = 50
OBJECTS = {0: b"Acme", 1: b"PM-5", 2: b"1.2", 4: "Zähler".encode()}
LINE = Line(baud=19_200, parity=Parity.EVEN, stop_bits=1)


@dataclass
class Plant:
    """Unit 1 has registers and an identification, 2 refuses all, 3 is said to be away, the rest is silent."""

    port: int = 0
    connections: int = 0
    connected: int = 0
    connected_max: int = 0
    functions: Counter[int] = field(default_factory=Counter)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.connected += 1
        self.connected_max = max(self.connected_max, self.connected)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                transaction, length, unit = struct.unpack(">HxxHB", await reader.readexactly(7))
                pdu = await reader.readexactly(length - 1)
                self.functions[pdu[0]] += 1
                answer = self.answer(unit, pdu)
                if answer is not None:
                    writer.write(struct.pack(">HHHB", transaction, 0, len(answer) + 1, unit) + answer)
        self.connected -= 1
        writer.close()

    def answer(self, unit: int, pdu: bytes) -> bytes | None:
        if unit == 3:
            return bytes([pdu[0] | 0x80, 11])
        if unit == 2:
            return bytes([pdu[0] | 0x80, 1])
        if unit != 1:
            return None
        if pdu[0] == 43:
            return self.identification(pdu)
        address, count = struct.unpack(">HH", pdu[1:5])
        there = HOLDING if pdu[0] == 3 else set()
        if count > READ_MAX or not all(at in there for at in range(address, address + count)):
            return bytes([pdu[0] | 0x80, 2])
        return bytes([pdu[0], 2 * count]) + bytes(2 * count)

    def identification(self, pdu: bytes) -> bytes:
        """One object a reply, as a device with small buffers does it."""
        category, first = pdu[2], pdu[3]
        known = [number for number in OBJECTS if number <= (2 if category == 1 else 6)]
        number = next(each for each in known if each >= first)
        later = [each for each in known if each > number]
        text = OBJECTS[number]
        head = bytes([43, 14, category, 0x82, 0xFF if later else 0, later[0] if later else 0, 1])
        return head + bytes([number, len(text)]) + text


@pytest.fixture
def plant() -> Iterator[Plant]:
    found = Plant()

    async def listen() -> asyncio.Server:
        server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
        found.port = server.sockets[0].getsockname()[1]
        return server

    with Outside() as outside:
        server = outside.run(listen())
        yield found
        outside.call(server.close)


def scan(*words: str) -> Result:
    quick = ("--timeout", "0.05", "--pause", "0", "--addresses", "0-250")
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["scan", *quick, *words])


def test_units_are_found_with_who_they_are_and_what_can_be_read_and_nothing_is_written(plant: Plant) -> None:
    done = scan(f"127.0.0.1:{plant.port}", "--units", "0-6", "--json")
    assert done.exit_code == 0, done.output
    (link,) = json.loads(done.stdout)["links"]
    assert (link["address"], link["problem"]) == (f"127.0.0.1:{plant.port}", None)
    units: dict[int, Any] = {unit["unit"]: unit for unit in link["units"]}
    assert set(units) == {1, 2}
    assert units[1]["identification"] == {"vendor": "Acme", "product": "PM-5", "revision": "1.2", "name": "Zähler"}
    holding = units[1]["tables"]["holding"]
    assert holding["ranges"] == [[0, 119], [200, 203]]
    assert holding["is_limited"]
    assert holding["longest_read"] <= READ_MAX
    assert units[1]["tables"]["input"]["ranges"] == []
    assert units[2]["tables"]["holding"]["ranges"] == []
    assert set(plant.functions) <= {3, 4, 43}
    assert (plant.connections, plant.connected_max) == (1, 1)


def test_the_first_configuration_is_one_that_check_accepts(plant: Plant, tmp_path: Path) -> None:
    file = tmp_path / "plant.toml"
    done = scan(f"127.0.0.1:{plant.port}", "--units", "1-2", "--write", str(file))
    assert done.exit_code == 0, done.output
    assert "Acme PM-5 1.2 Zähler" in done.stdout
    assert "holding 0-119, 200-203 (at most" in done.stdout
    text = file.read_text(encoding="utf-8")
    assert "# It says of itself: vendor: Acme; product: PM-5" in text
    assert f"\nversion = {PRESENT}\n" in text, "the keys that it is written by"
    checked = CliRunner().invoke(app, ["check", str(file), "--json"])
    assert checked.exit_code == 0, checked.output
    settings = load(file)
    assert len(settings.devices) == 2
    assert len(settings.tags) == 20
    assert settings.tags[0].name.endswith("-1.holding_0")
    again = scan(f"127.0.0.1:{plant.port}", "--units", "1", "--write", str(file))
    assert again.exit_code == 2
    assert "is there already" in again.output


def test_where_nothing_answers_it_says_why_and_exits_1(plant: Plant) -> None:
    nobody = free_port()
    done = scan(f"127.0.0.1:{plant.port}", f"127.0.0.1:{nobody}", "--units", "4-5")
    assert done.exit_code == 1
    assert f"no unit answers at 127.0.0.1:{plant.port}: check unit ids" in done.output
    assert f"127.0.0.1:{nobody} cannot be reached" in done.output


class LineBus(Bus):
    """Units that know no function 43, whose request is a byte shorter, and that have addresses below 60."""

    def _read(self) -> None:
        with suppress(BlockingIOError):
            self._held += os.read(self.line.master, 4_096)
        while self._held and len(self._held) >= (size := 7 if self._held[1:2] == b"\x2b" else 8):
            request, self._held = self._held[:size], self._held[size:]
            assert crc16(request) == 0, request.hex()
            unit = request[0]
            end = int.from_bytes(request[2:4], "big") + int.from_bytes(request[4:6], "big")
            if unit in self.dead:
                continue
            if size == 8 and request[1] == 3 and end <= 60:
                self._answer(request)
            else:
                refusal = bytes([unit, request[1] | 0x80, 1 if size == 7 else 2])
                os.write(self.line.master, refusal + crc16(refusal).to_bytes(2, "little"))


def test_a_serial_line_is_scanned_unit_by_unit(tmp_path: Path) -> None:
    path = tmp_path / "ttyBus"
    file = tmp_path / "bus.toml"

    async def begin(bus: Bus) -> None:
        bus.start()

    async def end(bus: Bus) -> None:
        bus.stop()

    with plugged(path) as line, Outside() as outside:
        bus = LineBus(line, dead=(1, 3, 4, 6))
        outside.run(begin(bus))
        words = ("--units", "1-6", "--baud", "115200", "--tables", "holding", "--addresses", "0-69", "--timeout", "0.3")
        done = scan(f"rtu:{path}", *words, "--write", str(file))
        outside.run(end(bus))
    assert done.exit_code == 0, done.output
    assert [line.split()[1:] for line in done.stdout.splitlines()[1:3]] == [
        ["2", "–", "holding", "0-59"],
        ["5", "–", "holding", "0-59"],
    ]
    settings = load(file)
    (link,) = settings.links
    assert isinstance(link, ModbusLink)
    assert (link.framing, link.place, link.baud) == (Framing.RTU, str(path), 115_200)
    assert [device.name for device in settings.devices] == ["ttyBus-2", "ttyBus-5"]


def test_many_addresses_are_scanned_only_when_that_is_meant() -> None:
    done = CliRunner().invoke(app, ["scan", "127.0.0.0/25", "--units", "1"], input="n\n")
    assert "Scan 126 addresses?" in done.output
    assert done.exit_code == 1
    done = CliRunner().invoke(app, ["scan", "127.0.0.0/8"])
    assert done.exit_code == 2
    assert "scan at most 1024 at a time" in done.output


def test_targets_are_addresses_ranges_and_ports() -> None:
    links = links_of(
        ["10.0.0.9-11:1502", "10.0.0.0/30", "10.0.0.1", "rtu:/dev/ttyUSB0", "ascii:10.0.0.5:4001"],
        line=LINE,
        timeout_s=0.3,
    )
    assert [link.place for link in links] == [
        *("10.0.0.9:1502", "10.0.0.10:1502", "10.0.0.11:1502"),
        *("10.0.0.1:502", "10.0.0.2:502", "/dev/ttyUSB0", "10.0.0.5:4001"),
    ]
    assert [link.framing for link in links[-2:]] == [Framing.RTU, Framing.ASCII]
    assert links[-2].serial is not None
    assert links[-2].serial.baud == 19_200
    assert numbers("3,1-2,2", 0, 255, "units") == [3, 1, 2]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("10.0.0.20-1", "does not count up"),
        ("10.0.0.300-301", "does not count up"),
        ("10.0.0.5/28", "is not a network"),
        ("rtu:ttyUSB0", "is not a port; write its whole path"),
        ("plc one", "is not host:port"),
    ],
)
def test_a_target_that_is_none_is_refused_with_what_to_write(target: str, message: str) -> None:
    with pytest.raises(WrongTarget, match=message):
        links_of([target], line=LINE, timeout_s=0.3)
