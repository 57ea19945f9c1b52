"""Records as InfluxDB line protocol, which InfluxDB 1 to 3, VictoriaMetrics, QuestDB and Telegraf take.

    measurement,tag=value,... field=value,... time          one line a point; the time is Unix time in ns

A point is known by measurement, tags and time, and one that is written again takes its own place: a resend changes
nothing. So the time is the sample's own, never that of sending, and a record always gives the same lines.

    stream        tags beside gateway     fields
    samples       tag, its context        value (float), integer, unsigned (above 2^63 - 1), or text; quality
    aggregates    tag, window             the columns of the stream
    calculations  tag, calculation        the columns of the stream; the time is the end of the span
    multivariate  tag, rank               share, score, score_once_h
    events        kind, subject           severity, message
    losses        stream, reason, record  records, samples, first_ns, last_ns (Unix time): the loss ledger

A field has one type, so the numbers of integer tags are in a field of their own. What has no number is left out. Two
samples of one tag with the very same time are one point, the later one. The ledger knows engine time only, which the
present offset makes Unix time: a report that is sent again may become a second point, of the same `record`. Escapes
are those of the InfluxDB documentation; a tag can hold no line break, which becomes a space, and cannot end with a
backslash, which is cut off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from gateway.core.segments import KIND_LEDGER, KIND_SEGMENT_END

Content: TypeAlias = Mapping[str, Any]
"""A whole record, as its JSON is read: identity and body."""

INTEGER_MAX: Final = (1 << 63) - 1
_NO_FIELDS: Final = frozenset({"tag", "window_ns", "calculation", "start_ns", "end_ns", "rank"})
_IN_TAGS: Final = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ ", "\n": "\\ ", "\r": "\\ "})
_IN_TEXTS: Final = str.maketrans({'"': '\\"', "\\": "\\\\"})
WINDOW_UNITS: Final = ((3_600_000_000_000, "h"), (60_000_000_000, "min"), (1_000_000_000, "s"), (1_000_000, "ms"))


def lines(record: Content, wall_offset_ns: int) -> bytes:
    """The lines of a record, each with its end; empty when it has nothing to say here (the end of a segment).

    `wall_offset_ns` is the present one, for records without their own. Raises KeyError, IndexError, TypeError or
    ValueError when it is no record of this format.
    """
    kind = record.get("record")
    if kind == KIND_SEGMENT_END:
        return b""
    found = _losses(record, wall_offset_ns) if kind == KIND_LEDGER else _OF_STREAM[record["stream"]](record)
    return "".join(found).encode()


def window_name(ns: int) -> str:
    """As a window is written in the settings: 10s, 1min."""
    for unit, name in WINDOW_UNITS:
        if ns % unit == 0:
            return f"{ns // unit}{name}"
    return f"{ns}ns"


def _head(measurement: str, gateway: str, tags: Mapping[str, str]) -> str:
    """The beginning of a line, up to its fields. A tag without a value must not be there."""
    named = {"gateway": gateway, **tags}
    return measurement + "".join(f",{_tag(key)}={text}" for key, value in named.items() if (text := _tag(value)))


def _tag(text: str) -> str:
    return text.rstrip("\\").translate(_IN_TAGS)


def _field(value: object) -> str:
    """As a field's value; empty for what has none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, str):
        return f'"{value.translate(_IN_TEXTS)}"'
    return f"{value}i" if isinstance(value, int) else repr(value)


def _fields(values: Mapping[str, object]) -> str:
    return ",".join(f"{name}={text}" for name, value in values.items() if (text := _field(value)))


def _tag_heads(measurement: str, record: Content) -> list[str]:
    """By the tag's place in the record."""
    context = record.get("context", {})
    heads: list[str] = []
    for name in record["tags"]:
        known = {key: value for key, value in context.get(name, {}).items() if key not in ("gateway", "tag")}
        heads.append(_head(measurement, record["gateway"], {"tag": name, **known}))
    return heads


def _samples(record: Content) -> Iterator[str]:
    heads, offset_ns = _tag_heads("samples", record), record["wall_offset_ns"]
    columns = (record[name] for name in ("tag", "time_ns", "value", "quality"))
    for tag, time_ns, value, quality in zip(*columns, strict=True):
        yield f"{heads[tag]} {_sample(value)}quality={_field(quality)} {time_ns + offset_ns}\n"


def _sample(value: object) -> str:
    if isinstance(value, float):
        return f"value={value!r}," if math.isfinite(value) else ""
    if isinstance(value, int):
        return f"integer={value}i," if value <= INTEGER_MAX else f"unsigned={value}u,"
    return "" if value is None else f"text={_field(value)},"


def _rows(record: Content) -> Iterator[tuple[int, dict[str, object]]]:
    """(place of the tag, fields) of each row."""
    names = [name for name, column in record.items() if isinstance(column, list) and name not in _NOT_OF_ROWS]
    for values in zip(*(record[name] for name in names), strict=True):
        row = dict(zip(names, values, strict=True))
        yield row["tag"], row


_NOT_OF_ROWS: Final = frozenset({"tags", "calculations"})


def _line(head: str, row: Mapping[str, object], time_ns: int) -> str:
    fields = _fields({name: value for name, value in row.items() if name not in _NO_FIELDS})
    return f"{head} {fields} {time_ns}\n" if fields else ""


def _aggregates(record: Content) -> Iterator[str]:
    heads = _tag_heads("aggregates", record)
    time_ns = record["last_ns"] + record["wall_offset_ns"]
    for tag, row in _rows(record):
        yield _line(f"{heads[tag]},window={window_name(_whole(row['window_ns']))}", row, time_ns)


def _calculations(record: Content) -> Iterator[str]:
    heads, names = _tag_heads("calculations", record), [_tag(name) for name in record["calculations"]]
    for tag, row in _rows(record):
        head = f"{heads[tag]},calculation={names[_whole(row['calculation'])]}"
        yield _line(head, row, _whole(row["end_ns"]) + record["wall_offset_ns"])


def _multivariate(record: Content) -> Iterator[str]:
    heads = _tag_heads("multivariate", record)
    time_ns = record["last_ns"] + record["wall_offset_ns"]
    for tag, row in _rows(record):
        yield _line(f"{heads[tag]},rank={row['rank']}", row, time_ns)


def _events(record: Content) -> Iterator[str]:
    columns: Sequence[Sequence[Any]] = [record[name] for name in ("time_ns", "severity", "kind", "subject", "message")]
    for time_ns, severity, kind, subject, message in zip(*columns, strict=True):
        head = _head("events", record["gateway"], {"kind": kind, "subject": subject})
        yield f"{head} {_fields({'severity': severity, 'message': message})} {time_ns + record['wall_offset_ns']}\n"


def _losses(record: Content, wall_offset_ns: int) -> Iterator[str]:
    for place, loss in enumerate(record["dropped"]):
        who = f"{record['segment']}/{record['sequence']}/{place}"
        tags = {"stream": loss["stream"], "reason": loss["reason"], "record": who}
        head = _head("losses", record["gateway"], tags)
        fields = {name: loss[name] for name in ("records", "samples")}
        times = {name: loss[name] + wall_offset_ns for name in ("first_ns", "last_ns")}
        yield f"{head} {_fields(fields | times)} {loss['dropped_ns'] + wall_offset_ns}\n"


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value


_OF_STREAM: Final[Mapping[str, Callable[[Content], Iterator[str]]]] = {
    "samples": _samples,
    "aggregates": _aggregates,
    "calculations": _calculations,
    "multivariate": _multivariate,
    "events": _events,
}
