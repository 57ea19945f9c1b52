"""What Sparkplug 3.0.0 asks of an edge node, statement by statement; each test names those that it follows.

`tests.support.sparkplug_host` asserts with every message what holds for all of them (sequence numbers, aliases, types,
order, certificates), by an independent protobuf library. Time is given, never waited for.
"""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.record import Identity
from gateway.core.types import Quality
from gateway.protocol.sparkplug import wire
from gateway.protocol.sparkplug.datatypes import DataType
from gateway.protocol.sparkplug.edge import (
    DEAD_AFTER_BACKLOG_NS,
    METRICS_PER_MESSAGE_MAX,
    Edge,
    HostState,
    NotForSparkplug,
    Present,
)
from gateway.protocol.sparkplug.nodes import Command
from tests.support import sparkplug as sp
from tests.support.sparkplug_host import HostSide

NOW_MS = sp.NOW_MS
OFFSET_NS = NOW_MS * 1_000_000
BORN_NS = 1_000
FORCE = Present("press", "press.force", DataType.DOUBLE, 1.5, 192, NOW_MS)
STROKES = Present("press", "press.strokes", DataType.UINT64, 2**63, 192, NOW_MS)
STATE = Present("press", "press.state", DataType.STRING, None, int(Quality.BAD_NOT_INITIALISED), NOW_MS)
SPEED = Present("pump", "pump.speed", DataType.INT64, -5, 192, NOW_MS)


class Line:
    """An edge node in front of a host, with a clock that is set by hand."""

    def __init__(self, *present: Present, bd_seq: int = 3) -> None:
        self.edge = Edge("plant", "boiler-house", bd_seq)
        self.host = HostSide()
        self.present = list(present)
        self.now_ns = BORN_NS
        will = self.edge.death(NOW_MS)
        self.host.expect_will(will.topic, will.payload, will.qos, will.retain)
        self.bear()
        self.sequence = 0

    def bear(self) -> None:
        self.give(self.edge.births(self.present, NOW_MS, self.now_ns))

    def give(self, commands: list[Command]) -> list[str]:
        for each in commands:
            self.host.take(each.topic, each.payload, each.qos, each.retain)
        return [each.topic.split("/")[2] for each in commands]

    def record(self, *samples: tuple[str, Any, int], at_ns: int = 2_000, stream: str = "samples") -> dict[str, Any]:
        """Samples (tag, value, quality), a millisecond apart."""
        self.sequence += 1
        tags = list(dict.fromkeys(tag for tag, _, _ in samples))
        return {
            "gateway": "plant", "stream": stream, "segment": 7, "sequence": self.sequence,
            "wall_offset_ns": OFFSET_NS, "first_ns": at_ns, "last_ns": at_ns, "tags": tags,
            "tag": [tags.index(tag) for tag, _, _ in samples],
            "time_ns": [at_ns + place * 1_000_000 for place in range(len(samples))],
            "value": [value for _, value, _ in samples], "quality": [quality for _, _, quality in samples],
        }  # fmt: skip

    def send(self, *samples: tuple[str, Any, int], at_ns: int = 2_000) -> list[str]:
        return self.give(self.edge.messages(self.record(*samples, at_ns=at_ns), NOW_MS, self.now_ns))


@pytest.fixture
def line() -> Line:
    return Line(FORCE, STROKES, STATE, SPEED)


# ---- Certificates --------------------------------------------------------------------------------------------------


def test_the_birth_has_the_number_of_the_will_and_so_has_a_rebirth(line: Line) -> None:
    """tck-id-payloads-nbirth-bdseq, -bdseq-repeat; tck-id-topics-nbirth-bdseq-matching;
    tck-id-operational-behavior-data-commands-rebirth-action-3; tck-id-payloads-ndeath-bdseq."""
    line.bear()
    assert line.host.bd_seqs == [3, 3]


def test_the_number_goes_round_after_255() -> None:
    """tck-id-topics-nbirth-bdseq-increment, and 6.4.27: after 255 comes 0."""
    assert Line(bd_seq=255).host.bd_seqs == [255]
    assert Line(bd_seq=256).host.bd_seqs == [0]


