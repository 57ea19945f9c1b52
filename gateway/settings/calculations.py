"""Calculations of a tag: `calculate.NAME = { every = "1h", of = ["mean", "p95"] }`.

The keys that are there say what is counted:

    last                 rolling: the last so long                        last = "10min"
    every                intervals of this length, aligned to the clock   every = "1h"
    last and every       hopping: the last so long, given so often        last = "10min", every = "1min"
    samples              the last so many                                 samples = 100
    gap                  sessions: samples that follow each other         gap = "30s"
    calendar             local time: "day", "month" or shifts             calendar = ["06:00", "14:00", "22:00"]
    none of them         all there ever was
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import time
from typing import Final

from gateway.core import limits
from gateway.core.calculations import ACCUMULATORS_MAX, FUNCTIONS, CalculationDefinition, Function, Output, Span
from gateway.core.calendar import DAY, MONTH
from gateway.core.types import NS_PER_MS, NS_PER_S
from gateway.settings.forms import says
from gateway.settings.schema import Tag
from gateway.settings.section import Section
from gateway.settings.units import (
    WrongValueError,
    array_of,
    duration,
    flag,
    integer,
    name,
    number,
    positive,
    show,
    show_duration,
    text,
)

DAY_NS: Final = 24 * 3_600 * NS_PER_S
LENGTH = duration(NS_PER_S, 7 * DAY_NS)
GAP = duration(NS_PER_MS, DAY_NS)
LATE = duration(0, 3_600 * NS_PER_S)
SAMPLES = integer(1, 100_000)
KEPT = integer(2, 100_000)
KEPT_DEFAULT: Final = 1_000
_PERCENTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]{1,3})?)")


def function(value: object) -> Output:
    """`"mean"`, `"p95"`, `"median"`."""
    word = text(value)
    if word in FUNCTIONS:
        return Output(word, FUNCTIONS[word])
    if word == "median":
        return Output(word, Function.QUANTILE, 0.5)
    match = _PERCENTILE.fullmatch(word)
    if match is None or not 0 < float(match[1]) < 100:
        raise WrongValueError(f"{show(word)} is not a function; write {', '.join(FUNCTIONS)}, median, or p1 to p99.9")
    return Output(word, Function.QUANTILE, float(match[1]) / 100)


def calendar(value: object) -> str:
    """As `gateway.core.calendar` takes it."""
    if value in (DAY, MONTH):
        return str(value)
    try:
        starts = [time.fromisoformat(text(start)) for start in value] if isinstance(value, list) else []
    except ValueError:
        starts = []
    if not starts or starts != sorted(set(starts)) or any(start.tzinfo is not None for start in starts):
        raise WrongValueError(f'{show(value)} is no calendar; write "day", "month" or ["06:00", "14:00", "22:00"]')
    return " ".join(start.isoformat() for start in starts)


says(function, f"one of {', '.join(FUNCTIONS)}, median, p1 to p99.9", {"type": "string"})
says(
    calendar,
    '"day", "month", or when shifts begin, like ["06:00", "14:00", "22:00"]',
    {"type": ["string", "array"], "items": {"type": "string"}},
)
OF = array_of(function, '["mean", "p95"]', len(FUNCTIONS), count_min=1)


def read_calculations(tag: Section) -> tuple[CalculationDefinition, ...]:
    """All calculations of a tag. Problems are reported; what has one is left out."""
    read = [_read(key, section) for key, section in tag.tables("calculate")]
    found = [one for one in read if one is not None]
    if len(found) > limits.CALCULATIONS_PER_TAG_MAX:
        tag.wrong("calculate", f"has {len(found)} calculations; write at most {limits.CALCULATIONS_PER_TAG_MAX}")
    return tuple(found)


def _read(key: str, section: Section) -> CalculationDefinition | None:
    try:
        name(key)
    except WrongValueError as wrong:
        section.wrong_here(str(wrong))
    none: tuple[Output, ...] = ()
    outputs = section.require("of", OF, none, 'write what is computed, like of = ["mean", "p95"]')
    length = section.get("last", LENGTH, None) or 0
    every = section.get("every", LENGTH, None) or 0
    samples = section.get("samples", SAMPLES, None) or 0
    gap = section.get("gap", GAP, None) or 0
    local = section.get("calendar", calendar, None) or ""
    kept = section.get("keep_samples", KEPT, KEPT_DEFAULT)
    span = _span(section, length, every, samples, gap, local)
    if span is None:
        return None
    late = section.get("late", LATE, 0)
    if late and span not in (Span.TUMBLING, Span.HOPPING, Span.SESSION, Span.CALENDAR):
        section.wrong("late", "has no meaning for what never ends; take it out")
    corrects = section.get("corrections", flag, False)
    if corrects and span not in (Span.TUMBLING, Span.HOPPING, Span.SESSION):
        section.wrong("corrections", "are given of intervals (`every`) and sessions (`gap`) only; take it out")
    definition = CalculationDefinition(
        name=key,
        span=span,
        outputs=outputs,
        length_ns=every if span is Span.TUMBLING else length,
        hop_ns=every if span is Span.HOPPING else 0,
        gap_ns=gap,
        late_ns=late,
        samples=samples,
        calendar=local,
        corrects=corrects,
        state=section.get("state", number, None),
        rollover=section.get("rollover", positive, None),
        ring_samples=max(kept, samples) if any(one.function is Function.QUANTILE for one in outputs) else 0,
    )
    section.finish()
    return definition if section.is_sound("of", "last", "every", "late", "corrections") else None


def check_kept_samples(tags: Iterable[Tag], sections: Mapping[str, Section]) -> None:
    """Report the tag with which the samples that are kept for quantiles become more than a gateway holds."""
    kept = 0
    for tag in tags:
        if not tag.calculations:
            continue
        before, kept = kept, kept + sum(one.ring_samples for one in tag.calculations)
        if before <= limits.KEPT_SAMPLES_MAX < kept:
            most = limits.KEPT_SAMPLES_MAX
            message = f"brings the samples kept for quantiles to more than {most}; write a lower keep_samples"
            sections[tag.name].wrong("calculate", message)


def _span(section: Section, length: int, every: int, samples: int, gap: int, local: str) -> Span | None:
    if not section.is_sound("last", "every", "samples", "gap", "calendar"):
        return None
    written = [key for key, value in (("samples", samples), ("gap", gap), ("calendar", local)) if value]
    if len(written) > 1 or (written and (length or every)):
        other = "last or every" if length or every else written[1]
        section.wrong(written[0], f"says another span than {other}; take one of them out")
        return None
    if written:
        return {"samples": Span.COUNT, "gap": Span.SESSION, "calendar": Span.CALENDAR}[written[0]]
    if length and every:
        steps = length // math.gcd(length, every)
        if every >= length:
            section.wrong("every", f'is not shorter than last; write only every = "{show_duration(every)}"')
        elif steps > ACCUMULATORS_MAX:
            section.wrong("every", f"cuts last into {steps} parts, more than {ACCUMULATORS_MAX}; write a part of last")
        return Span.HOPPING
    return Span.ROLLING if length else Span.TUMBLING if every else Span.TOTAL
