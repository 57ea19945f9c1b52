"""The receiver: what the far end needs to make "at least once" on the wire into exactly once in its tables.

`SequenceLedger` is pure: it is offered identities and says which are new. It remembers, by (gateway, stream), the
incomplete segments (last sequence, and the gaps below it) and which segments are complete; a complete segment costs
nothing, because segments are numbered without a hole. A gap is not an error yet: it may fill later (a broker may
redeliver out of turn), or the sender's loss ledger explains it.

`Receiver` keeps the records and the ledger's state in one SQLite file and commits both together, so that after a
crash of its own it neither misses a record nor takes one twice. Acknowledge to the broker only after `commit`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import msgspec

from gateway.core.limits import RECEIVER_RANGES_MAX, RECEIVER_SEGMENTS_MAX, RECEIVER_STREAMS_MAX
from gateway.core.record import Identity
from gateway.core.segments import KIND_LEDGER, KIND_SEGMENT_END, SEGMENTS_PER_EPOCH, Loss
from gateway.protocol.records.form import Unreadable, read

Range: TypeAlias = tuple[int, int]
"""First and last, both inside."""


class Offer(Enum):
    """What became of an identity."""

    NEW = "new"
    """Take it."""
    NEW_AFTER_GAP = "new after a gap"
    """Take it; something before it has not come yet."""
    DUPLICATE = "duplicate"
    """It was here before: discard it."""


class SegmentState(msgspec.Struct):
    """An incomplete segment. `gaps` are in order and below `last`; `dropped` is what the sender says it dropped."""

    last: int = 0
    length: int = 0
    """0: not told yet."""
    gaps: list[Range] = msgspec.field(default_factory=list)
    dropped: list[Range] = msgspec.field(default_factory=list)


class StreamState(msgspec.Struct):
    """`complete_below`: by epoch, all segments whose count is smaller are done with; `complete` has those above it."""

    open: dict[int, SegmentState] = msgspec.field(default_factory=dict)
    complete_below: dict[int, int] = msgspec.field(default_factory=dict)
    complete: set[int] = msgspec.field(default_factory=set)


class LedgerState(msgspec.Struct):
    """All that a receiver must keep, ready for storing as JSON. Streams are keyed "gateway/stream"."""

    streams: dict[str, StreamState] = msgspec.field(default_factory=dict)
    received: int = 0
    duplicates: int = 0
    dropped_by_sender: int = 0
    """Records that the sender's loss reports account for, those without an identity among them."""
    given_up: int = 0
    """Records missing in what had to be forgotten to keep within the limits."""
    segments_given_up: int = 0


@dataclass(frozen=True, slots=True)
class Missing:
    gateway_stream: str
    segment: int
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Unseen:
    """Segments of which nothing came: lost before this receiver, or sent before it was there."""

    gateway_stream: str
    first_segment: int
    last_segment: int


@dataclass(frozen=True, slots=True)
class Summary:
    """`missing` counts what neither came nor was explained by the sender, `ranges` says where."""

    received: int
    duplicates: int
    dropped_by_sender: int
    missing: int
    segments_incomplete: int
    ranges: tuple[Missing, ...] = field(default=())
    segments_unseen: tuple[Unseen, ...] = field(default=())
    segments_given_up: int = 0


class TooManyStreams(Exception):
    """More gateways than one receiver follows."""


