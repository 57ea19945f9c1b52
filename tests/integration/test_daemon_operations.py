"""What whoever installs and runs the daemon relies on: the service manager's protocol, signals, reloads, exit codes."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard

from gateway.core.types import Quality
from gateway.runtime import metric_tables
from gateway.serving.http import server as http_server
from hil.devices.instruments import TankUnit
from hil.devices.modbus import Endpoint, Unit
from hil.ports import free_port
from tests.support import brokers
from tests.support.daemon import STOP_S_MAX, FarEnd, Gateway, Outside, publish, until
from tests.support.modbus import ScriptedServer, good, scripted

PROMTOOL_MISSING = "promtool is not installed: apt-get install --yes prometheus"

FIELD = """
[gateway]
id = "plant"
state_dir = "state"

[defaults]
every = "50ms"
windows = ["2s"]

[links.plc]
modbus_tcp = "127.0.0.1:<plc>"

[links.floor]
mqtt = "mqtt://127.0.0.1:<broker>"

[devices.pump]
link = "plc"
unit = 1
tags.speed = { register = "holding 0" }

[devices.machine]
link = "floor"
topic = "plant/{device}/{tag}"
tags.count = { field = "value" }
"""
HTTP = """
[http]
listen = "127.0.0.1:<http>"
"""
UPLINK = """
[uplink.cloud]
mqtt = "mqtt://127.0.0.1:<uplink>"
streams = ["events", "aggregates", "samples"]
aggregates_every = "500ms"
samples_every = "100ms"
"""
SCADA = """
[scada]
modbus_tcp = "127.0.0.1:<scada>"
"""
JOURNAL = """
[journal]
"""
CONTROL = """
[links.tank]
modbus_tcp = "127.0.0.1:<tank>"

[devices.tank]
link = "tank"
unit = 1
tags.level = { register = "holding 0", type = "float32", unit = "%" }
tags.valve = { register = "holding 10", scale = 0.1, unit = "%", write = true }

