"""Records as Protocol Buffers; `record_1.proto` beside this file is the schema, and columns are packed arrays.

Written field by field, in the order of the numbers, so that a record always gives the same bytes, which the format
itself does not promise. Reading passes over fields that are not known; a column that an older sender did not have is
missing in what is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from gateway.core.segments import KIND_LEDGER, KIND_SEGMENT_END
from gateway.protocol.protobuf import fields
from gateway.protocol.records.columns import STREAMS, Apart, Column, Kind, doubles, nullable, put_together, take_apart
from gateway.protocol.records.wire import (
    counted,
    delimited,
    fixed,
    text,
    unpack_varints,
    varints,
)

TEXTS: Final = {"gateway": 1, "stream": 2, "format": 5, "time_quality": 7, "context_version": 13}
COUNTS: Final = {"segment": 3, "sequence": 4}
TIMES: Final = {"wall_offset_ns": 6, "first_ns": 8, "last_ns": 9}
LISTS: Final = {"tags": 10, "calculations": 14}
NAMES: Final = {"labels": 11, "context": 12}
BODIES: Final = {"samples": 20, "aggregates": 21, "calculations": 22, "multivariate": 23, "events": 24}
SEGMENT_END: Final = 30
LEDGER: Final = 31
INTEGER_ROW, INTEGER, UNSIGNED_ROW, UNSIGNED, TEXT_ROW, TEXT = 20, 21, 22, 23, 24, 25
_LOSS_TEXTS: Final = {"stream": 1, "reason": 2}
_LOSS_COUNTS: Final = {"records": 3, "samples": 4, "segment": 8, "from_sequence": 9, "to_sequence": 10}
_LOSS_TIMES: Final = {"first_ns": 5, "last_ns": 6, "dropped_ns": 7}
_LOSS_TAGS: Final = 11
_HEAD: Final = tuple(
    sorted(
        (number, name, write)
        for numbers, write in ((TEXTS, text), (COUNTS, counted), (TIMES, fixed))
        for name, number in numbers.items()
    )
)
_KNOWN: Final = frozenset({*TEXTS, *COUNTS, *TIMES, *LISTS, *NAMES, "record"})


def encode(content: Mapping[str, Any]) -> bytes:
    """Raises KeyError, TypeError, ValueError or OverflowError when it is no record of version 1."""
    parts = [write(number, content[name]) for number, name, write in _HEAD if name in content]
    for name, number in LISTS.items():
        parts += [text(number, word) for word in content.get(name, ())]
    for name, number in NAMES.items():
        parts += [
            _entry(number, key, delimited(2, b"".join(_entry(1, *each) for each in names.items())))
            for key, names in content.get(name, {}).items()
        ]
    kind = content.get("record")
    if kind == KIND_SEGMENT_END:
        return b"".join([*parts, delimited(SEGMENT_END, counted(1, content["length"]))])
    if kind == KIND_LEDGER:
        losses = [delimited(1, _loss(loss)) for loss in content["dropped"]]
        return b"".join([*parts, delimited(LEDGER, b"".join(losses))])
    columns = STREAMS[content["stream"]]
    if strange := content.keys() - _KNOWN - {column.name for column in columns}:
        raise ValueError(f"no field for {', '.join(sorted(strange))}")
    body = b"".join(_column(column, content[column.name]) for column in columns if column.name in content)
    return b"".join([*parts, delimited(BODIES[content["stream"]], body)])


def decode(payload: bytes) -> dict[str, Any]:
    """Raises ValueError, TypeError or IndexError."""
    content: dict[str, Any] = {}
    body: tuple[int, bytes] | None = None
    for number, _, value in fields(payload):
        name = _NAME_OF.get(number)
        if number in _BODY_NUMBERS:
            body = number, _bytes(value)
        elif name is None:
            continue
        elif name in TEXTS:
            content[name] = _bytes(value).decode()
        elif name in COUNTS:
            content[name] = _whole(value)
        elif name in TIMES:
            content[name] = _signed(_whole(value))
        elif name in LISTS:
            content.setdefault(name, []).append(_bytes(value).decode())
        else:
            key, names = _read_entry(_bytes(value))
            inner = (_read_entry(_bytes(each)) for _, _, each in fields(_bytes(names)))
            content.setdefault(name, {})[key] = {inner_key: _bytes(word).decode() for inner_key, word in inner}
    if body is None:
        raise ValueError("it has no body that is known here")
    return content | _body(*body, content)


_NAME_OF: Final = {number: name for group in (TEXTS, COUNTS, TIMES, LISTS, NAMES) for name, number in group.items()}
_BODY_NUMBERS: Final = frozenset({*BODIES.values(), SEGMENT_END, LEDGER})
_STREAM_OF: Final = {number: stream for stream, number in BODIES.items()}


def _entry(number: int, key: str, value: str | bytes) -> bytes:
    """One entry of a map; `value` is a text, or a field ready made."""
    return delimited(number, text(1, key) + (text(2, value) if isinstance(value, str) else value))


def _last_of(content: bytes) -> dict[int, int | bytes]:
    """Of a field that comes twice, the last counts."""
    return {number: value for number, _, value in fields(content)}


def _read_entry(content: bytes) -> tuple[str, int | bytes]:
    found = _last_of(content)
    return _bytes(found.get(1, b"")).decode(), found.get(2, b"")


def _loss(loss: Mapping[str, Any]) -> bytes:
    parts = [text(number, loss[name]) for name, number in _LOSS_TEXTS.items()]
    parts += [counted(number, loss[name]) for name, number in _LOSS_COUNTS.items() if name in loss]
    parts += [fixed(number, loss[name]) for name, number in _LOSS_TIMES.items()]
    parts += [_entry(_LOSS_TAGS, name, counted(2, count)) for name, count in loss.get("tags", {}).items()]
    return b"".join(parts)


def _read_loss(content: bytes) -> dict[str, Any]:
    loss: dict[str, Any] = {"stream": "", "reason": "", "records": 0, "samples": 0}
    loss |= dict.fromkeys(_LOSS_TIMES, 0)
    tags: dict[str, int] = {}
    for number, _, value in fields(content):
        if number in _LOSS_NAME_OF:
            name = _LOSS_NAME_OF[number]
            loss[name] = _bytes(value).decode() if name in _LOSS_TEXTS else _whole(value)
            if name in _LOSS_TIMES:
                loss[name] = _signed(loss[name])
        elif number == _LOSS_TAGS:
            tag, count = _read_entry(_bytes(value))
            tags[tag] = _whole(count or 0)
    return loss | ({"tags": tags} if tags else {})


_LOSS_NAME_OF: Final = {
    number: name for group in (_LOSS_TEXTS, _LOSS_COUNTS, _LOSS_TIMES) for name, number in group.items()
}


def _column(column: Column, values: list[Any]) -> bytes:
    number = column.number
    if not values:
        return b""
    if column.kind is Kind.COUNT:
        return delimited(number, varints(np.array(values, np.uint64)))
    if column.kind is Kind.TIME:
        return delimited(number, np.array(values, "<i8").tobytes())
    if column.kind is Kind.NUMBER:
        return delimited(number, doubles(values).astype("<f8").tobytes())
    if column.kind is Kind.TEXT:
        return b"".join(text(number, value) for value in values)
    apart = take_apart(values)
    parts = [delimited(number, apart.numbers.astype("<f8").tobytes())]
    for row_number, value_number, rows, found, kind in (
        (INTEGER_ROW, INTEGER, apart.integer_rows, apart.integers, "<i8"),
        (UNSIGNED_ROW, UNSIGNED, apart.unsigned_rows, apart.unsigneds, "<u8"),
    ):
        if rows:
            parts.append(delimited(row_number, varints(np.array(rows, np.uint64))))
            parts.append(delimited(value_number, np.array(found, kind).tobytes()))
    if apart.text_rows:
        parts.append(delimited(TEXT_ROW, varints(np.array(apart.text_rows, np.uint64))))
        parts += [text(TEXT, each) for each in apart.texts]
    return b"".join(parts)


def _body(number: int, body: bytes, head: Mapping[str, Any]) -> dict[str, Any]:
    if number == SEGMENT_END:
        return {"record": KIND_SEGMENT_END, "length": _whole(_last_of(body).get(1, 0))}
    if number == LEDGER:
        return {
            "record": KIND_LEDGER,
            "dropped": [_read_loss(_bytes(each)) for each_number, _, each in fields(body) if each_number == 1],
        }
    stream = _STREAM_OF[number]
    packed: dict[int, bytes] = {}
    texts: dict[int, list[str]] = {}
    text_numbers = {column.number for column in STREAMS[stream] if column.kind is Kind.TEXT}
    if stream == "samples":
        text_numbers.add(TEXT)
    for field_number, _, value in fields(body):
        if field_number in text_numbers:
            texts.setdefault(field_number, []).append(_bytes(value).decode())
        elif isinstance(value, bytes):
            # A packed array may come in pieces.
            packed[field_number] = packed.get(field_number, b"") + value
    has_rows = bool(packed or texts)
    found: dict[str, Any] = {} if stream == "events" or "tags" in head else {"tags": []}
    if stream == "calculations" and "calculations" not in head:
        found["calculations"] = []
    for column in STREAMS[stream]:
        if column.number in packed or column.number in texts or not has_rows:
            found[column.name] = _read_column(column, packed, texts)
    return found


def _read_column(column: Column, packed: Mapping[int, bytes], texts: Mapping[int, list[str]]) -> list[Any]:
    content = packed.get(column.number, b"")
    if column.kind is Kind.COUNT:
        return unpack_varints(content).tolist()
    if column.kind is Kind.TIME:
        return np.frombuffer(content, "<i8").tolist()
    if column.kind is Kind.TEXT:
        return texts.get(column.number, [])
    numbers = np.frombuffer(content, "<f8")
    if column.kind is Kind.NUMBER:
        return nullable(numbers)

    def rows(number: int) -> list[int]:
        return unpack_varints(packed.get(number, b"")).tolist()

    return put_together(
        Apart(
            numbers,
            rows(INTEGER_ROW),
            np.frombuffer(packed.get(INTEGER, b""), "<i8").tolist(),
            rows(UNSIGNED_ROW),
            np.frombuffer(packed.get(UNSIGNED, b""), "<u8").tolist(),
            rows(TEXT_ROW),
            texts.get(TEXT, []),
        )
    )


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a text or a message belongs")
    return value


def _whole(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("a text or a message where a number belongs")
    return value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
