"""The table of known topics, built of their feeds.

A large plant has a hundred thousand topics and is built at every start, so what many of them have in common (names of
members, words for qualities, how a payload is read) is worked out once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from gateway.core.types import Int64s, Kind, Samples
from gateway.protocol.mqtt.form import Form, Layout
from gateway.protocol.mqtt.table import (
    DEPTH_MAX,
    ENTRY,
    PRIORITIES,
    READING_FIELDS,
    READINGS_MAX,
    REFUSED_TOPICS,
    SPARE_NAME_BYTES,
    TOPIC,
    UNKNOWN,
    WAY_FIELDS,
    Feed,
    Path,
    Table,
    Topic,
)
from gateway.protocol.octets import hash_bytes, spread
from gateway.protocol.sparkplug.table import Births, births

READINGS: Final = int(Layout.READINGS)
SENML: Final = int(Layout.SENML)
OF_NAMES: Final = (READINGS, SENML)
"""Layouts of messages with many readings, each with a name."""


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
    writer = _Writer()
    found = len(topics) + len(data_topics)
    written = sum(len(topic.feeds) for topic in topics)
    topic_rows = np.zeros(found + len(templates) + spare, TOPIC)
    entries = np.zeros(written + len(templates) + spare, ENTRY)
    members = np.zeros((len(topic_rows), 8), np.int64)
    writer.enter_topics(topic_rows[: len(topics)], topics, [topic.first for topic in topics])
    writer.enter_feeds(entries[:written], [feed for topic in topics for feed in topic.feeds])
    members[: len(topics)] = writer.members_of(topics)
    behind = slice(found, found + len(templates))
    writer.enter_topics(topic_rows[behind], templates, range(written, written + len(templates)))
    writer.enter_feeds(entries[written : written + len(templates)], [topic.feeds[0] for topic in templates])
    members[behind] = writer.members_of(templates)
    for t, (name, node) in enumerate(data_topics, len(topics)):
        # Left out, a message would be a gap in its node's sequence: these never are.
        rest = (0, 0, 0, 0, 0, 0, 0, 0, PRIORITIES, Layout.SPARKPLUG, node, 0, 0, 0, 0, 0, 0, 0, 0)
        topic_rows[t] = (0, *writer.put(name), *rest)

    run_max = max(1, int(topic_rows["count"].max(initial=0)))
    has_names = bool(np.isin(topic_rows[: len(topics)]["layout"], OF_NAMES).any())
    if data_topics or has_names:
        run_max = max(run_max, READINGS_MAX)
    writer.text += bytes(spare * SPARE_NAME_BYTES)
    refused = REFUSED_TOPICS if templates else 0
    raw = np.frombuffer(bytes(writer.text) or b"\0", np.uint8).copy()
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
        np.array(writer.qualities or [(0, 0, 0)], np.int64),
        _index_names(topic_rows[: len(topics)] if has_names else topic_rows[:0], entries, raw),
        np.zeros(READING_FIELDS + WAY_FIELDS, np.int64),
        np.array(writer.parts or [(0, 0)], np.int64),
        np.full(refused, 0, np.int64),
        np.full(refused * SPARE_NAME_BYTES, 0, np.uint8),
    )


class _Writer:
    """Makes rows of topics and of entries; their names go into `text`, words for qualities into `qualities`."""

    def __init__(self) -> None:
        self.text = bytearray()
        self.qualities: list[tuple[int, int, int]] = []
        self.parts: list[tuple[int, int]] = []
        self._paths: dict[Path, tuple[int, int]] = {}
        self._put: dict[str, tuple[int, int]] = {}
        self._words: dict[tuple[tuple[bytes, int], ...], int] = {}
        self._members: dict[int, tuple[int, ...]] = {}
        self._ways: list[tuple[int, ...]] = []
        self._way_by: dict[tuple[object, ...], int] = {}
        self._wheres: list[tuple[int, int, int, int]] = []
        self._where_of: dict[tuple[object, ...], int] = {}

    def put(self, text: str | bytes) -> tuple[int, int]:
        """Place and length of a name that one topic has."""
        at = len(self.text)
        self.text += text.encode() if isinstance(text, str) else text
        return at, len(self.text) - at

    def put_once(self, text: str) -> tuple[int, int]:
        """Place and length of a name that many have."""
        found = self._put.get(text)
        if found is None:
            found = self._put[text] = self.put(text)
        return found

    def enter_topics(self, rows: Samples, topics: Sequence[Topic], firsts: Sequence[int]) -> None:
        """Topics whose entries begin at `firsts`, by columns."""
        names = [topic.name.encode() for topic in topics]
        rows["name_bytes"] = [len(name) for name in names]
        rows["name_at"] = len(self.text) + np.cumsum(rows["name_bytes"]) - rows["name_bytes"]
        self.text += b"".join(names)
        rows["first"] = firsts
        rows["count"] = [len(topic.feeds) for topic in topics]
        ways = [self._way_of(topic) for topic in topics]
        if ways:
            columns = rows.view(np.int64).reshape(len(rows), -1)
            columns[:, -len(self._ways[0]) :] = np.array(self._ways, np.int64)[ways]

    def enter_feeds(self, entries: Samples, feeds: Sequence[Feed]) -> None:
        entries["row"] = [feed.row for feed in feeds]
        entries["kind"] = [feed.kind for feed in feeds]
        entries["scale"] = [feed.scale for feed in feeds]
        entries["offset"] = [feed.offset for feed in feeds]
        where = [self._where(feed) for feed in feeds]
        if where:
            columns = np.array(self._wheres, np.int64)[where].T
            for name, column in zip(("field_at", "field_bytes", "part_first", "parts"), columns, strict=True):
                entries[name] = column

    def _where(self, feed: Feed) -> int:
        """Which of `_wheres` says where in a payload the value is."""
        key = (id(feed.form), feed.field, feed.name, feed.at, feed.wire)
        found = self._where_of.get(key)
        if found is None:
            found = self._where_of[key] = len(self._wheres)
            self._wheres.append((*self._place(feed), *self._path(feed.field)))
        return found

    def _path(self, path: Path) -> tuple[int, int]:
        """Place and number of a path's parts."""
        found = self._paths.get(path)
        if found is None:
            found = self._paths[path] = len(self.parts), len(path)
            self.parts += [self.put_once(part) if isinstance(part, str) else (part, -1) for part in path]
        return found

    def members_of(self, topics: Sequence[Topic]) -> Int64s:
        """Place and length of the names of a reading's members, a row for each topic."""
        rows = [self._members_of(topic.feeds[0].form) for topic in topics]
        return np.array(rows, np.int64).reshape(len(topics), 8)

    def _members_of(self, form: Form) -> tuple[int, ...]:
        """A form is known by being the same object."""
        found = self._members.get(id(form))
        if found is None:
            of = form.members
            names = (of.name, of.value, of.time, of.quality)
            found = self._members[id(form)] = tuple(number for name in names for number in self.put_once(name))
        return found

    def _way_of(self, topic: Topic) -> int:
        """Which of `_ways` says what follows from the way in which a topic is read: the same one for all topics of one
        tag that are read alike."""
        of = topic.feeds[0]
        key = None
        if len(topic.feeds) == 1:
            key = (id(of.form), of.kind, of.field, of.time_field, of.sequence_field, of.quality_field, of.priority)
            found = self._way_by.get(key)
            if found is not None:
                return found
            self._way_by[key] = len(self._ways)
        self._ways.append(self._work_out(topic))
        return len(self._ways) - 1

    def _work_out(self, topic: Topic) -> tuple[int, ...]:
        form = topic.form
        if form.qualities not in self._words:
            self._words[form.qualities] = len(self.qualities)
            self.qualities += [(*self.put(word), int(code)) for word, code in form.qualities]
        slow = _is_slow(topic)
        time_field = "" if slow or not topic.feeds[0].time_field else str(topic.feeds[0].time_field[0])
        identity = self.put_once(_identity(topic))
        priority = max(feed.priority for feed in topic.feeds)
        return (
            *self.put_once(time_field), slow, 0, *identity, priority, form.layout, 0, form.time,
            self._words[form.qualities], len(form.qualities), _is_nested(topic), *self._path(topic.feeds[0].time_field),
            *self._path(topic.feeds[0].quality_field),
        )  # fmt: skip

    def _place(self, feed: Feed) -> tuple[int, int]:
        """Where a tag's value is: the name of a member or a reading, or the place and form of a number in a struct."""
        match feed.form.layout:
            case Layout.READINGS | Layout.SENML:
                return self.put_once(feed.name)
            case Layout.STRUCT:
                return feed.at, feed.wire
        return self.put_once(str(feed.field[0]) if feed.field else "")


