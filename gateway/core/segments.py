"""Segment numbers, and the two records that speak of segments rather than of the plant.

A segment number is `epoch * SEGMENTS_PER_EPOCH + count`, with counts from 0 without a hole. The epoch is drawn at
random when a store is made, so that a gateway whose disk was replaced does not give out the identities of its
predecessor: a receiver would discard them as duplicates and nobody would notice. Both fit in 2**53, the integers
that every JSON reader holds exactly.

Sequences of a segment count from 1. The last record of a closed segment is its end: body
`{"record": "segment-end", "length": n}`, its own sequence being n. A receiver that holds 1..n may forget the segment.

What the spool dropped is told by a record of the events stream: `{"record": "ledger", "dropped": [...]}`.
"""

from __future__ import annotations

from typing import Final

import msgspec

SEGMENTS_PER_EPOCH: Final = 10_000_000
EPOCHS_MAX: Final = 900_000_000
"""900 million epochs of 10 million segments stay below 2**53. More segments than that run on into the next epoch."""

FORMAT: Final = "fieldgate-record-1"
"""The version of what records mean; it stands in each of them (`gateway.protocol.records.form` has the rules)."""
KIND_SEGMENT_END: Final = "segment-end"
KIND_LEDGER: Final = "ledger"


class Loss(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was dropped: one line of the loss ledger.

    `segment` and the sequences are absent when the records were dropped before they had an identity; `records` is 0
    where samples were left out of records that went on. Times are engine ns: of the first and last sample inside, and
    of the (latest) drop. `tags` says of which tags how many samples (`gateway.core.losses`).
    """

    stream: str
    reason: str
    records: int
    samples: int
    first_ns: int
    last_ns: int
    dropped_ns: int
    segment: int | None = None
    from_sequence: int | None = None
    to_sequence: int | None = None
    tags: dict[str, int] = {}


class SegmentEnd(msgspec.Struct, frozen=True, tag_field="record", tag=KIND_SEGMENT_END):
    length: int
    format: str = FORMAT


class LossReport(msgspec.Struct, frozen=True, tag_field="record", tag=KIND_LEDGER):
    dropped: tuple[Loss, ...]
    format: str = FORMAT


def first_segment(epoch: int) -> int:
    return epoch * SEGMENTS_PER_EPOCH


def encode_body(body: SegmentEnd | LossReport) -> bytes:
    return msgspec.json.encode(body)
