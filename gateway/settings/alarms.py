"""Alarms of a tag: `alarm = { low = 40, high = 95 }`, or a table for one of them, `alarm.high = { limit = 95, ... }`.

What is written beside the kinds (deadband, delays, latch, priority, unless) holds for all alarms of the tag that do not
say otherwise themselves. Names of other tags may leave out the device where it is the tag's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from enum import StrEnum
from itertools import pairwise
from typing import Final, TypeAlias

from gateway.core.alarms import BAD_BELOW, KINDS, AlarmDefinition, AlarmKind, Form, From, Priority, Statistic
from gateway.core.types import NS_PER_S
from gateway.settings.forms import Form as Says
from gateway.settings.forms import form_of, says
from gateway.settings.problems import did_you_mean
from gateway.settings.section import Section
from gateway.settings.units import (
    WrongValueError,
    choice,
    duration,
    flag,
    number,
    positive,
    score_limit,
    show,
    show_duration,
    text,
)

DELAY = duration(0, 24 * 3_600 * NS_PER_S)
DEADBAND_SHARE: Final = 0.01
"""Default deadband: of the span between low and high, or of the limit's size where there is only one."""
SCORE_DEADBAND_SHARE: Final = 0.2
"""Default deadband of an alarm from a score, of its limit."""

_STATISTICS: Final = "|".join(statistic.name.lower() for statistic in Statistic)
_SOURCE = re.compile(rf"({_STATISTICS}) (\S+)")
Source: TypeAlias = tuple[Statistic, int]


