"""A running loop and all who command it: MQTT, SCADA and the command line, with rank, hold, range, rate and audit."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import ModbusTcpClient

from gateway.serving.scada.map import build_map
from gateway.settings.load import load
from tests.integration.test_daemon_writes import order, write
from tests.support import brokers
from tests.support.daemon import Gateway, Outside, until
from tests.support.plc import Plc, plc

CONFIG = """
[gateway]
id = "plant"
state_dir = "state"
[devices.tank]
link = {{ modbus_tcp = "127.0.0.1:{plc}" }}
tags.level = {{ register = "holding 0", type = "float32" }}
tags.valve = {{ register = "holding 10", scale = 0.1, write = true }}
[control.level]
pid = {{ input = "tank.level", output = "tank.valve", setpoint = 0.5, kp = 10, ti = "100s", every = "20ms" }}
limits = {{ min = 0, max = 100 }}
setpoint_limits = {{ min = 0, max = 1, rate = {rate} }}
commands = {{ hold = "10min" }}
failsafe = {{ output = "hold" }}
[scada]
modbus_tcp = "127.0.0.1:<scada>"
write = ["control.level.*"]
[writes.mqtt]
mqtt = "mqtt://127.0.0.1:{broker}"
loops = ["control.level.*"]
[http]
listen = "127.0.0.1:<http>"
"""
BUSY = 6


class World:
    def __init__(self, gateway: Gateway, outside: Outside, device: Plc, broker: int, folder: Path) -> None:
        self.gateway, self.device = gateway, device
        self._outside, self._broker, self._folder = outside, broker, folder
        settings = load(gateway.config)
        assert settings.scada is not None
        writable = build_map(settings, settings.scada, ()).writable.values()
        self._addresses = {point.key: point.address for point in writable}

    @property
    def loop(self) -> dict[str, Any]:
        found: dict[str, Any] = self.gateway.get("/api/status")["loops"][0]
        return found

    def by_mqtt(self, point: str, payload: object) -> dict[str, object]:
        text = json.dumps(payload)
        return self._outside.run(asyncio.wait_for(order(self._broker, f"control.level.{point}", text), 10))

    def by_scada(self, setpoint: float) -> int:
        """The exception's code, or 0."""
        with ModbusTcpClient("127.0.0.1", port=self.gateway.scada_port) as client:
            words = client.convert_to_registers(setpoint, client.DATATYPE.FLOAT32)
            answer = client.write_registers(self._addresses["control.level/setpoint"], words, device_id=1)
            return answer.exception_code if answer.isError() else 0

    def by_command(self, point: str, value: str) -> tuple[int, str]:
        done = write(self._folder, f"control.level.{point}", value)
        return done.returncode, done.stdout + done.stderr


@contextmanager
def world(folder: Path, rate: float) -> Iterator[World]:
    with brokers.mosquitto(folder) as broker, Outside() as outside, plc(valve=300) as device:
        device.set_level(0.5)
        text = CONFIG.format(plc=device.port, broker=broker.port, rate=rate)
        with Gateway(folder, text) as gateway:
            gateway.start()
            until(lambda: gateway.lines("writes.up"), "orders may come")
            of = World(gateway, outside, device, broker.port, folder)
            until(lambda: of.loop["mode"] == "auto", "control runs")
            yield of


def test_commanders_take_turns_by_rank_and_all_of_it_is_on_record(tmp_path: Path) -> None:
    with world(tmp_path, rate=1_000.0) as plant:
        sent = plant.by_mqtt("setpoint", {"value": 0.6, "id": "a1", "who": "recipe"})
        assert (sent["ok"], sent["id"], sent["old"], sent["new"]) == (True, "a1", "0.5", "0.6")
        until(lambda: plant.loop["setpoint"] == 0.6, "the setpoint is that of MQTT")
        assert plant.loop["commander"] == "'recipe' as it says by mqtt"
        for value, says in ((5, "setpoint 5.0 is outside 0.0 to 1.0"), ("high", "high is not a number")):
            refused = plant.by_mqtt("setpoint", {"value": value, "who": "recipe"})
            assert (refused["ok"], says in str(refused["reason"])) == (False, True), refused

        assert plant.by_mqtt("mode", {"value": "manual", "who": "recipe"})["ok"]
        until(lambda: plant.loop["mode"] == "manual", "the mode is that of MQTT")
        assert plant.by_mqtt("output", {"value": 41.5, "who": "recipe"})["ok"]
        until(lambda: plant.device.valve == 415, "the device has the output")
        assert plant.by_mqtt("mode", {"value": "auto", "who": "recipe"})["ok"]
        until(lambda: plant.loop["mode"] == "auto", "and back")
        assert abs(plant.device.valve - 415) < 20, "without a jump"

        other = plant.by_mqtt("setpoint", {"value": 0.2, "who": "someone else"})
        assert "is held by 'recipe' as it says by mqtt for" in str(other["reason"])
        assert plant.by_mqtt("hold", {"value": "take", "who": "someone else"})["ok"]

        assert plant.by_scada(0.7) == 0, "SCADA comes before MQTT"
        until(lambda: abs(plant.loop["setpoint"] - 0.7) < 1e-6, "the setpoint is that of SCADA")
        refused = plant.by_mqtt("setpoint", {"value": 0.1, "who": "recipe"})
        assert "loop level is held by 127.0.0.1 by scada" in str(refused["reason"])

        assert plant.by_command("setpoint", "0.4")[0] == 0, "the operator comes before SCADA"
        until(lambda: plant.loop["setpoint"] == 0.4, "the setpoint is the operator's")
        assert plant.by_scada(0.8) == BUSY

        text = plant.gateway.config.read_text(encoding="utf-8")
        plant.gateway.write(text.replace("kp = 10", "kp = 11"))
        plant.gateway.signal(signal.SIGHUP)
        until(lambda: plant.gateway.lines("configuration.applied"), "the reload")
        assert plant.by_scada(0.8) == BUSY, "a reload frees nothing"
        code, said = plant.by_command("hold", "release")
        assert code == 0, said
        assert plant.by_scada(0.8) == 0
        assert len(plant.gateway.lines("control.commander")) >= 4
        assert plant.gateway.terminate() == 0
    lines = [json.loads(line) for line in (tmp_path / "state" / "audit.jsonl").read_text(encoding="utf-8").splitlines()]
    done = [(line["way"], line["what"], line["new"]) for line in lines if line["result"] == "written"]
    assert done == [
        ("mqtt", "control.level.setpoint", "0.6"),
        ("mqtt", "control.level.mode", "manual"),
        ("mqtt", "control.level.output", "41.5"),
        ("mqtt", "control.level.mode", "auto"),
        ("mqtt", "control.level.hold", "take"),
        ("scada", "control.level.setpoint", "0.7"),
        ("local", "control.level.setpoint", "0.4"),
        ("local", "control.level.hold", "release"),
        ("scada", "control.level.setpoint", "0.8"),
    ]
    assert sum(line["result"] == "refused" for line in lines) >= 4


@pytest.mark.slow
def test_a_written_setpoint_is_approached_with_its_rate(tmp_path: Path) -> None:
    with world(tmp_path, rate=0.2) as plant:
        assert plant.by_mqtt("setpoint", {"value": 1.0})["ok"]
        seen: list[float] = []

        def arrived() -> bool:
            seen.append(plant.loop["setpoint"])
            return seen[-1] == 1.0

        until(arrived, "the setpoint arrives")
        assert seen == sorted(seen)
        assert any(0.5 < setpoint < 1.0 for setpoint in seen), "by and by"
