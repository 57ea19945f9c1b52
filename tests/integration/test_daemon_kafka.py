"""The whole gateway before a server of Kafka's protocol: killed, and the server silent, again and again.

The server (`tests.support.kafka_ends`) is no Apache Kafka and no cluster: replication and elections are not seen here.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from tests.support.daemon import Gateway, Outside, until
from tests.support.kafka_ends import Cluster
from tests.support.modbus import pymodbus_server

CONFIG = """
[gateway]
id = "plant"
[defaults]
every = "50ms"
[devices.pump]
link = {{ modbus_tcp = "127.0.0.1:{plc}" }}
tags.a = {{ register = "holding 0" }}
[uplink.cloud]
kafka = "kafka://127.0.0.1:{kafka}"
streams = ["samples", "events"]
samples_every = "100ms"
drain = "1000/s"
acknowledge_timeout = "1s"
[http]
listen = "127.0.0.1:<http>"
"""
ROUNDS = 4


@pytest.mark.slow
def test_each_record_is_committed_once_whoever_died_and_whenever(tmp_path: Path) -> None:
    chance = random.Random(3)
    cluster = Cluster(tmp_path, 1_000_000)
    with ExitStack() as stack:
        outside = stack.enter_context(Outside())
        server = pymodbus_server([1] * 4, [False] * 8)
        port = outside.run(server.__aenter__())
        cluster.start()
        stack.callback(cluster.server.kill)
        for stream in ("samples", "events"):
            cluster.make_topic(f"fieldgate.plant.{stream}")
        cluster.make_topic("fieldgate.plant.position", **{"cleanup.policy": "compact"})
        gateway = stack.enter_context(Gateway(tmp_path, CONFIG.format(plc=port, kafka=cluster.port)))
        for number in range(ROUNDS):
            gateway.start()
            until(lambda: gateway.metric("fieldgate_uplink_acknowledged_records_total", uplink="cloud") > 5, "it sends")
            if number % 2:
                cluster.server.freeze()
                until(lambda: not gateway.status()["uplinks"][0]["is_connected"], "the link is told as down")
                cluster.server.thaw()
                until(lambda: gateway.status()["uplinks"][0]["is_connected"], "the link is back")
            time.sleep(chance.uniform(0.0, 0.3))
            gateway.kill()
        gateway.start()
        until(lambda: gateway.metric("fieldgate_uplink_acknowledged_records_total", uplink="cloud") > 5, "it sends")
        assert gateway.terminate() == 0
        outside.run(server.__aexit__(None, None, None))
        seen = cluster.committed("fieldgate.plant.samples", "fieldgate.plant.events")
    places: dict[tuple[str, int], list[int]] = {}
    for each in seen:
        record = msgspec.json.decode(each.value)
        who = f"plant/{record['stream']}/{record['segment']}/{record['sequence']}"
        assert each.headers["fieldgate-identity"] == who.encode()
        places.setdefault((record["stream"], record["segment"]), []).append(record["sequence"])
    assert len(places) > ROUNDS
    for place, sequences in places.items():
        assert sequences == list(range(1, len(sequences) + 1)), place
    assert {stream for stream, _ in places} == {"samples", "events"}
