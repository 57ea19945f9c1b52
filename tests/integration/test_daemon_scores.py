"""A score from a reading to whoever is on call: alarm, registers, metrics, records and page of the whole daemon."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import struct
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from click.testing import CliRunner
from pymodbus.client import ModbusTcpClient

from gateway.cli.app import app
from gateway.core.view import REASON_SPIKE
from tests.integration.test_daemon_scada import registers
from tests.support.daemon import Gateway, Outside, until
from tests.support.modbus import Asked, ScriptedServer, scripted

CONFIG = """
[gateway]
id = "plant"
state_dir = "state"
[links.plc]
modbus_tcp = "127.0.0.1:<plc>"
[devices.pump]
link = "plc"
[devices.pump.tags.speed]
register = "holding 0"
type = "float32"
every = "10ms"
windows = ["1s"]
alarm = { score = { limit = 0.5, deadband = 0.1, latch = true } }
[scada]
modbus_tcp = "127.0.0.1:<scada>"
[uplink.book]
file = "records.jsonl"
streams = ["events", "aggregates"]
aggregates_every = "100ms"
[http]
listen = "127.0.0.1:<http>"
"""
SPIKE_EVERY_S = 2.2
"""More than two of the tag's scales: after a record it is quiet for two."""


class Pump:
    """Its speed is 10 with noise. While it `spikes`, one reading now and then is ten times further than ever."""

    def __init__(self) -> None:
        self.spikes = False
        self._noise = random.Random(7)
        self._heights = (10.0**power for power in itertools.count(3))
        self._next_s = 0.0

    async def answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        value = self._noise.gauss(10.0, 1.0)
        if self.spikes and time.monotonic() > self._next_s:
            value, self._next_s = next(self._heights), time.monotonic() + SPIKE_EVERY_S
        writer.write(asked.reply(data=struct.pack(">f", value)))


@pytest.fixture(scope="module")
def pump() -> Pump:
    return Pump()


@pytest.fixture(scope="module")
def gateway(pump: Pump, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Outside() as outside:
        stack = AsyncExitStack()

        async def open_plc() -> ScriptedServer:
            return await stack.enter_async_context(scripted({1: pump.answer}))

        plc = outside.run(open_plc())
        text = CONFIG.replace("<plc>", str(plc.port))
        with Gateway(tmp_path_factory.mktemp("scores"), text) as gateway:
            gateway.start()
            until(lambda: speed(gateway)["score"] is not None, "the score is warm")
            yield gateway
        outside.run(stack.aclose())


def speed(gateway: Gateway) -> Any:
    return gateway.get("/api/tags")["tags"][0]


def ask(gateway: Gateway, *words: str) -> Any:
    done = CliRunner().invoke(app, [*words, "--config", str(gateway.config), "--json"])
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def records(gateway: Gateway, stream: str) -> list[dict[str, Any]]:
    lines = (gateway.config.parent / "records.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["stream"] == stream and "format" in record]


def test_under_maintenance_a_score_is_shown_and_raises_no_alarm(gateway: Gateway, pump: Pump) -> None:
    ask(gateway, "maintenance", "on", "pump")
    until(lambda: gateway.metric("fieldgate_plant_devices_in_maintenance") == 1, "maintenance is measured")
    raised = len(gateway.lines("alarm.score.raised"))
    pump.spikes = True
    until(lambda: speed(gateway)["reasons"] == ["spike"], "the page shows the reason")
    assert ask(gateway, "alarms", "list")["alarms"] == []
    assert len(gateway.lines("alarm.score.raised")) == raised
    ask(gateway, "maintenance", "off", "pump")


def test_an_alarm_of_a_score_goes_its_way_and_everybody_sees_score_and_reason(gateway: Gateway, pump: Pump) -> None:
    pump.spikes = True
    (raised, *_) = until(lambda: gateway.lines("alarm.score.raised"), "the alarm is raised")
    assert raised.subject == "pump.speed"
    assert "score" in raised.message
    points = registers(gateway)
    reasons = next(point["address"] for (_, key), point in points.items() if key.startswith("pump.speed/1s/reasons"))
    score = points[1, "pump.speed/score"]["address"]
    with ModbusTcpClient("127.0.0.1", port=gateway.scada_port) as scada:

        def seen_by_scada() -> bool:
            told = scada.read_holding_registers(score, count=2, device_id=1).registers
            why = scada.read_holding_registers(reasons, count=1, device_id=1).registers
            return struct.unpack(">f", struct.pack(">HH", *told))[0] >= 0.5 and why[0] & REASON_SPIKE != 0

        until(seen_by_scada, "SCADA reads score and reason")
    until(lambda: gateway.metric("fieldgate_plant_score_reasons", reason="spike") == 1, "the reason is measured")
    until(lambda: gateway.metrics().get("fieldgate_device_score"), "the device is named")
    pump.spikes = False
    alarm = until(
        lambda: [one for one in ask(gateway, "alarms", "list")["alarms"] if one["state"] == "returned"],
        "it returns, and is still to be acknowledged",
    )[0]
    assert alarm["name"] == "pump.speed/score"
    ask(gateway, "alarms", "acknowledge", "pump.speed/score")
    until(lambda: ask(gateway, "alarms", "list")["alarms"] == [], "it is normal")
    told = {"alarm.score.raised", "alarm.score.acknowledged"}
    until(
        lambda: told <= {kind for record in records(gateway, "events") for kind in record["kind"]},
        "both are told upstream",
    )
    rows = [
        row for record in records(gateway, "aggregates") for row in zip(record["score"], record["reasons"], strict=True)
    ]
    assert any(told is not None and told >= 0.5 and why & REASON_SPIKE for told, why in rows)