[control.tank]
pid = { input = "tank.level", output = "tank.valve", setpoint = 30.0, kp = 4.0, ti = "4s", every = "20ms" }
limits = { min = 0, max = 100 }
failsafe = { output = 0, when_older_than = "500ms" }
"""
EVERY_S = 0.02


@dataclass
class World:
    """The peers of all tests of this module."""

    outside: Outside
    broker_port: int
    plc: ScriptedServer
    tank_port: int

    def text(self, *parts: str, uplink_port: int = 0) -> str:
        """A configuration of FIELD and these parts."""
        ports = {
            "broker": self.broker_port,
            "uplink": uplink_port or self.broker_port,
            "plc": self.plc.port,
            "tank": self.tank_port,
        }
        text = "".join((FIELD, *parts))
        for name, port in ports.items():
            text = text.replace(f"<{name}>", str(port))
        return text


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with brokers.mosquitto(tmp_path_factory.mktemp("broker")) as broker, Outside() as outside:
        stack = AsyncExitStack()

        async def open_plc() -> ScriptedServer:
            return await stack.enter_async_context(scripted({1: good}))

        tank = Endpoint(Unit(1, TankUnit()))
        outside.run(tank.start())
        plc = outside.run(open_plc())
        outside.spawn(publish(broker.port, "plant/machine/count", numbered, every_s=EVERY_S))
        yield World(outside, broker.port, plc, tank.port)
        outside.run(stack.aclose())
        outside.run(tank.stop())


def numbered(number: int) -> bytes:
    return json.dumps({"value": number}).encode()


def all_good(gateway: Gateway) -> bool:
    return all(gateway.quality(tag) == Quality.GOOD for tag in ("pump.speed", "machine.count"))


def goes_on(gateway: Gateway, *devices: str) -> None:
    """Each of these devices brings new samples."""
    before = gateway.device_samples()
    until(lambda: all(gateway.device_samples()[name] > before[name] for name in devices), f"{devices} bring samples")


# The service manager


class ServiceManager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)
        self.told: list[str] = []
        """Every line of every message, in order."""

    def listen(self) -> list[str]:
        while True:
            try:
                self.told += self._socket.recv(4_096).decode().splitlines()
            except BlockingIOError:
                return self.told

    def close(self) -> None:
        self._socket.close()


def test_the_service_manager_is_told_everything(tmp_path: Path, world: World) -> None:
    with closing(ServiceManager(tmp_path)) as manager:
        environment = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "2000000"}
        with Gateway(tmp_path, world.text(HTTP), environment) as gateway:
            gateway.launch()
            until(lambda: "READY=1" in manager.listen(), "it is ready", 110)
            until(gateway.is_ready, "http says so too", 2)
            assert "EXTEND_TIMEOUT_USEC=60000000" in manager.told[: manager.told.index("READY=1")]
            assert any(line.startswith("STATUS=compiling") for line in manager.told[: manager.told.index("READY=1")])
            assert "STATUS=2 devices, 2 tags, 0 loops, 0 records waiting" in manager.told
            until(lambda: manager.listen().count("WATCHDOG=1") >= 3, "the watchdog is fed", 2.5)

            gateway.signal(signal.SIGHUP)
            until(lambda: manager.listen().count("READY=1") == 2, "the reload is over")
            reloading = manager.told.index("RELOADING=1")
            stamp = manager.told[reloading + 1]
            assert stamp.startswith("MONOTONIC_USEC=")
            assert abs(int(stamp.partition("=")[2]) / 1e6 - time.monotonic()) < 15
            assert "READY=1" in manager.told[reloading:]
            assert "STOPPING=1" not in manager.told

            assert gateway.terminate() == 0
            assert "STOPPING=1" in manager.listen()
            assert gateway.text().count("Traceback") == 0


# Leaving


@pytest.mark.parametrize("uplink", ["up", "down"])
def test_sigterm_leaves_in_time_and_loses_no_sample(tmp_path: Path, world: World, uplink: str) -> None:
    """Samples are sent once a minute here, so nearly all of them are still in the engine when it is told to leave."""
    port = world.broker_port if uplink == "up" else free_port()
    seldom = UPLINK.replace('samples_every = "100ms"', 'samples_every = "1min"')
    far_end = FarEnd(world.outside, tmp_path, broker_port=world.broker_port)
    with Gateway(tmp_path, world.text(HTTP, seldom, uplink_port=port)) as gateway:
        gateway.start()
        until(lambda: gateway.device_samples()["machine"] > 100, "samples come in")
        assert gateway.status()["uplink"]["is_connected"] == (uplink == "up")
        taken = gateway.device_samples()["machine"]
        assert gateway.terminate() == 0
        assert not gateway.lines("gateway.hung"), "every part ended within its time"
    summary = far_end.expect_everything()
    assert (summary.received > 0) == (uplink == "up")
    values = set(counts(far_end.records()) + counts(waiting_records(tmp_path)))
    assert len(values) >= taken, "what was taken in has been stored or delivered"
    assert values == set(range(int(min(values)), int(max(values)) + 1)), "without a hole up to the last"
    assert "Traceback" not in gateway.text()


def counts(records: list[dict[str, object]]) -> list[float]:
    """The values of `machine.count` in these records."""
    found = []
    for record in records:
        tags, places, values = record.get("tags"), record.get("tag"), record.get("value")
        if isinstance(tags, list) and isinstance(places, list) and isinstance(values, list):
            found += [value for place, value in zip(places, values, strict=True) if tags[place] == "machine.count"]
    return found


def waiting_records(folder: Path) -> list[dict[str, object]]:
    """The bodies of what waits in the spool."""
    with closing(sqlite3.connect(folder / "state" / "spool.db")) as spool:
        rows = spool.execute("SELECT body FROM records").fetchall()
    unpack = zstandard.ZstdDecompressor().decompress
    return [json.loads(unpack(body)) for (body,) in rows]


def test_ctrl_c_leaves_like_sigterm(tmp_path: Path, world: World) -> None:
    with Gateway(tmp_path, world.text(HTTP)) as gateway:
        gateway.start()
        gateway.signal(signal.SIGINT)
        assert gateway.wait_exit(STOP_S_MAX) == 0
        assert "Traceback" not in gateway.text()


def test_sigterm_while_kernels_compile_leaves_at_once(tmp_path: Path, world: World) -> None:
    (tmp_path / "cold").mkdir()
    with Gateway(tmp_path, world.text(HTTP, CONTROL), {"NUMBA_CACHE_DIR": str(tmp_path / "cold")}) as gateway:
        gateway.launch()

        def is_compiling() -> bool:
            try:
                return any("not compiled yet" in reason for reason in gateway.get("/readyz")["reasons"])
            except OSError:
                return False

        until(is_compiling, "it says that it compiles", 60)
        assert gateway.terminate() == 0


# Reloads


def test_a_wrong_file_is_refused_whole_and_everything_goes_on(tmp_path: Path, world: World) -> None:
    with Gateway(tmp_path, world.text(HTTP)) as gateway:
        gateway.start()
        until(lambda: all_good(gateway), "all are read")
        connections, samples = world.plc.connections, gateway.device_samples()["pump"]
        wrong = world.text(HTTP).replace('link = "plc"', 'link = "nowhere"').replace("50ms", "50 parsecs")
        gateway.write(wrong + "\n[surprise]\n")
        gateway.signal(signal.SIGHUP)
        until(lambda: any("errors" in line.message for line in gateway.lines("configuration.refused")), "it is refused")
        refused = [line.message for line in gateway.lines("configuration.refused")]
        assert len(refused) == 4, refused
        for what in ("nowhere", "50 parsecs", "surprise", "3 errors; the running configuration is kept"):
            assert any(what in message for message in refused), refused
        asked = subprocess.run(
            [sys.executable, "-m", "gateway", "reload", "--config", str(gateway.config)],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert asked.returncode == 1
        assert re.search(r"plant\.toml:\d+:\d+: devices\.pump\.link: \"nowhere\" is not a link", asked.stderr), (
            asked.stderr
        )
        assert asked.stderr.endswith("3 errors; the running configuration is kept\n")
        goes_on(gateway, "pump", "machine")
        assert gateway.device_samples()["pump"] > samples
        assert world.plc.connections == connections
        assert gateway.is_ready()


def test_a_changed_device_restarts_the_plant(tmp_path: Path, world: World) -> None:
    with Gateway(tmp_path, world.text(HTTP, UPLINK, SCADA)) as gateway:
        gateway.start()
        until(lambda: all_good(gateway), "all are read")
        pid, delivered = gateway.pid, gateway.metric("fieldgate_uplink_outages_total")
        changed = 'tags.speed = { register = "holding 0" }\ntags.load = { register = "holding 7" }'
        gateway.write(
            world.text(HTTP, UPLINK, SCADA).replace('tags.speed = { register = "holding 0" }', changed)
        )  # fmt: skip
        gateway.signal(signal.SIGHUP)
        applied = until(lambda: gateway.lines("configuration.applied"), "it is applied")
        assert applied[0].message == "restarted: the plant (links, devices, loops, registers)"
        until(lambda: gateway.quality("pump.load") == Quality.GOOD, "the new tag is read")
        goes_on(gateway, "pump", "machine")
        assert gateway.pid == pid
        assert gateway.exit_code is None
        assert gateway.metric("fieldgate_uplink_outages_total") == delivered, "the uplink's session stayed"
        assert gateway.terminate() == 0


def test_another_http_port_leaves_the_polling_alone(tmp_path: Path, world: World) -> None:
    with Gateway(tmp_path, world.text(HTTP)) as gateway:
        gateway.start()
        until(lambda: all_good(gateway), "all are read")
        connections, samples = world.plc.connections, gateway.device_samples()
        old_port, gateway.http_port = gateway.http_port, free_port()
        gateway.write(world.text(HTTP))
        gateway.signal(signal.SIGHUP)
        applied = until(lambda: gateway.lines("configuration.applied"), "it is applied")
        assert applied[0].message == "restarted: http"
        until(gateway.is_ready, "http answers on the new port")
        assert all(gateway.device_samples()[name] > samples[name] for name in samples), "counted on, not anew"
        assert world.plc.connections == connections
        assert not listens(old_port)


def test_another_client_id_of_one_mqtt_link_keeps_the_modbus_sessions(tmp_path: Path, world: World) -> None:
    with Gateway(tmp_path, world.text(HTTP)) as gateway:
        gateway.start()
        until(lambda: all_good(gateway), "all are read")
        connections, samples = world.plc.connections, gateway.device_samples()
        gateway.write(world.text(HTTP).replace("[devices.pump]", 'client_id = "somebody-else"\n\n[devices.pump]'))
        gateway.signal(signal.SIGHUP)
        applied = until(lambda: gateway.lines("configuration.applied"), "it is applied")
        assert applied[0].message == "restarted: link floor"
        until(lambda: gateway.lines("link.up", "floor")[1:], "the session is made anew")
        assert "somebody-else" in gateway.lines("link.up", "floor")[1].message
        goes_on(gateway, "pump", "machine")
        assert all(gateway.device_samples()[name] > samples[name] for name in samples), "counted on, not anew"
        assert world.plc.connections == connections


def test_what_cannot_change_while_running_is_refused(tmp_path: Path, world: World) -> None:
    with Gateway(tmp_path, world.text(HTTP)) as gateway:
        gateway.start()
        gateway.write(world.text(HTTP).replace('id = "plant"', 'id = "other"'))
        gateway.signal(signal.SIGHUP)
        refused = until(lambda: gateway.lines("configuration.refused"), "it is refused")
        assert refused[0].message == "gateway_id cannot change while running; restart the service"
        assert gateway.status()["gateway_id"] == "plant"


@pytest.mark.parametrize("part", ["http", "scada"])
def test_a_reload_onto_a_taken_port_leaves_the_old_one_in_place(tmp_path: Path, world: World, part: str) -> None:
    with Gateway(tmp_path, world.text(HTTP, SCADA)) as gateway, socket.socket() as other:
        gateway.start()
        until(lambda: all_good(gateway), "all are read")
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        gateway.write(world.text(HTTP, SCADA).replace(f"<{part}>", str(taken)))
        gateway.signal(signal.SIGHUP)
        refused = until(lambda: gateway.lines("configuration.refused"), "it says so")
        assert f"127.0.0.1:{taken}" in refused[0].message
        until(gateway.is_ready, "it is ready again")
        goes_on(gateway, "pump", "machine")
        assert listens(gateway.scada_port)

        other.close()
        gateway.signal(signal.SIGHUP)
        until(lambda: gateway.lines("configuration.applied"), "the same file can be applied now")
        assert listens(taken)
        if part == "http":
            gateway.http_port = taken
        until(gateway.is_ready, "it is ready again")
        goes_on(gateway, "pump", "machine")
        assert gateway.metric("fieldgate_supervisor_restarts_total") == 0
        assert gateway.terminate() == 0


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# Not starting


@pytest.mark.parametrize("part", ["http", "scada"])
def test_a_taken_port_is_named_and_ends_the_start(tmp_path: Path, world: World, part: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with Gateway(tmp_path, world.text(HTTP, SCADA).replace(f"<{part}>", str(taken))) as gateway:
            gateway.launch()
            assert gateway.wait_exit(110) == 1
            failed = gateway.lines("gateway.failed")
            assert len(failed) == 1
            assert f"127.0.0.1:{taken}" in failed[0].message
            assert "Traceback" not in gateway.text()


@pytest.mark.parametrize("state", ["a file in its place", "cannot be made", "a folder in place of the spool", "newer"])
def test_a_state_folder_that_cannot_be_used_is_named_and_ends_the_start(
    tmp_path: Path, world: World, state: str
) -> None:
    text = world.text(HTTP)
    folder = tmp_path / "state"
    named = str(folder)
    match state:
        case "a file in its place":
            folder.write_text("")
        case "cannot be made":
            named = "/proc/fieldgate"
            text = text.replace('state_dir = "state"', f'state_dir = "{named}"')
        case "a folder in place of the spool":
            (folder / "spool.db").mkdir(parents=True)
        case "newer":
            folder.mkdir()
            with closing(sqlite3.connect(folder / "spool.db")) as spool:
                spool.execute("PRAGMA user_version = 99")
    with Gateway(tmp_path, text) as gateway:
        gateway.launch()
        assert gateway.wait_exit(30) == 1
        said = gateway.text()
        assert "Traceback" not in said
        assert [named in line and "cannot start" in line for line in said.splitlines()] == [True], said


def test_a_ruined_spool_is_put_aside_and_told_and_the_plant_runs(tmp_path: Path, world: World) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "spool.db").write_bytes(b"no database" * 1_000)
    with Gateway(tmp_path, world.text(HTTP)) as gateway:
        gateway.start()
        (told,) = gateway.lines("spool.salvaged")
        assert "spool.db.damaged-1" in told.message
        assert (tmp_path / "state" / "spool.db.damaged-1").read_bytes().startswith(b"no database")


def test_a_second_daemon_in_the_same_state_folder_does_not_start(tmp_path: Path, world: World) -> None:
    (tmp_path / "second").mkdir()
    with Gateway(tmp_path, world.text(HTTP)) as first:
        first.start()
        text = world.text(HTTP).replace('state_dir = "state"', f'state_dir = "{tmp_path / "state"}"')
        with Gateway(tmp_path / "second", text) as second:
            second.launch()
            assert second.wait_exit(30) == 1
            assert "another gateway is at work here" in second.text()
            assert "Traceback" not in second.text()
        assert first.is_ready()


def test_a_wrong_file_ends_the_start_with_every_error(tmp_path: Path, world: World) -> None:
    wrong = world.text(HTTP).replace('link = "plc"', 'link = "nowhere"').replace("50ms", "50 parsecs")
    with Gateway(tmp_path, wrong + "\n[surprise]\n") as gateway:
        gateway.launch()
        assert gateway.wait_exit(30) == 2
        lines = gateway.text().splitlines()
        assert len(lines) == 3, lines
        assert all(line.startswith(f"{gateway.config}:") for line in lines), lines
        for what in ("50 parsecs", "nowhere", "surprise"):
            assert any(what in line for line in lines), lines


# Metrics

ONLY_WHEN_IT_HAPPENS = {
    "fieldgate_device_score": "one series for each device whose score is high",
    "fieldgate_modbus_exceptions_total": "one series for each exception code that came",
    "fieldgate_spool_rejected_records_total": "one series for each stream of which records were refused",
    "fieldgate_spool_dropped_records_total": "one series for each stream and reason of a drop",
    "fieldgate_spool_dropped_samples_total": "one series for each stream and reason of a drop",
    "fieldgate_spool_dead_letters_deleted_total": "counted from the first one on",
    "fieldgate_spool_segments_kept_open_total": "counted from the first one on",
    "fieldgate_writes_total": "one series for each way in and outcome that came",
}
ONLY_WHERE_IT_IS_USED = (
    "fieldgate_scada_watchdog_",
    "fieldgate_scada_line_",  # a serial port
    "fieldgate_scada_tls_",  # certificates
    "fieldgate_control_held_seconds",
    "fieldgate_disk_life_years",  # flash_endurance
    "fieldgate_disk_written_bytes_per_day",  # and only after a minute
    "fieldgate_intake_",  # durable subscriptions
    "fieldgate_mqtt_order",  # orders by MQTT
    "fieldgate_parking_",  # what tags remember that have left
    "fieldgate_pool_",  # rows that are lent
    "fieldgate_history_",  # a history
    "fieldgate_tag_info",  # reference tables
    "fieldgate_sparkplug_",  # a Sparkplug host
)
"""Metrics of parts that the plant of this test does not have."""


def test_every_metric_is_there_and_promtool_accepts_them_all(tmp_path: Path, world: World) -> None:
    if shutil.which("promtool") is None:
        pytest.fail(PROMTOOL_MISSING)
    with Gateway(tmp_path, world.text(HTTP, UPLINK, SCADA, CONTROL, JOURNAL)) as gateway:
        gateway.start()
        until(lambda: all_good(gateway), "all are read")
        until(lambda: gateway.quality("tank.level") == Quality.GOOD, "the loop runs")
        until(lambda: gateway.metrics().get("fieldgate_spool_acknowledged_records_total"), "records are delivered")
        gateway.status()
        scrape = gateway.metrics()
        rows = [row for table in (*metric_tables.TABLES, http_server.METRICS) for row in table]
        expected = {name + ("_count" if kind == "histogram" else "") for name, kind, _ in rows}
        missing = {name for name in expected - scrape.keys() if not name.startswith(ONLY_WHERE_IT_IS_USED)}
        assert missing == ONLY_WHEN_IT_HAPPENS.keys()
        assert gateway.metric("fieldgate_http_refused_readings_total") == 0
        checked = subprocess.run(
            ["promtool", "check", "metrics"],
            input=gateway.fetch("/metrics"),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
        assert gateway.terminate() == 0