class PriorityWord(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


PRIORITY = choice(PriorityWord)


def source(value: object) -> Source:
    """`"mean 10s"`: a statistic and its window."""
    match = _SOURCE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise WrongValueError(f'{show(value)} is not a statistic and its window; write "mean 10s", say')
    return Statistic[match[1].upper()], duration(1, 24 * 3_600 * NS_PER_S)(match[2])


def deadband(value: object) -> float:
    found = number(value)
    if found < 0:
        raise WrongValueError(f"{show(value)} is below zero; write 0 or more, in the tag's unit")
    return found


def reference(value: object) -> str | float:
    """A number, or another tag's name."""
    try:
        return number(value)
    except WrongValueError:
        return text(value)


_WORDS = f'a statistic ({_STATISTICS.replace("|", ", ")}) and one of the tag\'s windows, like "mean 10s"'
says(source, _WORDS, {"type": "string"})
says(deadband, "a number of 0 or more", {"type": ["number", "string"], "minimum": 0})
says(reference, 'a number, or a tag like "boiler.setpoint"', {"type": ["number", "string"]})

LIMITS: Final[dict[AlarmKind, Callable[[object], float]]] = {
    AlarmKind.LOW_LOW: number,
    AlarmKind.LOW: number,
    AlarmKind.HIGH: number,
    AlarmKind.HIGH_HIGH: number,
    AlarmKind.DEVIATION: positive,
    AlarmKind.RATE: positive,
    AlarmKind.STATE: number,
    AlarmKind.BAD: flag,
    AlarmKind.SCORE: score_limit,
    AlarmKind.PERSISTENT: score_limit,
}
"""Each kind that may be written, with what its limit may be. `bad = true` needs none."""

_TABLE_KEYS: Final[dict[str, Callable[[object], object]]] = {
    "of": source,
    "from": reference,
    "deadband": deadband,
    "on_delay": DELAY,
    "off_delay": DELAY,
    "latch": flag,
    "priority": PRIORITY,
    "unless": text,
}


def form_of_kind(kind: AlarmKind) -> Says:
    """A limit alone, or a table."""
    limit = form_of(LIMITS[kind])
    keys = {"limit": limit.schema} | {key: form_of(parse).schema for key, parse in _TABLE_KEYS.items()}
    table = {"type": "object", "properties": keys, "additionalProperties": False}
    return Says(f"{limit.words}, or a table with limit and the keys of alarm.KIND", {"anyOf": [limit.schema, table]})


class _Shared:
    """What holds for all alarms of a tag that do not say otherwise."""

    def __init__(self, section: Section, above: _Shared | None = None) -> None:
        self.deadband: float | None = section.get("deadband", deadband, above.deadband if above else None)
        self.on_delay_ns: int = section.get("on_delay", DELAY, above.on_delay_ns if above else 0)
        self.off_delay_ns: int = section.get("off_delay", DELAY, above.off_delay_ns if above else 0)
        self.latches: bool = section.get("latch", flag, above.latches if above else False)
        self.priority: PriorityWord = section.get(
            "priority", PRIORITY, above.priority if above else PriorityWord.MEDIUM
        )
        self.unless: str | None = section.get("unless", text, above.unless if above else None)


def read_alarms(alarm: Section | None, windows_ns: Collection[int]) -> tuple[AlarmDefinition, ...]:
    """All alarms of a tag. Problems are reported; what has one is left out."""
    if alarm is None:
        return ()
    shared = _Shared(alarm)
    found = {kind: one for kind in LIMITS if (one := _read_one(alarm, kind, shared, windows_ns)) is not None}
    _check_order(alarm, found)
    alarm.finish()
    span = _span(found)
    return tuple(
        replace(one, deadband=_usual_deadband(one, span)) if one.deadband < 0 else one for one in found.values()
    )


def read_multivariate_alarm(section: Section) -> AlarmDefinition | None:
    """The alarm of a multivariate score: `alarm = 0.8`, with what else is said of an alarm beside it."""
    limit = section.get("alarm", score_limit, None)
    own = _Shared(section)
    if limit is None:
        return None
    return AlarmDefinition(
        kind=AlarmKind.MULTIVARIATE,
        limit=limit,
        deadband=SCORE_DEADBAND_SHARE * limit if own.deadband is None else own.deadband,
        on_delay_ns=own.on_delay_ns,
        off_delay_ns=own.off_delay_ns,
        latches=own.latches,
        priority=Priority[own.priority.name],
        unless=own.unless,
    )


def _read_one(alarm: Section, kind: AlarmKind, shared: _Shared, windows_ns: Collection[int]) -> AlarmDefinition | None:
    row = KINDS[kind]
    if not alarm.has(row.word):
        return None
    section = alarm
    own = shared
    statistic, window_ns = Statistic.MEAN, None
    from_: str | float = 0.0
    if isinstance(alarm.content[row.word], dict):
        section = alarm.table(row.word) or alarm
        own = _Shared(section, shared)
        limit = section.get("limit", LIMITS[kind], None)
        if limit is None and section.is_sound("limit") and kind is not AlarmKind.BAD:
            section.wrong("limit", "is missing; write the limit at which the alarm is raised")
        of = section.get("of", source, None)
        if of is not None:
            statistic, window_ns = of
            _check_of(section, kind, windows_ns, window_ns)
        if section.has("from") and kind is not AlarmKind.DEVIATION:
            section.wrong("from", "belongs to deviation; take it out")
        from_ = section.get("from", reference, 0.0)
        section.finish()
        if not section.is_sound("limit", "of"):
            return None
    else:
        limit = alarm.get(row.word, LIMITS[kind], None)
    if kind is AlarmKind.BAD:
        if limit == 0:
            return None
        limit = BAD_BELOW
    if kind is AlarmKind.RATE:
        statistic = Statistic.RATE
        window_ns = window_ns or next(iter(windows_ns), None)
        if window_ns is None:
            alarm.wrong(row.word, 'needs a window over which the rate is taken; write windows = ["10s"], say')
    if limit is None or not alarm.is_sound(row.word):
        return None
    return AlarmDefinition(
        kind=kind,
        limit=float(limit),
        deadband=-1.0 if own.deadband is None else own.deadband,
        on_delay_ns=own.on_delay_ns,
        off_delay_ns=own.off_delay_ns,
        latches=own.latches,
        priority=Priority[own.priority.name],
        window_ns=window_ns,
        statistic=statistic,
        reference=from_,
        unless=own.unless,
    )


def _check_of(section: Section, kind: AlarmKind, windows_ns: Collection[int], window_ns: int) -> None:
    if KINDS[kind].source not in (From.VALUE, From.WINDOW):
        section.wrong("of", f"has no meaning for {KINDS[kind].word}; take it out")
    elif window_ns not in windows_ns:
        named = ", ".join(f'"{show_duration(one)}"' for one in windows_ns)
        remedy = f"write one of its windows, {named}" if named else 'give the tag windows = ["10s"], say'
        section.wrong("of", f"names a window of {show_duration(window_ns)}, which the tag has not; {remedy}")


def _check_order(alarm: Section, found: dict[AlarmKind, AlarmDefinition]) -> None:
    """low_low < low < high < high_high, as far as they are written of the same thing."""
    levels = [
        found[kind]
        for kind in (AlarmKind.LOW_LOW, AlarmKind.LOW, AlarmKind.HIGH, AlarmKind.HIGH_HIGH)
        if kind in found and found[kind].window_ns is None
    ]
    for lower, higher in pairwise(levels):
        if lower.limit >= higher.limit:
            alarm.wrong(
                lower.word,
                f"{lower.limit:g} is not below {higher.word} = {higher.limit:g}; "
                f"write the smaller number as {lower.word}",
            )


def _span(found: dict[AlarmKind, AlarmDefinition]) -> float | None:
    low, high = found.get(AlarmKind.LOW), found.get(AlarmKind.HIGH)
    return high.limit - low.limit if low is not None and high is not None else None


def _usual_deadband(one: AlarmDefinition, span: float | None) -> float:
    if KINDS[one.kind].form is Form.EQUAL or one.kind is AlarmKind.BAD:
        return 0.0
    if one.kind in (AlarmKind.SCORE, AlarmKind.PERSISTENT):
        return SCORE_DEADBAND_SHARE * one.limit
    is_level = KINDS[one.kind].form in (Form.BELOW, Form.ABOVE)
    return DEADBAND_SHARE * (span if span is not None and is_level else abs(one.limit))


def bound(alarms: tuple[AlarmDefinition, ...], device: str) -> tuple[AlarmDefinition, ...]:
    """The alarms of one device's tag: names of other tags made whole."""
    if not alarms:
        return alarms

    def whole(name: str) -> str:
        return name if "." in name else f"{device}.{name}"

    return tuple(
        replace(
            one,
            reference=whole(one.reference) if isinstance(one.reference, str) else one.reference,
            unless=None if one.unless is None else whole(one.unless),
        )
        if isinstance(one.reference, str) or one.unless is not None
        else one
        for one in alarms
    )


def check_names(alarms: tuple[AlarmDefinition, ...], section: Section, names: Collection[str]) -> None:
    """Report tags that an alarm refers to and that do not exist."""
    for one in alarms:
        for key, other in (("from", one.reference), ("unless", one.unless)):
            if isinstance(other, str) and other not in names:
                remedy = did_you_mean(other, names, "write device.tag")
                section.report.problem(
                    section.place.child("alarm"), f"{key}: {show(other)} is not a tag; {remedy}{section.note}"
                )