class SequenceLedger:
    """Which identities were here. Bounded by `ranges_max` gaps a segment and `segments_max` segments a stream."""

    def __init__(
        self,
        state: LedgerState | None = None,
        *,
        ranges_max: int = RECEIVER_RANGES_MAX,
        segments_max: int = RECEIVER_SEGMENTS_MAX,
    ) -> None:
        self.state = LedgerState() if state is None else state
        self._ranges_max = ranges_max
        self._segments_max = segments_max

    def offer(self, identity: Identity) -> Offer:
        """Note an identity, and say whether its record is to be taken."""
        stream = self._stream(identity.gateway, identity.stream)
        if _is_complete(stream, identity.segment):
            self.state.duplicates += 1
            return Offer.DUPLICATE
        segment = self._segment(stream, identity.segment)
        offer = _note(segment, identity.sequence)
        if offer is Offer.DUPLICATE:
            self.state.duplicates += 1
            return offer
        self.state.received += 1
        if len(segment.gaps) > self._ranges_max:
            self.state.given_up += _size([segment.gaps.pop(0)])
        self._forget_if_complete(stream, identity.segment)
        return offer

    def segment_end(self, identity: Identity, length: int) -> None:
        """The sender closed a segment, which has `length` records. Offer the record itself as well."""
        stream = self._stream(identity.gateway, identity.stream)
        if not _is_complete(stream, identity.segment):
            self._segment(stream, identity.segment).length = length
            self._forget_if_complete(stream, identity.segment)

    def explain(self, gateway: str, losses: Iterable[Loss]) -> None:
        """The sender says what it dropped. Only for a loss report that was offered and is new."""
        for loss in losses:
            self.state.dropped_by_sender += loss.records
            if loss.segment is None or loss.from_sequence is None or loss.to_sequence is None:
                continue
            stream = self._stream(gateway, loss.stream)
            if _is_complete(stream, loss.segment):
                continue
            segment = self._segment(stream, loss.segment)
            # What came all the same stays received: only gaps are explained.
            segment.dropped = _merged([*segment.dropped, (loss.from_sequence, loss.to_sequence)])
            self._forget_if_complete(stream, loss.segment)

    def summary(self) -> Summary:
        missing: list[Missing] = []
        unseen: list[Unseen] = []
        incomplete = 0
        for name, stream in self.state.streams.items():
            incomplete += len(stream.open)
            for number, segment in sorted(stream.open.items()):
                ranges = _unexplained(segment)
                if ranges:
                    missing.append(Missing(name, number, ranges))
            unseen += [Unseen(name, first, last) for first, last in _unseen(stream)]
        return Summary(
            received=self.state.received,
            duplicates=self.state.duplicates,
            dropped_by_sender=self.state.dropped_by_sender,
            missing=self.state.given_up + sum(_size(hole.ranges) for hole in missing),
            segments_incomplete=incomplete,
            ranges=tuple(missing),
            segments_unseen=tuple(unseen),
            segments_given_up=self.state.segments_given_up,
        )

    def _stream(self, gateway: str, stream: str) -> StreamState:
        name = f"{gateway}/{stream}"
        if name not in self.state.streams and len(self.state.streams) >= RECEIVER_STREAMS_MAX:
            raise TooManyStreams(f"{name}: already {RECEIVER_STREAMS_MAX} streams; run one receiver for each plant")
        return self.state.streams.setdefault(name, StreamState())

    def _segment(self, stream: StreamState, number: int) -> SegmentState:
        if number not in stream.open:
            stream.open[number] = SegmentState()
            if len(stream.open) > self._segments_max:
                oldest = min(stream.open)
                self.state.given_up += _size(_unexplained(stream.open[oldest]))
                self._complete(stream, oldest)
        return stream.open[number]

    def _forget_if_complete(self, stream: StreamState, number: int) -> None:
        segment = stream.open[number]
        if segment.length and not _unexplained(segment):
            self._complete(stream, number)

    def _complete(self, stream: StreamState, number: int) -> None:
        """Forget a segment but for the fact that it is complete; runs of complete ones become one number."""
        del stream.open[number]
        stream.complete.add(number)
        if len(stream.complete) > self._segments_max:
            number = min(stream.complete)
            self._give_up_before(stream, number)
        epoch, count = divmod(number, SEGMENTS_PER_EPOCH)
        below = stream.complete_below.get(epoch, 0)
        while number - count + below in stream.complete:
            stream.complete.discard(number - count + below)
            below += 1
        stream.complete_below[epoch] = below

    def _give_up_before(self, stream: StreamState, number: int) -> None:
        """What lies so far back does not come any more: lost, or sent before this receiver was there."""
        epoch, count = divmod(number, SEGMENTS_PER_EPOCH)
        older = [segment for segment in stream.open if number - count <= segment < number]
        for segment in older:
            self.state.given_up += _size(_unexplained(stream.open.pop(segment)))
        self.state.segments_given_up += count - stream.complete_below.get(epoch, 0) - len(older)
        stream.complete_below[epoch] = count


def _size(ranges: Iterable[Range]) -> int:
    return sum(last - first + 1 for first, last in ranges)


def _note(segment: SegmentState, sequence: int) -> Offer:
    if sequence == segment.last + 1:
        segment.last = sequence
        return Offer.NEW if not segment.gaps else Offer.NEW_AFTER_GAP
    if sequence > segment.last:
        segment.gaps.append((segment.last + 1, sequence - 1))
        segment.last = sequence
        return Offer.NEW_AFTER_GAP
    for index, (first, last) in enumerate(segment.gaps):
        if first <= sequence <= last:
            rest = [(first, sequence - 1), (sequence + 1, last)]
            segment.gaps[index : index + 1] = [(low, high) for low, high in rest if low <= high]
            return Offer.NEW
    return Offer.DUPLICATE


