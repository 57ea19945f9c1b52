"""The lender of one pool: which topics have a row, who must leave for whom, and who waits.

A topic that fits a pattern is given a row and a place in the table at once, but begins held: its messages wait here
while the parking is asked what the tag remembers. With the answer the LEND goes into the lane, the samples that waited
behind it, and from then on its messages take the fast path. When rows or device numbers are all taken, those seen
least recently leave; their EVICT goes into the lane at once, and whoever asks the parking for a tag has it answered
only when all EVICTs before have been parked, so that a tag which returns at once finds itself.

    rows     free → pending (the parking is asked) → lent → free
    unknown  topics that fit nothing, or that nobody can take, are refused: they cost nothing more for a minute

When a row was last seen is read from the engine's live cells while the engine runs. Such a reading may be some
milliseconds old; what is decided by it is an input of the engine all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from fnmatch import fnmatchcase
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.core.lending import Command, Lending, command, commands
from gateway.core.types import Int64s, Samples
from gateway.protocol.mqtt.patterns import Pattern
from gateway.protocol.mqtt.report import Ruled
from gateway.protocol.mqtt.table import SPARE_NAME_BYTES, Feed

PENDING_MAX: Final = 4_096
"""Topics that wait for the parking's answer. At the limit reading pauses until some are answered."""
WAITING_SAMPLES_MAX: Final = 16_384
"""Samples that wait with them. At the limit reading pauses."""
IDLE_EVICTIONS_MAX: Final = 100
"""Tags that leave in one look for idle ones, so that no look holds the loop up; the rest at the next."""
NEVER: Final = -1
STAYS: Final = 1 << 62
VICTIMS_SHARE: Final = 64
"""One search for the least recently seen finds a 64th of them."""


class RowState(IntEnum):
    FREE = 0
    PENDING = 1
    LENT = 2


class Refusal(StrEnum):
    """Why a topic gets no row."""

    PATTERN = "pattern"
    NAME = "name"
    TAGS = "tags_per_device"


