"""The messages of the MQTT benchmark: PUBLISH frames of one size, built once, stamped with time just before they go.

A ring of frames feeds a plant of tags: frame i carries the tags of its topic, and after the last frame the first one
follows. All frames of a ring have the same length, and what changes from turn to turn (the time of each reading, in
ms; Sparkplug's sequence number) lies at the same places in each, so that stamping thousands of frames is one copy.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.protocol.mqtt.codec import encode_string, frame
from gateway.protocol.mqtt.form import Form, Layout, Members, TimeForm
from gateway.protocol.protobuf import encode_varint
from gateway.protocol.sparkplug.topics import Address
from gateway.settings.schema import MqttPoint

Bytes = npt.NDArray[np.uint8]

PUBLISH_QOS_0: Final = 0x30
NO_TIME_MS: Final = 1_234_567_890_123
"""Stands in a frame where the time is put in. Of 13 digits, from 2001 to 2286, and of six bytes as a varint."""
DEVICES_PER_NODE: Final = 100


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of payload: how many tags share a message, how one is built, and how a tag finds its value in it."""

    tags_per_message: int
    build: Callable[[Sequence[int], np.random.Generator], bytes]
    point: Callable[[int], MqttPoint]
    encode_time: Callable[[int], bytes]
    topic: Callable[[int], str] | None = None
    """None: `topic_of`."""
    births: Callable[[int], list[tuple[str, bytes]]] | None = None
    """(topic, payload) to send ahead for so many messages; each of those that are of a device brings its tags once."""
    first_seq: int | None = None
    """Sparkplug's number of a node's first message; the last two bytes of the frame."""