def _is_slow(topic: Topic) -> bool:
    """The scanner reads numbers, members of one object and of what is in it, one time and one quality for the whole
    message, each reading for one tag."""
    if any(feed.kind is Kind.SYMBOL for feed in topic.feeds):
        return True
    if topic.form.layout in (Layout.READINGS, Layout.SENML):
        return len({feed.name for feed in topic.feeds}) < len(topic.feeds)
    return (
        any(path and not _is_readable(path) for feed in topic.feeds for path in _paths(feed))
        or len({feed.quality_field for feed in topic.feeds}) > 1
        or len({feed.time_field for feed in topic.feeds}) > 1
    )


def _is_readable(path: Path) -> bool:
    """The root is an object, and names are not empty."""
    return isinstance(path[0], str) and len(path) <= DEPTH_MAX and all(part != "" for part in path)


def _paths(feed: Feed) -> tuple[Path, Path, Path]:
    return feed.field, feed.time_field, feed.quality_field


def _is_nested(topic: Topic) -> bool:
    """Whether more than the flat members of one object are asked for."""
    is_plain = topic.form.layout is Layout.PLAIN
    return is_plain and any(len(path) > 1 or feed.quality_field for feed in topic.feeds for path in _paths(feed))


def _identity(topic: Topic) -> str:
    """The member whose presence makes a message's bytes tell one reading from the next, as JSON writes its name."""
    paths = [path for feed in topic.feeds for path in (feed.sequence_field, feed.time_field) if path]
    names = [part for part in (paths[0] if paths else ()) if isinstance(part, str)]
    return f'"{names[-1]}"' if names else ""


