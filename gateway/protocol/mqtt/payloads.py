"""The slow path: any JSON payload, read by msgspec, and the meaning of a payload written down once.

- A value is a JSON number or boolean (1 and 0), bare or a member of an object, at any depth.
- A tag of kind F64 gets the nearest double of the number, times scale, plus offset; it must be finite.
- A tag of kind I64 or U64 gets an integer literal exactly when scale is 1 and offset 0, else the nearest integer of
  the double computed as above; it must fit.
- Of a name that comes twice in one object, the last counts.
- A member that is not there gives no sample: devices send what has changed. A message with none of a topic's members,
  or a member that is there and has no value, is unusable.
- A tag of kind SYMBOL gets a text: a JSON string, another value as it is written, or a payload that is no JSON at all.
- A time is a number that counts s, ms, µs or ns since 1970 (told apart by magnitude) or an RFC 3339 string.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from gateway.core.types import NS_PER_S, Kind, Quality
from gateway.protocol.mqtt.decimals import read_decimal
from gateway.protocol.mqtt.form import TimeForm, quality_of
from gateway.protocol.mqtt.table import Feed, Path
from gateway.protocol.times import WALL_NS_MAX

EXCERPT_BYTES: Final = 40
INT_TEXT_MAX: Final = 20
"""Characters of the longest 64-bit integer, so that no long text is ever turned into a number of its length."""

_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,18}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)  # fmt: skip
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_ANY: Final = msgspec.json.Decoder(msgspec.Raw)
_STRING: Final = msgspec.json.Decoder(str)
_RANGES: Final = {Kind.I64: (-(1 << 63), (1 << 63) - 1), Kind.U64: (0, (1 << 64) - 1)}
_SECOND_DIGITS, _NS_DIGITS = 11, 20


@dataclass(frozen=True, slots=True)
class Cell:
    """A value for one entry, a float or an int by the tag's kind, and the wall time that came with it.

    `wall_ns` is -1 when the payload brings none, 0 when what it brings is no plausible time.
    """

    value: float | int | str
    wall_ns: int
    quality: Quality = Quality.GOOD


@dataclass(frozen=True, slots=True)
class Unusable:
    reason: str


def excerpt(payload: bytes) -> str:
    """The beginning of a payload, safe to print."""
    shown = repr(payload[:EXCERPT_BYTES])[1:]
    return f"{shown}…" if len(payload) > EXCERPT_BYTES else shown


def _scaled(x: float, feed: Feed) -> float | int | Unusable:
    x = x * feed.scale + feed.offset
    if not math.isfinite(x):
        return Unusable("the number is too large")
    if feed.kind is Kind.F64:
        return x
    low, high = _RANGES[feed.kind]
    nearest = round(x)
    return nearest if low <= nearest <= high else Unusable(f"the number does not fit into {feed.kind.name.lower()}")


def as_cell(number: float | int, feed: Feed) -> float | int | Unusable:
    """A number as this tag has it."""
    if isinstance(number, float) or feed.kind is Kind.F64 or feed.scale != 1.0 or feed.offset != 0.0:
        return _scaled(float(number), feed)
    low, high = _RANGES[feed.kind]
    return number if low <= number <= high else Unusable(f"the number does not fit into {feed.kind.name.lower()}")


def is_number(raw: bytes) -> bool:
    """Whether a JSON text is a number."""
    return _NUMBER.fullmatch(raw) is not None


def read_text(raw: bytes) -> str | Unusable:
    """A JSON text as a tag of texts has it: numbers and words as they are written. Raises msgspec.DecodeError."""
    if raw[:1] == b'"':
        return _STRING.decode(raw)
    if raw[:1] in (b"{", b"[") or raw == b"null":
        what = {b"{": "an object", b"[": "an array"}.get(raw[:1], "null")
        return Unusable(f"{what} stands where a text is wanted")
    return raw.decode()


def read_value(raw: bytes, feed: Feed) -> float | int | str | Unusable:
    """The value of a JSON text for this tag."""
    if feed.kind is Kind.SYMBOL:
        return read_text(raw)
    if raw in (b"true", b"false"):
        raw = b"1" if raw == b"true" else b"0"
    if not _NUMBER.fullmatch(raw):
        what = {0x22: "a string", 0x7B: "an object", 0x5B: "an array", 0x6E: "null"}.get(raw[0] if raw else 0, "this")
        return Unusable(f"{what} stands where a number is wanted")
    if feed.kind is Kind.F64 or feed.scale != 1.0 or feed.offset != 0.0 or not _INTEGER.fullmatch(raw):
        return _scaled(float(raw), feed)
    low, high = _RANGES[feed.kind]
    if len(raw) <= INT_TEXT_MAX and low <= int(raw) <= high:
        return int(raw)
    return Unusable(f"the number does not fit into {feed.kind.name.lower()}")


def _wall_from_number(raw: bytes, form: TimeForm) -> int:
    number = read_decimal(raw)
    if number.is_negative or not number.digits or number.before_point > _NS_DIGITS:
        return 0
    if form is TimeForm.AUTO:
        if number.before_point < 1:
            return 0
        finer = max(0, -(-(number.before_point - _SECOND_DIGITS) // 3))
    else:
        finer = form - TimeForm.S
    wall_ns = number.shifted(9 - 3 * finer)
    return wall_ns if wall_ns <= WALL_NS_MAX else 0


def _wall_from_text(text: str) -> int:
    match = _RFC3339.fullmatch(text)
    if match is None:
        return 0
    day, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    except ValueError:
        return 0
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    wall_ns = (since.days * 86_400 + since.seconds) * NS_PER_S + int((fraction or "0")[:9].ljust(9, "0"))
    return wall_ns if 0 < wall_ns <= WALL_NS_MAX else 0


def read_time(raw: bytes, form: TimeForm = TimeForm.AUTO) -> int:
    """Wall time in ns of a JSON text; 0 when it is no plausible time of that form."""
    if _NUMBER.fullmatch(raw):
        return 0 if form is TimeForm.ISO8601 else _wall_from_number(raw, form)
    if raw[:1] == b'"' and form in (TimeForm.AUTO, TimeForm.ISO8601):
        try:
            return _wall_from_text(_STRING.decode(raw))
        except msgspec.DecodeError:
            return 0
    return 0


class _Document:
    """A payload whose objects and arrays are opened as paths ask for them, each once."""

    def __init__(self, payload: bytes) -> None:
        self._root = bytes(_ANY.decode(payload))
        self._opened: dict[Path, dict[str, msgspec.Raw] | list[msgspec.Raw] | None] = {}

    def at(self, path: Path) -> bytes | None:
        """The JSON text at the path, or None when nothing is there."""
        if not path:
            return self._root
        parent, last = self._open(path[:-1]), path[-1]
        raw = None
        if isinstance(last, str) and isinstance(parent, dict):
            raw = parent.get(last)
        elif isinstance(last, int) and isinstance(parent, list) and last < len(parent):
            raw = parent[last]
        return None if raw is None else bytes(raw)

    def _open(self, path: Path) -> dict[str, msgspec.Raw] | list[msgspec.Raw] | None:
        if path not in self._opened:
            text = self.at(path) or b""
            self._opened[path] = (
                _OBJECT.decode(text) if text[:1] == b"{" else _ARRAY.decode(text) if text[:1] == b"[" else None
            )
        return self._opened[path]


def _read_entry(document: _Document, feed: Feed) -> Cell | Unusable | None:
    raw = document.at(feed.field)
    # An object says nothing about the tags that take the bare value, and the other way round.
    if raw is None or (not feed.field and raw[:1] == b"{"):
        return None
    raw_quality = document.at(feed.quality_field) if feed.quality_field else None
    quality = Quality.GOOD if raw_quality is None else quality_of(raw_quality, feed.form)
    time = document.at(feed.time_field) if feed.time_field else None
    wall_ns = -1 if time is None else read_time(time, feed.form.time)
    value = read_value(raw, feed)
    if isinstance(value, Unusable):
        if quality < Quality.UNCERTAIN:
            return Cell(0, wall_ns, quality)
        return Unusable(f"{show_path(feed.field)}: {value.reason}" if feed.field else value.reason)
    return Cell(value, wall_ns, quality)


def show_path(path: Path) -> str:
    """As it is written in the settings."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