def test_births_tell_every_metric_with_its_type_and_present_value(line: Line) -> None:
    """tck-id-topics-nbirth-metrics, -metric-reqs; tck-id-topics-dbirth-metrics, -metric-reqs;
    tck-id-operational-behavior-data-publish-dbirth, -dbirth-values; tck-id-payloads-dbirth-order."""
    assert line.host.births == {"": 1, "press": 1, "pump": 1}
    assert line.host.present["press", "force"] == 1.5
    assert line.host.present["press", "strokes"] == 2**63
    assert line.host.present["press", "state"] is None
    assert line.host.present["pump", "speed"] == -5


def test_a_rebirth_is_whole_begins_at_zero_and_tells_what_came_meanwhile(line: Line) -> None:
    """tck-id-operational-behavior-data-commands-rebirth-action-1, -action-2; tck-id-topics-nbirth-seq-num."""
    line.present = []
    line.send(("press.force", 2.5, 192), ("pump.speed", 7, 192))
    line.bear()
    assert line.host.births == {"": 2, "press": 2, "pump": 2}
    assert (line.host.present["press", "force"], line.host.present["pump", "speed"]) == (2.5, 7)
    assert line.send(("press.force", 3.5, 192)) == ["DDATA"]


@pytest.mark.parametrize(
    ("value", "name", "asks"),
    [
        (True, "Node Control/Rebirth", True),
        (False, "Node Control/Rebirth", False),
        (True, "Node Control/Reboot", False),
    ],
)
def test_births_are_asked_for_by_a_command_that_says_true(line: Line, value: bool, name: str, asks: bool) -> None:
    """tck-id-operational-behavior-data-commands-ncmd-rebirth-verb, -name, -value."""
    payload = sp.Payload(timestamp=NOW_MS)
    sp.add_metric(payload, value, sp.BOOLEAN, name=name)
    assert line.edge.command_topic == "spBv1.0/plant/NCMD/boiler-house"
    assert line.edge.asks_for_births(line.edge.command_topic, payload.SerializeToString()) is asks
    assert not line.edge.asks_for_births("spBv1.0/plant/NCMD/other", wire.encode_rebirth(NOW_MS))
    assert not line.edge.asks_for_births(line.edge.command_topic, b"\xff")


def test_a_lost_device_dies_and_is_born_again_with_its_next_value(line: Line) -> None:
    """tck-id-operational-behavior-device-ddeath; tck-id-payloads-ddeath-seq, -seq-inc; tck-id-topics-ddeath-topic."""
    lost = int(Quality.BAD_COMM_FAILURE)
    assert line.send(("press.force", None, lost), ("press.strokes", None, lost)) == ["DDATA"], "one has a value still"
    assert line.send(("press.state", None, lost)) == ["DDATA", "DDEATH"]
    assert line.host.deaths == ["press"]
    assert line.send(("press.force", 4.0, 192)) == ["DBIRTH", "DDATA"]
    assert line.host.present["press", "force"] == 4.0


def test_a_lost_device_whose_backlog_is_sent_stays_alive_until_that_is_over(line: Line) -> None:
    """tck-id-payloads-ddata-order: data of a dead device would be refused."""
    lost = int(Quality.BAD_NOT_CONNECTED)
    assert line.send(("pump.speed", 1, 192), at_ns=10) == ["DDATA"]
    assert line.send(("pump.speed", None, lost)) == ["DDATA"]
    assert line.send(("pump.speed", 2, 192), at_ns=20) == ["DDATA"]
    line.now_ns += DEAD_AFTER_BACKLOG_NS + 1
    assert line.send(("pump.speed", None, lost)) == ["DDATA", "DDEATH"]
    assert line.send(("pump.speed", 3, 192), at_ns=30) == ["DBIRTH", "DDATA"]


# ---- Data ----------------------------------------------------------------------------------------------------------


