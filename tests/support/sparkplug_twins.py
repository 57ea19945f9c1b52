"""Two Sparkplug hosts that hear the same: one decodes data the fast way where it can, the other never."""

from __future__ import annotations

import numpy as np

from gateway.core.inbox import Lane
from gateway.core.types import SAMPLE, Kind, Samples
from gateway.protocol.mqtt import codec
from gateway.protocol.mqtt import state as s
from gateway.protocol.mqtt.codes import V311
from gateway.protocol.mqtt.ingest import Ingest
from gateway.protocol.sparkplug.host import Host
from gateway.protocol.sparkplug.nodes import Want
from gateway.protocol.sparkplug.table import LIVE
from gateway.protocol.sparkplug.topics import Address
from tests.support import sparkplug as sp
from tests.support.sparkplug import EdgeNode

PRESS = Address("plant", "edge", "press")
WANTS = (
    Want(PRESS, "f", 0, "press.f", Kind.F64, scale=0.5, offset=1.0),
    Want(PRESS, "g", 1, "press.g", Kind.I64),
    Want(PRESS, "h", 2, "press.h", Kind.U64),
    Want(PRESS, "i", 3, "press.i", Kind.F64),
)
METRICS = (
    {"name": "f", "alias": 10, "value": 1.0},
    {"name": "g", "alias": 11, "value": 1.0},
    {"name": "h", "alias": 20, "value": 1, "datatype": sp.UINT64},
    {"name": "i", "alias": 21, "value": -1, "datatype": sp.INT16},
    {"name": "unwanted", "alias": 22, "value": "x", "datatype": sp.STRING},
)
ARRIVAL_NS = 5_000_000_000_000
WALL_OFFSET_NS = sp.NOW_MS * 1_000_000 - ARRIVAL_NS


class _One:
    def __init__(self, is_fast: bool) -> None:
        self.is_fast = is_fast
        self.host = Host(WANTS, host_id=None, reorder_ns=10**9)
        self.ingest = Ingest((), V311, host=self.host)
        self.ingest.begin_connection()
        self.ingest._state[s.GREETED] = 1
        self.lane = Lane("t", 65_536)

    def take(self, topic: bytes, payload: bytes) -> tuple[Samples, tuple[object, ...]]:
        if not self.is_fast:
            self.host.table.nodes[:, LIVE] = 0
        stream = codec.encode_publish(topic.decode(), payload, V311)
        self.ingest.free_space()[: len(stream)] = stream
        self.ingest.received(len(stream), ARRIVAL_NS)
        step = self.ingest.step(self.lane, WALL_OFFSET_NS)
        assert step.error is None
        out = np.zeros(len(self.lane), SAMPLE)
        samples = out[: self.lane.take_into(out)]
        host = self.host
        told = [event.message for event in step.events]
        commands = [command.topic for command in host.out.take_commands(sp.NOW_MS)]
        refused = host.out.times_refused + int(self.ingest._state[s.TIMES_REFUSED]) > 0
        return samples, (told, commands, host.dropped, host.malformed, host.unknown_metrics, host.alive, refused)


class SparkplugTwins:
    def __init__(self) -> None:
        self._pair = _One(True), _One(False)

    @property
    def fast(self) -> int:
        return self._pair[0].ingest.fast_messages

    def take(self, payload: bytes) -> Samples:
        """A DDATA right behind the births; the same by both. Its number is due when it is 2."""
        edge = EdgeNode()
        for topic, birth in (edge.nbirth(), edge.dbirth("press", *METRICS)):
            for one in self._pair:
                one.take(topic, birth)
        (fast, said), (slow, slow_said) = (one.take(edge.topic("DDATA", "press"), payload) for one in self._pair)
        assert said == slow_said, payload
        assert fast.tobytes() == slow.tobytes(), (payload, fast, slow)
        for one in self._pair:
            one.host.tick(ARRIVAL_NS + 1)
        return fast
