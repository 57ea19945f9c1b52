"""Topics that appear by themselves: between the scanner's table, the lenders of the link's pools, and the lane.

What a lender decides is carried out here: places in the table are taken and given up, and what must reach the engine in
order (EVICTs, then LENDs with the samples that waited for them) stands in an outbox until the lane has room. A place
is released to the fast path when its LEND is in the lane, so that no sample overtakes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from gateway.core.inbox import Lane
from gateway.core.lending import Lending
from gateway.core.readings import Reading
from gateway.core.types import RAW_SAMPLE, SAMPLE, Int64s, Samples
from gateway.protocol.mqtt.lender import IDLE_EVICTIONS_MAX, Lender, Place, Wanted
from gateway.protocol.mqtt.places import give_up_place, refuse, take_place
from gateway.protocol.mqtt.report import Report
from gateway.protocol.mqtt.table import SPARE_NAME_BYTES, Table, Topic

METRICS: Final[tuple[tuple[str, str, str], ...]] = (
    ("fieldgate_pool_pending_tags", "gauge", "Tags that wait for what they remember before their first sample counts."),
    ("fieldgate_pool_departures_total", "counter", "Tags that had to leave: idle, or room for somebody else."),
    ("fieldgate_pool_refused_topics_total", "counter", "Topics that got no row, by reason, each once a minute."),
)

OUTGOING_SAMPLES: Final = 1_024
"""Answers are sent out in parts of about so many samples, far less than a lane holds: what a lane has no room for even
when it is empty is cut off, and a command must never be."""

Lend = Callable[[tuple[Lending, ...]], bool]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the parking knows of a tag that was asked for; None: nothing."""

    pool: int
    row: int
    generation: int
    state: bytes | None


@dataclass(frozen=True, slots=True)
class _Outgoing:
    lendings: tuple[Lending, ...]
    samples: Samples
    released: tuple[tuple[int, Topic], ...]


