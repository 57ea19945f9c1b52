"""A tag's quality and its alarms as JSON has them, and its value as a person reads it."""

from __future__ import annotations

from typing import Final

from gateway.core.model import TagDefinition
from gateway.core.types import QUALITY_REASONS, is_bad, is_good
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


def shown(tag: TagDefinition, value: float | int | str) -> str:
    """A value as a person reads it: by its name, if it has one."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return next((name for known, name in tag.labels if known == value), str(value))


def quality_status(code: int) -> QualityStatus:
    level = "good" if is_good(code) else "bad" if is_bad(code) else "uncertain"
    return QualityStatus(code=code, level=level, reason=QUALITY_REASONS.get(code, level))


def alarm_words(bits: int) -> tuple[str, ...]:
    return tuple(word for bit, word in ALARM_WORDS if bits & bit)
