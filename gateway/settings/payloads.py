"""How the payloads of a device's topics are built: kind, members of readings, times, words for qualities, structs."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Final, NamedTuple

from gateway.core.types import Quality
from gateway.protocol.mqtt.form import (
    BIG_END,
    PLAIN,
    QUALITY_WORDS,
    WIRE_BYTES,
    Form,
    Layout,
    Members,
    TimeForm,
    WireForm,
)
from gateway.settings.forms import matching, says
from gateway.settings.section import Section
from gateway.settings.units import WrongValueError, choice, show, text

STRUCT_BYTES_MAX: Final = 65_536
WORDS_MAX: Final = 32
NAME_BYTES_MAX: Final = 4_096


class PayloadKind(StrEnum):
    JSON = "json"
    READINGS = "json-array"
    SENML = "senml"
    STRUCT = "struct"


class TimeFormat(StrEnum):
    AUTO = "auto"
    ISO8601 = "iso8601"
    S = "s"
    MS = "ms"
    US = "us"
    NS = "ns"


PAYLOAD = choice(PayloadKind)
TIME_FORMAT = choice(TimeFormat)
_LAYOUTS: Final = {
    PayloadKind.JSON: Layout.PLAIN,
    PayloadKind.READINGS: Layout.READINGS,
    PayloadKind.SENML: Layout.SENML,
    PayloadKind.STRUCT: Layout.STRUCT,
}
_NUMBERS: Final = {form.name.lower(): form for form in WireForm}
_BYTES: Final = re.compile(r"(\d{1,5}) +([a-z0-9]+)(?: +(little|big))?")
_QUALITIES: Final = (("good", Quality.GOOD), ("uncertain", Quality.UNCERTAIN), ("bad", Quality.BAD))


class BytePlace(NamedTuple):
    at: int
    wire: int


def byte_place(value: object) -> BytePlace:
    """`"4 float32"`, or `"4 float32 big"`: the first byte, the number's type, and which end comes first."""
    match = _BYTES.fullmatch(text(value))
    if match is None or match[2] not in _NUMBERS:
        raise WrongValueError(
            f'{show(value)} is no place in a struct; write first byte and type, like "4 float32" or "4 int16 big"'
        )
    at, form = int(match[1]), _NUMBERS[match[2]]
    if at + WIRE_BYTES[form] > STRUCT_BYTES_MAX:
        raise WrongValueError(f"{show(value)} is too far behind; a struct has at most {STRUCT_BYTES_MAX} bytes")
    return BytePlace(at, form + (BIG_END if match[3] == "big" else 0))


def member(value: object) -> str:
    """The name of a member of a JSON object, or of a reading."""
    word = text(value)
    if len(word.encode()) > NAME_BYTES_MAX:
        raise WrongValueError(f"is too long; write at most {NAME_BYTES_MAX} bytes")
    return word


def words(value: object) -> tuple[bytes, ...]:
    """`["ok", 0, true]`: what a device says, as JSON writes it."""
    listed = value if isinstance(value, list) else [value]
    if not 1 <= len(listed) <= WORDS_MAX:
        raise WrongValueError(f'has {len(listed)} elements; write 1 to {WORDS_MAX} of them, like ["ok", 0]')
    for word in listed:
        if not isinstance(word, str | int):
            raise WrongValueError(f"{show(word)} is no word for a quality; write texts, whole numbers, true or false")
    return tuple(json.dumps(word, ensure_ascii=False).encode() for word in listed)


def read_form(section: Section) -> Form:
    """Of a device whose link is MQTT."""
    kind = section.get("payload", PAYLOAD, PayloadKind.JSON)
    inside = section.table("reading")
    members = Members()
    if inside is not None:
        if kind is not PayloadKind.READINGS and section.is_sound("payload"):
            section.wrong("reading", 'tells of readings in an array; write payload = "json-array" as well')
        members = Members(
            name=inside.get("name", member, members.name),
            value=inside.get("value", member, members.value),
            time=inside.get("time", member, members.time),
            quality=inside.get("quality", member, None) or "",
        )
        inside.finish()
        named = [name for name in (members.name, members.value, members.time, members.quality) if name]
        if len(set(named)) < len(named):
            section.wrong("reading", "gives two of its members the same name; each must have its own")
    time = section.get("time_format", TIME_FORMAT, TimeFormat.AUTO)
    if kind is PayloadKind.JSON and time is TimeFormat.AUTO and "quality" not in section.content:
        return PLAIN
    return Form(_LAYOUTS[kind], TimeForm[time.name], members, _read_words(section))


def _read_words(section: Section) -> tuple[tuple[bytes, Quality], ...]:
    inside = section.table("quality")
    if inside is None:
        return QUALITY_WORDS
    found: dict[bytes, Quality] = {}
    for key, quality in _QUALITIES:
        for word in inside.get(key, words, ()):
            if found.setdefault(word, quality) is not quality:
                inside.wrong(key, f"{word.decode()} means two qualities; write it once")
    inside.finish()
    return tuple(found.items())


says(byte_place, 'the first byte and the type of a number, like "4 float32" or "4 int16 big"', matching(_BYTES.pattern))
says(member, "a name", {"type": "string"})
says(
    words,
    'what the device says, like ["ok", 0]',
    {"type": ["string", "integer", "boolean", "array"], "maxItems": WORDS_MAX},
)