class Ring:
    """`frames[i]` is the i-th message, for the tags `i * tags_per_message` and on."""

    def __init__(self, shape: Shape, tags: int, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        per_message = shape.tags_per_message
        name = shape.topic or topic_of
        raw = [
            frame(
                PUBLISH_QOS_0,
                encode_string(name(first // per_message)) + shape.build(range(first, first + per_message), rng),
            )
            for first in range(0, tags, per_message)
        ]
        assert len({len(one) for one in raw}) == 1, "all frames of a ring have one length"
        self.shape = shape
        self.frames: Bytes = np.frombuffer(b"".join(raw), np.uint8).reshape(len(raw), -1).copy()
        self.view = self.frames.reshape(-1).data
        self._time_at = _places(raw[0], shape.encode_time(NO_TIME_MS))
        self._within_node = np.arange(len(raw)) % DEVICES_PER_NODE

    @property
    def frame_bytes(self) -> int:
        return int(self.frames.shape[1])

    def __len__(self) -> int:
        return len(self.frames)

    def stamp(self, first: int, after: int, sent: int, wall_ns: int) -> None:
        """Put the time into frames first to after - 1, before which `sent` have gone; and the number, where it has."""
        time = np.frombuffer(self.shape.encode_time(wall_ns // 1_000_000), np.uint8)
        for at in self._time_at:
            self.frames[first:after, at : at + len(time)] = time
        if self.shape.first_seq is not None:
            turn = sent // len(self)
            seq = self.shape.first_seq + turn * DEVICES_PER_NODE + self._within_node[first:after]
            self.frames[first:after, -2] = (seq & 0x7F) | 0x80
            self.frames[first:after, -1] = (seq >> 7) & 1


def topic_of(message: int) -> str:
    return f"bench/f{message:06d}"


def _places(text: bytes, wanted: bytes) -> list[int]:
    found = []
    at = text.find(wanted)
    while at >= 0:
        found.append(at)
        at = text.find(wanted, at + len(wanted))
    return found


def _digits(wall_ms: int) -> bytes:
    return b"%013d" % wall_ms


NO_TIME: Final = _digits(NO_TIME_MS)


def _number(rows: Sequence[int], rng: np.random.Generator) -> bytes:
    return b"%07.3f" % rng.normal(500.0, 1.0)


def _json(rows: Sequence[int], rng: np.random.Generator) -> bytes:
    return b'{"value":%7.3f,"time":%s}' % (rng.normal(500.0, 1.0), NO_TIME)


def _iso(wall_ms: int) -> bytes:
    moment = datetime.fromtimestamp(wall_ms // 1_000, UTC)
    return b"%s.%03dZ" % (moment.isoformat()[:19].encode(), wall_ms % 1_000)


NO_TIME_ISO: Final = _iso(NO_TIME_MS)


def _json_nested(rows: Sequence[int], rng: np.random.Generator) -> bytes:
    """What many gateways of makers send: value and quality inside, the time as a text, a unit that is no ASCII."""
    return b'{"time":"%s","data":{"value":%7.3f,"unit":"\xc2\xb0C","quality":"good"},"meta":{"tags":["a","b"]}}' % (
        NO_TIME_ISO,
        rng.normal(500.0, 1.0),
    )


def _json_batch(rows: Sequence[int], rng: np.random.Generator) -> bytes:
    readings = (b'{"n":"value%02d","v":%7.3f,"t":%s}' % (row % 100, rng.normal(500.0, 1.0), NO_TIME) for row in rows)
    return b"[" + b",".join(readings) + b"]"


BATCH: Final = Form(Layout.READINGS, TimeForm.MS, Members("n", "v", "t"))


def _device(message: int) -> Address:
    return Address("bench", f"node{message // DEVICES_PER_NODE:02d}", f"device{message % DEVICES_PER_NODE:02d}")


def _alias(row: int) -> int:
    """Of two bytes as a varint, unique in its node."""
    return 1_000 + row % (DEVICES_PER_NODE * 100)


def _metric(row: int, value: float, *, is_birth: bool) -> bytes:
    name = b"Sensors/value%02d" % (row % 100)
    about = b"\x0a" + encode_varint(len(name)) + name if is_birth else b""
    raw = about + b"\x10" + encode_varint(_alias(row)) + b"\x18" + encode_varint(NO_TIME_MS)
    raw += (b"\x20\x0a" if is_birth else b"") + b"\x69" + struct.pack("<d", value)
    return b"\x12" + encode_varint(len(raw)) + raw


def _sparkplug(rows: Sequence[int], rng: np.random.Generator) -> bytes:
    metrics = b"".join(_metric(row, rng.normal(500.0, 1.0), is_birth=False) for row in rows)
    return b"\x08" + encode_varint(NO_TIME_MS) + metrics + b"\x18\x80\x00"


def _sparkplug_births(messages: int) -> list[tuple[str, bytes]]:
    found = []
    time = b"\x08" + encode_varint(NO_TIME_MS)
    for message in range(messages):
        device = _device(message)
        if message % DEVICES_PER_NODE == 0:
            found.append((Address(device.group, device.edge).topic("BIRTH"), time + b"\x18\x00"))
        rows = range(100 * message, 100 * message + 100)
        metrics = b"".join(_metric(row, 500.0, is_birth=True) for row in rows)
        seq = encode_varint(1 + message % DEVICES_PER_NODE)
        found.append((device.topic("BIRTH"), time + metrics + b"\x18" + seq))
    return found


def _sparkplug_point(row: int) -> MqttPoint:
    device = _device(row // 100)
    return MqttPoint(sparkplug=(device.group, device.edge, device.device), metric=f"Sensors/value{row % 100:02d}")


SHAPES: Final[dict[str, Shape]] = {
    "number": Shape(1, _number, lambda row: MqttPoint(topic=topic_of(row)), _digits),
    "json": Shape(
        1, _json, lambda row: MqttPoint(topic=topic_of(row), field=("value",), time_field=("time",)), _digits
    ),
    "json-nested": Shape(
        1,
        _json_nested,
        lambda row: MqttPoint(
            topic=topic_of(row), field=("data", "value"), time_field=("time",), quality_field=("data", "quality")
        ),
        _iso,
    ),
    "json-batch": Shape(
        100,
        _json_batch,
        lambda row: MqttPoint(topic=topic_of(row // 100), form=BATCH, name=f"value{row % 100:02d}"),
        _digits,
    ),
    "sparkplug": Shape(
        100,
        _sparkplug,
        _sparkplug_point,
        encode_varint,
        topic=lambda message: _device(message).topic("DATA"),
        births=_sparkplug_births,
        first_seq=1 + DEVICES_PER_NODE,
    ),
}
