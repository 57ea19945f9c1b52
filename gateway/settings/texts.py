"""Values in words: how a text lies in registers, and what the values of a whole number are called."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gateway.core.types import Kind
from gateway.protocol.modbus.codes import READ_WRITE_REGISTERS_MAX
from gateway.protocol.modbus.points import TEXT_REGISTERS_MAX
from gateway.settings.forms import says
from gateway.settings.schema import RegisterType, Table, TextEncoding, TextPadding
from gateway.settings.section import Section
from gateway.settings.units import Parser, WrongValueError, choice, integer, show, text

LABELS_MAX: Final = 256
LABEL_CHARACTERS_MAX: Final = 64

TEXT_REGISTERS = integer(1, TEXT_REGISTERS_MAX)
ENCODING: Parser[TextEncoding] = choice(TextEncoding)
PADDING: Parser[TextPadding] = choice(TextPadding)
NUMBERS_ONLY: Final = (
    *("scale", "offset", "bits", "not_available", "clamp", "valid", "alarm"),
    *("windows", "word_order", "labels"),
)
"""Settings that say something of a number."""

_VALUE = re.compile(r"-?[0-9]{1,20}|0[xX][0-9A-Fa-f]{1,16}")


class TextShape(NamedTuple):
    registers: int
    encoding: TextEncoding
    padding: TextPadding


NO_TEXT = TextShape(0, TextEncoding.UTF_8, TextPadding.ANY)


def read_text_shape(section: Section, table: Table, wire: RegisterType) -> TextShape:
    """How a tag of type string lies in its registers."""
    registers = section.get("registers", TEXT_REGISTERS, None)
    shape = TextShape(
        registers or 1,
        section.get("encoding", ENCODING, TextEncoding.UTF_8),
        section.get("padding", PADDING, TextPadding.ANY),
    )
    if not section.is_sound("type") or table in (Table.COIL, Table.DISCRETE):
        return shape
    if wire is not RegisterType.STRING:
        for key in ("registers", "encoding", "padding"):
            if section.has(key):
                section.wrong(key, f'belongs to texts, and this tag is {wire}; write type = "string", or take it out')
        return NO_TEXT
    if registers is None and section.is_sound("registers"):
        section.wrong("registers", "is missing; write how many registers the text has, e.g. registers = 16")
    if shape.registers > READ_WRITE_REGISTERS_MAX and section.content.get("write"):
        section.wrong("write", f"needs a text of at most {READ_WRITE_REGISTERS_MAX} registers, as one request carries")
    for key in NUMBERS_ONLY:
        if section.has(key):
            section.wrong(key, "belongs to numbers, and this tag is a text; take it out")
    check_text_report(section)
    return shape


def check_text_report(section: Section) -> None:
    report = section.content.get("report")
    if isinstance(report, dict) and not report.keys().isdisjoint(("change", "percent")):
        section.wrong("report", "has a deadband, and texts have no distance; write report = {} for any change")


def labels(value: object) -> tuple[tuple[int, str], ...]:
    """`{ 0 = "off", 1 = "run" }`, or in a CSV `0=off|1=run`: names by value."""
    if isinstance(value, str):
        pairs = [part.partition("=")[::2] for part in value.split("|")]
    elif isinstance(value, dict):
        pairs = list(value.items())
    else:
        raise WrongValueError(f'{show(value)} does not name values; write {{ 0 = "off", 1 = "run" }}')
    if not 1 <= len(pairs) <= LABELS_MAX:
        raise WrongValueError(f"names {len(pairs)} values; write 1 to {LABELS_MAX} of them")
    found: dict[int, str] = {}
    for key, named in pairs:
        number = str(key).strip()
        if not _VALUE.fullmatch(number):
            raise WrongValueError(f'{show(key)} is not a whole number; write {{ 0 = "off", 1 = "run" }}')
        name = text(named.strip() if isinstance(named, str) else named)
        if len(name) > LABEL_CHARACTERS_MAX:
            raise WrongValueError(f"{show(name)} is too long; write at most {LABEL_CHARACTERS_MAX} characters")
        if int(number, 0 if number[:2] in ("0x", "0X") else 10) in found:
            raise WrongValueError(f"names {number} twice; write each value once")
        found[int(number, 0 if number[:2] in ("0x", "0X") else 10)] = name
    return tuple(sorted(found.items()))


says(
    labels,
    'names by value, like { 0 = "off", 1 = "run" }, in a CSV 0=off|1=run',
    {
        "anyOf": [
            {"type": "object", "additionalProperties": {"type": "string", "maxLength": LABEL_CHARACTERS_MAX}},
            {"type": "string"},
        ]
    },
)


def check_labels(section: Section, named: tuple[tuple[int, str], ...], kind: Kind) -> None:
    if named and kind not in (Kind.I64, Kind.U64) and section.is_sound("labels", "type", "scale", "offset"):
        section.wrong(
            "labels", "names whole numbers, and this tag has other values; take out labels, or scale and offset"
        )
