"""What Sparkplug 3.0.0 asks of a host application, statement by statement; each test names those that it follows.

The host is driven through the gateway's whole MQTT intake (scanner, jitted decoder, state machine), with messages made
by an independent protobuf library. Time is given, never waited for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.core.events import Event
from gateway.core.inbox import Lane
from gateway.core.types import HISTORICAL, NS_PER_MS, NS_PER_S, SAMPLE, Kind, Quality
from gateway.protocol.mqtt import codec
from gateway.protocol.mqtt.codes import V311
from gateway.protocol.mqtt.ingest import Ingest
from gateway.protocol.sparkplug.host import REORDER_MESSAGES_MAX, Host
from gateway.protocol.sparkplug.nodes import Command, Want
from gateway.protocol.sparkplug.topics import Address, filters_of
from tests.conformance import sparkplug_statements as statements
from tests.support import sparkplug as sp
from tests.support.sparkplug import EdgeNode, Payload

REORDER_NS = 2 * NS_PER_S
START_NS = 1_000 * NS_PER_S
WALL_OFFSET_NS = sp.NOW_MS * NS_PER_MS - START_NS
NODE, PRESS, PUMP = Address("plant", "edge"), Address("plant", "edge", "press"), Address("plant", "edge", "pump")
WANTS = (
    Want(NODE, "Supply", 0, "edge.supply", Kind.F64),
    Want(PRESS, "Force", 1, "press.force", Kind.F64, scale=0.001),
    Want(PRESS, "Strokes", 2, "press.strokes", Kind.U64),
    Want(PUMP, "Speed", 3, "pump.speed", Kind.F64),
    Want(PUMP, "Motor/Current", 4, "pump.current", Kind.F64),
)
SUPPLY = {"name": "Supply", "alias": 1, "value": 24.0}
FORCE = {"name": "Force", "alias": 10, "value": 1_500.0}
STROKES = {"name": "Strokes", "alias": 11, "value": 2**63, "datatype": sp.UINT64}
SPEED = {"name": "Speed", "alias": 20, "value": 1_480, "datatype": sp.INT16}
GOOD, DEAD, LOST = int(Quality.GOOD), int(Quality.BAD_NOT_CONNECTED), int(Quality.BAD_COMM_FAILURE)


class Plant:
    """A host behind its MQTT intake, with a clock that is set by hand."""

    def __init__(self, host_id: str | None = "scada-1", wants: tuple[Want, ...] = WANTS) -> None:
        self.host = Host(wants, host_id=host_id, reorder_ns=REORDER_NS)
        self.ingest = Ingest((), V311, host=self.host)
        self.lane = Lane("floor", 65_536)
        self.now_ns = START_NS
        self.events: list[Event] = []
        self.ingest.begin_connection()
        self.ingest._state[1] = 1
        self.will = self.host.will(self.wall_ms)

    @property
    def wall_ms(self) -> int:
        return (self.now_ns + WALL_OFFSET_NS) // NS_PER_MS

    def take(self, *messages: tuple[bytes, bytes]) -> list[tuple[int, int, float]]:
        """(row, quality, value) of each sample that these messages, received in one go, bring."""
        stream = b"".join(codec.encode_publish(topic.decode(), payload, V311) for topic, payload in messages)
        self.ingest.free_space()[: len(stream)] = stream
        self.ingest.received(len(stream), self.now_ns)
        while True:
            step = self.ingest.step(self.lane, WALL_OFFSET_NS)
            assert step.error is None
            assert step.strangers == []
            self.events += step.events
            if not step.is_full:
                return self._samples()

    def tick(self, after_ns: int) -> list[tuple[int, int, float]]:
        self.now_ns += after_ns
        self.events += self.ingest.tick(self.lane, self.now_ns)
        return self._samples()

    def _samples(self) -> list[tuple[int, int, float]]:
        out = np.zeros(len(self.lane), SAMPLE)
        self.raw = out[: self.lane.take_into(out)]
        return [
            (int(s["row"]), int(s["quality"]), float(s["bits"].view(np.uint64)) if s["row"] == 2 else float(s["value"]))
            for s in self.raw
        ]

    def commands(self) -> list[Command]:
        return self.host.out.take_commands(self.wall_ms)

    def rebirths(self) -> list[str]:
        return [command.topic for command in self.commands() if "/NCMD/" in command.topic]

    @property
    def fast(self) -> int:
        return self.ingest.fast_messages


def births(edge: EdgeNode) -> Iterable[tuple[bytes, bytes]]:
    return edge.nbirth(SUPPLY), edge.dbirth("press", FORCE, STROKES), edge.dbirth("pump", SPEED)


@pytest.fixture
def edge() -> EdgeNode:
    return EdgeNode()


@pytest.fixture
def plant(edge: EdgeNode) -> Plant:
    """Everything born, nothing to say."""
    found = Plant()
    found.take(*births(edge))
    found.commands()
    found.events.clear()
    return found


def force(value: float | None, **more: Any) -> dict[str, Any]:
    return {"alias": 10, "value": value, **more}


# ---- STATE: chapters 4.5, 5.8 and 6.4.23 --------------------------------------------------------------------------


def test_the_will_is_a_death_certificate_with_the_time_of_the_connection() -> None:
    """tck-id-host-topic-phid-death-topic, -death-payload, -death-payload-timestamp-connect, -death-required;
    tck-id-operational-behavior-host-application-connect-will, -connect-will-topic, -connect-will-payload,
    -death-topic, -death-payload;
    tck-id-payloads-state-will-message, -state-will-message-payload."""
    plant = Plant()
    assert plant.will is not None
    topic, payload = plant.will
    assert topic == "spBv1.0/STATE/scada-1"
    assert json.loads(payload) == {"online": False, "timestamp": sp.NOW_MS}


def test_the_will_is_retained_and_of_qos_1() -> None:
    """tck-id-host-topic-phid-death-qos, -death-retain; tck-id-operational-behavior-host-application-connect-will-qos,
    -connect-will-retained; tck-id-payloads-state-will-message-qos, -state-will-message-retain."""
    plant = Plant()
    assert plant.will is not None
    connect = codec.encode_connect(
        version=V311, client_id="c", clean_start=True, keep_alive_s=5, will=codec.Will(*plant.will)
    )
    flags = connect[9]
    assert flags & 0x04, "will flag"
    assert flags >> 3 & 3 == 1, "will QoS"
    assert flags & 0x20, "will retain"
    assert flags & 0x02, "tck-id-message-flow-phid-sparkplug-clean-session-311"


def test_the_birth_certificate_is_the_first_message_and_has_the_time_of_the_will() -> None:
    """tck-id-host-topic-phid-birth-message, -birth-topic, -birth-payload, -birth-payload-timestamp, -birth-qos,
    -birth-retain, -birth-required; tck-id-message-flow-phid-sparkplug-state-publish, -state-publish-payload,
    -state-publish-payload-timestamp; tck-id-principles-birth-certificates-order;
    tck-id-operational-behavior-host-application-connect-birth, -connect-birth-topic, -connect-birth-payload,
    -connect-birth-qos, -connect-birth-retained, -multi-server-timestamp;
    tck-id-payloads-state-birth, -state-birth-payload;
    tck-id-intro-sparkplug-host-state; tck-id-components-ph-state; tck-id-conformance-primary-host."""
    plant = Plant()
    plant.now_ns += 5 * NS_PER_S  # the connection took its time
    plant.host.begin(plant.now_ns)
    first = plant.commands()[0]
    assert (first.topic, first.qos, first.retain) == ("spBv1.0/STATE/scada-1", 1, True)
    assert json.loads(first.payload) == {"online": True, "timestamp": sp.NOW_MS}


def test_a_clean_end_is_told_with_the_time_of_the_end() -> None:
    """tck-id-host-topic-phid-death-payload-timestamp-disconnect-clean;
    tck-id-operational-behavior-host-application-disconnect-intentional, -termination, -death-qos,
    -death-retained (both seen at the session: the farewell is sent as the birth is)."""
    plant = Plant()
    last = plant.host.goodbye(sp.NOW_MS + 77)
    assert last is not None
    assert json.loads(last[1]) == {"online": False, "timestamp": sp.NOW_MS + 77}


@pytest.mark.parametrize("payload", [b'{"online":false,"timestamp":1}', b'{"timestamp":1700000000001,"online":false}'])
def test_a_message_that_says_it_is_offline_is_answered_at_once(payload: bytes) -> None:
    """tck-id-message-flow-hid-sparkplug-state-message-delivered."""
    plant = Plant()
    plant.host.begin(plant.now_ns)
    plant.commands()
    plant.take((b"spBv1.0/STATE/scada-1", payload))
    [again] = plant.commands()
    assert json.loads(again.payload) == {"online": True, "timestamp": sp.NOW_MS}
    assert (again.qos, again.retain) == (1, True)


@pytest.mark.parametrize("payload", [b'{"online":true,"timestamp":1}', b"OFFLINE", b"", b"[", b"[" * 9_000, b"\xff"])
def test_its_own_birth_and_nonsense_are_not_answered(payload: bytes) -> None:
    plant = Plant()
    plant.take((b"spBv1.0/STATE/scada-1", payload), (b"spBv1.0/STATE/other", b'{"online":false,"timestamp":1}'))
    assert plant.commands() == []


def test_a_host_without_an_id_publishes_no_state() -> None:
    plant = Plant(host_id=None)
    assert plant.will is None
    plant.host.begin(plant.now_ns)
    assert plant.commands() == []


def test_the_subscriptions_are_those_of_the_namespace() -> None:
    """tck-id-topic-structure, tck-id-topic-structure-namespace-a (the order of things is seen in the integration
    tests)."""
    assert filters_of("g", "e") == (
        "spBv1.0/g/NBIRTH/e",
        "spBv1.0/g/NDATA/e",
        "spBv1.0/g/NDEATH/e",
        "spBv1.0/g/DBIRTH/e/+",
        "spBv1.0/g/DDATA/e/+",
        "spBv1.0/g/DDEATH/e/+",
    )


# ---- Births and data: chapters 6.4 ---------------------------------------------------------------------------------


def test_births_bring_values_and_data_follows_by_alias_in_jitted_code(edge: EdgeNode) -> None:
    """tck-id-payloads-alias-birth-requirement, -alias-data-cmd-requirement; tck-id-payloads-nbirth-seq, -dbirth-seq."""
    plant = Plant()
    assert plant.take(*births(edge)) == [
        (0, GOOD, 24.0),
        (1, GOOD, 1.5),
        (2, GOOD, 2.0**63),
        (3, GOOD, 1480.0),
        (4, int(Quality.BAD_CONFIG), 0.0),
    ]
    assert plant.fast == 0
    assert plant.take(
        edge.data("press", force(2_000.0), {"alias": 11, "value": 5, "datatype": sp.UINT64}),
        edge.data("", {"alias": 1, "value": 23.5}),
        edge.data("pump", {"alias": 20, "value": -30, "datatype": sp.INT16}),
    ) == [(1, GOOD, 2.0), (2, GOOD, 5.0), (0, GOOD, 23.5), (3, GOOD, -30.0)]
    assert plant.fast == 3
    assert plant.rebirths() == []


def test_without_aliases_data_is_known_by_name() -> None:
    """tck-id-payloads-name-requirement."""
    edge, plant = EdgeNode(), Plant()
    plant.take(
        edge.nbirth(SUPPLY), edge.dbirth("press", {"name": "Other", "value": 1.0}, {"name": "Force", "value": 1.0})
    )
    assert plant.take(edge.data("press", {"name": "Force", "value": 3_000.0})) == [(1, GOOD, 3.0)]
    assert plant.fast == 1


def test_metric_names_and_ids_differ_by_case() -> None:
    """tck-id-case-sensitivity-metric-names, tck-id-case-sensitivity-sparkplug-ids."""
    edge, plant = EdgeNode(), Plant()
    plant.take(edge.nbirth(SUPPLY), edge.dbirth("press", {"name": "FORCE", "alias": 9, "value": 9.0}, FORCE))
    plant.take(edge.dbirth("Press", {"name": "Force", "alias": 90, "value": 1.0}))
    assert plant.take(edge.data("press", {"alias": 9, "value": 8.0}, force(4_000.0))) == [(1, GOOD, 4.0)]
    assert plant.take(edge.data("Press", {"alias": 90, "value": 2.0})) == []


def test_the_time_of_the_metric_counts_before_that_of_the_message(plant: Plant, edge: EdgeNode) -> None:
    """tck-id-payloads-timestamp-in-UTC, tck-id-payloads-name-birth-data-requirement."""
    plant.take(
        edge.data(
            "press", force(1.0, timestamp=sp.NOW_MS - 250), {"alias": 11, "value": 1, "datatype": 8, "timestamp": None}
        )
    )
    assert [int(s["source_ns"]) for s in plant.raw] == [START_NS - 250 * NS_PER_MS, START_NS]
    assert plant.fast == 1


VALUES = [
    (sp.INT8, -128, -128.0), (sp.INT16, -32_768, -32_768.0), (sp.INT32, -(2**31), -(2.0**31)),
    (sp.INT64, -(2**63), -(2.0**63)), (sp.UINT8, 255, 255.0), (sp.UINT16, 65_535, 65_535.0),
    (sp.UINT32, 2**32 - 1, 2.0**32 - 1), (sp.UINT64, 2**64 - 1, 2.0**64), (sp.FLOAT, 0.5, 0.5),
    (sp.DOUBLE, -1e100, -1e100), (sp.BOOLEAN, True, 1.0), (sp.BOOLEAN, False, 0.0),
    (sp.DATETIME, 1_700_000_000_123, 1_700_000_000_123.0),
]  # fmt: skip


@pytest.mark.parametrize(("datatype", "value", "expected"), VALUES)
def test_every_scalar_type_is_a_number(datatype: int, value: Any, expected: float) -> None:
    """tck-id-payloads-metric-datatype-value, -metric-datatype-req, -metric-datatype-not-req."""
    edge, plant = EdgeNode(), Plant()
    speed = {"name": "Speed", "alias": 20, "value": value, "datatype": datatype}
    assert plant.take(edge.nbirth(SUPPLY), edge.dbirth("pump", speed))[1] == (3, GOOD, expected)
    assert plant.take(edge.data("pump", {"alias": 20, "value": value, "datatype": datatype})) == [(3, GOOD, expected)]
    assert plant.fast == 1
    again = {"alias": 20, "value": value, "datatype": datatype, "is_birth": True}
    assert plant.take(edge.data("pump", again)) == [(3, GOOD, expected)], "a data type that the birth gave too"


@pytest.mark.parametrize(
    ("datatype", "value"), [(sp.BYTES, b"\x00\x01"), (sp.FILE, b"x"), (sp.STRING, "on"), (sp.TEXT, ""), (sp.UUID, "u")]
)
def test_values_that_a_number_cannot_have_are_counted_and_bad(datatype: int, value: Any) -> None:
    edge, plant = EdgeNode(), Plant()
    speed = {"name": "Speed", "alias": 20, "value": value, "datatype": datatype}
    assert plant.take(edge.nbirth(SUPPLY), edge.dbirth("pump", speed))[1] == (3, int(Quality.BAD_CONFIG), 0.0)
    assert plant.host.out.unsupported == 1
    assert any(event.kind == "sparkplug.value" for event in plant.events)


def test_null_is_bad_and_ends_with_the_next_value(plant: Plant, edge: EdgeNode) -> None:
    assert plant.take(edge.data("press", force(None))) == [(1, int(Quality.BAD), 0.0)]
    assert plant.take(edge.data("press", force(1_000.0))) == [(1, GOOD, 1.0)]


def test_null_in_a_birth_is_not_initialised(edge: EdgeNode) -> None:
    plant = Plant()
    bad = int(Quality.BAD_NOT_INITIALISED)
    assert plant.take(edge.nbirth({**SUPPLY, "value": None})) == [(0, bad, 0.0)]


@pytest.mark.parametrize(
    ("quality", "expected"),
    [(192, Quality.GOOD), (500, Quality.UNCERTAIN_STALE), (0, Quality.BAD), (77, Quality.UNCERTAIN)],
)
def test_the_quality_property_becomes_the_quality(
    plant: Plant, edge: EdgeNode, quality: int, expected: Quality
) -> None:  # fmt: skip
    assert plant.take(edge.data("press", force(1_000.0, quality=quality))) == [(1, int(expected), 1.0)]


def test_historical_values_change_no_live_value(plant: Plant, edge: EdgeNode) -> None:
    late = force(9_000.0, historical=True, timestamp=sp.NOW_MS - 600_000)
    assert plant.take(edge.data("press", late, force(1_000.0))) == [(1, HISTORICAL | GOOD, 9.0), (1, GOOD, 1.0)]
    assert plant.raw["source_ns"].tolist() == [plant.now_ns - 600 * NS_PER_S, plant.now_ns]
    assert plant.host.out.historical == 1


def test_historical_values_without_a_time_that_can_be_believed_are_left_out_and_counted(
    plant: Plant, edge: EdgeNode
) -> None:
    told = [
        force(1.0, historical=True, timestamp=None),
        force(2.0, historical=True, timestamp=sp.NOW_MS - 400 * 86_400_000),
        force(3.0, historical=True, timestamp=sp.NOW_MS + 60_000),
        force(4.0, historical=True, timestamp=(1 << 64) - 1),
        force(None, historical=True, timestamp=sp.NOW_MS - 1),
    ]
    assert plant.take(edge.data("press", *told)) == [(1, HISTORICAL | int(Quality.BAD), 0.0)]
    assert (plant.host.out.historical, plant.host.out.historical_refused) == (5, 4)


def test_members_of_templates_are_named_after_them(edge: EdgeNode) -> None:
    plant = Plant()
    birth = Payload(timestamp=sp.NOW_MS, seq=1)
    motor = birth.metrics.add(name="Motor", datatype=sp.TEMPLATE, timestamp=sp.NOW_MS)
    motor.template_value.template_ref = "MotorType"
    motor.template_value.metrics.add(name="Current", datatype=sp.FLOAT, float_value=2.5)
    definition = birth.metrics.add(name="MotorType", datatype=sp.TEMPLATE)
    definition.template_value.is_definition = True
    definition.template_value.metrics.add(name="Current", datatype=sp.FLOAT)
    found = plant.take(edge.nbirth(SUPPLY), (edge.topic("DBIRTH", "pump"), birth.SerializeToString()))
    assert found[1:] == [(4, GOOD, 2.5), (3, int(Quality.BAD_CONFIG), 0.0)]
    data = Payload(timestamp=sp.NOW_MS, seq=2)
    motor = data.metrics.add(name="Motor", timestamp=sp.NOW_MS)
    motor.template_value.metrics.add(name="Current", float_value=3.5)
    assert plant.take((edge.topic("DDATA", "pump"), data.SerializeToString())) == [(4, GOOD, 3.5)]


def test_data_sets_are_counted_as_unsupported(edge: EdgeNode) -> None:
    plant = Plant()
    birth = Payload(timestamp=sp.NOW_MS, seq=1)
    metric = birth.metrics.add(name="Speed", datatype=sp.DATASET, timestamp=sp.NOW_MS)
    metric.dataset_value.columns.append("a")
    plant.take(edge.nbirth(SUPPLY), (edge.topic("DBIRTH", "pump"), birth.SerializeToString()))
    assert plant.host.out.unsupported == 1


def test_a_tag_whose_metric_no_birth_names_is_told_by_name(plant: Plant, edge: EdgeNode) -> None:
    fresh = Plant()
    fresh.take(*births(EdgeNode()))
    [event] = [event for event in fresh.events if event.kind == "sparkplug.metric"]
    assert "Motor/Current" in event.message
    assert event.subject == "plant/edge/pump"


# ---- Sequence and order: chapters 5.11, 6.4.2 ----------------------------------------------------------------------


def test_numbers_run_from_255_to_0(plant: Plant, edge: EdgeNode) -> None:
    """tck-id-payloads-sequence-num-incrementing, tck-id-topics-ddata-seq-num, tck-id-payloads-ddata-seq-inc."""
    for n in range(600):
        assert plant.take(edge.data("press", force(1_000.0 * n))) == [(1, GOOD, float(n))]
    assert plant.rebirths() == []
    assert plant.fast == 600


def test_messages_out_of_order_are_put_in_order(plant: Plant, edge: EdgeNode) -> None:
    """tck-id-operational-behavior-host-reordering-start, -host-reordering-success, -host-reordering-param."""
    first, second, third = (edge.data("press", force(n * 1_000.0)) for n in (1, 2, 3))
    assert plant.take(third, second) == []
    assert plant.tick(REORDER_NS - 1) == []
    assert [value for _, _, value in plant.take(first)] == [1.0, 2.0, 3.0]
    assert plant.tick(10 * REORDER_NS) == [], "the timer was ended"
    assert plant.rebirths() == []
    assert plant.host.reordered == 2
    before = plant.fast
    assert plant.take(edge.data("press", force(4_000.0))) == [(1, GOOD, 4.0)]
    assert plant.fast == before + 1, "normal operation goes on"


def test_a_message_that_stays_away_leads_to_a_rebirth_request(plant: Plant, edge: EdgeNode) -> None:
    """tck-id-operational-behavior-host-reordering-rebirth; tck-id-operational-behavior-data-commands-ncmd-rebirth-verb,
    -ncmd-rebirth-name, -ncmd-rebirth-value, -ncmd-verb, -ncmd-metric-name, -ncmd-metric-value;
    tck-id-topics-ncmd-topic, -ncmd-mqtt, -ncmd-timestamp, -ncmd-payload; tck-id-payloads-ncmd-timestamp, -ncmd-seq,
    -ncmd-qos, -ncmd-retain, tck-id-payloads-name-cmd-requirement;
    tck-id-topic-structure-namespace-device-id-non-associated-message-types."""
    edge.data("press", force(1.0))  # never arrives
    assert plant.take(edge.data("press", force(2.0))) == []
    assert plant.rebirths() == []
    marked = plant.tick(REORDER_NS)
    assert marked == [(row, LOST, 0.0) for row in range(5)]
    [command] = plant.commands()
    assert (command.topic, command.qos, command.retain) == ("spBv1.0/plant/NCMD/edge", 0, False)
    asked = Payload.FromString(command.payload)
    [metric] = asked.metrics
    assert (metric.name, metric.datatype, metric.boolean_value) == ("Node Control/Rebirth", sp.BOOLEAN, True)
    assert asked.timestamp == plant.wall_ms
    assert not asked.HasField("seq")
    assert plant.take(edge.data("press", force(3.0))) == [], "what comes before the birth may mean anything"
    assert plant.take(*births(edge))[:2] == [(0, GOOD, 24.0), (1, GOOD, 1.5)]
    assert plant.take(edge.data("press", force(5_000.0))) == [(1, GOOD, 5.0)]


def test_one_more_message_than_is_kept_loses_the_thread_at_once(plant: Plant, edge: EdgeNode) -> None:
    edge.data("press", force(0.0))
    for n in range(REORDER_MESSAGES_MAX):
        assert plant.take(edge.data("press", force(float(n)))) == []
    assert len(plant.take(edge.data("press", force(1.0)))) == len(WANTS)
    assert len(plant.rebirths()) == 1


def test_rebirths_are_not_asked_for_again_and_again(plant: Plant) -> None:
    stranger = EdgeNode()
    stranger.seq = 99
    fresh = Plant()
    for _ in range(50):
        fresh.take(stranger.data("press", force(1.0)))
        fresh.tick(NS_PER_MS)
    assert len(fresh.rebirths()) == 1
    fresh.tick(10 * NS_PER_S)
    assert len(fresh.rebirths()) == 1


def test_data_of_a_node_whose_birth_was_missed_leads_to_a_rebirth_request(edge: EdgeNode) -> None:
    """tck-id-operational-behavior-data-commands-rebirth-name (a missed birth)."""
    plant = Plant()
    list(births(edge))
    assert plant.take(edge.data("press", force(1.0))) == []
    assert plant.rebirths() == ["spBv1.0/plant/NCMD/edge"]
    assert plant.host.dropped == 1


def test_data_of_a_device_whose_birth_was_missed_leads_to_a_rebirth_request(edge: EdgeNode) -> None:
    plant = Plant()
    plant.take(edge.nbirth(SUPPLY))
    assert plant.take(edge.data("press", force(1.0))) == []
    assert plant.rebirths() == ["spBv1.0/plant/NCMD/edge"]


def test_a_metric_that_no_birth_named_leads_to_a_rebirth_request(plant: Plant, edge: EdgeNode) -> None:
    assert plant.take(edge.data("press", {"alias": 99, "value": 1.0}, force(1_000.0))) == [(1, GOOD, 1.0)]
    assert plant.rebirths() == ["spBv1.0/plant/NCMD/edge"]
    assert plant.host.unknown_metrics == 1


def test_after_a_rebirth_an_alias_means_what_the_new_birth_says(plant: Plant, edge: EdgeNode) -> None:
    """tck-id-operational-behavior-data-commands-rebirth-action-2, -rebirth-action-3;
    tck-id-payloads-alias-uniqueness."""
    swapped = (
        {"name": "Force", "alias": 11, "value": 7.0},
        {"name": "Strokes", "alias": 10, "value": 1, "datatype": 8},
    )
    plant.take(edge.nbirth(SUPPLY), edge.dbirth("press", *swapped))
    found = plant.take(edge.data("press", {"alias": 11, "value": 9_000.0}, {"alias": 10, "value": 3, "datatype": 8}))
    assert found == [(1, GOOD, 9.0), (2, GOOD, 3.0)]


def test_data_right_behind_a_birth_in_the_same_read_means_what_that_birth_says(plant: Plant, edge: EdgeNode) -> None:
    found = plant.take(
        edge.nbirth(SUPPLY),
        edge.dbirth("press", {"name": "Strokes", "alias": 10, "value": 1, "datatype": sp.UINT64}),
        edge.data("press", {"alias": 10, "value": 44, "datatype": sp.UINT64}),
    )
    assert found[-1] == (2, GOOD, 44.0)


def test_a_birth_of_another_number_than_zero_is_taken(plant: Plant, edge: EdgeNode) -> None:
    """tck-id-payloads-sequence-num-req-nbirth: between 0 and 255."""
    payload = Payload(timestamp=sp.NOW_MS, seq=200)
    sp.add_metric(payload, is_birth=True, **SUPPLY)
    plant.take((edge.topic("NBIRTH"), payload.SerializeToString()))
    edge.seq = 201
    assert plant.take(edge.data("", {"alias": 1, "value": 1.0})) == [(0, GOOD, 1.0)]


def test_a_device_that_does_not_come_back_after_a_rebirth_is_not_connected(plant: Plant, edge: EdgeNode) -> None:
    plant.take(edge.nbirth(SUPPLY), edge.dbirth("press", FORCE, STROKES))
    assert plant.tick(REORDER_NS) == [(3, DEAD, 0.0), (4, DEAD, 0.0)]


# ---- Deaths: chapter 5.5, 5.9 --------------------------------------------------------------------------------------


def test_the_death_of_a_node_ends_all_of_its_metrics(plant: Plant, edge: EdgeNode) -> None:
    """tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-offline, -ndeath-node-tags-stale,
    -ndeath-devices-offline, -ndeath-devices-tags-stale; tck-id-payloads-ndeath-bdseq; tck-id-payloads-ndeath-seq."""
    plant.now_ns += NS_PER_S
    assert plant.take(edge.ndeath()) == [(row, DEAD, 0.0) for row in range(5)]
    assert {int(s["arrival_ns"]) for s in plant.raw} == {plant.now_ns}, "by the host's own clock"
    assert plant.host.alive == 0
    assert plant.take(edge.data("press", force(1.0))) == []


def test_after_death_only_a_birth_makes_values_good_again(plant: Plant, edge: EdgeNode) -> None:
    plant.take(edge.ndeath())
    edge.bd_seq += 1
    assert plant.take(edge.nbirth(SUPPLY)) == [(0, GOOD, 24.0)]
    assert plant.take(edge.dbirth("press", FORCE, STROKES))[0] == (1, GOOD, 1.5)
    assert plant.take(edge.data("press", force(6_000.0))) == [(1, GOOD, 6.0)]


def test_the_death_of_an_earlier_session_means_nothing(plant: Plant, edge: EdgeNode) -> None:
    """tck-id-topics-ndeath-payload: the bdSeq number tells to which birth a death belongs."""
    edge.bd_seq += 1
    plant.take(*births(edge))
    assert plant.take(edge.ndeath(edge.bd_seq - 1)) == []
    assert plant.take(edge.data("press", force(6_000.0))) == [(1, GOOD, 6.0)]


def test_the_death_of_a_device_ends_its_metrics_only(plant: Plant, edge: EdgeNode) -> None:
    """tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-offline, -ddeath-devices-tags-stale;
    tck-id-operational-behavior-device-ddeath; tck-id-payloads-ddeath-seq, -ddeath-seq-inc."""
    plant.now_ns += NS_PER_S
    assert plant.take(edge.ddeath("press")) == [(1, DEAD, 0.0), (2, DEAD, 0.0)]
    assert {int(s["source_ns"]) for s in plant.raw} == {plant.now_ns - NS_PER_S}, "by the time in the payload"
    assert plant.take(edge.data("pump", {"alias": 20, "value": 1, "datatype": sp.INT16})) == [(3, GOOD, 1.0)]
    assert plant.take(edge.data("press", force(1.0))) == []
    assert plant.rebirths() == ["spBv1.0/plant/NCMD/edge"]


def test_the_return_of_a_device_restores_its_quality(plant: Plant, edge: EdgeNode) -> None:
    plant.take(edge.ddeath("press"))
    assert plant.take(edge.dbirth("press", FORCE, STROKES)) == [(1, GOOD, 1.5), (2, GOOD, 2.0**63)]
    assert plant.take(edge.data("press", force(2_000.0))) == [(1, GOOD, 2.0)]


# ---- What an edge node may do wrong --------------------------------------------------------------------------------


def test_a_birth_that_cannot_be_read_is_asked_for_again(plant: Plant, edge: EdgeNode) -> None:
    topic, payload = edge.nbirth(SUPPLY)
    plant.take((topic, payload[:-1]))
    assert plant.host.malformed == 1
    assert plant.rebirths() == ["spBv1.0/plant/NCMD/edge"]
    assert "sparkplug.malformed" in {event.kind for event in plant.events}


def test_data_that_cannot_be_read_is_a_gap(plant: Plant, edge: EdgeNode) -> None:
    topic, payload = edge.data("press", force(1.0))
    assert plant.take((topic, payload[:-1])) == []
    assert plant.take(edge.data("press", force(1.0))) == []
    assert len(plant.tick(REORDER_NS)) == 5
    assert plant.rebirths() == ["spBv1.0/plant/NCMD/edge"]


def test_a_value_of_another_type_than_the_birth_said_is_bad(plant: Plant, edge: EdgeNode) -> None:
    found = plant.take(edge.data("press", {"alias": 10, "value": 5, "datatype": sp.INT32}))
    assert found == [(1, int(Quality.BAD_SENSOR_FAILURE), 0.0)]


def test_devices_that_no_tag_names_share_the_sequence(plant: Plant, edge: EdgeNode) -> None:
    plant.take(edge.dbirth("stranger", {"name": "x", "alias": 99, "value": 1.0}))
    assert plant.take(
        edge.data("press", force(1_000.0)),
        edge.data("stranger", {"alias": 99, "value": 2.0}),
        edge.data("press", force(2_000.0)),
        edge.ddeath("stranger"),
        edge.data("press", force(3_000.0)),
    ) == [(1, GOOD, 1.0), (1, GOOD, 2.0), (1, GOOD, 3.0)]
    assert plant.rebirths() == []


def test_nodes_that_no_tag_names_and_commands_of_others_are_left_alone(plant: Plant) -> None:
    other = EdgeNode(edge="other")
    assert plant.take(*births(other), (b"spBv1.0/plant/NCMD/edge", b"\x08\x01"), (b"spBv1.0/x", b"")) == []
    assert plant.commands() == []


# ---- The whole list ------------------------------------------------------------------------------------------------


def test_each_statement_that_binds_a_host_is_named_by_a_test_and_for_each_other_it_is_said_why_it_does_not() -> None:
    tests = Path(__file__).parents[1]
    files = (Path(__file__), tests / "integration" / "test_sparkplug_source.py")
    named = set().union(*map(statements.named_by_tests, files))
    assert set(statements.HOST) - named == set()
    known = statements.statements()
    assert set(statements.HOST) <= set(known)
    assert [one for one in known if one not in statements.HOST and statements.reason(one) is None] == []
