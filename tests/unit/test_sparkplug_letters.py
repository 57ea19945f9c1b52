"""Messages of Sparkplug that cannot be read are kept with their reason, and can be tried again."""

from __future__ import annotations

from gateway.core.inbox import Lane
from gateway.core.types import Kind
from gateway.protocol.mqtt import codec
from gateway.protocol.mqtt import state as s
from gateway.protocol.mqtt.codes import V311
from gateway.protocol.mqtt.ingest import Ingest
from gateway.protocol.mqtt.step import Step
from gateway.protocol.sparkplug.host import Host
from gateway.protocol.sparkplug.nodes import Want
from gateway.protocol.sparkplug.topics import Address
from tests.support.sparkplug import EdgeNode

WANTS = [Want(Address("plant", "edge", "press"), "Force", 0, "press.force", Kind.F64, 1.0, 0.0)]
DATA = "spBv1.0/plant/DDATA/edge/press"


def test_what_is_no_payload_of_sparkplug_is_a_dead_letter_that_can_be_tried_again() -> None:
    host = Host(WANTS, host_id=None, reorder_ns=10**9)
    ingest, lane = Ingest([], V311, host=host), Lane("floor", 65_536)
    ingest._state[s.GREETED] = 1

    def take(topic: str, payload: bytes) -> Step:
        stream = codec.encode_publish(topic, payload, V311)
        ingest.free_space()[: len(stream)] = stream
        ingest.received(len(stream), 1_000)
        return ingest.step(lane, 0)

    edge = EdgeNode()
    for topic, birth in (edge.nbirth(), edge.dbirth("press", {"name": "Force", "alias": 10, "value": 1.0})):
        assert take(topic.decode(), birth).letters == []
    for topic, payload in ((DATA, b"\xff"), ("spBv1.0/plant/DBIRTH/edge/press", b"\x12\x7f")):
        [letter] = take(topic, payload).letters
        assert (letter.link, letter.topic, letter.payload, letter.arrival_ns) == ("floor", topic, payload, 1_000)
        assert letter.is_whole
        assert letter.reason
    again = ingest.take_again(lane, DATA, b"\xff", 2_000, 0)
    assert again is not None
    assert [(letter.topic, letter.payload, letter.arrival_ns) for letter in again.letters] == [(DATA, b"\xff", 2_000)]
    before = len(lane)
    for topic, birth in (edge.nbirth(), edge.dbirth("press", {"name": "Force", "alias": 10, "value": 1.0})):
        take(topic.decode(), birth)
    topic, data = edge.data("press", {"alias": 10, "value": 7.0})
    good = ingest.take_again(lane, topic.decode(), data, 3_000, 0)
    assert good is not None
    assert good.letters == []
    assert len(lane) > before
