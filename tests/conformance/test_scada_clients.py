"""The register server under clients that others wrote: libmodbus at full speed beside a changing plant, and five that
read the same map."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymodbus.client import ModbusTcpClient

from gateway.core.types import Quality
from tests.integration.test_daemon_scada import registers
from tests.support.daemon import ROOT, Gateway, Outside, until

pytestmark = pytest.mark.slow

NATIVE = Path(__file__).parents[1] / "support" / "native"
READERS, REQUESTS, BLOCKS = 4, 1_000_000, 200
JSMODBUS = ROOT / ".cache" / "jsmodbus"

MANY = """
[gateway]
id = "plant"
[devices.d]
link = {{ modbus_tcp = "127.0.0.1:{plc}" }}
tags = {{ {tags} }}
[scada]
modbus_tcp = "127.0.0.1:<scada>"
[http]
listen = "127.0.0.1:<http>"
"""
MANY_TAG = (
    't{number} = {{ register = "holding {address}", type = "uint64", every = "20ms", windows = ["1s"],'
    " valid = {{ high = 4611686018427387904 }} }}"
)


class Changing:
    """A device whose registers are, in each answer, all the same, and in the next answer all others."""

    def __init__(self) -> None:
        self.port = 0
        self._word = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                transaction, _, _, unit, function, _, count = struct.unpack(">HHHBBHH", await reader.readexactly(12))
                self._word = (self._word + 1) & 0x7FFF
                head = struct.pack(">HHHBBB", transaction, 0, 3 + 2 * count, unit, function, 2 * count)
                writer.write(head + struct.pack(">H", self._word) * count)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.mark.timeout(900)
def test_no_value_is_torn_in_a_million_reads_by_libmodbus_while_all_of_them_change(tmp_path: Path) -> None:
    program = tmp_path / "scada_reader"
    compiled = ["gcc", "-O2", "-Wall", "-Werror", "-o", str(program), str(NATIVE / "scada_reader.c"), "-lmodbus"]
    subprocess.run(compiled, check=True, timeout=60)
    tags = ", ".join(MANY_TAG.format(number=number, address=4 * number) for number in range(BLOCKS))
    plc = Changing()
    with Outside() as outside:
        outside.run(plc.start())
        with Gateway(tmp_path, MANY.format(plc=plc.port, tags=tags)) as gateway:
            gateway.start()
            samples = gateway.device_samples
            until(lambda: samples()["d"] > 10 * BLOCKS, "every tag has been read")
            first = registers(gateway)[1, "d.t0/value"]["address"]
            began_s, sampled = time.monotonic(), samples()["d"]
            readers = [
                subprocess.Popen(
                    [program, *map(str, (gateway.scada_port, 1, first, BLOCKS, REQUESTS // READERS, seed))],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                for seed in range(1, READERS + 1)
            ]
            try:
                answers = [reader.communicate(timeout=840) for reader in readers]
            finally:
                for reader in readers:
                    reader.kill()
            took_s = time.monotonic() - began_s
            assert all(reader.returncode == 0 for reader in readers), answers
            found = [json.loads(out) for out, _ in answers]
            print(f"{REQUESTS} requests in {took_s:.0f} s beside {samples()['d'] - sampled} samples: {found}")
            assert sum(each["requests"] for each in found) == REQUESTS
            assert [(each["torn"], each["mismatched"]) for each in found] == [(0, 0)] * READERS
            assert all(each["values"] > REQUESTS and each["distinct"] > 1_000 for each in found), found


# --- five clients, one map

STILL = """
[gateway]
id = "plant"
[devices.meter]
link = {{ modbus_tcp = "127.0.0.1:{plc}" }}
tags.power = {{ register = "holding 0", type = "float32", unit = "kW", alarm = {{ high = 10 }} }}
tags.energy = {{ register = "holding 2", type = "uint64", unit = "Wh" }}
tags.starts = {{ register = "holding 6", type = "int32" }}
[scada]
modbus_tcp = "127.0.0.1:<scada>"
units = {{ meter = 7 }}
[http]
listen = "127.0.0.1:<http>"
"""
POWER, ENERGY, STARTS = 61.25, 2**40 + 3, -17
WANTED = {
    "power/value": POWER,
    "power/quality": Quality.GOOD,
    "energy/value": ENERGY,
    "starts/value": STARTS,
    "power/alarm_high": 1,
    "starts/alarm_high": 0,
}


class Still(Changing):
    """A meter that always says the same."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held = struct.pack(">fQi", POWER, ENERGY, STARTS)
        try:
            while True:
                transaction, _, _, unit, function, address, count = struct.unpack(
                    ">HHHBBHH", await reader.readexactly(12)
                )
                head = struct.pack(">HHHBBB", transaction, 0, 3 + 2 * count, unit, function, 2 * count)
                writer.write(head + held[2 * address : 2 * (address + count)])
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@dataclass(frozen=True)
class Point:
    """A line of the printed map."""

    unit: int
    address: int
    registers: int
    type: str

    def number(self, words: list[int]) -> float:
        """What stands in the registers."""
        form = {"float32": ">f", "uint16": ">H", "uint32": ">I", "int64": ">q", "uint64": ">Q"}[self.type]
        return float(struct.unpack(form, struct.pack(f">{len(words)}H", *words))[0])