def _unexplained(segment: SegmentState) -> tuple[Range, ...]:
    """What is missing up to the last sequence, or to the known length, less what the sender dropped."""
    holes = list(segment.gaps)
    if segment.length > segment.last:
        holes.append((segment.last + 1, segment.length))
    left: list[Range] = []
    for first, last in holes:
        start = first
        for low, high in segment.dropped:
            if high < start or low > last:
                continue
            if low > start:
                left.append((start, low - 1))
            start = high + 1
        if start <= last:
            left.append((start, last))
    return tuple(left)


def _merged(ranges: list[Range]) -> list[Range]:
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _is_complete(stream: StreamState, segment: int) -> bool:
    epoch, count = divmod(segment, SEGMENTS_PER_EPOCH)
    return segment in stream.complete or count < stream.complete_below.get(epoch, 0)


def _unseen(stream: StreamState) -> list[Range]:
    """Segments of which nothing came, though later ones did."""
    unseen: list[Range] = []
    expected: dict[int, int] = {}
    for number in sorted(stream.complete | stream.open.keys()):
        epoch, count = divmod(number, SEGMENTS_PER_EPOCH)
        first = expected.get(epoch, stream.complete_below.get(epoch, 0))
        if count > first:
            unseen.append((number - count + first, number - 1))
        expected[epoch] = count + 1
    return unseen


class NotARecord(Exception):
    """A payload without a record's identity: not from a gateway, or from one that this receiver does not know."""


class _Envelope(msgspec.Struct):
    gateway: str
    stream: str
    segment: Annotated[int, msgspec.Meta(ge=0)]
    sequence: Annotated[int, msgspec.Meta(ge=1)]
    record: str = ""
    length: int = 0
    dropped: tuple[Loss, ...] = ()


_decoder: Final = msgspec.json.Decoder(_Envelope)


def _as_json(payload: bytes, content_type: str, content_coding: str) -> bytes:
    try:
        return msgspec.json.encode(read(payload, content_type, content_coding))
    except Unreadable as error:
        raise NotARecord(f"no record: {error}") from error


class Receiver:
    """Records and sequences in one file. `accept` as messages come, `commit` before acknowledging them."""

    def __init__(self, path: Path, *, keep_bodies: bool = True) -> None:
        self._keep_bodies = keep_bodies
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS records (id INTEGER PRIMARY KEY, gateway TEXT NOT NULL, stream TEXT NOT NULL,"
            " segment INTEGER NOT NULL, sequence INTEGER NOT NULL, payload BLOB NOT NULL)"
        )
        self._connection.execute("CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY, json BLOB NOT NULL)")
        self.ledger = self._restored()

    def accept(self, payload: bytes, content_type: str = "", content_coding: str = "") -> Offer:
        """Take a record, or find that it was here; raises NotARecord. Durable after the next `commit`.

        `content_type` and `content_coding` are what the message says of itself (headers of HTTP and NATS,
        properties of MQTT 5); where nothing says it, the first bytes do. The table has each record as JSON. Arrow needs
        pyarrow; ImportError without it.
        """
        if content_coding or content_type not in ("", "application/json") or not payload.startswith(b"{"):
            payload = _as_json(payload, content_type, content_coding)
        try:
            envelope = _decoder.decode(payload)
        except msgspec.MsgspecError as error:
            raise NotARecord(f"no record: {error}") from error
        identity = Identity(envelope.gateway, envelope.stream, envelope.segment, envelope.sequence)
        offer = self.ledger.offer(identity)
        if offer is Offer.DUPLICATE:
            return offer
        if envelope.record == KIND_SEGMENT_END:
            self.ledger.segment_end(identity, envelope.length)
        elif envelope.record == KIND_LEDGER:
            self.ledger.explain(envelope.gateway, envelope.dropped)
        if self._keep_bodies:
            self._begin()
            self._connection.execute(
                "INSERT INTO records (gateway, stream, segment, sequence, payload) VALUES (?, ?, ?, ?, ?)",
                (identity.gateway, identity.stream, identity.segment, identity.sequence, payload),
            )
        return offer

    def commit(self) -> None:
        """Data and sequences become durable together."""
        self._begin()
        self._connection.execute(
            "INSERT OR REPLACE INTO state (id, json) VALUES (0, ?)", (msgspec.json.encode(self.ledger.state),)
        )
        self._connection.commit()

    def rollback(self) -> None:
        """Forget what was accepted since the last commit; the broker will bring it again."""
        self._connection.rollback()
        self.ledger = self._restored()

    def summary(self) -> Summary:
        return self.ledger.summary()

    def close(self) -> None:
        """What was not committed is not kept."""
        self._connection.close()

    def _begin(self) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")

    def _restored(self) -> SequenceLedger:
        row = self._connection.execute("SELECT json FROM state").fetchone()
        return SequenceLedger(msgspec.json.decode(row[0], type=LedgerState) if row else None)
