"""Loops as the API and the page have them."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class LoopDetail(NamedTuple):
    """What of a loop is words: misses in a row, and why it missed, failed safe and was not taken last; who holds it."""

    misses_in_row: int = 0
    last_miss: str = ""
    last_failsafe: str = ""
    output_fault: str = ""
    commander: str = ""


class QualityStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`level` is good, uncertain or bad; `reason` the words for the code."""

    code: int
    level: str
    reason: str


class LoopStatus(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    mode: str
    input: str
    output_tag: str
    setpoint: float | None
    process_value: float | None
    output: float | None
    unit: str
    output_unit: str
    setpoint_min: float
    setpoint_max: float
    output_min: float
    output_max: float
    quality: QualityStatus
    input_age_s: float | None
    period_ms: float
    cycles: int
    misses: int
    overruns: int
    misses_in_row: int
    last_miss: str
    last_failsafe: str
    output_fault: str
    """Why the device does not take the output now; empty when it does."""
    commander: str
    """Who holds the loop; empty: nobody."""
    is_shadow: bool
    writable: tuple[str, ...]
    """Which of setpoint, mode and output operators may write by the page."""


class TrendPoint(msgspec.Struct, frozen=True, array_like=True):
    """A loop at one second: [time_ms, setpoint, process value, output]."""

    time_ms: int
    setpoint: float | None
    process_value: float | None
    output: float | None


class LoopTrend(msgspec.Struct, frozen=True, kw_only=True):
    loop: LoopStatus
    trend: tuple[TrendPoint, ...]


class LoopsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    time_ms: int
    loops: tuple[LoopTrend, ...]
