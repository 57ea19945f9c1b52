"""What a value looks like in its registers beyond type and order, and which of a tag's readings are passed on.

A part of it may be the value (`bits`), some patterns may mean "not available", the result may be clamped; and of a
value that is read more often than it says something new, only the news may be reported (`report`).
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.settings.addresses import WIDTHS, Bits, bits, patterns
from gateway.settings.forms import form_of, says
from gateway.settings.schema import RegisterType, Report, Table
from gateway.settings.section import Section
from gateway.settings.units import (
    Parser,
    WrongValueError,
    choice,
    duration,
    number,
    positive,
    show,
    show_duration,
)

FLOATS = (RegisterType.FLOAT32, RegisterType.FLOAT64)
SIGNED = (
    RegisterType.INT16,
    RegisterType.INT32,
    RegisterType.INT64,
    RegisterType.SIGNMAG16,
    RegisterType.SIGNMAG32,
    RegisterType.SIGNMAG64,
)
HAVE_BITS = (
    RegisterType.BOOL,
    RegisterType.INT16,
    RegisterType.INT32,
    RegisterType.INT64,
    RegisterType.UINT16,
    RegisterType.UINT32,
    RegisterType.UINT64,
    RegisterType.BCD16,
    RegisterType.BCD32,
    RegisterType.BCD64,
)
TEXTS = ("ascii", "text", "char", "utf8", "utf-8")
WHOLE = Bits(0, 0)
HEARTBEAT = duration(NS_PER_MS, 24 * 3_600 * NS_PER_S)
HOLD = duration(0, 3_600 * NS_PER_S)
STALE_SHARE = 2
"""A heartbeat comes at least so many times before the value would be marked stale."""

_WORD: Parser[RegisterType] = choice(RegisterType)


class Shape(NamedTuple):
    bits: Bits
    not_available: tuple[int, ...]
    clamp_low: float | None
    clamp_high: float | None

    @property
    def is_clamped(self) -> bool:
        return self.clamp_low is not None or self.clamp_high is not None


def register_type(value: object) -> RegisterType:
    if isinstance(value, str) and value.lower() in TEXTS:
        raise WrongValueError(
            f'{show(value)} is not a type; write type = "string", registers = 16, and encoding = "ascii" beside it'
        )
    return _WORD(value)


says(register_type, form_of(_WORD).words, form_of(_WORD).schema)


def read_shape(section: Section, table: Table, wire: RegisterType) -> Shape:
    """Bit field, patterns and clamp of a tag whose type is known to be sound."""
    field = section.get("bits", bits, WHOLE)
    if field.width and section.is_sound("type"):
        field = _checked_bits(section, field, table, wire)
    found = section.get("not_available", patterns, ())
    if found and section.is_sound("type", "bits"):
        found = _checked_patterns(section, found, field.width or 16 * WIDTHS[wire], table)
    return Shape(field, found, *read_clamp(section))


def read_clamp(section: Section) -> tuple[float | None, float | None]:
    """What the value is set to when it is below or above."""
    clamp = section.table("clamp")
    if clamp is None:
        return None, None
    low = clamp.get("low", number, None)
    high = clamp.get("high", number, None)
    clamp.finish()
    if low is None and high is None and clamp.is_sound("low", "high"):
        section.wrong("clamp", "has no end; write clamp = { low = 0 }, or high, or both")
    if low is not None and high is not None and low >= high:
        clamp.wrong("low", f"{low:g} is not below high = {high:g}; write the smaller number as low")
    return low, high


def _checked_bits(section: Section, field: Bits, table: Table, wire: RegisterType) -> Bits:
    width = 16 * WIDTHS[wire]
    last = field.first + field.width - 1
    if table in (Table.COIL, Table.DISCRETE):
        section.wrong("bits", f"has no use here, a {table} is one bit; take it out")
    elif wire not in HAVE_BITS:
        section.wrong("bits", f'cannot be a part of {wire}; write type = "uint16" or another whole number')
    elif last >= width:
        section.wrong("bits", f"bit {last} is not in {wire}; write at most {width - 1}, or a longer type")
    elif wire is RegisterType.BOOL and field.width > 1:
        section.wrong("bits", 'a bool is one bit; write one, like 3, or type = "uint16"')
    elif field.width < width:
        return field
    return WHOLE


def _checked_patterns(section: Section, found: tuple[int, ...], width: int, table: Table) -> tuple[int, ...]:
    """As unsigned numbers of the value's width."""
    if table in (Table.COIL, Table.DISCRETE):
        section.wrong("not_available", f"has no use here, a {table} is one bit; take it out")
        return ()
    for pattern in found:
        if not -(1 << (width - 1)) <= pattern < 1 << width:
            section.wrong("not_available", f"{pattern:#x} does not fit {width} bits; write a pattern that can be read")
            return ()
    return tuple(dict.fromkeys(pattern & ((1 << width) - 1) for pattern in found))


def read_report(section: Section, every_ns: int, stale_after_ns: int) -> Report | None:
    """When a reading is news; None: always."""
    table = section.table("report")
    if table is None:
        return None
    change = table.get("change", positive, None)
    percent = table.get("percent", positive, None)
    hold_ns = table.get("hold", HOLD, 0)
    heartbeat_ns = table.get("heartbeat", HEARTBEAT, max(every_ns, stale_after_ns // STALE_SHARE))
    table.finish()
    if heartbeat_ns >= stale_after_ns and table.is_sound("heartbeat") and section.is_sound("stale_after"):
        table.wrong(
            "heartbeat",
            f"would let an unchanged value become stale, after {show_duration(stale_after_ns)}; "
            f'write "{show_duration(stale_after_ns // STALE_SHARE)}", or a longer stale_after',
        )
    if hold_ns > heartbeat_ns and table.is_sound("heartbeat", "hold"):
        table.wrong("hold", f"is longer than the heartbeat, {show_duration(heartbeat_ns)}; write a shorter one")
    return Report(change=change, percent=percent, hold_ns=hold_ns, heartbeat_ns=heartbeat_ns)