def test_sequence_numbers_go_round_after_255_over_node_and_devices(line: Line) -> None:
    """tck-id-payloads-sequence-num-incrementing; tck-id-payloads-ddata-seq-inc, -ndata-seq-inc, -dbirth-seq-inc."""
    for number in range(300):
        line.send(("press.force", float(number), 192), ("pump.speed", number, 192))
    assert len(line.host.samples) == 600


def test_values_of_every_type_come_as_they_are_in_their_own_time(line: Line) -> None:
    """tck-id-payloads-metric-datatype-value; tck-id-operational-behavior-data-publish-dbirth-order."""
    line.send(
        ("press.force", 0.1, 192), ("press.strokes", 2**64 - 1, 192), ("press.state", "läuft", 192),
        ("pump.speed", -(2**63), 192), ("press.force", None, 0), ("press.force", 0.2, int(Quality.UNCERTAIN_STALE)),
    )  # fmt: skip
    assert [(s.device, s.metric, s.value, s.quality, s.time_ms - NOW_MS) for s in line.host.samples] == [
        ("press", "force", 0.1, 192, 0),
        ("press", "strokes", 2**64 - 1, 192, 1),
        ("press", "state", "läuft", 192, 2),
        ("press", "force", None, 0, 4),
        ("press", "force", 0.2, 500, 5),
        ("pump", "speed", -(2**63), 192, 3),
    ]


def test_samples_out_of_order_are_put_in_order(line: Line) -> None:
    """tck-id-operational-behavior-data-publish-dbirth-order."""
    record = line.record(("press.force", 1.0, 192), ("press.strokes", 1, 192), ("press.force", 3.0, 192))
    record["time_ns"].reverse()
    line.give(line.edge.messages(record, NOW_MS, line.now_ns))
    assert [s.value for s in line.host.samples] == [3.0, 1, 1.0]


def test_a_metric_that_no_birth_told_has_its_device_born_again_first(line: Line) -> None:
    """tck-id-topics-dbirth-metric-reqs; 6.4.21: a metric that is not in a birth is unknown."""
    assert line.send(("press.oil", 5.0, 192), ("pump.speed", 1, 192)) == ["DBIRTH", "DDATA", "DDATA"]
    assert line.send(("fan.speed", "fast", 192)) == ["DBIRTH", "DDATA"]
    assert line.host.births == {"": 1, "press": 2, "pump": 1, "fan": 1}
    assert line.send(("press.oil", 6.0, 192)) == ["DDATA"]


@pytest.mark.parametrize(("value", "born"), [("text", True), (2**63, True), (9, False), (0.5, True), (None, False)])
def test_a_metric_whose_type_is_another_one_now_is_born_again(line: Line, value: Any, born: bool) -> None:
    """tck-id-payloads-metric-datatype-not-req: data cannot tell a type."""
    assert line.send(("pump.speed", value, 192 if value is not None else 0)) == ["DBIRTH"] * born + ["DDATA"]
    assert line.host.samples[-1].value == value


def test_what_was_recorded_before_the_births_is_historical_and_moves_no_present_value(line: Line) -> None:
    """6.4.5, is_historical; tck-id-operational-behavior-data-publish-dbirth-values."""
    line.present = []
    line.send(("press.force", 9.0, 192), at_ns=BORN_NS - 1)
    line.send(("press.force", 10.0, 192), at_ns=BORN_NS)
    assert [(s.value, s.is_historical) for s in line.host.samples] == [(9.0, True), (10.0, False)]
    line.send(("press.force", 8.0, 192), at_ns=1)
    line.bear()
    assert line.host.present["press", "force"] == 10.0


def test_a_large_record_is_cut_and_each_part_says_which_it_is(line: Line) -> None:
    many = METRICS_PER_MESSAGE_MAX + 1
    line.send(*[("press.force", float(n), 192) for n in range(many)], ("pump.speed", 1, 192))
    assert [(each["part"], each["parts"]) for each in line.host.records] == [(1, 3), (2, 3), (3, 3)]
    assert len(line.host.samples) == many + 1
    assert {(each["gateway"], each["stream"], each["segment"], each["sequence"]) for each in line.host.records} == {
        ("plant", "samples", 7, 1)
    }


