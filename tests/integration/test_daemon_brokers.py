"""The whole daemon on a real Mosquitto, for what comes in and for what goes out, in both versions of MQTT."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from click.testing import CliRunner

from gateway.cli.app import app
from gateway.core.types import Quality
from tests.support import brokers
from tests.support.daemon import FarEnd, Gateway, Outside, until

CONFIG = """
[gateway]
id = "plant"
state_dir = "state"

[links.floor]
mqtt = "mqtt://127.0.0.1:{broker}"
version = "{version}"

[devices.machine]
link = "floor"
topic = "plant/{{device}}/{{tag}}"
tags.numbered = {{ field = "value", qos = 1 }}
tags.plain = {{ unit = "°C" }}

[uplink.cloud]
mqtt = "mqtt://127.0.0.1:{broker}"
version = "{version}"
streams = ["events", "aggregates", "samples"]
aggregates_every = "500ms"
samples_every = "100ms"

[http]
listen = "127.0.0.1:<http>"
"""
MESSAGES = 300
SPOKEN = {"3.1.1": "p2", "5": "p5"}
"""How Mosquitto's log names the versions."""


async def send(port: int, version: str) -> None:
    """MESSAGES numbered readings, in bursts of ten so that the broker's queue for one client holds them."""
    protocol = aiomqtt.ProtocolVersion.V5 if version == "5" else aiomqtt.ProtocolVersion.V311
    async with aiomqtt.Client("127.0.0.1", port, protocol=protocol) as client:
        for first in range(0, MESSAGES, 10):
            burst = []
            for number in range(first, first + 10):
                burst.append(client.publish("plant/machine/numbered", json.dumps({"value": number}), qos=1))
                burst.append(client.publish("plant/machine/plain", f"{20 + number / 10:.1f}"))
            await asyncio.gather(*burst)


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_every_message_through_mosquitto_arrives_upstream(tmp_path: Path, version: str) -> None:
    with brokers.mosquitto(tmp_path) as broker, Outside() as outside:
        far_end = FarEnd(outside, tmp_path, broker_port=broker.port)
        with Gateway(tmp_path, CONFIG.format(broker=broker.port, version=version)) as gateway:
            gateway.start()
            until(lambda: gateway.status()["uplink"]["is_connected"], "the uplink connects")
            until(lambda: gateway.links_up() == {"floor"}, "the ingest session stands")
            outside.run(send(broker.port, version))
            until(lambda: gateway.device_samples()["machine"] == 2 * MESSAGES, "every message is a sample")
            assert gateway.quality("machine.numbered") == Quality.GOOD
            until(lambda: len(numbers(far_end)) == MESSAGES, "all go upstream")
            assert gateway.terminate() == 0
        summary = far_end.expect_everything()
        assert numbers(far_end) == list(range(MESSAGES))
        assert summary.duplicates == 0, "nothing went wrong, so nothing is sent twice"
        for client in ("plant-floor", "plant-uplink-cloud"):
            assert f"as {client} ({SPOKEN[version]}," in broker.log.read_text(), "the version that was asked for"


def numbers(far_end: FarEnd) -> list[float]:
    """The values of `machine.numbered` in what was received, sorted."""
    found = []
    for record in far_end.records():
        if record["stream"] == "samples" and "tags" in record:
            names = [record["tags"][place] for place in record["tag"]]
            found += [value for name, value in zip(names, record["value"], strict=True) if name == "machine.numbered"]
    return sorted(found)


LETTERS = """
[gateway]
id = "plant"
state_dir = "state"
[journal]
[links.floor]
mqtt = "mqtt://127.0.0.1:{broker}"
[devices.machine]
link = "floor"
topic = "plant/{{device}}/{{tag}}"
tags.plain = {{ field = "{field}" }}
tags.safe = {{ field = "v", sequence_field = "n", qos = 1, durable = true }}
[http]
listen = "127.0.0.1:<http>"
"""


def test_a_payload_that_could_not_be_used_is_kept_and_tried_again(tmp_path: Path) -> None:
    """Also that plain and durable tags of one link have sessions of their own, and come through a reload."""

    async def publish(topic: str, payload: bytes, qos: int) -> None:
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            await client.publish(topic, payload, qos=qos)

    def letters(*words: str) -> Any:
        done = CliRunner().invoke(app, ["dead-letters", words[0], str(gateway.config), *words[1:], "--json"])
        return json.loads(done.stdout)

    def value(tag: str) -> Any:
        return next(each["value"] for each in gateway.get("/api/tags?limit=10")["tags"] if each["name"] == tag)

    with (
        brokers.mosquitto(tmp_path) as broker,
        Outside() as outside,
        Gateway(tmp_path, LETTERS.format(broker=broker.port, field="wrong")) as gateway,
    ):
        gateway.start()
        until(lambda: gateway.links_up() == {"floor"}, "both sessions are there")
        outside.run(publish("plant/machine/plain", b'{"value": 12.5}', 0))
        outside.run(publish("plant/machine/safe", b'{"n": 1, "v": 3.5}', 1))
        until(lambda: letters("list"), "the payload is kept")
        [letter] = letters("list")
        assert letter["topic"] == "plant/machine/plain"
        assert letters("show", letter["id"])["payload"] == '{"value": 12.5}'
        gateway.write(LETTERS.format(broker=broker.port, field="value"))
        gateway.signal(signal.SIGHUP)
        until(lambda: gateway.lines("configuration.applied"), "the reload is done")
        until(lambda: gateway.links_up() == {"floor"}, "both sessions are there")
        assert letters("requeue", letter["id"]) == {"asked": 1, "requeued": 1}
        until(lambda: value("machine.plain") == 12.5, "it is taken this time")
        assert letters("list") == []
        outside.run(publish("plant/machine/safe", b'{"n": 2, "v": 4.5}', 1))
        until(lambda: value("machine.safe") == 4.5, "the durable tag goes on")
        assert gateway.metric("fieldgate_intake_samples_total") >= 1
        assert gateway.terminate() == 0