class Newcomers:
    """`lenders` are tried in their order. `lend` has the engine expect lendings; False: not now. One thread."""

    def __init__(self, lenders: Sequence[Lender], lend: Lend) -> None:
        self.lenders = tuple(lenders)
        self.templates = tuple(
            Topic("", offer.feed.qos, 0, (offer.feed,)) for lender in lenders for offer in lender.terms.offers
        )
        self.spare = sum(len(lender.terms.rows) for lender in lenders)
        self._lend = lend
        self._by_topic: dict[str, int] = {}
        self._topics: dict[int, Topic] = {}
        self._outbox: deque[_Outgoing] = deque()
        self._first_template: dict[int, int] = {}
        self._first_place: dict[int, int] = {}
        self._first_spare = 0
        self._table: Table | None = None
        self._report: Report | None = None
        self.recall: deque[str] = deque()
        """Topics that are to be given a row without having spoken."""
        self._more_idle = False

    def attach(self, table: Table, before: int, report: Report | None = None) -> None:
        """The table that has these templates, behind `before` topics, then the spare places, lender by lender. Another
        one takes over who has a place already."""
        self._table = table
        self._report = report
        template, place = before, before + len(self.templates)
        self._first_spare = place
        for lender in self.lenders:
            self._first_template[lender.terms.pool] = template
            self._first_place[lender.terms.pool] = place
            template += len(lender.terms.offers)
            place += len(lender.terms.rows)
        self._topics.clear()
        for lender in self.lenders:
            for topic, given in lender.places():
                t = self._settle_in(lender, topic, given)
                table.topics[t]["held"] = lender.is_pending(given.row)

    def adopt(self, lendings: Mapping[int, Lending], generations: Int64s, evictions: Sequence[int]) -> None:
        """Go on with an engine that was restored; `evictions` are those of each pool so far."""
        assert self._table is not None
        for lender in self.lenders:
            for topic, place in lender.adopt(lendings, generations, evictions[lender.terms.pool]):
                self._table.topics[self._settle_in(lender, topic, place)]["held"] = 0

    @property
    def needs(self) -> tuple[tuple[Topic, ...], int]:
        """Templates and spare places of the table."""
        return self.templates, self.spare

    @property
    def must_wait(self) -> bool:
        return bool(self._outbox) or any(lender.is_full for lender in self.lenders)

    def topic(self, t: int) -> Topic:
        return self._topics[t]

    def find(self, topic: str) -> int | None:
        """The place of a topic that has one."""
        return self._by_topic.get(topic)

    def is_pending(self, t: int) -> bool:
        return t in self._topics and self._lender_of(t).is_pending(self._topics[t].feeds[0].row)

    def wait(self, t: int, samples: Samples) -> None:
        self._lender_of(t).wait(self._topics[t].feeds[0].row, samples)

    def appear(self, topic: str, now_ns: int, vacated: Callable[[Topic], None]) -> int | None:
        """A place for a topic that has none; None when it gets none. `vacated` is told who gave up theirs."""
        for lender in self.lenders:
            found = lender.fits(topic)
            if found is None:
                continue
            given = lender.appear(topic, *found, now_ns)
            self.clear(lender, vacated)
            if isinstance(given, Place):
                return self._settle_in(lender, topic, given)
            break
        else:
            self.lenders[0].refuse_unfit()
        self._refuse(topic.encode())
        return None

    def refuse_bytes(self, name: bytes) -> None:
        """A topic that is no text."""
        self.lenders[0].refuse_unfit()
        self._refuse(name)

    def clear(self, lender: Lender, vacated: Callable[[Topic], None]) -> None:
        """Take the places of those who left, and have the engine told."""
        assert self._table is not None
        rows, evicts = lender.take_left()
        for row in rows:
            t = self._place_of(lender, row)
            topic = self._topics.pop(t)
            del self._by_topic[topic.name]
            give_up_place(self._table, t)
            vacated(topic)
        if len(evicts):
            self._outbox.append(_Outgoing((), evicts, ()))

    def evict_idle(self, now_ns: int, vacated: Callable[[Topic], None]) -> None:
        self._more_idle = False
        for lender in self.lenders:
            self._more_idle |= lender.evict_idle(now_ns) == IDLE_EVICTIONS_MAX
            self.clear(lender, vacated)

    @property
    def is_behind(self) -> bool:
        """Whether there is more to do for the house-keeping at once."""
        return self._more_idle or bool(self.recall)

    def call_back(self, now_ns: int, vacated: Callable[[Topic], None]) -> None:
        """Give rows to those in `recall`, as many as may wait for the parking at a time."""
        while self.recall and not self.must_wait:
            topic = self.recall.popleft()
            if topic not in self._by_topic:
                self.appear(topic, now_ns, vacated)

    def rows_lent(self) -> Int64s:
        return np.concatenate([lender.rows_lent() for lender in self.lenders])

    def all_topics(self) -> list[str]:
        """Of all that have a row, of each pool those seen last first."""
        return [topic for lender in self.lenders for topic in lender.topics()]

    def answer(self, answers: Sequence[Answer]) -> None:
        lendings: list[Lending] = []
        parts: list[Samples] = []
        released: list[tuple[int, Topic]] = []
        for told in answers:
            lender = next(lender for lender in self.lenders if lender.terms.pool == told.pool)
            given = lender.answer(told.row, told.generation, told.state)
            if given is not None:
                lendings.append(given[0])
                parts += given[1]
                t = self._place_of(lender, told.row)
                released.append((t, self._topics[t]))
                if sum(map(len, parts)) >= OUTGOING_SAMPLES:
                    self._send_out(lendings, parts, released)
                    lendings, parts, released = [], [], []
        if lendings:
            self._send_out(lendings, parts, released)

    def _send_out(
        self, lendings: Sequence[Lending], parts: Sequence[Samples], released: Sequence[tuple[int, Topic]]
    ) -> None:
        # As plain bytes: a concatenation would lay the fields out anew.
        samples = np.concatenate([part.view(RAW_SAMPLE) for part in parts]).view(SAMPLE)
        self._outbox.append(_Outgoing(tuple(lendings), samples, tuple(released)))

    def flush(self, lane: Lane, is_usable: Callable[[int], bool]) -> None:
        """Into the lane what it has room for, in order. A message of more than a whole lane would never have."""
        assert self._table is not None
        while self._outbox and (lane.room >= len(self._outbox[0].samples) or not len(lane)):
            going = self._outbox[0]
            if going.lendings and not self._lend(going.lendings):
                return
            lane.append(going.samples)
            self._outbox.popleft()
            for t, topic in going.released:
                if self._topics.get(t) is topic:
                    self._table.topics[t]["held"] = not is_usable(topic.first)

    def take_wanted(self) -> list[Wanted]:
        wanted = []
        for lender in self.lenders:
            wanted += lender.wanted
            lender.wanted = []
        return wanted

    def forgive(self) -> None:
        """Refused topics may try again."""
        if self._table is not None:
            self._table.refused[:] = 0

    def readings(self) -> Iterator[Reading]:
        for lender in self.lenders:
            labels = (("pool", lender.terms.name),)
            yield Reading("fieldgate_pool_pending_tags", lender.pending, labels)
            for why, count in lender.departures.items():
                yield Reading("fieldgate_pool_departures_total", count, (*labels, ("reason", why.value)))
            for reason, count in lender.counts():
                yield Reading("fieldgate_pool_refused_topics_total", count, (*labels, ("reason", reason)))

    def _settle_in(self, lender: Lender, topic: str, given: Place) -> int:
        table = self._table
        assert table is not None
        t = self._place_of(lender, given.row)
        spare = t - self._first_spare
        first = len(table.entries) - self.spare + spare
        at = len(table.text) - (self.spare - spare) * SPARE_NAME_BYTES
        template = self._first_template[lender.terms.pool] + given.offer
        take_place(table, t, template, given.row, np.frombuffer(topic.encode(), np.uint8), first, at)
        offer = lender.terms.offers[given.offer]
        if self._report is not None:
            self._report.lend(given.row, offer.ruled)
        feed = msgspec.structs.replace(offer.feed, topic=topic, row=given.row, device=given.device)
        self._topics[t] = Topic(topic, feed.qos, first, (feed,))
        self._by_topic[topic] = t
        return t

    def _place_of(self, lender: Lender, row: int) -> int:
        return self._first_place[lender.terms.pool] + row - lender.terms.rows.start

    def _lender_of(self, t: int) -> Lender:
        row = self._topics[t].feeds[0].row
        return next(lender for lender in self.lenders if row in lender.terms.rows)

    def _refuse(self, name: bytes) -> None:
        assert self._table is not None
        if len(name) <= SPARE_NAME_BYTES:
            refuse(self._table, np.frombuffer(name, np.uint8))
