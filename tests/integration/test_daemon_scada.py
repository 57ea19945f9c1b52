"""The whole daemon as SCADA sees it, by Debian's mbpoll and with the addresses that `fieldgate registers` prints."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core.types import Quality
from gateway.core.view import Mode
from hil.devices.instruments import MeterUnit, TankUnit
from hil.devices.modbus import Endpoint, Unit
from tests.support.daemon import ROOT, Gateway, Outside, until

MBPOLL_MISSING = "mbpoll is not installed: apt-get install --yes mbpoll"

CONFIG = """
[gateway]
id = "plant"
state_dir = "state"

[defaults]
every = "50ms"
windows = ["2s"]

[links.plc]
modbus_tcp = "127.0.0.1:{plc}"

[devices.tank]
link = "plc"
unit = 1
tags.level = {{ register = "holding 0", type = "float32", unit = "%" }}
{inserted}
tags.outflow = {{ register = "holding 2", type = "float32", unit = "l/s" }}
tags.valve = {{ register = "holding 10", type = "uint16", scale = 0.1, unit = "%", write = true }}

[devices.meter]
link = "plc"
unit = 2
tags.voltage = {{ register = "holding 0", type = "float32", unit = "V" }}

[control.tank]
pid = {{ input = "tank.level", output = "tank.valve", setpoint = 30.0, kp = 8.0, ti = "3s", every = "20ms" }}
limits = {{ min = 0, max = 100 }}
setpoint_limits = {{ min = 20, max = 90 }}
failsafe = {{ output = 0, when_older_than = "500ms" }}

[scada]
modbus_tcp = "127.0.0.1:<scada>"
loops_unit = 9
write = ["control.tank.setpoint"]
units = {{ meter = 2 }}

[http]
listen = "127.0.0.1:<http>"
"""
POLLED = {"uint16": "4", "uint32": "4:int", "float32": "4:float"}


class Scada:
    """An integrator with the printed register map and mbpoll."""

    def __init__(self, gateway: Gateway) -> None:
        self._port = gateway.scada_port
        self.points = registers(gateway)

    def read(self, unit: int, key: str) -> float:
        point = self.points[unit, key]
        output = self._mbpoll(unit, point["address"], POLLED[point["type"]])
        found = re.search(rf"\[{point['address']}\]:\s+(\S+)", output)
        assert found is not None, output
        return float(found[1])

    def write(self, unit: int, key: str, value: str) -> str:
        """What mbpoll says of it."""
        point = self.points[unit, key]
        return self._mbpoll(unit, point["address"], POLLED[point["type"]], value)

    def _mbpoll(self, unit: int, address: int, kind: str, *values: str) -> str:
        command = ["mbpoll", "-m", "tcp", "-p", str(self._port), "-0", "-1", "-B", "-o", "5"]
        command += ["-a", str(unit), "-r", str(address), "-t", kind, "127.0.0.1", *values]
        done = subprocess.run(command, capture_output=True, text=True, timeout=15, check=False)
        return done.stdout + done.stderr


def registers(gateway: Gateway) -> dict[tuple[int, str], Any]:
    """What `fieldgate registers` prints for the gateway's file, by unit and key."""
    command = [sys.executable, "-m", "gateway", "registers", str(gateway.config), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, cwd=ROOT)
    return {(point["unit"], point["key"]): point for point in json.loads(done.stdout)["points"]}


@pytest.fixture(scope="module")
def tank() -> TankUnit:
    return TankUnit()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, tank: TankUnit) -> Iterator[Gateway]:
    if shutil.which("mbpoll") is None:
        pytest.fail(MBPOLL_MISSING)
    with Outside() as outside:
        endpoint = Endpoint(Unit(1, tank), Unit(2, MeterUnit(1)))
        outside.run(endpoint.start())
        folder: Path = tmp_path_factory.mktemp("scada")
        with Gateway(folder, CONFIG.format(plc=endpoint.port, inserted="")) as gateway:
            gateway.start()
            until(lambda: gateway.quality("tank.outflow") == Quality.GOOD, "the tank is read")
            yield gateway
        outside.run(endpoint.stop())


def test_value_quality_and_heartbeat_are_where_the_printed_map_says(gateway: Gateway, tank: TankUnit) -> None:
    scada = Scada(gateway)
    assert scada.read(1, "tank.outflow/value") == pytest.approx(tank.read("outflow"), rel=0.2)
    assert scada.read(1, "tank.outflow/quality") == Quality.GOOD
    assert scada.read(1, "tank.outflow/age_ms") < 2_000
    assert scada.read(2, "meter.voltage/value") == pytest.approx(400, abs=20)
    assert scada.read(2, "meter.voltage/2s/mean") == pytest.approx(400, abs=20)
    first = scada.read(1, "gateway/heartbeat")
    until(lambda: scada.read(1, "gateway/heartbeat") != first, "the heartbeat moves")


def test_a_setpoint_that_was_written_is_followed_by_the_loop(gateway: Gateway, tank: TankUnit) -> None:
    scada = Scada(gateway)
    before = scada.read(9, "control.tank/setpoint")
    target = 36.0 if before < 33.0 else 30.0
    assert "Written 1 references" in scada.write(9, "control.tank/setpoint", str(target))
    assert scada.read(9, "control.tank/setpoint") == target
    assert f"-> {target:g}" in gateway.lines("scada.write.accepted", "control.tank/setpoint")[-1].message
    until(lambda: abs(scada.read(9, "control.tank/process_value") - target) < 0.5, f"the level reaches {target}", 40.0)
    assert abs(tank.read("level") - target) < 2.0, "the plant itself, not only what is shown of it"