class Departure(StrEnum):
    """Why a tag has to leave: it was silent for long, or somebody else needs its place."""

    IDLE = "idle"
    ROOM = "room"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a pool gives: tags whose name fits `names` get `shape`, read as `feed` says, and of `ruled`, whose row means
    nothing, not everything is passed on."""

    names: str
    shape: int
    feed: Feed
    ruled: Ruled | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings of one pool. `offers` are tried in order and the last takes any name."""

    name: str
    pool: int
    patterns: tuple[Pattern, ...]
    offers: tuple[Offer, ...]
    rows: range
    devices: range
    tags_per_device: int
    evict_idle_after_ns: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A question to the parking: what does this tag remember? To be answered after so many evictions of the pool."""

    pool: int
    name: str
    row: int
    generation: int
    after_evictions: int


@dataclass(frozen=True, slots=True)
class Place:
    """A row that was taken for a topic, and how its messages are read."""

    row: int
    offer: int
    device: str


@dataclass(slots=True)
class Tenant:
    """Who has a row."""

    topic: str
    name: str
    device: str
    number: int
    offer: int
    waiting: list[Samples] = field(default_factory=list)


class Lender:
    """`seen_ns` is the live cells' arrival time by row; `taken` are the names of tags and `numbers` those of devices
    that are written down. Used on one thread."""

    def __init__(self, terms: Terms, *, seen_ns: Int64s, taken: frozenset[str], numbers: dict[str, int]) -> None:
        self.terms = terms
        self._seen_ns = seen_ns[terms.rows.start : terms.rows.stop]
        self._taken = taken
        self._written = numbers
        count = len(terms.rows)
        self._state: npt.NDArray[np.uint8] = np.zeros(count, np.uint8)
        self._lent_ns = np.zeros(count, np.int64)
        self._generations = np.zeros(count, np.int64)
        self._free = deque(terms.rows)
        self._free_numbers = deque(terms.devices)
        self._tenants: dict[int, Tenant] = {}
        self._row_of: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._devices: dict[int, str] = {}
        self._number_at = np.zeros(count, np.int64)
        self._rows_of_device: dict[str, set[int]] = {}
        self._victims: deque[tuple[int, int]] = deque()
        self._device_victims: deque[tuple[int, int]] = deque()
        self._left: list[int] = []
        self._leaving: list[tuple[int, int, int, int]] = []
        self.wanted: list[Wanted] = []
        """Questions for the parking that nobody has taken yet."""
        self.evictions = 0
        self.departures = dict.fromkeys(Departure, 0)
        self.departures_told = 0
        self.refused = dict.fromkeys(Refusal, 0)
        self.waiting_samples = 0
        self.pending = 0

    @property
    def is_full(self) -> bool:
        """Whether no more newcomers can be taken until some are answered."""
        limit = min(PENDING_MAX, max(1, min(len(self.terms.rows), len(self.terms.devices)) // 2))
        return self.pending >= limit or self.waiting_samples >= WAITING_SAMPLES_MAX

    def adopt(self, lendings: Mapping[int, Lending], generations: Int64s, evictions: int) -> list[tuple[str, Place]]:
        """Go on with an engine that was restored: what it has lent. Returns topics and places. Once, first."""
        start = self.terms.rows.start
        self._generations[:] = generations[start : self.terms.rows.stop]
        self.evictions = evictions
        found = []
        for row in self.terms.rows:
            lending = lendings.get(row)
            if lending is None:
                continue
            offer = next(i for i, offer in enumerate(self.terms.offers) if offer.shape == lending.shape)
            number = lending.device_number
            self._state[row - start] = RowState.LENT
            self._number_at[row - start] = number
            self._tenants[row] = Tenant(lending.address, lending.name, lending.device, number, offer)
            self._row_of[lending.name] = row
            self._rows_of_device.setdefault(lending.device, set()).add(row)
            if number in self.terms.devices:
                self._numbers[lending.device] = number
                self._devices[number] = lending.device
            found.append((lending.address, Place(row, offer, lending.device)))
        self._free = deque(row for row in self.terms.rows if row not in self._tenants)
        self._free_numbers = deque(number for number in self.terms.devices if number not in self._devices)
        return found

    def fits(self, topic: str) -> tuple[str, str] | None:
        """Device and tag of a topic, by the first pattern that it fits."""
        for pattern in self.terms.patterns:
            found = pattern.match(topic)
            if found is not None:
                return found
        return None

    def appear(self, topic: str, device: str, tag: str, now_ns: int) -> Place | Refusal:
        """A row for a topic that has none, by what `fits` said. Who must leave for it is in `take_left`."""
        name = f"{device}.{tag}"
        if name in self._taken or name in self._row_of or len(topic.encode()) > SPARE_NAME_BYTES:
            return self._refuse(Refusal.NAME)
        if len(self._rows_of_device.get(device, ())) >= self.terms.tags_per_device:
            return self._refuse(Refusal.TAGS)
        if not self._free:
            # Before the number: the device's last tag may be the one that leaves.
            self._evict_least_recent(now_ns)
        number = self._number_of(device, now_ns)
        row = self._free.popleft()
        offer = next(i for i, offer in enumerate(self.terms.offers) if fnmatchcase(tag, offer.names))
        place = row - self.terms.rows.start
        self._state[place] = RowState.PENDING
        self._generations[place] += 1
        self._lent_ns[place] = now_ns
        self._number_at[place] = number
        self._tenants[row] = Tenant(topic, name, device, number, offer)
        self._row_of[name] = row
        self._rows_of_device.setdefault(device, set()).add(row)
        self.pending += 1
        self.wanted.append(Wanted(self.terms.pool, name, row, int(self._generations[place]), self.evictions))
        return Place(row, offer, device)

    def refuse_unfit(self) -> None:
        self._refuse(Refusal.PATTERN)

    def is_pending(self, row: int) -> bool:
        return bool(self._state[row - self.terms.rows.start] == RowState.PENDING)

    def wait(self, row: int, samples: Samples) -> None:
        """Samples of a pending row, to follow its LEND."""
        self._tenants[row].waiting.append(samples.copy())
        self.waiting_samples += len(samples)

    def answer(self, row: int, generation: int, state: bytes | None) -> tuple[Lending, list[Samples]] | None:
        """What the parking said: the lending, and what goes into the lane. None when nobody waits for it any more."""
        place = row - self.terms.rows.start
        if int(self._generations[place]) != generation or self._state[place] != RowState.PENDING:
            return None
        tenant = self._tenants[row]
        self._state[place] = RowState.LENT
        self.pending -= 1
        self.waiting_samples -= sum(len(samples) for samples in tenant.waiting)
        shape = self.terms.offers[tenant.offer].shape
        lending = Lending(row, generation, tenant.name, tenant.device, tenant.number, shape, tenant.topic, state)
        lent = commands([command(Command.LEND, row, generation, int(self._lent_ns[place]))])
        samples, tenant.waiting = [lent, *tenant.waiting], []
        return lending, samples

    def take_left(self) -> tuple[list[int], Samples]:
        """Rows that were freed since the last call, and their EVICTs."""
        rows, self._left = self._left, []
        leaving, self._leaving = self._leaving, []
        return rows, commands(leaving)

    def evict_idle(self, now_ns: int) -> int:
        """Have those leave that were not seen for `evict_idle_after_ns`; returns how many."""
        limit_ns = now_ns - self.terms.evict_idle_after_ns
        idle = np.flatnonzero((self._state == RowState.LENT) & (self._last_ns() < limit_ns))[:IDLE_EVICTIONS_MAX]
        for place in idle.tolist():
            self._evict(self.terms.rows.start + place, now_ns, Departure.IDLE)
        return len(idle)

    def rows_lent(self) -> Int64s:
        return np.flatnonzero(self._state == RowState.LENT) + self.terms.rows.start

    def places(self) -> list[tuple[str, Place]]:
        """Topics and places of all tenants."""
        return [(tenant.topic, Place(row, tenant.offer, tenant.device)) for row, tenant in self._tenants.items()]

    def topics(self) -> list[str]:
        """Of all tenants, last seen first."""
        last_ns = self._last_ns()
        start = self.terms.rows.start
        rows = sorted(self._tenants, key=lambda row: int(last_ns[row - start]), reverse=True)
        return [self._tenants[row].topic for row in rows]

    def counts(self) -> Iterator[tuple[str, int]]:
        yield from ((reason.value, count) for reason, count in self.refused.items())

    def _refuse(self, why: Refusal) -> Refusal:
        self.refused[why] += 1
        return why

    def _last_ns(self) -> Int64s:
        return np.maximum(self._seen_ns, self._lent_ns)

    def _number_of(self, device: str, now_ns: int) -> int:
        number = self._written.get(device, self._numbers.get(device))
        if number is None:
            if not self._free_numbers:
                self._evict_least_recent_device(now_ns)
            number = self._numbers[device] = self._free_numbers.popleft()
            self._devices[number] = device
        return number

    def _evict_least_recent(self, now_ns: int) -> None:
        while True:
            if not self._victims:
                self._victims.extend(self._oldest())
            last_ns, row = self._victims.popleft()
            if self._is_lent(row) and self._last_ns_of(row) == last_ns:
                self._evict(row, now_ns, Departure.ROOM)
                return

    def _oldest(self) -> list[tuple[int, int]]:
        """(last seen, row) of the least recently seen, oldest first. There are some: at most half are pending."""
        last_ns = self._last_ns()
        lent = np.flatnonzero(self._state == RowState.LENT)
        count = min(len(lent), max(16, len(lent) // VICTIMS_SHARE))
        part = lent[np.argpartition(last_ns[lent], count - 1)[:count]]
        part = part[np.argsort(last_ns[part], kind="stable")]
        start = self.terms.rows.start
        return [(int(last_ns[place]), start + place) for place in part.tolist()]

    def _evict_least_recent_device(self, now_ns: int) -> None:
        while True:
            if not self._device_victims:
                self._device_victims.extend(self._oldest_devices())
            last_ns, number = self._device_victims.popleft()
            device = self._devices.get(number)
            rows = [] if device is None else sorted(self._rows_of_device[device])
            if rows and all(self._is_lent(row) for row in rows) and max(map(self._last_ns_of, rows)) == last_ns:
                for row in rows:
                    self._evict(row, now_ns, Departure.ROOM)
                return

    def _is_lent(self, row: int) -> bool:
        return bool(self._state[row - self.terms.rows.start] == RowState.LENT)

    def _last_ns_of(self, row: int) -> int:
        place = row - self.terms.rows.start
        return max(int(self._seen_ns[place]), int(self._lent_ns[place]))

    def _oldest_devices(self) -> list[tuple[int, int]]:
        """(last seen, number) of the least recently seen, oldest first. One of a pending tag stays."""
        first = self.terms.devices.start
        last_ns = np.full(len(self.terms.devices), NEVER, np.int64)
        places = np.flatnonzero((self._state != RowState.FREE) & (self._number_at >= first))
        seen_ns = np.where(self._state[places] == RowState.LENT, self._last_ns()[places], STAYS)
        np.maximum.at(last_ns, self._number_at[places] - first, seen_ns)
        found = np.flatnonzero((last_ns != NEVER) & (last_ns != STAYS))
        count = min(len(found), max(16, len(found) // VICTIMS_SHARE))
        part = found[np.argpartition(last_ns[found], count - 1)[:count]]
        part = part[np.argsort(last_ns[part], kind="stable")]
        return [(int(last_ns[number]), first + number) for number in part.tolist()]

    def _evict(self, row: int, now_ns: int, why: Departure) -> None:
        place = row - self.terms.rows.start
        tenant = self._tenants.pop(row)
        self._leaving.append(command(Command.EVICT, row, int(self._generations[place]), now_ns))
        self._left.append(row)
        self._state[place] = RowState.FREE
        self._generations[place] += 1
        self._free.append(row)
        self.evictions += 1
        self.departures[why] += 1
        del self._row_of[tenant.name]
        of_device = self._rows_of_device[tenant.device]
        of_device.discard(row)
        if not of_device:
            del self._rows_of_device[tenant.device]
            if tenant.device in self._numbers:
                number = self._numbers.pop(tenant.device)
                del self._devices[number]
                self._free_numbers.append(number)
