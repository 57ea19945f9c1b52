"""Records: what goes upstream. One immutable batch of one stream, with the identity that makes delivery exactly once.

The engine makes drafts; the spool gives each its identity in the very transaction that stores it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from gateway.core.types import Kind, Samples


class Stream(StrEnum):
    """What a record carries. Streams have their own sequences; a lower priority number is shed later."""

    EVENTS = "events"
    AGGREGATES = "aggregates"
    CALCULATIONS = "calculations"
    SAMPLES = "samples"
    MULTIVARIATE = "multivariate"


PRIORITIES: dict[Stream, int] = {
    Stream.EVENTS: 0,
    Stream.AGGREGATES: 1,
    Stream.CALCULATIONS: 1,
    Stream.MULTIVARIATE: 1,
    Stream.SAMPLES: 2,
}

AGGREGATE = np.dtype(
    [
        ("row", "<i4"),
        ("quality", "<u4"),
        ("window_ns", "<i8"),
        ("count", "<i8"),
        ("mean", "<f8"),
        ("sd", "<f8"),
        ("min", "<f8"),
        ("max", "<f8"),
        ("rate", "<f8"),
        ("ewma", "<f8"),
        ("score", "<f8"),
        ("persistent", "<f8"),
        ("reasons", "<i8"),
        ("score_once_h", "<f8"),
        ("persistent_once_h", "<f8"),
        ("score_quality", "<i8"),
    ],
    align=True,
)
"""One window of one tag as it stood at the record's end. `rate` is units per second; NaN where count is too small.
The scores are the tag's, and as in LIVE (`gateway.core.view`)."""


DISAGREEMENT = np.dtype(
    [("row", "<i4"), ("rank", "<i4"), ("share", "<f8"), ("score", "<f8"), ("score_once_h", "<f8")], align=True
)
"""One of the tags that explain best what is off at its device: `rank` 1 is the first, `share` how much of it the
tag explains by itself. The scores are the device's (`gateway.core.multivariate`)."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the wall clock was known to be: wall minus engine time, and whether the kernel held it for disciplined."""

    wall_offset_ns: int = 0
    is_synced: bool = False


NO_STAMP = Stamp()


@dataclass(frozen=True, slots=True)
class RecordDraft:
    """A batch on its way to the spool. `rows` is an array of SAMPLE, AGGREGATE or DISAGREEMENT, or a tuple of Event.

    `first_ns` and `last_ns` bound the engine times inside. The draft owns its array. `ordinal` counts the drafts of
    its stream from 1 over the engine's whole life, restarts included: a draft that is made again by a replay has the
    ordinal, and the bytes, that it had before. 0 for a draft that no engine made. `stamp` is that of the cycle that
    made it. `names` and `kinds` are those of the rows when the draft was made: a row may be another tag's before it is
    encoded.
    """

    stream: Stream
    first_ns: int
    last_ns: int
    rows: Samples | tuple[object, ...]
    names: Sequence[str] = ()
    kinds: Sequence[Kind] = ()
    ordinal: int = 0
    stamp: Stamp = NO_STAMP

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a record is, for ever: given once, sent with every attempt."""

    gateway: str
    stream: str
    segment: int
    sequence: int
    is_asked: bool = field(default=False, compare=False)
    """Somebody asked for it again, for it was lost: that the far end said it holds it does not count."""
