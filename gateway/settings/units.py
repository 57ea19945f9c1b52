"""Values: from what TOML gives to what the gateway counts in.

A parser takes a TOML value and returns it whole and in range, or raises `WrongValueError` with the rest of the
sentence that begins with the key: what is wrong, and what to write instead. Every number with a unit is a string
with its unit. Digits in quotes pass for numbers, because that is what a template's `"{n}"` and a CSV cell become.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from fractions import Fraction
from typing import TypeAlias, TypeVar

from gateway.settings.forms import form_of, matching, says, words_of

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Parser: TypeAlias = Callable[[object], T]

NS_BY_UNIT = {
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
BYTES_BY_UNIT = {
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
NUMBER_MAX = 1e300
TEXT_MAX = 4_096
NAME_MAX = 64

_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-zµ/]*)")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_NAME = re.compile(r"[A-Za-z0-9_-]+")


class WrongValueError(Exception):
    """A value that cannot be used: the rest of the sentence that its key begins."""


def show(value: object) -> str:
    """A value as TOML writes it, short and on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, int) and value.bit_length() > 64:
        return "a number with too many digits"
    if isinstance(value, str):
        short = value if len(value) <= 60 else value[:57] + "..."
        return json.dumps(short, ensure_ascii=False)
    return str(value)


def text(value: object) -> str:
    if not isinstance(value, str):
        raise WrongValueError(f'{show(value)} is not text; write it in quotes, like "{_example_text(value)}"')
    if not value or len(value) > TEXT_MAX or not value.isprintable():
        raise WrongValueError(f"{show(value)} is empty, too long or has control characters; write plain text")
    return value


def _example_text(value: object) -> str:
    return "text" if isinstance(value, dict | list) else show(value)


def label(value: object) -> str:
    """Text that may be empty, as engineering units are."""
    return value if value == "" and isinstance(value, str) else text(value)


def name(value: object) -> str:
    word = text(value)
    if len(word) > NAME_MAX or not _NAME.fullmatch(word):
        raise WrongValueError(f"{show(word)} is not a name; write at most {NAME_MAX} letters, digits, _ and -")
    return word


def flag(value: object) -> bool:
    if value is True or value is False:
        return value
    raise WrongValueError(f"{show(value)} is neither true nor false; write true or false")


def choice(kind: type[E]) -> Parser[E]:
    """One word of an enumeration."""
    words = [member.value for member in kind]

    def parse(value: object) -> E:
        if isinstance(value, str) and value in words:
            return kind(value)
        raise WrongValueError(f"{show(value)} is not known here; write {one_of(words)}")

    return says(parse, one_of(words), words_of(words))


def one_of(words: Iterable[str]) -> str:
    *most, last = [f'"{word}"' for word in words]
    return f"{', '.join(most)} or {last}" if most else last


def integer(low: int, high: int) -> Parser[int]:
    def parse(value: object) -> int:
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise WrongValueError(f"{show(value)} is not a whole number; write one from {low} to {high}")
        if not low <= value <= high:
            raise WrongValueError(f"{show(value)} is out of range; write a whole number from {low} to {high}")
        return value

    schema = {"type": ["integer", "string"], "minimum": low, "maximum": high}
    return says(parse, f"a whole number from {low} to {high}", schema)


def number(value: object) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise WrongValueError(f"{show(value)} is not a number; write one like 0.1, without unit") from None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise WrongValueError(f"{show(value)} is not a number; write one like 0.1")
    if not abs(value) <= NUMBER_MAX:  # NaN fails this as well
        raise WrongValueError(f"{show(value)} is not finite; write a number like 0.1")
    return float(value)


def positive(value: object) -> float:
    found = number(value)
    if found <= 0:
        raise WrongValueError(f"{show(value)} is not above zero; write a number greater than 0")
    return found


def score_limit(value: object) -> float:
    found = number(value)
    if not 0 < found <= 1:
        raise WrongValueError(f"{show(value)} is not above 0 and at most 1, as scores are; write 0.9, say")
    return found


def _quantity_pattern(units: Iterable[str]) -> str:
    return f"[0-9]+(\\.[0-9]+)? ?({'|'.join(units)})"


def _quantity(value: object, units: dict[str, int], what: str, example: str, bare: str) -> Fraction:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise WrongValueError(f'{show(value)} has no unit; write "{show(value)}{bare}"')
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        if match is not None and not match[2]:
            raise WrongValueError(f'{show(value)} has no unit; write "{match[1]}{bare}"')
        raise WrongValueError(f'{show(value)} is not {what}; write a number with {", ".join(units)}, like "{example}"')
    return Fraction(match[1]) * units[match[2]]


def duration(low_ns: int, high_ns: int) -> Parser[int]:
    """`"100ms"`, `"10s"`, `"5min"`: nanoseconds."""

    def parse(value: object) -> int:
        found_ns = round(_quantity(value, NS_BY_UNIT, "a duration", "10s", "s"))
        if found_ns < low_ns:
            raise WrongValueError(f'{show(value)} is too short; write at least "{show_duration(low_ns)}"')
        if found_ns > high_ns:
            raise WrongValueError(f'{show(value)} is too long; write at most "{show_duration(high_ns)}"')
        return found_ns

    words = f'a duration from "{show_duration(low_ns)}" to "{show_duration(high_ns)}", in {", ".join(NS_BY_UNIT)}'
    return says(parse, words, matching(_quantity_pattern(NS_BY_UNIT)))


