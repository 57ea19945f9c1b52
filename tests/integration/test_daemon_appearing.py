"""Tags that appear by themselves, in the whole daemon behind a real broker."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.protocol.mqtt.codec import encode_connect
from gateway.protocol.mqtt.codes import V311
from gateway.runtime.benches.appearing import run
from tests.support.brokers import mosquitto
from tests.support.daemon import Gateway, until
from tests.support.mqtt import message

CONFIG = """
[gateway]
id = "appearing"
panes_per_window = 10

[links.floor]
mqtt = "mqtt://127.0.0.1:{port}"

[devices.hall]
link = "floor"
tags.door = {{ topic = "plant/hall/door" }}

[topics.floor]
link = "floor"
match = ["plant/{{device}}/{{tag}}"]
limit = {limit}
tags_per_device = 2
unit = "mm"
windows = ["5min"]
alarm = {{ high = 50 }}
tags.state = {{ type = "string" }}

[http]
listen = "127.0.0.1:<http>"
"""


class Publisher:
    """A plain connection that publishes at QoS 0."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(encode_connect(version=V311, client_id="publisher", clean_start=True, keep_alive_s=0))
        assert self._socket.recv(4)[0] == 0x20

    def send(self, topic: str, value: float | str) -> None:
        self._socket.sendall(message(topic, str(value).encode()))

    def close(self) -> None:
        self._socket.close()


def tags(gateway: Gateway, search: str = "") -> dict[str, Any]:
    return {tag["name"]: tag for tag in gateway.get(f"/api/tags?search={search}&limit=100")["tags"]}


def alarms(gateway: Gateway) -> list[Any]:
    found: list[Any] = gateway.get("/api/alarms")["alarms"]
    return found


def window(gateway: Gateway, name: str) -> tuple[int, float]:
    (found,) = tags(gateway, name)[name]["windows"]
    return found["count"], found["mean"]


