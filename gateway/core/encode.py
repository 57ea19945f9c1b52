"""The JSON body of a record, format `fieldgate-record-1`: columns, because a row repeats its keys.

    {"gateway":"boiler-house","stream":"samples","segment":1,"sequence":42,      the envelope: who the record is
     "format":"fieldgate-record-1",                                              the body from here
     "wall_offset_ns":1700000000000000000,"time_quality":"synced",
     "first_ns":…,"last_ns":…,"tags":["boiler.temperature"],
     "tag":[0,0],"time_ns":[…],"value":[78.1,78.2],"quality":[192,192]}

Times are engine time; engine time plus `wall_offset_ns` is Unix time, as well as it was known when the record was made:
`time_quality` says whether the clock had been set by then. `tag` are places in `tags`, in order of first use.

    stream       columns
    samples      tag, time_ns (source time), value, quality
    aggregates   tag, window_ns, quality, count, mean, sd, min, max, rate, ewma, score, persistent,
                 reasons (bits), score_once_h, persistent_once_h, score_quality: windows as of `last_ns`
    calculations tag, calculation (a place in `calculations`), start_ns, end_ns, value, count, coverage (0 to 1),
                 revision (0, or of a correction: the highest of a start and end holds), quality; a session
                 that is taken back has count 0
    multivariate tag, rank, share, score, score_once_h: of each device with such a score the tags that explain best what
                 is off, the first one first; the score is the device's
    events       time_ns, severity, kind, subject, message; no `tags`

A value of a text tag is a string. `labels`, where a record has tags with named values, gives by tag the names by value:
`"labels":{"boiler.stage":{"0":"off","1":"run"}}`.

`context`, where a record has tags that reference tables know, gives by tag what they say (asset, path, criticality and
others), and `context_version` the version of all of it: `"context":{"boiler.stage":{"asset":"B-1"}}`.

Floats are written so that they read back bit for bit, a float without a number as null; values of integer tags are
integers of up to 64 bits. The same draft gives the same bytes. The envelope is spliced in front of the body's members
when the record has its identity, so a resend is byte-identical to the first attempt. `stream` stands there only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np

from gateway.core.calculations import RESULT
from gateway.core.events import Event
from gateway.core.model import Model, TagDefinition
from gateway.core.record import AGGREGATE, DISAGREEMENT, Identity, RecordDraft, Stream
from gateway.core.segments import FORMAT as FORMAT
from gateway.core.symbols import TextOf
from gateway.core.types import Int64s, Kind, Samples

AGGREGATE_COLUMNS = tuple(name for name in AGGREGATE.names or () if name != "row")
DISAGREEMENT_COLUMNS = tuple(name for name in DISAGREEMENT.names or () if name != "row")


RESULT_COLUMNS = tuple(name for name in RESULT.names or () if name not in ("row", "output"))

NO_LABELS: Mapping[int, Mapping[str, str]] = {}


class Context(NamedTuple):
    """What reference tables say, by row, and its version."""

    of_row: Mapping[int, Mapping[str, str]]
    version: str


NO_CONTEXT = Context({}, "")


class TimeQuality(StrEnum):
    SYNCED = "synced"
    UNSYNCED = "unsynced"


def encode(
    draft: RecordDraft,
    tag_names: Sequence[str],
    kinds: Sequence[Kind],
    *,
    text_of: TextOf,
    labels: Mapping[int, Mapping[str, str]] = NO_LABELS,
    outputs: Sequence[str] = (),
    context: Context = NO_CONTEXT,
    wall_offset_ns: int,
    time_quality: TimeQuality,
) -> bytes:
    """The body of a record. `tag_names`, `kinds` and `labels` are the model's, by row (`labels_of`),
    `outputs` the names of its calculations' outputs (`output_names`)."""
    body: dict[str, object] = {
        "format": FORMAT,
        "wall_offset_ns": wall_offset_ns,
        "time_quality": time_quality.value,
        "first_ns": draft.first_ns,
        "last_ns": draft.last_ns,
    }
    rows = draft.rows
    if isinstance(rows, tuple):
        body |= event_columns(rows)
    else:
        used, places = numbered(rows)
        body["tags"] = [tag_names[row] for row in used]
        body["tag"] = places.tolist()
        if named := {tag_names[row]: labels[row] for row in used if row in labels}:
            body["labels"] = named
        if known := {tag_names[row]: context.of_row[row] for row in used if row in context.of_row}:
            body |= {"context": known, "context_version": context.version}
        if draft.stream is Stream.SAMPLES:
            body |= sample_columns(rows, places, [kinds[row] for row in used], text_of)
        elif draft.stream is Stream.CALCULATIONS:
            body |= result_columns(rows, outputs)
        elif draft.stream is Stream.MULTIVARIATE:
            body |= {name: rows[name].tolist() for name in DISAGREEMENT_COLUMNS}
        else:
            body |= aggregate_columns(rows)
    return msgspec.json.encode(body)


