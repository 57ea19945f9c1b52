"""Reconciliation: is what the gateway gave out at the receiver, once, or accounted for?

Every identity that the spool ever gave out has one fate, the first of these that holds:

    received       it stands in the receiver's table
    waiting        it is in the spool and not acknowledged
    ledgered       the loss ledger says why it will never come: in the spool, on its way, or told to the receiver
    lost, kept     acknowledged, not received, and still in its grace: `repair` has it sent again
    lost           acknowledged, not received, and gone

So produced = received + waiting + ledgered + lost, by construction; what can fail is that something is lost, that the
receiver has a record twice, or that it has one that this spool never gave out. Sets are kept as ranges: a plant's
record count does not matter, the number of its holes does.

The spool is looked at before the receiver. What was acknowledged and is not in the receiver's table yet (committed a
moment later) is looked for again before it is called lost. Segments older than what the spool remembers
(`SEGMENTS_DONE_MAX`) are counted, not examined.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import msgspec

from gateway.core.segments import KIND_LEDGER, SEGMENTS_PER_EPOCH, Loss, LossReport
from gateway.spool.records import Key
from gateway.spool.view import State, View, ask_again, view

Range: TypeAlias = tuple[int, int]
Place: TypeAlias = tuple[str, int]
"""Stream and segment."""
Ranges: TypeAlias = dict[Place, list[Range]]

LOOKS: Final = 5
"""How often the receiver is looked at for records that were acknowledged and are not there yet."""


class ReceiverUnfit(Exception):
    """The receiver's file cannot prove anything."""


@dataclass(frozen=True, slots=True)
class Part:
    """One range of one segment and what became of it."""

    stream: str
    segment: int
    first: int
    last: int

    def identities(self) -> Iterator[Key]:
        return (Key(self.stream, self.segment, number) for number in range(self.first, self.last + 1))

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        numbers = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.stream} {self.segment}/{numbers}"


@dataclass(slots=True)
class Sent:
    """The sender's book at one moment."""

    given: Ranges = field(default_factory=dict)
    waiting: Ranges = field(default_factory=dict)
    kept: Ranges = field(default_factory=dict)
    ledgered: Ranges = field(default_factory=dict)
    produced: int = 0
    unexamined: int = 0
    lost_before_identity: int = 0