def test_devices_appear_leave_and_find_their_state_also_after_a_reload_and_a_restart(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, Gateway(tmp_path, CONFIG.format(port=broker.port, limit=4)) as gateway:
        gateway.start()
        until(lambda: gateway.links_up() == {"floor"}, "the link is up")
        with closing(Publisher(broker.port)) as pub:
            for device in ("a", "b", "c", "d"):
                for value in (1.0, 2.0, 3.0):
                    pub.send(f"plant/{device}/x", value)
            pub.send("plant/hall/door", 1.0)
            until(lambda: {"hall.door", "a.x", "b.x", "c.x", "d.x"} == set(tags(gateway)), "four devices appeared")
            until(lambda: window(gateway, "d.x") == (3, 2.0), "its samples count")
            assert tags(gateway)["a.x"]["unit"] == "mm"
            devices = {device["name"] for device in gateway.get("/api/devices?search=")["devices"]}
            assert devices == {"hall", "a", "b", "c", "d"}

            for value in (10.0, 20.0):
                pub.send("plant/e/x", value)
            until(lambda: "e.x" in tags(gateway), "a fifth one took the place of another")
            assert len(tags(gateway)) == 5
            (gone,) = {"a.x", "b.x", "c.x", "d.x"} - set(tags(gateway))
            pub.send(f"plant/{gone[0]}/x", 6.0)
            until(lambda: gone in tags(gateway) and window(gateway, gone) == (4, 3.0), "it found its state again")
            assert gateway.metric("fieldgate_pool_evicted_total", pool="floor") == 2
            assert gateway.metric("fieldgate_pool_restored_total", pool="floor") == 1

            gateway.write(CONFIG.format(port=broker.port, limit=5))
            before = set(tags(gateway))
            gateway.signal(signal.SIGHUP)
            until(lambda: gateway.lines("configuration.applied"), "the reload is over")
            until(lambda: set(tags(gateway)) == before, "all are there again without having spoken")
            until(lambda: gateway.links_up() == {"floor"}, "the link is up")
            pub.send(f"plant/{gone[0]}/x", 3.0)
            until(lambda: window(gateway, gone) == (5, 3.0), "with their state")

            assert gateway.terminate() == 0
            gateway.start()
            until(lambda: gateway.links_up() == {"floor"}, "the link is up")
            pub.send(f"plant/{gone[0]}/x", 3.0)
            until(lambda: gone in tags(gateway) and window(gateway, gone) == (6, 3.0), "and after a restart")
            pub.send(f"plant/{gone[0]}/x", 90.0)
            alarm = f"{gone}/high"
            until(lambda: [found["name"] for found in alarms(gateway)] == [alarm], "its alarm")
            words = [sys.executable, "-m", "gateway", "alarms", "acknowledge", alarm, "--config", str(gateway.config)]
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
            assert done.returncode == 0, done.stderr
            until(lambda: [found["state"] for found in alarms(gateway)] == ["acknowledged"], "somebody saw it")
            pub.send(f"plant/{gone[0]}/state", "running")
            until(lambda: tags(gateway).get(f"{gone[0]}.state", {}).get("value") == "running", "a text")
            assert gateway.metric("fieldgate_engine_rejected_samples_total") == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("journal", "seed"),
    [("", 20_261_125), ("[journal]\n", 20_261_125), ("[journal]\n", 7), ('[journal]\ncommit_every = "500ms"\n', 8)],
    ids=["no journal", "journal", "journal, another seed", "journal, large groups"],
)
def test_kills_while_devices_come_and_go_leave_no_tag_with_a_strangers_values(
    tmp_path: Path, journal: str, seed: int
) -> None:
    draw = random.Random(seed)
    with (
        mosquitto(tmp_path) as broker,
        Gateway(tmp_path, CONFIG.format(port=broker.port, limit=20) + journal) as gateway,
        closing(Publisher(broker.port)) as pub,
    ):
        sent = 0
        for _ in range(5):
            gateway.start()
            until(lambda: gateway.links_up() == {"floor"}, "the link is up")
            end_s = time.monotonic() + draw.uniform(0.3, 1.5)
            while time.monotonic() < end_s:
                for _ in range(20):
                    device = draw.randrange(60)
                    pub.send(f"plant/d{device}/x", float(device))
                    sent += 1
                time.sleep(0.005)
            gateway.kill()
            gateway.start()
            for name, tag in tags(gateway, "d").items():
                (seen,) = tag["windows"]
                device = float(name.removeprefix("d").removesuffix(".x")) if name != "hall.door" else None
                if seen["count"]:
                    assert {seen["min"], seen["mean"], seen["max"]} == {device}, f"seed {seed}: {name} has {seen}"
                assert seen["count"] <= sent
            gateway.kill()
        gateway.start()
        until(lambda: gateway.links_up() == {"floor"}, "the link is up")
        for device in range(60):
            pub.send(f"plant/d{device}/x", float(device))
        until(lambda: gateway.metric("fieldgate_pool_restored_total", pool="floor") > 20, "they find what was parked")
        assert gateway.metric("fieldgate_engine_rejected_samples_total") == 0
        for name, tag in tags(gateway, "d").items():
            if name != "hall.door":
                (seen,) = tag["windows"]
                assert {seen["min"], seen["mean"], seen["max"]} == {float(name.removeprefix("d").removesuffix(".x"))}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "per_device", "idle_s"), [(1_000, 1, 3_600), (200, 5, 2)], ids=["no room", "idle as well"]
)
def test_many_more_topics_than_there_is_room_for_leave_memory_flat_and_find_their_state(
    limit: int, per_device: int, idle_s: int
) -> None:
    """What `fieldgate bench appearing` does with a million."""
    topics = 20_000
    result = run(
        topics=topics, limit=limit, per_device=per_device, idle_s=idle_s, broker_name="nats", seed=7, progress=print
    )
    figures: Any = result["figures"]
    assert result["wrong"] == []
    assert figures["evicted"] >= topics - limit * per_device
    assert (figures["parking_dropped"], figures["refused"], figures["rejected_samples"]) == (0, 0, 0)
    assert figures["resident_growth_since_full_bytes"] < 30_000_000