def _index_names(topic_rows: Samples, entries: Samples, raw: npt.NDArray[np.uint8]) -> Int64s:
    """Slots that lead to entries by the names of their readings."""
    slots = np.full(1 << max(3, (2 * len(entries)).bit_length()), UNKNOWN, np.int64)
    if len(topic_rows):
        index_names(topic_rows, entries, raw, slots)
    return slots


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def index_names(topic_rows: Samples, entries: Samples, names: npt.NDArray[np.uint8], slots: Int64s) -> None:
    """Put each entry of a topic of many readings into the first free slot from its name's on."""
    for t in range(len(topic_rows)):
        if topic_rows[t]["layout"] == READINGS or topic_rows[t]["layout"] == SENML:
            first = topic_rows[t]["first"]
            for e in range(first, first + topic_rows[t]["count"]):
                at = entries[e]["field_at"]
                slot = spread(hash_bytes(names, at, at + entries[e]["field_bytes"]), t, len(slots))
                while slots[slot] != UNKNOWN:
                    slot = (slot + 1) & (len(slots) - 1)
                slots[slot] = e


def _index(topic_rows: Samples, names: npt.NDArray[np.uint8], count_max: int) -> Int64s:
    """Slots that lead to the topics, whose hashes are put down as well; room for `count_max` topics."""
    slots = np.full(1 << max(3, (2 * count_max).bit_length()), UNKNOWN, np.int64)
    index_topics(topic_rows, names, slots)
    return slots


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def index_topics(topic_rows: Samples, names: npt.NDArray[np.uint8], slots: Int64s) -> None:
    """Put down each topic's hash, and its number in the first free slot from there on. There are more slots."""
    mask = len(slots) - 1
    for t in range(len(topic_rows)):
        at = topic_rows[t]["name_at"]
        h = hash_bytes(names, at, at + topic_rows[t]["name_bytes"])
        topic_rows[t]["hash"] = h
        slot = h & mask
        while slots[slot] != UNKNOWN:
            slot = (slot + 1) & mask
        slots[slot] = t
