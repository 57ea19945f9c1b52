"""`fieldgate tune` against a plant on a real socket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.app import app
from hil.plants.oven import Oven
from tests.support.plc import plc

CONFIG = """
[gateway]
id = "g"
[devices.oven]
link = {{ modbus_tcp = "127.0.0.1:{port}" }}
tags.heat = {{ register = "holding 0", type = "float32" }}
tags.power = {{ register = "holding 10", scale = 0.1, write = true }}
[control.oven]
pid = {{ input = "oven.heat", output = "oven.power", setpoint = 60, kp = 1, ti = "10s", every = "20ms" }}
limits = {{ min = 0, max = 100 }}
failsafe = {{ output = 0 }}
"""
POWER = 300


def settled(power: float) -> Oven:
    oven = Oven()
    for _ in range(4000):
        oven = oven.step(0.5, power)
    return oven


@pytest.mark.slow
def test_the_oven_is_tuned_within_limits_and_its_power_put_back(tmp_path: Path) -> None:
    path = tmp_path / "plant.toml"
    with plc(settled(POWER / 1000), speed=20.0, valve=POWER) as device:
        path.write_text(CONFIG.format(port=device.port), encoding="utf-8")
        call = ["tune", str(path), "oven", "--step", "10", "--deviation", "15", "--swings", "3", "--timeout", "60s"]
        done = CliRunner().invoke(app, [*call, "--json"])
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout.splitlines()[-1])
        assert 0.2 < found["swing"]["tu_s"] < 3.0, "dead time of 0.1 s of the clock: a few times that"
        assert found["gains"][0]["kp"] > 0
        assert device.valve == POWER, "where it stood"
        written = {values[0] for _, address, values in device.writes if address == 10}
        assert written == {POWER, POWER - 100, POWER + 100}
        aborted = CliRunner().invoke(app, [*call[:-5], "0.001", *call[-4:]])
        assert aborted.exit_code == 1
        assert "take a smaller step" in aborted.stderr
        assert device.valve == POWER