def test_a_record_that_comes_twice_is_known_by_its_identity(line: Line) -> None:
    record = line.record(("press.force", 1.0, 192), ("pump.speed", 2, 192))
    for _ in range(3):
        line.give(line.edge.messages(record, NOW_MS, line.now_ns))
    assert len(line.host.samples) == 6
    assert [(s.metric, s.value) for s in line.host.once()] == [("force", 1.0), ("speed", 2)]


def test_events_losses_and_ends_of_segments_are_of_the_node(line: Line) -> None:
    """tck-id-topics-ndata-topic, -ndata-mqtt; tck-id-payloads-ndata-order."""
    head = {"gateway": "plant", "stream": "events", "segment": 7, "sequence": 1}
    events = {"wall_offset_ns": OFFSET_NS, "last_ns": 5_000, "time_ns": [4_000_000], "severity": [2], "kind": ["alarm"]}
    events |= {"subject": ["press.force"], "message": ["high"]}
    assert line.give(line.edge.messages(head | events, NOW_MS, 0)) == ["NDATA"]
    loss = {"stream": "samples", "reason": "spool full", "records": 2}
    line.give(line.edge.messages(head | {"record": "ledger", "dropped": [loss]}, NOW_MS, 0))
    line.give(line.edge.messages(head | {"record": "segment-end", "length": 2}, NOW_MS, 0))
    event, lost = line.host.samples
    assert (event.metric, event.time_ms) == ("fieldgate/event", NOW_MS + 4)
    assert event.value == '{"severity":2,"kind":"alarm","subject":"press.force","message":"high"}'
    assert (lost.metric, lost.value) == ("fieldgate/loss", '{"stream":"samples","reason":"spool full","records":2}')
    assert line.host.records[-1]["length"] == 2


@pytest.mark.parametrize(
    "record", [{}, {"stream": "samples"}, {"stream": "aggregates", "last_ns": 1}, {"stream": "samples", "last_ns": "x"}]
)
def test_what_cannot_be_said_is_refused_with_a_reason(line: Line, record: dict[str, Any]) -> None:
    with pytest.raises(NotForSparkplug, match=r"no record of this format|no place for the stream"):
        line.edge.messages(record, NOW_MS, 0)


def test_names_that_a_topic_cannot_hold_are_written_otherwise() -> None:
    """tck-id-topic-structure-namespace-valid-device-id."""
    line = Line(Present("hall/2+#", "hall/2+#.a.b", DataType.DOUBLE, 1.0, 192, NOW_MS))
    assert line.host.present["hall_2__", "a.b"] == 1.0


# ---- The primary host ------------------------------------------------------------------------------------------------


def test_the_primary_host_is_online_when_its_newest_state_says_so() -> None:
    """tck-id-message-flow-edge-node-birth-publish-phid-wait-id, -wait-online, -wait-timestamp, -phid-offline;
    tck-id-operational-behavior-edge-node-termination-host-offline-timestamp."""
    host = HostState("scada-1")
    seen = []
    for topic, content in (
        ("spBv1.0/STATE/other", b'{"online":true,"timestamp":9}'),
        (host.topic, b"no JSON"),
        (host.topic, b'{"online":true,"timestamp":5}'),
        (host.topic, b'{"online":false,"timestamp":4}'),
        (host.topic, b'{"online":false,"timestamp":5}'),
        (host.topic, b'{"online":true,"timestamp":4}'),
        (host.topic, b'{"online":true,"timestamp":6}'),
    ):
        host.note(topic, content)
        seen.append(host.is_online)
    assert seen == [False, False, True, True, False, False, True]


def test_an_identity_is_what_the_delivery_gave() -> None:
    line = Line(FORCE)
    line.send(("press.force", 1.0, 192))
    record = line.host.records[0]
    assert Identity(*(record[name] for name in ("gateway", "stream", "segment", "sequence"))) == Identity(
        "plant", "samples", 7, 1
    )
