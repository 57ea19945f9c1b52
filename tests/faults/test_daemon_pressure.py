"""The pressure ladder of a whole gateway, up and down: a broker that goes away, a buffer that fills, and all that is
given up on the way, step by step, until the broker is back and everything is accounted for."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aiomqtt
import pytest

from gateway.core.pressure import Step
from gateway.mqttclient import Client
from hil.demo.consumer import again_in
from hil.devices.instruments import MeterUnit
from hil.devices.modbus import Endpoint, Unit
from tests.support import brokers
from tests.support.daemon import FarEnd, Gateway, Outside, publish, until

NOISE_TAGS = 100
CONFIG = """
[gateway]
id = "plant"
state_dir = "state"

[journal]

[links.plc]
modbus_tcp = "127.0.0.1:{plc}"

[links.floor]
mqtt = "mqtt://127.0.0.1:{floor}"

[devices.meter]
link = "plc"
unit = 1
tags.voltage = {{ register = "holding 0", type = "float32", every = "50ms", priority = "low", windows = ["2s"] }}

[devices.counter]
link = "floor"
topic = "plant/{{device}}/{{tag}}"
tags.count = {{ field = "v", sequence_field = "v", qos = 1, durable = true, windows = ["2s"] }}

[devices.noise]
link = "floor"
topic = "plant/{{device}}"
{noise}

[uplink.cloud]
mqtt = "mqtt://127.0.0.1:{far}"
streams = ["events", "aggregates", "samples"]
aggregates_every = "100ms"
samples_every = "100ms"
buffer = "1MB"
drain = "2000/s"

[http]
listen = "127.0.0.1:<http>"
"""
NOISE = "\n".join(
    f'tags.v{number} = {{{{ field = "v{number}", windows = ["1s", "2s", "4s"] }}}}' for number in range(NOISE_TAGS)
)
UP_AND_DOWN_S = 150.0
COUNTED = "counter.count"


@pytest.fixture
def plc() -> Iterator[int]:
    with Outside() as outside:
        endpoint = Endpoint(Unit(1, MeterUnit(1)))
        outside.run(endpoint.start())
        yield endpoint.port
        outside.run(endpoint.stop())


class Counting:
    """Counts up at the broker of the floor, each number at least once, until it is told to stop."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.is_stopping = False
        self.published = 0

    async def run(self) -> None:
        while not self.is_stopping:
            with suppress(aiomqtt.MqttError):
                async with Client("127.0.0.1", self._port) as client:
                    while not self.is_stopping:
                        await client.publish("plant/counter/count", json.dumps({"v": self.published + 1}), qos=1)
                        self.published += 1
                        await asyncio.sleep(0.02)
            await again_in(0.1)


def noise(number: int) -> bytes:
    chance = random.Random(number)
    return json.dumps({f"v{each}": chance.random() for each in range(NOISE_TAGS)}).encode()


def steps(gateway: Gateway) -> list[int]:
    """Where the ladder went, by its events."""
    moves = [line.message for line in gateway.lines() if line.kind in ("pressure.raised", "pressure.eased")]
    return [int(found[1]) for message in moves if (found := re.match(r"step (\d) of 5", message))]


def rate(gateway: Gateway, device: str, seconds: float = 3.0) -> float:
    """Samples a second."""
    before, began_s = gateway.device_samples()[device], time.monotonic()
    time.sleep(seconds)
    return (gateway.device_samples()[device] - before) / (time.monotonic() - began_s)


def in_records(far_end: FarEnd, tag: str) -> int:
    """How many samples of a tag arrived."""
    return sum(
        record["tag"].count(record["tags"].index(tag))
        for record in far_end.records()
        if record["stream"] == "samples" and tag in record.get("tags", ())
    )


def lost(far_end: FarEnd) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """What the loss reports say: raw samples by tag, samples by stream and reason."""
    by_tag: Counter[str] = Counter()
    by_reason: Counter[tuple[str, str]] = Counter()
    for record in far_end.records():
        for line in record["dropped"] if record.get("record") == "ledger" else ():
            by_reason[line["stream"], line["reason"]] += line["samples"]
            if line["stream"] == "samples":
                by_tag.update(line.get("tags", {}))
    return by_tag, by_reason


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_ladder_is_climbed_and_left_in_order_and_all_that_was_made_arrived_or_is_accounted_for(
    tmp_path: Path, plc: int
) -> None:
    for name in ("floor", "far"):
        (tmp_path / name).mkdir()
    with (
        brokers.mosquitto(tmp_path / "floor") as floor,
        brokers.mosquitto(tmp_path / "far") as far,
        Outside() as outside,
        Gateway(tmp_path, CONFIG.format(plc=plc, floor=floor.port, far=far.port, noise=NOISE.format())) as gateway,
    ):
        gateway.start()
        far_end = FarEnd(outside, tmp_path, broker_port=far.port)
        counting = Counting(floor.port)
        outside.spawn(counting.run())
        outside.spawn(publish(floor.port, "plant/noise", noise, every_s=0.05))
        until(lambda: far_end.received() > 20, "records arrive")
        assert steps(gateway) == []
        calm_rate = rate(gateway, "meter")

        far.stop()
        until(lambda: Step.HOLD in steps(gateway), "the highest step is reached", UP_AND_DOWN_S)
        assert steps(gateway) == [1, 2, 3, 4, 5], "one after the other, none left out, none left"
        assert gateway.metric("fieldgate_pressure_step") == Step.HOLD
        assert {line.level for line in gateway.lines("pressure.raised")} == {"warning"}
        assert rate(gateway, "meter") < calm_rate / 2, "blocks of low priority are polled more slowly"
        held = gateway.device_samples()["counter"]
        before = counting.published
        until(lambda: counting.published > before + 50, "the publisher goes on")
        assert gateway.device_samples()["counter"] <= held + 1, "acknowledgements are held back"
        assert gateway.quality("noise.v1") == 192, "the plant goes on"

        far.start()
        until(lambda: steps(gateway)[-1] == Step.CALM, "the ladder is left", UP_AND_DOWN_S)
        assert steps(gateway) == [1, 2, 3, 4, 5, 4, 3, 2, 1, 0]
        assert gateway.metric("fieldgate_pressure_step") == Step.CALM
        for step in tuple(Step)[1:]:
            assert gateway.metric("fieldgate_pressure_climbed_total", step=step.name.lower()) == 1
        assert rate(gateway, "meter") > calm_rate / 2, "polls are as they were"

        counting.is_stopping = True
        until(lambda: gateway.device_samples()["counter"] == counting.published, "what the broker kept comes", 60.0)
        until(lambda: gateway.metric("fieldgate_spool_records") <= 2, "everything is delivered", 60.0)
        assert gateway.terminate() == 0
        summary = far_end.expect_accounts()
        by_tag, by_reason = lost(far_end)
        assert in_records(far_end, COUNTED) + by_tag[COUNTED] == counting.published, (by_tag[COUNTED], summary)
        assert by_reason["samples", "coalesced under pressure"] > 0
        assert by_reason["samples", "spool full"] > 0
        assert by_reason["aggregates", "spool full"] > 0
        assert not any(stream == "events" for stream, _ in by_reason), "events are never shed"