@dataclass(frozen=True)
class Served:
    port: int
    points: dict[str, Point]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    plc = Still()
    with Outside() as outside:
        outside.run(plc.start())
        with Gateway(tmp_path_factory.mktemp("clients"), STILL.format(plc=plc.port)) as gateway:
            gateway.start()
            alarm = lambda: gateway.get("/api/alarms")["alarms"]  # noqa: E731
            until(lambda: gateway.quality("meter.starts") == Quality.GOOD and alarm(), "the meter is read")
            printed = registers(gateway)
            points = {
                key: Point(unit, line["address"], line["registers"], line["type"])
                for key in WANTED
                for (unit, name), line in printed.items()
                if name == f"meter.{key}"
            }
            assert points.keys() == WANTED.keys()
            yield Served(gateway.scada_port, points)


def test_mbpoll_reads_the_map(served: Served) -> None:
    kinds = {"float32": ["-t", "4:float", "-B"], "uint16": ["-t", "4"], "bool": ["-t", "1"]}
    for key, point in served.points.items():
        if point.type in kinds:
            where = ["-a", str(point.unit), "-r", str(point.address), "-p", str(served.port), "127.0.0.1"]
            command = ["mbpoll", "-m", "tcp", "-0", "-1", *kinds[point.type], *where]
            said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
            found = re.search(rf"\[{point.address}\]:\s+(\S+)", said)
            assert found is not None, said
            assert float(found[1]) == WANTED[key], key


def test_pymodbus_reads_the_map(served: Served) -> None:
    with ModbusTcpClient("127.0.0.1", port=served.port) as client:
        for key, point in served.points.items():
            if point.type == "bool":
                bits = client.read_discrete_inputs(point.address, count=1, device_id=point.unit).bits
                assert int(bits[0]) == WANTED[key], key
                continue
            for read in (client.read_holding_registers, client.read_input_registers):
                words = read(point.address, count=point.registers, device_id=point.unit).registers
                assert point.number(words) == WANTED[key], key


def test_jsmodbus_reads_the_map(served: Served) -> None:
    if not JSMODBUS.exists():
        pytest.fail("jsmodbus is not installed: make test-slow")
    asked: list[str] = []
    for point in served.points.values():
        kind = "discrete" if point.type == "bool" else "holding"
        asked += [kind, str(point.address), str(point.registers)]
    script = Path(__file__).parent / "jsmodbus" / "read.js"
    done = subprocess.run(
        ["node", script, str(served.port), "7", *asked],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "JSMODBUS_FOLDER": str(JSMODBUS)},
    )
    assert done.returncode == 0, done.stderr
    for (key, point), found in zip(served.points.items(), json.loads(done.stdout), strict=True):
        value = found[0] if point.type == "bool" else point.number(found)
        assert value == WANTED[key], key


COLLECTD = """
Hostname "plant"
BaseDir "{folder}"
PIDFile "{folder}/collectd.pid"
TypesDB "/usr/share/collectd/types.db"
Interval 1
LoadPlugin csv
LoadPlugin modbus
<Plugin csv>
  DataDir "{folder}/data"
</Plugin>
<Plugin modbus>
{data}
  <Host "gateway">
    Address "127.0.0.1"
    Port "{port}"
    Interval 1
    <Slave 7>
      Instance "meter"
{collect}
    </Slave>
  </Host>
</Plugin>
"""
COLLECTD_TYPES = {"float32": "float", "uint16": "Uint16", "uint32": "Uint32", "int64": "Int64", "uint64": "Uint64"}


def test_collectd_reads_the_map(served: Served, tmp_path: Path) -> None:
    program = shutil.which("collectd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.fail("collectd is not installed: make test-slow")
    points = {key: point for key, point in served.points.items() if point.type != "bool"}
    data = "\n".join(
        f'  <Data "{key}">\n    RegisterBase {point.address}\n    RegisterType {COLLECTD_TYPES[point.type]}\n'
        f'    RegisterCmd ReadHolding\n    Type gauge\n    Instance "{key.replace("/", "_")}"\n  </Data>'
        for key, point in points.items()
    )
    collect = "\n".join(f'      Collect "{key}"' for key in points)
    config = tmp_path / "collectd.conf"
    config.write_text(COLLECTD.format(folder=tmp_path, port=served.port, data=data, collect=collect))

    def collected(key: str) -> float | None:
        for file in (tmp_path / "data").glob(f"*/modbus-meter/gauge-{key.replace('/', '_')}-*"):
            lines = list(csv.reader(file.read_text().splitlines()))
            if len(lines) > 1 and lines[-1][-1] != "nan":
                return float(lines[-1][-1])
        return None

    with subprocess.Popen(
        [program, "-f", "-C", config], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            until(lambda: all(collected(key) is not None for key in points), "collectd has all of them", 30.0)
        finally:
            process.terminate()
            said = process.communicate(timeout=30)[0]
    assert "error" not in said.lower(), said
    assert {key: collected(key) for key in points} == {key: float(WANTED[key]) for key in points}
