"""Configurations for tests: a small whole one, and readers of fragments."""

from __future__ import annotations

from pathlib import Path

from gateway.settings.load import Examined, examine
from gateway.settings.problems import ConfigurationError, Problem

EXAMPLE = Path(__file__).parents[2] / "config" / "fieldgate.toml"

HEAD = """\
[gateway]
id = "g"
[links.plc]
modbus_tcp = "10.0.0.5:502"
[links.floor]
mqtt = "mqtt://127.0.0.1"
[devices.d]
link = "plc"
tags.pv = { register = "holding 0", type = "float32", valid = { low = 0, high = 100 } }
tags.out = { register = "holding 9", write = true }
tags.bit = { register = "coil 3" }
[devices.m]
link = "floor"
topic = "plant/{device}/{tag}"
tags.t = {}
"""
HEAD_LINES = HEAD.count("\n")

LOOP = """\
[control.c]
pid = { input = "d.pv", output = "d.out", setpoint = 50, kp = 2 }
limits = { min = 0, max = 100 }
failsafe = { output = 0 }
"""


def examine_text(directory: Path, text: str, environment: dict[str, str] | None = None) -> Examined:
    path = directory / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return examine(path, environment or {})


def problems_of(directory: Path, text: str) -> tuple[Problem, ...]:
    try:
        examine_text(directory, text)
    except ConfigurationError as error:
        return error.problems
    return ()
