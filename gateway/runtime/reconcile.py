"""Reconciliation: is what the gateway gave out at the receiver, once, or accounted for?

Every identity that the spool ever gave out has one fate, the first of these that holds:

    received       the receiver has it (`gateway.runtime.receivers`)
    waiting        it is in the spool and not acknowledged
    ledgered       the loss ledger says why it will never come: in the spool, on its way, or told to the receiver
    lost, kept     acknowledged, not received, and still in its grace: `repair` has it sent again
    lost           acknowledged, not received, and gone

So produced = received + waiting + ledgered + lost, by construction; what can fail is that something is lost, that the
receiver has a record twice, or that it has one that this spool never gave out.

The spool is looked at before the receiver. What was acknowledged and is not at the receiver yet (committed a
moment later) is looked for again before it is called lost. Segments older than what the spool remembers
(`SEGMENTS_DONE_MAX`) are counted, not examined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.core.segments import SEGMENTS_PER_EPOCH
from gateway.runtime.received import Part, Ranges, Read, Received, add, explain, size, tidy, without
from gateway.spool.view import State, View, ask_again, view

LOOKS: Final = 5
"""How often the receiver is looked at for records that were acknowledged and are not there yet."""


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
    taken_away: int
    """Of what is lost: records that the receiver had, and that somebody took out of it."""
    unreadable: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        return not (self.lost_kept or self.lost or self.duplicates or self.strangers)


def reconcile(spool: Path, read: Read, *, pause: Callable[[], None]) -> Verdict:
    """Raises StoreRefused, StoreUnavailable or ReceiverUnfit. `pause` is called between looks at the receiver."""
    with view(spool) as seen:
        sent = read_sender(seen)
    for _ in range(LOOKS):
        verdict = compare(sent, read())
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
    taken_away = 0
    for place, given in sorted(sent.given.items()):
        rest = given
        for fate, book in (
            ("received", [received.held]),
            ("waiting", [sent.waiting]),
            ("ledgered", [sent.ledgered, received.ledgered]),
        ):
            before = size(rest)
            for ranges in book:
                rest = without(rest, ranges.get(place, []))
            counts[fate] += before - size(rest)
        taken_away += size(rest) - size(without(rest, received.taken_away.get(place, [])))
        gone = without(rest, sent.kept.get(place, []))
        lost += [Part(*place, *each) for each in gone]
        lost_kept += [Part(*place, *each) for each in without(rest, gone)]
    return Verdict(
        produced=sent.produced,
        unexamined=sent.unexamined,
        lost_before_identity=sent.lost_before_identity,
        lost_kept=tuple(lost_kept),
        lost=tuple(lost),
        duplicates=tuple(received.duplicates),
        strangers=tuple(_strangers(sent, received)),
        taken_away=taken_away,
        unreadable=tuple(received.unreadable),
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
            yield from (Part(stream, segment, *each) for each in without(ranges, given))
        elif given is None and not is_known_epoch:
            yield from (Part(stream, segment, *each) for each in ranges)


def read_sender(seen: View) -> Sent:
    sent = Sent()
    for segment in seen.segments():
        if segment.given:
            sent.given[segment.stream, segment.segment] = [(1, segment.given)]
    streams = [row.stream for row in seen.produced()]
    sent.produced = sum(row.records for row in seen.produced())
    sent.unexamined = max(0, sent.produced - sum(size(ranges) for ranges in sent.given.values()))
    for state, book in ((State.WAITING, sent.waiting), (State.KEPT, sent.kept)):
        for row in seen.rows(state, streams):
            add(book, (row.stream, row.segment), (row.sequence, row.sequence))
    for loss in (*seen.losses(), *seen.told_losses()):
        explain(sent.ledgered, loss)
    sent.lost_before_identity = sum(loss.records for loss in seen.losses() if loss.segment is None)
    tidy(sent.ledgered)
    return sent
