"""MQTT's decoders with bounds checks: `python -m tests.fuzz.mqtt_bounds SEED SECONDS`, with NUMBA_BOUNDSCHECK=1.

Messages with hostile payloads of each layout go through the scanner in a buffer that ends where the stream ends, whole
and cut off anywhere, so that no read past a payload stays unseen. The last line tells how many, and that a read behind
the end was caught: without that the run would prove nothing.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

from gateway.kernelcache import VARIABLE

if __name__ == "__main__":
    import os

    assert os.environ.get("NUMBA_BOUNDSCHECK") == "1", "set NUMBA_BOUNDSCHECK=1"
    assert Path(os.environ[VARIABLE]).name == "numba-bounds", "a checked kernel must not get into the usual cache"

import numpy as np

from gateway.core.inbox import Lane
from gateway.core.types import SAMPLE, Kind
from gateway.protocol.mqtt import codec
from gateway.protocol.mqtt import state as s
from gateway.protocol.mqtt.codes import V311
from gateway.protocol.mqtt.ingest import Ingest
from gateway.protocol.mqtt.table import Feed
from gateway.protocol.octets import hash_bytes
from gateway.protocol.sparkplug.host import Host
from tests.support.hostile import some_data, some_payload
from tests.support.payloads import READINGS, SENML, deep_feeds, named, struct_feeds
from tests.support.sparkplug import EdgeNode
from tests.support.sparkplug_twins import ARRIVAL_NS, METRICS, WALL_OFFSET_NS, WANTS


class Exact:
    """A subscriber whose buffer has not one byte more than what has arrived."""

    def __init__(self) -> None:
        plain = (Feed("plain", 0, "d", Kind.F64, ("v",), ("t",)), Feed("plain", 1, "d", Kind.F64))
        of_many = (*named("readings", READINGS), *named("senml", SENML))
        feeds = (*plain, *deep_feeds("nested"), *of_many, *struct_feeds("struct"))
        self.host = Host(WANTS, host_id=None, reorder_ns=10**9)
        self.ingest = Ingest(feeds, V311, host=self.host)
        self._lane = Lane("t", 65_536)

    def take(self, stream: bytes) -> None:
        ingest = self.ingest
        ingest.begin_connection()
        ingest._state[s.GREETED] = 1
        ingest._table.topics["held"] = 0
        ingest._received.hold(np.frombuffer(bytearray(stream), np.uint8), len(stream))
        ingest._arrival_ns = ARRIVAL_NS
        ingest.step(self._lane, WALL_OFFSET_NS)
        self._lane.take_into(np.zeros(len(self._lane), SAMPLE))


def overrun_is_caught() -> bool:
    buffer = np.zeros(8, np.uint8)
    try:
        hash_bytes(buffer, 0, 9)
    except IndexError:
        return True
    return False


def main(seed: int, seconds: float) -> None:
    random_ = random.Random(seed)
    exact = Exact()
    messages = 0
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        edge = EdgeNode()
        for topic, birth in (edge.nbirth(), edge.dbirth("press", *METRICS)):
            exact.take(codec.encode_publish(topic.decode(), birth, V311))
        data = "spBv1.0/plant/DDATA/edge/press"
        for name in ("plain", "nested", "readings", "senml", "struct", data):
            payload = some_data(random_) if name == data else some_payload(random_)
            stream = codec.encode_publish(name, payload, V311)
            exact.take(stream)
            exact.take(stream[: random_.randrange(len(stream) + 1)])
            messages += 2
    told = {"messages": messages, "fast": exact.ingest.fast_messages, "overrun_is_caught": overrun_is_caught()}
    print(json.dumps(told))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
