"""Intervals of local time: shifts, days and months, as the people on site count them.

A day of 23 or 25 hours, when the clocks change, is one day. A time that the change skips is the moment of the change;
one that comes twice is the first of both.

A zone is data: from when on, in seconds since 1970, which offset from UTC holds. Whoever reads the configuration takes
it from the time zone database, so that a journal means the same days on any machine.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import TypeAlias

from gateway.core.types import NS_PER_S

Zone: TypeAlias = tuple[tuple[int, int], ...]
"""(since, offset) in seconds, in order; the first holds for all time before it too."""

DAY = "day"
MONTH = "month"
UTC: Zone = ((0, 0),)
DAY_S = 86_400


class Calendar:
    def __init__(self, zone: Zone) -> None:
        assert zone
        self._since = [since for since, _ in zone]
        self._offsets = [offset for _, offset in zone]

    def __call__(self, calendar: str, wall_ns: int) -> int:
        """When the interval ends that `wall_ns` (since 1970) lies in. `calendar`: day, month or "06:00:00 14:00:00"."""
        seconds = wall_ns // NS_PER_S
        today = (seconds + self._offset(seconds)) // DAY_S
        return next(end * NS_PER_S for end in self._ends(calendar, today) if end * NS_PER_S > wall_ns)

    def second_of_day(self, wall_ns: int) -> int:
        """What local clocks show."""
        seconds = wall_ns // NS_PER_S
        return (seconds + self._offset(seconds)) % DAY_S

    def _ends(self, calendar: str, today: int) -> Iterator[int]:
        """In order, from the day before on; days count from 1970."""
        if calendar == MONTH:
            year, month = month_of(today)
            while True:
                year, month = (year, month + 1) if month < 12 else (year + 1, 1)
                yield self._utc(first_of(year, month) * DAY_S)
        starts = [0] if calendar == DAY else [seconds_of(word) for word in calendar.split()]
        day = today - 1
        while True:
            for start in starts:
                yield self._utc(day * DAY_S + start)
            day += 1

    def _offset(self, seconds: int) -> int:
        return self._offsets[max(0, bisect_right(self._since, seconds) - 1)]

    def _utc(self, local: int) -> int:
        """The first moment at which local clocks show `local`, or have passed it."""
        for place, offset in enumerate(self._offsets):
            seconds = local - offset
            ends = self._since[place + 1] if place + 1 < len(self._since) else None
            if ends is None or seconds < ends:
                return max(seconds, self._since[place]) if place else seconds
        raise AssertionError("the last offset has no end")


def seconds_of(word: str) -> int:
    """Of a day, at 06:00:00."""
    hours, minutes, seconds = word.split(":")
    return 3_600 * int(hours) + 60 * int(minutes) + int(seconds)


def first_of(year: int, month: int) -> int:
    """The first of a month in days since 1970 (Gregorian; years from March on, so that leap days come last)."""
    shifted = year - (month <= 2)
    place = (153 * ((month + 9) % 12) + 2) // 5
    return 365 * shifted + shifted // 4 - shifted // 100 + shifted // 400 + place - 719_468


def month_of(day: int) -> tuple[int, int]:
    """The year and month of a day since 1970."""
    year = 1970 + day * 400 // 146_097
    year += (first_of(year + 1, 1) <= day) - (first_of(year, 1) > day)
    month = next(month for month in range(12, 0, -1) if first_of(year, month) <= day)
    return year, month