def test_writes_that_the_configuration_does_not_allow_are_refused(gateway: Gateway) -> None:
    scada = Scada(gateway)
    mode, setpoint = scada.read(9, "control.tank/mode"), scada.read(9, "control.tank/setpoint")
    refused = gateway.metric("fieldgate_scada_writes_total", result="refused")
    assert "Illegal function" in scada.write(9, "control.tank/mode", "0")
    assert "Illegal function" in scada.write(1, "tank.outflow/value", "5.0")
    assert "Illegal data value" in scada.write(9, "control.tank/setpoint", "95.0"), "beyond setpoint_limits"
    assert scada.read(9, "control.tank/mode") == mode
    assert scada.read(9, "control.tank/setpoint") == setpoint
    assert gateway.metric("fieldgate_scada_writes_total", result="refused") == refused + 3


def order(gateway: Gateway, point: str, value: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", "write", "--config", str(gateway.config), point, value]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_setpoint_mode_and_output_are_written_by_command_and_audited(gateway: Gateway) -> None:
    scada = Scada(gateway)
    setpoint = scada.read(9, "control.tank/setpoint")
    for point, value, code, says in (
        ("setpoint", "33", 0, f"control.tank.setpoint {setpoint:g} -> 33 written"),
        ("setpoint", "95", 1, "setpoint 95.0 is outside 20.0 to 90.0"),
        ("output", "12", 1, "the output can be written in MANUAL only"),
        ("mode", "cascade", 1, "no setpoint from elsewhere"),
        ("mode", "manual", 0, "control.tank.mode auto -> manual written"),
        ("output", "12.5", 0, "-> 12.5 written"),
        ("mode", "sideways", 1, "sideways is no mode; write auto, manual or cascade"),
    ):
        done = order(gateway, f"control.tank.{point}", value)
        assert (done.returncode, says in done.stdout + done.stderr) == (code, True), done
    until(lambda: scada.read(9, "control.tank/output") == 12.5, "the manual output")
    assert scada.read(9, "control.tank/setpoint") == 33
    assert order(gateway, "control.tank.mode", "auto").returncode == 0
    trail = (gateway.config.parent / "state/audit.jsonl").read_text(encoding="utf-8").splitlines()
    told = [(line["what"], line["new"], line["result"]) for line in map(json.loads, trail) if line["way"] == "local"]
    assert told[:2] == [("control.tank.setpoint", "33", "sent"), ("control.tank.setpoint", "33", "written")]
    assert ("control.tank.setpoint", "95", "refused") in told


@pytest.mark.slow
def test_a_scada_that_stops_counting_is_told_and_takes_its_loops_to_their_fail_safe(tmp_path: Path) -> None:
    """And the loop comes back with the first new count."""
    with Outside() as outside:
        endpoint = Endpoint(Unit(1, TankUnit()), Unit(2, MeterUnit(1)))
        outside.run(endpoint.start())
        text = CONFIG.format(plc=endpoint.port, inserted="")
        watched = text.replace("loops_unit = 9", 'loops_unit = 9\nwatchdog = "2s"\nwatchdog_loops = ["control.tank"]')
        with Gateway(tmp_path, watched) as gateway:
            gateway.start()
            scada = Scada(gateway)
            until(lambda: scada.read(9, "control.tank/mode") == Mode.FAILSAFE, "nobody counts")
            until(lambda: gateway.lines("scada.watchdog.silent"), "it is told")
            assert gateway.metric("fieldgate_scada_watchdog_silent") == 1
            until(lambda: scada.read(9, "control.tank/output") == 0, "its declared output")
            for count in range(1, 20):
                assert "Written 1 references" in scada.write(1 + count % 2, "gateway/watchdog", str(count))
                if scada.read(9, "control.tank/mode") == Mode.AUTO:
                    break
            assert scada.read(9, "control.tank/mode") == Mode.AUTO
            assert gateway.lines("scada.watchdog.back")
            until(lambda: scada.read(9, "control.tank/mode") == Mode.FAILSAFE, "it is silent again")
        outside.run(endpoint.stop())


def test_addresses_stay_when_a_tag_is_put_into_the_middle_and_the_daemon_restarted(gateway: Gateway) -> None:
    before = Scada(gateway).points
    port = gateway.config.read_text().split("127.0.0.1:")[1].split('"')[0]
    inserted = 'tags.inserted = { register = "holding 4", type = "float32", unit = "m" }'
    gateway.write(CONFIG.format(plc=port, inserted=inserted))
    assert gateway.terminate() == 0
    gateway.start()
    scada = Scada(gateway)
    assert before.items() <= scada.points.items()
    assert {key for unit, key in scada.points.keys() - before.keys()} >= {"tank.inserted/value"}
    until(lambda: scada.read(1, "tank.outflow/quality") == Quality.GOOD, "the old address still shows the old tag")
    assert scada.read(2, "meter.voltage/value") == pytest.approx(400, abs=20)
    until(lambda: scada.read(1, "tank.inserted/quality") == Quality.GOOD, "the new tag has an address of its own")
