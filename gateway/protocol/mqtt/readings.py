"""Messages of many readings, the slow way: JSON arrays of readings, SenML (RFC 8428) and structs, and what they mean.

- A reading is an object with a name and a value; time and quality may be there. Readings whose name no tag has are
  counted and left out. A reading without a name makes the message unusable; one without a value is of bad quality when
  it says so itself, else unusable.
- SenML: base name, base time and base value stand for all records that follow; a value is `v` (plus the base value) or
  `vb`. Times below 2**28 s are relative to the arrival. Sums (`s`) are counted and left out. A label that ends in `_`
  must be understood, so nobody here does; nor a version above 10.
- A struct has numbers at fixed places; what is behind the last one is of no interest.
- A value for a tag is read as `payloads.read_value` reads it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

import msgspec

from gateway.core.types import Kind, Quality
from gateway.protocol.mqtt.decimals import read_decimal
from gateway.protocol.mqtt.form import BIG_END, WIRE_BYTES, Form, Layout, WireForm, quality_of
from gateway.protocol.mqtt.payloads import Cell, Unusable, as_cell, is_number, read_text, read_time, read_value
from gateway.protocol.mqtt.table import Feed, Topic
from gateway.protocol.times import WALL_NS_MAX

_ARRAY: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_STRING: Final = msgspec.json.Decoder(str)
RELATIVE_NS: Final = (1 << 28) * 1_000_000_000
VERSION_MAX: Final = 10
SECONDS_DIGITS_MAX: Final = 12
_FORMATS: Final = "?bBhHiIqQfd"


@dataclass(slots=True)
class Found:
    """(index in the topic's feeds, cell) of what tags want, in the message's order; and what they do not."""

    cells: list[tuple[int, Cell | Unusable]] = field(default_factory=list)
    unknown: int = 0
    sums: int = 0


def read_readings(payload: bytes, topic: Topic, arrival_wall_ns: int) -> Found | Unusable:
    """What the message brings, or why it is unusable as a whole."""
    if topic.form.layout is Layout.STRUCT:
        return _read_struct(payload, topic)
    try:
        items = _ARRAY.decode(payload)
        if topic.form.layout is Layout.SENML:
            return _Pack(topic).read(items, arrival_wall_ns)
        return _read_array(items, topic)
    except (msgspec.ValidationError, UnicodeDecodeError):
        return Unusable("the payload is no JSON array of objects")
    except msgspec.DecodeError:
        return Unusable("the payload is not JSON")
    except RecursionError:
        return Unusable("the payload is nested too deeply")


class _Names:
    """Which tags a name is for."""

    def __init__(self, topic: Topic) -> None:
        self._feeds = topic.feeds
        self._of: dict[str, list[int]] = {}
        for i, feed in enumerate(topic.feeds):
            self._of.setdefault(feed.name, []).append(i)

    def of(self, name: str) -> list[tuple[int, Feed]]:
        return [(i, self._feeds[i]) for i in self._of.get(name, ())]


def _read_array(items: list[dict[str, msgspec.Raw]], topic: Topic) -> Found | Unusable:
    found = Found()
    names = _Names(topic)
    form = topic.form
    for number, item in enumerate(items, 1):
        raw_name = item.get(form.members.name)
        if raw_name is None or bytes(raw_name)[:1] != b'"' or not (name := _STRING.decode(raw_name)):
            return Unusable(f"reading {number} has no {form.members.name!r} that is a text")
        tags = names.of(name)
        found.unknown += not tags
        for i, feed in tags:
            found.cells.append((i, _read_reading(item, feed, form)))
    return found


def _member(item: dict[str, msgspec.Raw], name: str) -> bytes | None:
    raw = item.get(name) if name else None
    return None if raw is None else bytes(raw)


def _read_reading(item: dict[str, msgspec.Raw], feed: Feed, form: Form) -> Cell | Unusable:
    raw_quality = _member(item, form.members.quality)
    quality = Quality.GOOD if raw_quality is None else quality_of(raw_quality, form)
    raw_time = _member(item, form.members.time)
    wall_ns = -1 if raw_time is None else read_time(raw_time, form.time)
    raw = _member(item, form.members.value)
    value = Unusable(f"it has no {form.members.value!r}") if raw is None else read_value(raw, feed)
    if isinstance(value, Unusable):
        if quality < Quality.UNCERTAIN:
            return Cell(0, wall_ns, quality)
        return Unusable(f"reading {feed.name!r}: {value.reason}")
    return Cell(value, wall_ns, quality)


class _Pack:
    """A SenML pack: the base fields as they are at the present record."""

    def __init__(self, topic: Topic) -> None:
        self._names = _Names(topic)
        self._name = ""
        self._ns = 0
        self._value: bytes | None = None

    def read(self, records: list[dict[str, msgspec.Raw]], arrival_wall_ns: int) -> Found | Unusable:
        found = Found()
        for number, record in enumerate(records, 1):
            try:
                self._take_base(record)
                self._take_record(record, found, arrival_wall_ns)
            except _Wrong as why:
                return Unusable(f"record {number}: {why}")
        return found

    def _take_base(self, record: dict[str, msgspec.Raw]) -> None:
        strange = next((label for label in record if label.endswith("_") or not label), None)
        if strange is not None:
            raise _Wrong(f"{strange!r} must be understood, and is not")
        if "bver" in record:
            raw = bytes(record["bver"])
            if not raw.isdigit() or len(raw) > 2 or int(raw) > VERSION_MAX:
                raise _Wrong(f"version {raw[:10]!r} of SenML is not supported")
        if "bn" in record:
            self._name = _text(record, "bn")
        if "bt" in record:
            self._ns = _ns(record, "bt")
        if "bv" in record:
            self._value = bytes(record["bv"])
            if not is_number(self._value):
                raise _Wrong("'bv' is no number")
        if "bs" in record and not is_number(bytes(record["bs"])):
            raise _Wrong("'bs' is no number")

    def _take_record(self, record: dict[str, msgspec.Raw], found: Found, arrival_wall_ns: int) -> None:
        name = self._name + (_text(record, "n") if "n" in record else "")
        ns = self._ns + (_ns(record, "t") if "t" in record else 0)
        if "s" in record:
            if not is_number(bytes(record["s"])):
                raise _Wrong("'s' is no number")
            found.sums += 1
        values = [label for label in ("v", "vb", "vs", "vd") if label in record]
        if not values:
            return
        if len(values) > 1:
            raise _Wrong("it has more than one value")
        if not name:
            raise _Wrong("it has no name")
        tags = self._names.of(name)
        found.unknown += not tags
        wall_ns = -1
        if ns:
            wall_ns = min(max(0, arrival_wall_ns + ns if ns < RELATIVE_NS else ns), WALL_NS_MAX + 1)
        for i, feed in tags:
            found.cells.append((i, self._cell(values[0], bytes(record[values[0]]), feed, wall_ns)))

    def _cell(self, label: str, raw: bytes, feed: Feed, wall_ns: int) -> Cell | Unusable:
        if feed.kind is Kind.SYMBOL:
            text = Unusable("data stand where a text is wanted") if label == "vd" else read_text(raw)
            return text if isinstance(text, Unusable) else Cell(text, wall_ns)
        is_right = is_number(raw) if label == "v" else raw in (b"true", b"false") if label == "vb" else False
        if not is_right:
            return Unusable(f"record {feed.name!r}: {label!r} is no value for a number")
        value: float | int | str | Unusable
        if label == "v" and self._value is not None:
            value = as_cell(float(raw) + float(self._value), feed)
        else:
            value = read_value(raw, feed)
        if isinstance(value, Unusable):
            return Unusable(f"record {feed.name!r}: {value.reason}")
        return Cell(value, wall_ns)


class _Wrong(Exception):
    """Why a record makes its pack unusable."""


def _text(record: dict[str, msgspec.Raw], label: str) -> str:
    raw = record[label]
    if bytes(raw)[:1] != b'"':
        raise _Wrong(f"{label!r} is no text")
    return _STRING.decode(raw)


def _ns(record: dict[str, msgspec.Raw], label: str) -> int:
    """Seconds as ns, cut towards zero."""
    raw = bytes(record[label])
    if not is_number(raw):
        raise _Wrong(f"{label!r} is no number")
    seconds = read_decimal(raw)
    if not seconds.digits:
        return 0
    if seconds.before_point > SECONDS_DIGITS_MAX:
        raise _Wrong(f"{label!r} is beyond any time")
    ns = seconds.shifted(9)
    if ns > WALL_NS_MAX:
        raise _Wrong(f"{label!r} is beyond any time")
    return -ns if seconds.is_negative else ns


def _read_struct(payload: bytes, topic: Topic) -> Found | Unusable:
    found = Found()
    for i, feed in enumerate(topic.feeds):
        form = WireForm(feed.wire & (BIG_END - 1))
        size = WIRE_BYTES[form]
        if feed.at + size > len(payload):
            wanted = f"byte {feed.at + size - 1}, which the payload of {len(payload)} bytes does not have"
            found.cells.append((i, Unusable(f"the value ends at {wanted}")))
            continue
        order = ">" if feed.wire >= BIG_END else "<"
        [number] = struct.unpack(order + _FORMATS[form], payload[feed.at : feed.at + size])
        value = as_cell(number if isinstance(number, float) else int(number), feed)
        found.cells.append((i, value if isinstance(value, Unusable) else Cell(value, -1)))
    return found
