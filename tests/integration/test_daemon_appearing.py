"""Tags that appear by themselves, in the whole daemon behind a real broker."""

from __future__ import annotations

import signal
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

from gateway.protocol.mqtt.codec import encode_connect
from gateway.protocol.mqtt.codes import V311
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

[http]
listen = "127.0.0.1:<http>"
"""


class Publisher:
    """A plain connection that publishes at QoS 0."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(encode_connect(version=V311, client_id="publisher", clean_start=True, keep_alive_s=0))
        assert self._socket.recv(4)[0] == 0x20

    def send(self, topic: str, value: float) -> None:
        self._socket.sendall(message(topic, str(value).encode()))

    def close(self) -> None:
        self._socket.close()


def tags(gateway: Gateway, search: str = "") -> dict[str, Any]:
    return {tag["name"]: tag for tag in gateway.get(f"/api/tags?search={search}&limit=100")["tags"]}


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
            assert gateway.metric("fieldgate_engine_rejected_samples_total") == 0