_JSON_FIRST: Final = (b'"', b"{", b"[")


def _read_bare_text(payload: bytes, feeds: tuple[Feed, ...]) -> list[Cell | Unusable | None] | Unusable:
    """A payload that is the text itself, without quotes."""
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError:
        return Unusable("the payload is no text in UTF-8")
    return [Cell(text, -1) for _ in feeds]


def _nothing_wanted(feeds: Iterable[Feed]) -> Unusable:
    fields = sorted({show_path(feed.field) for feed in feeds if feed.field})
    if not fields:
        return Unusable("an object stands where a number is wanted; name the member in the tag's field")
    return Unusable(f"it is no JSON object with {' or '.join(fields[:3])}{' or …' if len(fields) > 3 else ''}")


def read_payload(payload: bytes, feeds: tuple[Feed, ...]) -> list[Cell | Unusable | None] | Unusable:
    """For each feed its cell, why it has none, or None when the payload leaves it out; or why all is unusable."""
    if not payload:
        return Unusable("the payload is empty")
    if all(feed.kind is Kind.SYMBOL and not feed.field for feed in feeds) and payload.strip()[:1] not in _JSON_FIRST:
        return _read_bare_text(payload, feeds)
    try:
        document = _Document(payload)
        found = [_read_entry(document, feed) for feed in feeds]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Unusable("the payload is not JSON")
    except RecursionError:
        return Unusable("the payload is nested too deeply")
    return found if any(cell is not None for cell in found) else _nothing_wanted(feeds)
