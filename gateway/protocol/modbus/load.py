"""How busy a link will be: what its reads cost, and how old a value can get. An estimate before the start.

A read over TCP occupies the link for a round trip; `requests_in_flight` of them run side by side. Behind a converter
to a serial bus they do not: there a read costs its characters (11 bits each, at a port of ours as it is set), the
silences around request and reply (3.5 characters, never less than 1.75 ms above 19,200 baud), and the device's
turnaround. ASCII has two characters a byte and three around a frame, and needs no silence: the gateway keeps one.

A value is oldest just before it is read again: after its period and jitter, behind one read of every block of the
link, and its own. A link that is asked for more than it can do leaves out whole periods, so the period counts as
often as the link is overbooked.

A unit that falls silent holds a place for its patience, not for the response timeout, and only until it owes as many
answers as make it one that is probed (`polling`): so much older the others' values may get. Its probes take a known
share of the link's time for as long as it is silent, and each holds them up for less.

Source: MODBUS over Serial Line V1.02, 2.5.1.1 and 2.5.2.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.core.types import NS_PER_S
from gateway.protocol.modbus.plan import TABLES, Point, Run, runs_of
from gateway.protocol.modbus.polled import OWED_MAX
from gateway.protocol.modbus.polling import PATIENCE_FACTOR, PATIENCE_FLOOR_NS, PROBE_SHARE

BITS_PER_CHARACTER: Final = 11
REQUEST_CHARACTERS: Final = 8
REPLY_CHARACTERS: Final = 5
"""Unit, function, byte count, CRC: what a reply to a read has beside its data."""
ASCII_FRAME_CHARACTERS: Final = 3
"""Colon, carriage return and line feed. Between them each byte is two characters, and the LRC is one byte, not two."""
SILENCE_CHARACTERS: Final = 3.5
SILENCE_FLOOR_NS: Final = 1_750_000
FAST_BAUD: Final = 19_200
ROUNDING: Final = 1e-9
"""A load of exactly 2, summed from a hundred parts, is not above 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What a read costs on a link. `round_trip_ns` is the device's own time, on a serial bus its turnaround."""

    round_trip_ns: int
    response_timeout_ns: int = NS_PER_S
    request_gap_ns: int = 0
    requests_in_flight: int = 1
    baud: int | None = None
    """Of the serial bus behind the link, if there is one."""
    character_bits: int = BITS_PER_CHARACTER
    is_ascii: bool = False

    @property
    def side_by_side(self) -> int:
        return 1 if self.baud is not None else self.requests_in_flight

    def silence_ns(self, read_ns: int) -> int:
        """How long a unit that falls silent holds up others, whose reads take so long: its patience for each miss."""
        patience_ns = max(PATIENCE_FLOOR_NS, PATIENCE_FACTOR * read_ns)
        if self.baud is None:
            return OWED_MAX * min(self.response_timeout_ns, patience_ns)
        # On a line the characters come on top, whoever would have sent them.
        return OWED_MAX * (min(self.response_timeout_ns, patience_ns) + read_ns)

    def read_ns(self, data_bytes: int) -> int:
        """How long one read occupies its place."""
        if self.baud is None:
            return self.round_trip_ns + self.request_gap_ns
        character_ns = self.character_bits * NS_PER_S / self.baud
        characters = REQUEST_CHARACTERS + REPLY_CHARACTERS + data_bytes
        silences = 2
        if self.is_ascii:
            characters = 2 * (characters - 2) + 2 * ASCII_FRAME_CHARACTERS
            silences = 1
        silence_ns = SILENCE_CHARACTERS * character_ns
        if self.baud > FAST_BAUD:
            silence_ns = SILENCE_FLOOR_NS
        return self.round_trip_ns + self.request_gap_ns + math.ceil(characters * character_ns + silences * silence_ns)


@dataclass(frozen=True, slots=True)
class PlannedRead:
    device: str
    unit: int
    table: str
    address: int
    count: int
    tags: int
    period_ns: int
    phase_ns: int
    jitter_ns: int
    read_ns: int


@dataclass(frozen=True, slots=True)
class Group:
    """The reads of one device and period."""

    device: str
    unit: int
    period_ns: int
    jitter_ns: int
    reads: int
    tags: int
    worst_age_ns: int


@dataclass(frozen=True, slots=True)
class BusLoad:
    reads: tuple[PlannedRead, ...]
    groups: tuple[Group, ...]
    requests_per_s: float
    share: float
    """Of what the link can do; above 1 it leaves out reads."""
    silence_ns: int
    """How much older values may get when another unit of the link falls silent; 0 where there is none."""

    @property
    def probes_share(self) -> float:
        """What the probes of silent units take of the link's time, at the most."""
        return 1 / PROBE_SHARE if self.silence_ns else 0.0

    @property
    def worst_age_ns(self) -> int:
        return max((group.worst_age_ns for group in self.groups), default=0)


def bus_load(points: Iterable[Point], timing: Timing) -> BusLoad:
    reads = tuple(_planned(run, timing) for run in runs_of(points))
    share = sum(read.read_ns / read.period_ns for read in reads) / timing.side_by_side
    round_ns = math.ceil(sum(read.read_ns for read in reads) / timing.side_by_side)
    grouped: dict[tuple[str, int, int, int], list[PlannedRead]] = {}
    for read in reads:
        grouped.setdefault((read.device, read.unit, read.period_ns, read.jitter_ns), []).append(read)
    periods = max(1, math.ceil(share - ROUNDING))
    groups = tuple(
        Group(
            device=device,
            unit=unit,
            period_ns=period_ns,
            reads=len(members),
            tags=sum(read.tags for read in members),
            jitter_ns=jitter_ns,
            worst_age_ns=periods * period_ns + jitter_ns + round_ns + max(read.read_ns for read in members),
        )
        for (device, unit, period_ns, jitter_ns), members in grouped.items()
    )
    has_others = len({read.unit for read in reads}) > 1
    silence_ns = timing.silence_ns(max(read.read_ns for read in reads)) if has_others else 0
    return BusLoad(reads, groups, sum(NS_PER_S / read.period_ns for read in reads), share, silence_ns)


def _planned(run: Run, timing: Timing) -> PlannedRead:
    first = run.points[0]
    count = max(point.end for point in run.points) - first.address
    data_bytes = (count + 7) // 8 if first.is_bit else 2 * count
    return PlannedRead(
        device=first.device,
        unit=first.unit,
        table=TABLES[first.function],
        address=first.address,
        count=count,
        tags=len(run.points),
        period_ns=first.period_ns,
        phase_ns=run.phase_ns,
        jitter_ns=first.jitter_ns,
        read_ns=timing.read_ns(data_bytes),
    )
