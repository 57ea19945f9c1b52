"""The table of known topics, as arrays that the jitted scanner reads.

Topics are found by open addressing: the hash (FNV-1a, 32 bits, so that its arithmetic never leaves int64) only selects
a candidate, the bytes are always compared. A topic feeds a run of entries, one for each tag; an entry names the member
of the JSON object that holds its value, or nothing when the payload is the bare value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from numba import njit

from gateway.core.types import Float64s, Int64s, Kind, Samples
from gateway.protocol.mqtt.form import PLAIN, Form, WireForm
from gateway.protocol.octets import hash_bytes, same_bytes
from gateway.protocol.sparkplug.table import Births

TAGS_PER_TOPIC_MAX: Final = 1_024
"""Tags that one topic may feed; more is refused when the table is built."""

READINGS_MAX: Final = 2_048
"""Samples that the scanner takes from one message of many readings; what brings more goes the slow way."""
READING_FIELDS: Final = 24
DEPTH_MAX: Final = 8
"""Objects and arrays in each other that the scanner reads; what is nested deeper goes the slow way."""
WAY_FIELDS: Final = 2 * DEPTH_MAX + 2
"""The way to a member, and the time and the quality of a message with nested ones."""
UNKNOWN: Final = -1

Path: TypeAlias = tuple[str | int, ...]
"""The way to a value in a JSON document: names of members, and places in arrays."""
PRIORITIES: Final = 3
NORMAL_PRIORITY: Final = 1


TOPIC = np.dtype(
    [
        ("hash", "<i8"),
        ("name_at", "<i8"),
        ("name_bytes", "<i8"),
        ("first", "<i8"),
        ("count", "<i8"),
        ("time_at", "<i8"),
        ("time_bytes", "<i8"),
        ("slow", "<i8"),
        ("held", "<i8"),
        ("identity_at", "<i8"),
        ("identity_bytes", "<i8"),
        ("priority", "<i8"),
        ("layout", "<i8"),
        ("node", "<i8"),
        ("time_form", "<i8"),
        ("quality_first", "<i8"),
        ("quality_count", "<i8"),
        ("nested", "<i8"),
        ("time_first", "<i8"),
        ("time_parts", "<i8"),
        ("quality_way", "<i8"),
        ("quality_parts", "<i8"),
    ],
    align=True,
)
"""`first`, `count`: the run of entries; of Sparkplug, the block of the birth's metrics, and `node` the edge node.
`time_bytes`: 0 when the payload brings no time. `slow`: the scanner never tries. `held`: messages go the slow way until
a message has been found usable there. `identity_bytes`: 0 when no member of the payload tells one reading from the
next; else its name in quotes. `priority`: 0 is left out first when messages of QoS 0 come too fast. `nested`: values,
time or a quality lie deeper in the document; `parts[time_first:time_first + time_parts]` is the path to the time,
`quality_way` and `quality_parts` say the same of the quality.
`quality_first`, `quality_count`: the run of words for qualities."""

ENTRY = np.dtype(
    [
        ("row", "<i4"),
        ("kind", "<i4"),
        ("field_at", "<i8"),
        ("field_bytes", "<i8"),
        ("scale", "<f8"),
        ("offset", "<f8"),
        ("part_first", "<i4"),
        ("parts", "<i4"),
    ],
    align=True,
)
"""`part_first`, `parts`: of a nested topic, the path to the value."""


SPARE_NAME_BYTES: Final = 256
"""Length of the name of a topic that appears at run time; longer ones are refused."""
REFUSED_TOPICS: Final = 4_096
"""Refused topics that are remembered. Overflow: the later one takes the place of the earlier one."""


class Table(NamedTuple):
    """What the scanner reads; `found`, `values` and `bits` are scratch for one message, an element for each entry of
    the run."""

    slots: Int64s
    topics: Samples
    entries: Samples
    text: npt.NDArray[np.uint8]
    found: npt.NDArray[np.uint8]
    values: Float64s
    bits: Int64s
    births: Births
    members: Int64s
    """By topic: place and length of the names of a reading's members, in the order of `Members`."""
    qualities: Int64s
    """Place, length and code of each word for a quality."""
    name_slots: Int64s
    """Slots that lead to entries by the names of their readings."""
    reading: Int64s
    """Scratch for one reading, and behind it for the way to a nested member."""
    parts: Int64s
    """Parts of paths: place and length of a name, or an index and -1."""
    refused: Int64s
    """Length of each refused topic's name in `refused_text`, 0 for a free place."""
    refused_text: npt.NDArray[np.uint8]


class Feed(msgspec.Struct, frozen=True, gc=False):
    """One tag's share in a topic. `field`, `time_field` and `sequence_field` are paths in a JSON object; empty: bare
    value, no time, no number. A large plant has a hundred thousand: a struct is made in a fraction of a dataclass's
    time."""

    topic: str
    row: int
    device: str
    kind: Kind
    field: Path = ()
    time_field: Path = ()
    sequence_field: Path = ()
    qos: int = 0
    priority: int = NORMAL_PRIORITY
    scale: float = 1.0
    offset: float = 0.0
    form: Form = PLAIN
    name: str = ""
    """Of the reading, in an array of readings or SenML."""
    quality_field: Path = ()
    at: int = 0
    wire: int = WireForm.BOOL
    """In a struct: place of the first byte, and a WireForm, plus BIG_END."""


class Topic(msgspec.Struct, frozen=True, gc=False):
    """A topic with the tags that it feeds, in the order of their entries. It counts as its most important tag."""

    name: str
    qos: int
    first: int
    feeds: tuple[Feed, ...]

    @property
    def form(self) -> Form:
        return self.feeds[0].form


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def find_topic(table: Table, buffer: npt.NDArray[np.uint8], at: int, size: int) -> int:
    """Index of the topic whose name is these bytes, or UNKNOWN. The table always has a free slot, so it ends."""
    h = hash_bytes(buffer, at, at + size)
    mask = len(table.slots) - 1
    slot = h & mask
    while True:
        t = table.slots[slot]
        if t < 0:
            return UNKNOWN
        topic = table.topics[t]
        if (
            topic["hash"] == h
            and topic["name_bytes"] == size
            and same_bytes(table.text, topic["name_at"], buffer, at, size)
        ):
            return int(t)
        slot = (slot + 1) & mask


def group(feeds: Sequence[Feed]) -> tuple[Topic, ...]:
    """Feeds by topic, in the order in which topics first come; a topic's QoS is the highest that a tag asks for."""
    if len({feed.topic for feed in feeds}) == len(feeds):
        return tuple(Topic(feed.topic, feed.qos, first, (feed,)) for first, feed in enumerate(feeds))
    by_topic: dict[str, list[Feed]] = {}
    for feed in feeds:
        by_topic.setdefault(feed.topic, []).append(feed)
    topics = []
    first = 0
    for name, members in by_topic.items():
        if len(members) > TAGS_PER_TOPIC_MAX:
            raise ValueError(
                f"topic {name!r} feeds {len(members)} tags, more than {TAGS_PER_TOPIC_MAX}; spread them over topics"
            )
        form = members[0].form
        if any(feed.form is not form and feed.form != form for feed in members):
            raise ValueError(f"topic {name!r} is said to have payloads of two kinds; its tags must agree")
        topics.append(Topic(name, max(feed.qos for feed in members), first, tuple(members)))
        first += len(members)
    return tuple(topics)