def show_duration(ns: int) -> str:
    """A duration in the largest unit that shows it exactly."""
    for unit in ("d", "h", "min", "s", "ms", "us"):
        if ns and ns % NS_BY_UNIT[unit] == 0:
            return f"{ns // NS_BY_UNIT[unit]}{unit}"
    return f"{ns / NS_BY_UNIT['us']:g}us" if ns else "0s"


def size(low: int, high: int) -> Parser[int]:
    """`"2GB"`, `"64MiB"`: bytes."""

    def parse(value: object) -> int:
        found = round(_quantity(value, BYTES_BY_UNIT, "a size", "2GB", "MB"))
        if not low <= found <= high:
            raise WrongValueError(f'{show(value)} is out of range; write "{show_size(low)}" to "{show_size(high)}"')
        return found

    words = f'a size from "{show_size(low)}" to "{show_size(high)}", in {", ".join(BYTES_BY_UNIT)}'
    return says(parse, words, matching(_quantity_pattern(BYTES_BY_UNIT)))


def show_size(number_of_bytes: int) -> str:
    for unit in ("GB", "GiB", "MB", "MiB", "kB", "KiB"):
        if number_of_bytes % BYTES_BY_UNIT[unit] == 0:
            return f"{number_of_bytes // BYTES_BY_UNIT[unit]}{unit}"
    return f"{number_of_bytes}B"


def per_second(low: int, high: int) -> Parser[int]:
    """`"50/s"`: a whole number a second."""

    def parse(value: object) -> int:
        found = _quantity(value, {"/s": 1}, "a rate", "50/s", "/s")
        if found.denominator != 1 or not low <= found <= high:
            raise WrongValueError(f'{show(value)} is out of range; write a whole rate from "{low}/s" to "{high}/s"')
        return int(found)

    return says(parse, f'a whole rate from "{low}/s" to "{high}/s"', matching("[0-9]+ ?/s"))


BANDWIDTHS = {"kB/s": 10**3, "MB/s": 10**6, "kbit/s": 125, "Mbit/s": 125_000}
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")


def bandwidth(value: object) -> int:
    """`"500kB/s"`, `"2Mbit/s"`: bytes a second."""
    found = round(_quantity(value, BANDWIDTHS, "a bandwidth", "500kB/s", "kB/s"))
    if not 1_000 <= found <= 10**10:
        raise WrongValueError(f'{show(value)} is out of range; write "1kB/s" to "10000MB/s"')
    return found


def hours(value: object) -> tuple[int, int]:
    """`"22:00-06:00"`: seconds of the local day, from and until; over midnight when it ends before it begins."""
    match = _HOURS.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise WrongValueError(f'{show(value)} is no span of a day; write "22:00-06:00", for example')
    start, end = (int(match[at]) * 3_600 + int(match[at + 1]) * 60 for at in (1, 3))
    if start == end:
        raise WrongValueError(f"{show(value)} is empty; leave it out to allow the whole day")
    return start, end


def share(value: object) -> float:
    """A part of 1."""
    found = number(value)
    if not 0 <= found <= 1:
        raise WrongValueError(f"{show(value)} is not a part of a whole; write 0 to 1, 0.25 for a quarter")
    return found


says(bandwidth, 'a bandwidth such as "500kB/s", in ' + ", ".join(BANDWIDTHS), matching(_quantity_pattern(BANDWIDTHS)))
says(hours, 'a span of the local day, like "22:00-06:00"', matching("[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]"))
says(share, "a number from 0 to 1", {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string"}]})


def array_of(parse: Parser[T], example: str, count_max: int, *, count_min: int = 0) -> Parser[tuple[T, ...]]:
    """An array without repetitions."""

    def parse_all(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise WrongValueError(f"{show(value)} is not an array; write {example}")
        if not count_min <= len(value) <= count_max:
            raise WrongValueError(
                f"has {len(value)} elements; write {count_min} to {count_max} of them, like {example}"
            )
        found = tuple(parse(element) for element in value)
        for index, element in enumerate(found):
            if element in found[:index]:
                raise WrongValueError(f"{show(value[index])} stands there twice; write it once")
        return found

    item = form_of(parse)
    schema = {"type": "array", "items": item.schema, "minItems": count_min, "maxItems": count_max, "uniqueItems": True}
    return says(parse_all, f"an array, like {example}: each {item.words}", schema)


_ANY_NUMBER = {"type": ["number", "string"]}
says(text, "text", {"type": "string", "minLength": 1, "maxLength": TEXT_MAX})
says(label, "text, or nothing", {"type": "string", "maxLength": TEXT_MAX})
says(name, f"at most {NAME_MAX} letters, digits, _ and -", matching(f"[A-Za-z0-9_-]{{1,{NAME_MAX}}}"))
says(flag, "true or false", {"type": "boolean"})
says(number, "a number", _ANY_NUMBER)
says(score_limit, "a score above 0 and at most 1", {**_ANY_NUMBER, "exclusiveMinimum": 0, "maximum": 1})
says(positive, "a number greater than 0", {**_ANY_NUMBER, "exclusiveMinimum": 0})
