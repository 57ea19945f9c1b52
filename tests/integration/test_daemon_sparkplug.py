"""The whole daemon as an edge node of Sparkplug B, killed in between; a host watches by an independent decoder."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiomqtt
import pytest

from tests.support import brokers
from tests.support.daemon import Gateway, Outside, publish, until
from tests.support.sparkplug_host import HostSide

pytestmark = pytest.mark.slow

CONFIG = """
[gateway]
id = "plant"
state_dir = "state"
[links.floor]
mqtt = "mqtt://127.0.0.1:{broker}"
[devices.machine]
link = "floor"
topic = "plant/{{device}}/{{tag}}"
tags.count = {{ field = "value", qos = 1 }}
tags.silent = {{ }}
[uplink.scada]
mqtt = "mqtt://127.0.0.1:{broker}"
sparkplug = "plant/boiler-house"
primary_host = "scada-1"
samples_every = "100ms"
[http]
listen = "127.0.0.1:<http>"
"""


def test_samples_of_the_daemon_reach_a_host_once_over_a_kill_and_its_births_tell_what_is(tmp_path: Path) -> None:
    host = HostSide()

    async def watch(port: int, ready: asyncio.Event) -> None:
        async with aiomqtt.Client("127.0.0.1", port, identifier="host") as client:
            await client.subscribe("spBv1.0/plant/#", qos=1)
            await client.publish("spBv1.0/STATE/scada-1", b'{"online":true,"timestamp":1}', qos=1, retain=True)
            ready.set()
            async for message in client.messages:
                host.take(str(message.topic), bytes(message.payload))  # type: ignore[arg-type]

    async def begin(port: int) -> None:
        ready = asyncio.Event()
        tasks.append(asyncio.create_task(watch(port, ready)))
        await asyncio.wait_for(ready.wait(), 10)

    tasks: list[asyncio.Task[None]] = []

    def counts() -> list[float]:
        return [s.value for s in host.once() if s.metric == "count" and s.value is not None]

    with brokers.mosquitto(tmp_path) as broker, Outside() as outside:
        outside.run(begin(broker.port))
        with Gateway(tmp_path, CONFIG.format(broker=broker.port)) as gateway:
            gateway.start()
            outside.spawn(
                publish(broker.port, "plant/machine/count", lambda n: json.dumps({"value": n}).encode(), every_s=0.02)
            )
            until(lambda: len(counts()) > 50, "samples come")
            assert ("machine", "silent") in host.present, "a tag that never had a value is born too"
            assert host.present["machine", "silent"] is None
            gateway.kill()
            until(lambda: host.deaths, "the broker tells the death")
            gateway.start()
            before = len(counts())
            until(lambda: len(counts()) > before + 50, "samples come again")
            assert gateway.terminate() == 0
            until(lambda: len(host.deaths) == 2, "the death is said")
        assert not [task for task in tasks if task.done()], "the host had nothing against any message"
    found = counts()
    assert len(found) == len(set(found)), "each once"
    assert host.bd_seqs == [0, 1]
