"""The messages of the MQTT benchmark: PUBLISH frames of one size, built once, stamped with time just before they go.

A ring of frames feeds a plant of tags: frame i carries the tags of its topic, and after the last frame the first one
follows. All frames of a ring have the same length, and what changes from turn to turn (the time of each reading, in
ms; Sparkplug's sequence number) lies at the same places in each, so that stamping thousands of frames is one copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.protocol.mqtt.codec import encode_string, frame
from gateway.settings.schema import MqttPoint

Bytes = npt.NDArray[np.uint8]

PUBLISH_QOS_0: Final = 0x30
TIME_DIGITS: Final = 13
"""Of wall time in ms, from 2001 to 2286."""
NO_TIME: Final = b"0" * TIME_DIGITS


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of payload: how many tags share a message, how one is built, and how a tag finds its value in it."""

    tags_per_message: int
    build: Callable[[Sequence[int], np.random.Generator], bytes]
    point: Callable[[int], MqttPoint]


class Ring:
    """`frames[i]` is the i-th message, for the tags `i * tags_per_message` and on."""

    def __init__(self, shape: Shape, tags: int) -> None:
        rng = np.random.default_rng(1)
        per_message = shape.tags_per_message
        raw = [
            frame(
                PUBLISH_QOS_0,
                encode_string(topic_of(first // per_message)) + shape.build(range(first, first + per_message), rng),
            )
            for first in range(0, tags, per_message)
        ]
        assert len({len(one) for one in raw}) == 1, "all frames of a ring have one length"
        self.frames: Bytes = np.frombuffer(b"".join(raw), np.uint8).reshape(len(raw), -1).copy()
        self.view = self.frames.reshape(-1).data
        self._time_at = _places(raw[0], NO_TIME)

    @property
    def frame_bytes(self) -> int:
        return int(self.frames.shape[1])

    def __len__(self) -> int:
        return len(self.frames)

    def stamp(self, first: int, after: int, sent: int, wall_ns: int) -> None:
        """Put the time into frames first to after - 1, before which `sent` have gone."""
        digits = np.frombuffer(b"%013d" % (wall_ns // 1_000_000), np.uint8)
        for at in self._time_at:
            self.frames[first:after, at : at + TIME_DIGITS] = digits


def topic_of(message: int) -> str:
    return f"bench/f{message:06d}"


def _places(text: bytes, wanted: bytes) -> list[int]:
    found = []
    at = text.find(wanted)
    while at >= 0:
        found.append(at)
        at = text.find(wanted, at + len(wanted))
    return found


def _number(rows: Sequence[int], rng: np.random.Generator) -> bytes:
    return b"%07.3f" % rng.normal(500.0, 1.0)


def _json(rows: Sequence[int], rng: np.random.Generator) -> bytes:
    return b'{"value":%7.3f,"time":%s}' % (rng.normal(500.0, 1.0), NO_TIME)


SHAPES: Final[dict[str, Shape]] = {
    "number": Shape(1, _number, lambda row: MqttPoint(topic=topic_of(row))),
    "json": Shape(1, _json, lambda row: MqttPoint(topic=topic_of(row), field=("value",), time_field=("time",))),
}
