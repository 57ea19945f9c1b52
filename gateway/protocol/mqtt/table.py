"""The table of known topics, as arrays that the jitted scanner reads.

Topics are found by open addressing: the hash (FNV-1a, 32 bits, so that its arithmetic never leaves int64) only selects
a candidate, the bytes are always compared. A topic feeds a run of entries, one for each tag; an entry names the member
of the JSON object that holds its value, or nothing when the payload is the bare value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from gateway.core.types import Float64s, Int64s, Kind, Samples
from gateway.protocol.mqtt.form import PLAIN, Form, Layout, WireForm
from gateway.protocol.octets import hash_bytes, same_bytes, spread
from gateway.protocol.sparkplug.table import Births, births

TAGS_PER_TOPIC_MAX: Final = 1_024
"""Tags that one topic may feed; more is refused when the table is built."""

READINGS_MAX: Final = 2_048
"""Samples that the scanner takes from one message of many readings; what brings more goes the slow way."""
READING_FIELDS: Final = 24
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
    ],
    align=True,
)
"""`first`, `count`: the run of entries; of Sparkplug, the block of the birth's metrics, and `node` the edge node.
`time_bytes`: 0 when the payload brings no time. `slow`: nested paths, so the scanner never tries. `held`: messages go
the slow way until a message has been found usable there. `identity_bytes`: 0 when no member of the payload tells one
reading from the next; else its name in quotes. `priority`: 0 is left out first when messages of QoS 0 come too fast.
`quality_first`, `quality_count`: the run of words for qualities."""

ENTRY = np.dtype(
    [
        ("row", "<i4"),
        ("kind", "<i4"),
        ("field_at", "<i8"),
        ("field_bytes", "<i8"),
        ("scale", "<f8"),
        ("offset", "<f8"),
    ],
    align=True,
)


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
    """Scratch for one reading."""
    refused: Int64s
    """Length of each refused topic's name in `refused_text`, 0 for a free place."""
    refused_text: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Feed:
    """One tag's share in a topic. `field`, `time_field` and `sequence_field` are paths in a JSON object; empty: bare
    value, no time, no number."""

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


@dataclass(frozen=True, slots=True)
class Topic:
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
        if len({feed.form for feed in members}) > 1:
            raise ValueError(f"topic {name!r} is said to have payloads of two kinds; its tags must agree")
        topics.append(Topic(name, max(feed.qos for feed in members), first, tuple(members)))
        first += len(members)
    return tuple(topics)


class _Text:
    """Collects names into one array of bytes."""

    def __init__(self) -> None:
        self.raw = bytearray()

    def put(self, text: str | bytes) -> tuple[int, int]:
        at = len(self.raw)
        self.raw += text.encode() if isinstance(text, str) else text
        return at, len(self.raw) - at


def _is_slow(topic: Topic) -> bool:
    """The scanner reads numbers, flat members with a name, one time for the whole message, each reading for one tag."""
    if any(feed.kind is Kind.SYMBOL for feed in topic.feeds):
        return True
    if topic.form.layout in (Layout.READINGS, Layout.SENML):
        return len({feed.name for feed in topic.feeds}) < len(topic.feeds)
    paths = [path for feed in topic.feeds for path in (feed.field, feed.time_field)]
    return (
        any(len(path) > 1 or (path and not (isinstance(path[0], str) and path[0])) for path in paths)
        or any(feed.quality_field for feed in topic.feeds)
        or len({feed.time_field for feed in topic.feeds}) > 1
    )


def _identity(topic: Topic) -> str:
    """The member whose presence makes a message's bytes tell one reading from the next, as JSON writes its name."""
    paths = [path for feed in topic.feeds for path in (feed.sequence_field, feed.time_field) if path]
    names = [part for part in (paths[0] if paths else ()) if isinstance(part, str)]
    return f'"{names[-1]}"' if names else ""


