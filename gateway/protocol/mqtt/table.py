"""The table of known topics, as arrays that the jitted scanner reads.

Topics are found by open addressing: the hash (FNV-1a, 32 bits, so that its arithmetic never leaves int64) only selects
a candidate, the bytes are always compared. A topic feeds a run of entries, one for each tag; an entry names the member
of the JSON object that holds its value, or nothing when the payload is the bare value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from gateway.core.types import Float64s, Int64s, Kind, Samples

TAGS_PER_TOPIC_MAX: Final = 1_024
"""Tags that one topic may feed; more is refused when the table is built."""

FNV_OFFSET: Final = 0x811C9DC5
FNV_PRIME: Final = 0x01000193
UNKNOWN: Final = -1
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
    ],
    align=True,
)
"""`first`, `count`: the run of entries. `time_bytes`: 0 when the payload brings no time. `slow`: nested paths, so the
scanner never tries. `held`: messages go the slow way until a message has been found usable there. `identity_bytes`: 0
when no member of the payload tells one reading from the next; else its name in quotes. `priority`: 0 is left out first
when messages of QoS 0 come too fast."""

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


class Table(NamedTuple):
    """What the scanner reads, and (the last three) scratch for one message, an element for each entry of the run."""

    slots: Int64s
    topics: Samples
    entries: Samples
    text: npt.NDArray[np.uint8]
    found: npt.NDArray[np.uint8]
    values: Float64s
    bits: Int64s


@dataclass(frozen=True, slots=True)
class Feed:
    """One tag's share in a topic. `field`, `time_field` and `sequence_field` are paths in a JSON object; empty: bare
    value, no time, no number."""

    topic: str
    row: int
    device: str
    kind: Kind
    field: tuple[str, ...] = ()
    time_field: tuple[str, ...] = ()
    sequence_field: tuple[str, ...] = ()
    qos: int = 0
    priority: int = NORMAL_PRIORITY
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic with the tags that it feeds, in the order of their entries. It counts as its most important tag."""

    name: str
    qos: int
    first: int
    feeds: tuple[Feed, ...]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def octet(buffer: npt.NDArray[np.uint8], at: int) -> int:
    """A byte as int64: mixed with one another, unsigned and signed integers become floats."""
    return int(np.int64(buffer[at]))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def hash_bytes(text: npt.NDArray[np.uint8], at: int, stop: int) -> int:
    h = FNV_OFFSET
    for i in range(at, stop):
        h = ((h ^ octet(text, i)) * FNV_PRIME) & 0xFFFFFFFF
    return h


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def same_bytes(
    left: npt.NDArray[np.uint8], left_at: int, right: npt.NDArray[np.uint8], right_at: int, size: int
) -> bool:
    for i in range(size):  # noqa: SIM110 - a loop is what the compiler vectorises
        if left[left_at + i] != right[right_at + i]:
            return False
    return True


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
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
        topics.append(Topic(name, max(feed.qos for feed in members), first, tuple(members)))
        first += len(members)
    return tuple(topics)


class _Text:
    """Collects names into one array of bytes."""

    def __init__(self) -> None:
        self.raw = bytearray()

    def put(self, text: str) -> tuple[int, int]:
        at = len(self.raw)
        self.raw += text.encode()
        return at, len(self.raw) - at


def _is_slow(topic: Topic) -> bool:
    """The scanner reads flat members with a name, and one time for the whole message."""
    paths = [path for feed in topic.feeds for path in (feed.field, feed.time_field)]
    return any(len(path) > 1 or "" in path for path in paths) or len({feed.time_field for feed in topic.feeds}) > 1


def _identity(topic: Topic) -> str:
    """The member whose presence makes a message's bytes tell one reading from the next, as JSON writes its name."""
    paths = [path for feed in topic.feeds for path in (feed.sequence_field, feed.time_field) if path]
    return f'"{paths[0][-1]}"' if paths else ""


def build(topics: Sequence[Topic]) -> Table:
    """The arrays for these topics, every page of them touched."""
    text = _Text()
    topic_rows = np.zeros(len(topics), TOPIC)
    entries = np.zeros(sum(len(topic.feeds) for topic in topics), ENTRY)
    for t, topic in enumerate(topics):
        at, size = text.put(topic.name)
        raw = np.frombuffer(topic.name.encode(), np.uint8)
        slow = _is_slow(topic)
        time_field = "" if slow or not topic.feeds[0].time_field else topic.feeds[0].time_field[0]
        time_at, time_bytes = text.put(time_field)
        count = len(topic.feeds)
        hashed, identity = hash_bytes(raw, 0, size), text.put(_identity(topic))
        priority = max(feed.priority for feed in topic.feeds)
        topic_rows[t] = (hashed, at, size, topic.first, count, time_at, time_bytes, slow, 0, *identity, priority)
        for i, feed in enumerate(topic.feeds):
            field_at, field_bytes = text.put(feed.field[0] if feed.field else "")
            entries[topic.first + i] = (feed.row, feed.kind, field_at, field_bytes, feed.scale, feed.offset)

    slots = np.full(1 << max(3, (2 * len(topics)).bit_length()), UNKNOWN, np.int64)
    mask = len(slots) - 1
    for t in range(len(topics)):
        slot = int(topic_rows[t]["hash"]) & mask
        while slots[slot] != UNKNOWN:
            slot = (slot + 1) & mask
        slots[slot] = t

    run_max = max((len(topic.feeds) for topic in topics), default=1)
    return Table(
        slots,
        topic_rows,
        entries,
        np.frombuffer(bytes(text.raw) or b"\0", np.uint8).copy(),
        np.zeros(run_max, np.uint8),
        np.zeros(run_max, np.float64),
        np.zeros(run_max, np.int64),
    )
