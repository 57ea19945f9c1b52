"""The parts of the MQTT benchmark: its frames are what they say, and every subscriber of it counts them all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import uvloop

from gateway.core.histogram import SIZE, quantile_ns
from gateway.core.kernels.histogram import observe_due
from gateway.core.types import NS_PER_MS, Kind
from gateway.core.warming import warm_up
from gateway.protocol.mqtt.payloads import Cell, read_payload
from gateway.protocol.mqtt.table import Feed
from gateway.runtime.benches.mqtt import bench, ours, theirs
from gateway.runtime.benches.mqtt_brokers import broker
from gateway.runtime.benches.mqtt_frames import SHAPES, Ring, topic_of
from tests.reference import mqtt as reference

TIME_NS = 1_700_000_000_123_000_000


@pytest.mark.parametrize("payload", ["json", "json-nested"])
def test_frames_are_messages_with_the_time_that_was_put_in(payload: str) -> None:
    ring = Ring(SHAPES[payload], 10)
    ring.stamp(3, 5, 0, TIME_NS)
    messages = reference.split(ring.frames[3:5].tobytes()).messages
    assert [topic.decode() for topic, _ in messages] == [topic_of(3), topic_of(4)]
    point = SHAPES[payload].point(0)
    feed = Feed("", 0, "d", Kind.F64, point.field, point.time_field)
    found = read_payload(messages[0][1], (feed,))
    assert isinstance(found, list)
    assert isinstance(found[0], Cell)
    assert found[0].wall_ns == TIME_NS


def test_lateness_counts_from_when_a_message_was_due() -> None:
    counts = np.zeros(SIZE, np.int64)
    observe_due(counts, 200, 100, 0, 1e-6, 100, 7 * NS_PER_MS)  # message 2, due after 2 ms
    assert quantile_ns(counts, 0.01) == quantile_ns(counts, 1.0)
    assert quantile_ns(counts, 1.0) == pytest.approx(5 * NS_PER_MS, rel=0.07)


def test_every_subscriber_of_the_benchmark_counts(tmp_path: Path) -> None:
    warm_up()
    with bench(tmp_path) as of, broker("nats", tmp_path) as of.port:
        for phase in (
            uvloop.run(ours(of, "json", 500, 0.3)),
            uvloop.run(ours(of, "number", 500, 0.3, rate=5_000.0)),
            theirs(of, "gmqtt", "json", 500, 0.3),
            theirs(of, "aiomqtt", "json", 500, 0.3),
        ):
            assert phase.messages_per_s > 0
            assert phase.cpu_us_per_message > 0