def build(
    topics: Sequence[Topic],
    data_topics: Sequence[tuple[str, int]] = (),
    born: Births | None = None,
    templates: Sequence[Topic] = (),
    spare: int = 0,
) -> Table:
    """The arrays for these topics, every page of them touched. The data topics of Sparkplug (name and node of each)
    come behind them, without metrics until a birth has named some; `born` is then their tables. Then come templates,
    and the spare places that are filled from them (`places.py`)."""
    text = _Text()
    found = len(topics) + len(data_topics)
    topic_rows = np.zeros(found + len(templates) + spare, TOPIC)
    written = sum(len(topic.feeds) for topic in topics)
    entries = np.zeros(written + len(templates) + spare, ENTRY)
    listed = [(t, topic, topic.first) for t, topic in enumerate(topics)]
    listed += [(found + place, topic, written + place) for place, topic in enumerate(templates)]
    members = np.zeros((len(topic_rows), 8), np.int64)
    words: dict[tuple[tuple[bytes, int], ...], int] = {}
    qualities: list[tuple[int, int, int]] = []
    for t, topic, first in listed:
        form = topic.form
        if form.qualities not in words:
            words[form.qualities] = len(qualities)
            qualities += [(*text.put(word), int(code)) for word, code in form.qualities]
        names = (form.members.name, form.members.value, form.members.time, form.members.quality)
        members[t] = [number for name in names for number in text.put(name)]
        at, size = text.put(topic.name)
        slow = _is_slow(topic)
        time_field = "" if slow or not topic.feeds[0].time_field else str(topic.feeds[0].time_field[0])
        time_at, time_bytes = text.put(time_field)
        count = len(topic.feeds)
        identity = text.put(_identity(topic))
        priority = max(feed.priority for feed in topic.feeds)
        topic_rows[t] = (
            0, at, size, first, count, time_at, time_bytes, slow, 0, *identity, priority, form.layout, 0,
            form.time, words[form.qualities], len(form.qualities),
        )  # fmt: skip
        for i, feed in enumerate(topic.feeds):
            entries[first + i] = (feed.row, feed.kind, *_place(text, feed), feed.scale, feed.offset)
    for t, (name, node) in enumerate(data_topics, len(topics)):
        at, size = text.put(name)
        # Left out, a message would be a gap in its node's sequence: these never are.
        topic_rows[t] = (0, at, size, 0, 0, 0, 0, 0, 0, 0, 0, PRIORITIES, Layout.SPARKPLUG, node, 0, 0, 0)

    run_max = max((len(topic.feeds) for topic in topics), default=1)
    if data_topics or any(topic.form.layout in (Layout.READINGS, Layout.SENML) for topic in topics):
        run_max = max(run_max, READINGS_MAX)
    text.raw += bytes(spare * SPARE_NAME_BYTES)
    refused = REFUSED_TOPICS if templates else 0
    raw = np.frombuffer(bytes(text.raw) or b"\0", np.uint8).copy()
    return Table(
        _index(topic_rows[:found], raw, len(topic_rows)),
        topic_rows,
        entries,
        raw,
        np.zeros(run_max, np.uint8),
        np.zeros(run_max, np.float64),
        np.zeros(run_max, np.int64),
        births(0, metrics=1, name_bytes=1) if born is None else born,
        members,
        np.array(qualities or [(0, 0, 0)], np.int64),
        _index_names(topics, entries, raw),
        np.zeros(READING_FIELDS, np.int64),
        np.full(refused, 0, np.int64),
        np.full(refused * SPARE_NAME_BYTES, 0, np.uint8),
    )


def _place(text: _Text, feed: Feed) -> tuple[int, int]:
    """Where a tag's value is: the name of a member or a reading, or the place and form of a number in a struct."""
    match feed.form.layout:
        case Layout.READINGS | Layout.SENML:
            return text.put(feed.name)
        case Layout.STRUCT:
            return feed.at, feed.wire
    return text.put(str(feed.field[0]) if feed.field else "")


def _index_names(topics: Sequence[Topic], entries: Samples, raw: npt.NDArray[np.uint8]) -> Int64s:
    """Slots that lead to entries by the names of their readings."""
    slots = np.full(1 << max(3, (2 * len(entries)).bit_length()), UNKNOWN, np.int64)
    for t, topic in enumerate(topics):
        if topic.form.layout in (Layout.READINGS, Layout.SENML):
            for e in range(topic.first, topic.first + len(topic.feeds)):
                at, size = int(entries[e]["field_at"]), int(entries[e]["field_bytes"])
                slot = spread(hash_bytes(raw, at, at + size), t, len(slots))
                while slots[slot] != UNKNOWN:
                    slot = (slot + 1) & (len(slots) - 1)
                slots[slot] = e
    return slots


def _index(topic_rows: Samples, names: npt.NDArray[np.uint8], count_max: int) -> Int64s:
    """Slots that lead to the topics, whose hashes are put down as well; room for `count_max` topics."""
    slots = np.full(1 << max(3, (2 * count_max).bit_length()), UNKNOWN, np.int64)
    mask = len(slots) - 1
    for t, row in enumerate(topic_rows):
        row["hash"] = hash_bytes(names, int(row["name_at"]), int(row["name_at"] + row["name_bytes"]))
        slot = int(row["hash"]) & mask
        while slots[slot] != UNKNOWN:
            slot = (slot + 1) & mask
        slots[slot] = t
    return slots