class Encoder:
    """Bodies of the drafts that an engine of `model` makes, each with the stamp of the cycle that made it."""

    def __init__(self, model: Model, text_of: TextOf) -> None:
        self._names = tuple(tag.name for tag in model.tags)
        self._kinds = tuple(tag.kind for tag in model.tags)
        self._labels = labels_of(model.tags)
        self._context = context_of(model.tags)
        self._outputs = model.output_names
        self._text_of = text_of

    def names(self, draft: RecordDraft) -> Sequence[str]:
        """By row, as of when the draft was made."""
        return draft.names or self._names

    def __call__(self, draft: RecordDraft) -> bytes:
        return encode(
            draft,
            self.names(draft),
            draft.kinds or self._kinds,
            text_of=self._text_of,
            labels=self._labels,
            outputs=self._outputs,
            context=self._context,
            wall_offset_ns=draft.stamp.wall_offset_ns,
            time_quality=TimeQuality.SYNCED if draft.stamp.is_synced else TimeQuality.UNSYNCED,
        )


def envelope(identity: Identity, body: bytes) -> bytes:
    """The whole record: its identity, then the members of `body`."""
    head = msgspec.json.encode(
        {
            "gateway": identity.gateway,
            "stream": identity.stream,
            "segment": identity.segment,
            "sequence": identity.sequence,
        }
    )
    return head[:-1] + b"," + body[1:]


def numbered(rows: Samples) -> tuple[list[int], Int64s]:
    """The rows used, in order of first use, and for each record its place among them."""
    row = rows["row"]
    count = len(row)
    # Written from the back, so that the first use of a row stays; a table, because sorting costs ten times as much.
    first_use = np.full(int(row.max(initial=-1)) + 1, count, np.int64)
    first_use[row[::-1]] = np.arange(count - 1, -1, -1)
    used = row[np.flatnonzero(first_use[row] == np.arange(count))]
    place_of = first_use
    place_of[used] = np.arange(len(used))
    return used.tolist(), place_of[row]


def labels_of(tags: Sequence[TagDefinition]) -> dict[int, dict[str, str]]:
    """By row: what the values of a tag are called."""
    return {row: {str(value): name for value, name in tag.labels} for row, tag in enumerate(tags) if tag.labels}


def context_of(tags: Sequence[TagDefinition]) -> Context:
    of_row = {row: dict(tag.context) for row, tag in enumerate(tags) if tag.context}
    told = [(tags[row].name, tags[row].context) for row in of_row]
    version = hashlib.blake2b(msgspec.json.encode(told), digest_size=4).hexdigest()
    return Context(of_row, version)


def sample_columns(rows: Samples, places: Int64s, kinds_used: Sequence[Kind], text_of: TextOf) -> dict[str, object]:
    """`kinds_used` are the kinds of the tags that `places` speak of."""
    values: list[float | int | str | None] = rows["value"].tolist()
    if any(kind is not Kind.F64 for kind in kinds_used):
        kind_of_row = np.array(kinds_used, np.int64)[places]
        bits = rows["bits"]
        for place in np.flatnonzero(kind_of_row == Kind.I64).tolist():
            values[place] = int(bits[place])
        for place in np.flatnonzero(kind_of_row == Kind.U64).tolist():
            values[place] = int(bits[place]) & 0xFFFF_FFFF_FFFF_FFFF
        for place in np.flatnonzero(kind_of_row == Kind.SYMBOL).tolist():
            values[place] = text_of(int(bits[place]))
    return {"time_ns": rows["source_ns"].tolist(), "value": values, "quality": rows["quality"].tolist()}


def aggregate_columns(rows: Samples) -> dict[str, object]:
    columns: dict[str, object] = {"window_ns": rows["window_ns"].tolist()}
    return columns | {name: rows[name].tolist() for name in AGGREGATE_COLUMNS if name != "window_ns"}


def result_columns(rows: Samples, outputs: Sequence[str]) -> dict[str, object]:
    """`calculation` are places in `calculations`: as many tags have an hour's mean, the names are few."""
    names = [outputs[place] for place in rows["output"].tolist()]
    used = {name: place for place, name in enumerate(dict.fromkeys(names))}
    columns: dict[str, object] = {"calculations": list(used), "calculation": [used[name] for name in names]}
    return columns | {name: rows[name].tolist() for name in RESULT_COLUMNS}


def event_columns(rows: tuple[object, ...]) -> dict[str, object]:
    events = [event for event in rows if isinstance(event, Event)]
    return {
        "time_ns": [event.time_ns for event in events],
        "severity": [int(event.severity) for event in events],
        "kind": [event.kind for event in events],
        "subject": [event.subject for event in events],
        "message": [event.message for event in events],
    }
