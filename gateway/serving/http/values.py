"""A tag's cell, its quality and its alarms as JSON has them, and as a person reads them."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from gateway.core.model import TagDefinition
from gateway.core.symbols import TextOf
from gateway.core.types import QUALITY_REASONS, Kind, is_bad, is_good
from gateway.core.view import (
    ALARM_HIGH,
    ALARM_HIGH_HIGH,
    ALARM_LOW,
    ALARM_LOW_LOW,
    ALARM_OTHER,
    ALARM_PERSISTENT,
    ALARM_SCORE,
)
from gateway.serving.http.status import QualityStatus

ALARM_WORDS: Final = (
    (ALARM_LOW_LOW, "low low"),
    (ALARM_LOW, "low"),
    (ALARM_HIGH, "high"),
    (ALARM_HIGH_HIGH, "high high"),
    (ALARM_SCORE, "score"),
    (ALARM_PERSISTENT, "persistent"),
    (ALARM_OTHER, "other"),
)


def number(value: float) -> float | None:
    """NaN and infinities are no numbers in JSON."""
    return float(value) if math.isfinite(value) else None


def shown(tag: TagDefinition, value: float | int | str) -> str:
    """A value as a person reads it: by its name, if it has one."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return next((name for known, name in tag.labels if known == value), str(value))


def cell_value(kind: Kind, live: np.void, text_of: TextOf) -> float | int | str | None:
    """The cell read as its tag's kind."""
    if kind is Kind.F64:
        return number(live["value"])
    bits = int(live["bits"])
    if kind is Kind.SYMBOL:
        return text_of(bits)
    return bits & 0xFFFF_FFFF_FFFF_FFFF if kind is Kind.U64 else bits


def quality_status(code: int) -> QualityStatus:
    level = "good" if is_good(code) else "bad" if is_bad(code) else "uncertain"
    return QualityStatus(code=code, level=level, reason=QUALITY_REASONS.get(code, level))


def alarm_words(bits: int) -> tuple[str, ...]:
    return tuple(word for bit, word in ALARM_WORDS if bits & bit)