@dataclass(slots=True)
class Received:
    """The receiver's book of one gateway at one moment."""

    held: Ranges = field(default_factory=dict)
    duplicates: list[Part] = field(default_factory=list)
    ledgered: Ranges = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`is_whole`: nothing lost, nothing twice, nothing strange."""

    produced: int
    received: int
    waiting: int
    ledgered: int
    unexamined: int
    lost_before_identity: int
    lost_kept: tuple[Part, ...]
    lost: tuple[Part, ...]
    duplicates: tuple[Part, ...]
    strangers: tuple[Part, ...]

    @property
    def is_whole(self) -> bool:
        return not (self.lost_kept or self.lost or self.duplicates or self.strangers)


def reconcile(spool: Path, receiver: Path, gateway: str, *, pause: Callable[[], None]) -> Verdict:
    """Raises StoreRefused, StoreUnavailable or ReceiverUnfit. `pause` is called between looks at the receiver."""
    with view(spool) as seen:
        sent = read_sender(seen)
    for _ in range(LOOKS):
        verdict = compare(sent, read_receiver(receiver, gateway))
        if not (verdict.lost_kept or verdict.lost):
            break
        pause()
    return verdict


def repair(spool: Path, verdict: Verdict) -> int:
    """Have the gateway send again what the upstream lost; returns how many records."""
    return ask_again(spool, [key for part in verdict.lost_kept for key in part.identities()])


def compare(sent: Sent, received: Received) -> Verdict:
    counts = {"received": 0, "waiting": 0, "ledgered": 0}
    lost_kept: list[Part] = []
    lost: list[Part] = []
    for place, given in sorted(sent.given.items()):
        rest = given
        for fate, book in (
            ("received", [received.held]),
            ("waiting", [sent.waiting]),
            ("ledgered", [sent.ledgered, received.ledgered]),
        ):
            before = _size(rest)
            for ranges in book:
                rest = _without(rest, ranges.get(place, []))
            counts[fate] += before - _size(rest)
        gone = _without(rest, sent.kept.get(place, []))
        lost += [Part(*place, *each) for each in gone]
        lost_kept += [Part(*place, *each) for each in _without(rest, gone)]
    return Verdict(
        produced=sent.produced,
        unexamined=sent.unexamined,
        lost_before_identity=sent.lost_before_identity,
        lost_kept=tuple(lost_kept),
        lost=tuple(lost),
        duplicates=tuple(received.duplicates),
        strangers=tuple(_strangers(sent, received)),
        **counts,
    )


def _strangers(sent: Sent, received: Received) -> Iterator[Part]:
    """Received, of a segment whose length is fixed or that was never begun, and never given out.

    The spool was read first, so an open segment may have grown since, and a later one begun.
    """
    newest: dict[str, int] = {}
    for stream, segment in sent.given:
        newest[stream] = max(newest.get(stream, 0), segment)
    epochs = {(stream, segment // SEGMENTS_PER_EPOCH) for stream, segment in sent.given}
    for (stream, segment), ranges in sorted(received.held.items()):
        given = sent.given.get((stream, segment))
        is_known_epoch = (stream, segment // SEGMENTS_PER_EPOCH) in epochs
        if given is not None and segment < newest[stream]:
            yield from (Part(stream, segment, *each) for each in _without(ranges, given))
        elif given is None and not is_known_epoch:
            yield from (Part(stream, segment, *each) for each in ranges)


def read_sender(seen: View) -> Sent:
    sent = Sent()
    for segment in seen.segments():
        if segment.given:
            sent.given[segment.stream, segment.segment] = [(1, segment.given)]
    streams = [row.stream for row in seen.produced()]
    sent.produced = sum(row.records for row in seen.produced())
    sent.unexamined = max(0, sent.produced - sum(_size(ranges) for ranges in sent.given.values()))
    for state, book in ((State.WAITING, sent.waiting), (State.KEPT, sent.kept)):
        for row in seen.rows(state, streams):
            _add(book, (row.stream, row.segment), (row.sequence, row.sequence))
    for loss in (*seen.losses(), *seen.told_losses()):
        _explain(sent.ledgered, loss)
    sent.lost_before_identity = sum(loss.records for loss in seen.losses() if loss.segment is None)
    _tidy(sent.ledgered)
    return sent


def read_receiver(path: Path, gateway: str) -> Received:
    found = Received()
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)) as connection:
            connection.execute("BEGIN")
            _read_receiver(connection, gateway, found)
            kept = connection.execute("SELECT count(*) FROM state").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise ReceiverUnfit(f"{path}: {error}; name the file that gateway.receiver writes") from error
    if kept and not found.held and _has_bodies_off(path):
        raise ReceiverUnfit(f"{path}: keeps no records; make the receiver with keep_bodies=True to reconcile")
    return found


def _read_receiver(connection: sqlite3.Connection, gateway: str, found: Received) -> None:
    # Adjacent sequences of a segment are folded into ranges while they are read, in the order of the identity.
    for stream, segment, sequence, times in connection.execute(
        "SELECT stream, segment, sequence, count(*) FROM records WHERE gateway = ?"
        " GROUP BY stream, segment, sequence ORDER BY stream, segment, sequence",
        (gateway,),
    ):
        _add(found.held, (stream, segment), (sequence, sequence))
        if times > 1:
            found.duplicates.append(Part(stream, segment, sequence, sequence))
    mark = f'"record":"{KIND_LEDGER}"'.encode()
    for (payload,) in connection.execute(
        "SELECT payload FROM records WHERE gateway = ? AND stream = 'events' AND instr(payload, ?)", (gateway, mark)
    ):
        report = msgspec.json.decode(payload, type=dict[str, Any])
        if report.get("record") == KIND_LEDGER:
            for loss in msgspec.convert({"record": KIND_LEDGER, "dropped": report["dropped"]}, LossReport).dropped:
                _explain(found.ledgered, loss)
    _tidy(found.ledgered)


def _has_bodies_off(path: Path) -> bool:
    """Whether the receiver counts records that it does not hold."""
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)) as connection:
        row = connection.execute("SELECT json FROM state").fetchone()
        (held,) = connection.execute("SELECT count(*) FROM records").fetchone()
    return bool(msgspec.json.decode(row[0])["received"]) and not held


def _explain(book: Ranges, loss: Loss) -> None:
    if loss.segment is not None and loss.from_sequence is not None and loss.to_sequence is not None:
        book.setdefault((loss.stream, loss.segment), []).append((loss.from_sequence, loss.to_sequence))


def _add(book: Ranges, place: Place, each: Range) -> None:
    """Behind what is there, in order."""
    ranges = book.setdefault(place, [])
    if ranges and ranges[-1][1] + 1 == each[0]:
        ranges[-1] = (ranges[-1][0], each[1])
    else:
        ranges.append(each)


def _tidy(book: Ranges) -> None:
    for ranges in book.values():
        ranges.sort()


def _size(ranges: Iterable[Range]) -> int:
    return sum(last - first + 1 for first, last in ranges)


def _without(ranges: Iterable[Range], others: Iterable[Range]) -> list[Range]:
    """`ranges` less `others`; both in order, those of `others` may overlap."""
    left: list[Range] = []
    taken = list(others)
    place = 0
    for first, last in ranges:
        start = first
        while place < len(taken) and taken[place][1] < start:
            place += 1
        index = place
        while index < len(taken) and taken[index][0] <= last and start <= last:
            low, high = taken[index]
            if low > start:
                left.append((start, low - 1))
            start = max(start, high + 1)
            index += 1
        if start <= last:
            left.append((start, last))
    return left
