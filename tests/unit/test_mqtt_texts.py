"""Texts by MQTT: bare, in JSON, in arrays, in SenML and in Sparkplug, as symbols."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.core.inbox import Lane
from gateway.core.symbols import Symbols
from gateway.core.types import SAMPLE, Kind, Quality
from gateway.protocol.mqtt import state as s
from gateway.protocol.mqtt.codec import encode_publish
from gateway.protocol.mqtt.codes import V311
from gateway.protocol.mqtt.form import PLAIN, Form
from gateway.protocol.mqtt.ingest import Ingest
from gateway.protocol.mqtt.table import Feed, Path
from gateway.protocol.sparkplug.host import Host
from gateway.protocol.sparkplug.nodes import Want
from gateway.protocol.sparkplug.topics import Address
from tests.support import sparkplug as sp
from tests.support.payloads import READINGS, SENML

BAD = int(Quality.BAD_SENSOR_FAILURE)


def taken(ingest: Ingest, symbols: Symbols, *messages: tuple[str, bytes]) -> list[str | int | None]:
    """The text of each good sample; the quality of others."""
    lane = Lane("t", 8_192)
    ingest.begin_connection()
    ingest._state[s.GREETED] = 1
    for topic, payload in messages:
        stream = encode_publish(topic, payload, V311)
        ingest.free_space()[: len(stream)] = stream
        ingest.received(len(stream), 1_000)
        ingest.step(lane, 0)
    out = np.zeros(len(lane), SAMPLE)
    lane.take_into(out)
    return [symbols.text_of(int(x["bits"])) if x["quality"] == 192 else int(x["quality"]) for x in out]


@pytest.mark.parametrize(
    ("path", "form", "payload", "expected"),
    [
        ((), PLAIN, b"RUNNING", "RUNNING"),
        ((), PLAIN, b" on hold \n", "on hold"),
        ((), PLAIN, b'"quoted"', "quoted"),
        ((), PLAIN, "Störung".encode(), "Störung"),
        ((), PLAIN, b"12.50", "12.50"),
        ((), PLAIN, b"\xff\xfe", BAD),
        ((), PLAIN, b"", BAD),
        (("state",), PLAIN, b'{"state":"on\\u0021"}', "on!"),
        (("state",), PLAIN, b'{"state":true}', "true"),
        (("state",), PLAIN, b'{"state":null}', BAD),
        (("states", 1), PLAIN, b'{"states":["a","b"]}', "b"),
        ((), READINGS, b'[{"n":"mode","v":"auto"}]', "auto"),
        ((), SENML, b'[{"bn":"mo","n":"de","vs":"manual"}]', "manual"),
        ((), SENML, b'[{"n":"mode","vd":"aGk"}]', BAD),
    ],
)
def test_a_text_becomes_its_symbol(path: Path, form: Form, payload: bytes, expected: str | int) -> None:
    symbols = Symbols()
    feed = Feed("t", 0, "d", Kind.SYMBOL, path, form=form, name="mode")
    assert taken(Ingest([feed], V311, intern=symbols.intern), symbols, ("t", payload)) == [expected]


def test_the_same_text_has_the_same_number_and_one_that_finds_no_room_is_bad() -> None:
    symbols = Symbols(capacity=2)
    ingest = Ingest([Feed("t", 0, "d", Kind.SYMBOL)], V311, intern=symbols.intern)
    messages = [("t", text) for text in (b"on", b"off", b"on", b"third")]
    assert taken(ingest, symbols, *messages) == ["on", "off", "on", int(Quality.BAD)]


def test_texts_of_sparkplug_are_symbols_too() -> None:
    symbols, edge = Symbols(), sp.EdgeNode()
    want = Want(Address("plant", "edge", "press"), "Mode", 0, "press.mode", Kind.SYMBOL)
    host = Host([want], host_id=None, reorder_ns=10**9, intern=symbols.intern)
    birth = {"name": "Mode", "alias": 1, "value": "auto", "datatype": sp.STRING}
    data = {"alias": 1, "value": "manual", "datatype": sp.STRING}
    messages = (edge.nbirth(), edge.dbirth("press", birth), edge.data("press", data))
    ingest = Ingest((), V311, host=host)
    assert taken(ingest, symbols, *((topic.decode(), payload) for topic, payload in messages)) == ["auto", "manual"]
