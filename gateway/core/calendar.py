"""Intervals of local time: shifts, days and months, as the people on site count them.

A day of 23 or 25 hours, when the clocks change, is one day. A time that the change skips is the moment of the change;
one that comes twice is the first of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from gateway.core.types import NS_PER_S

DAY = "day"
MONTH = "month"


class Calendar:
    """One time zone's; `zone` is a key of the IANA time zone database."""

    def __init__(self, zone: str) -> None:
        self._zone = ZoneInfo(zone)

    def __call__(self, calendar: str, wall_ns: int) -> int:
        """When the interval ends that `wall_ns` (since 1970) lies in. `calendar`: day, month or "06:00 14:00"."""
        today = datetime.fromtimestamp(wall_ns // NS_PER_S, UTC).astimezone(self._zone).date()
        return next(end for end in self._ends(calendar, today) if end > wall_ns)

    def _ends(self, calendar: str, today: date) -> Iterator[int]:
        """In order, from the day before on."""
        if calendar == MONTH:
            year, month = today.year, today.month
            while True:
                year, month = (year, month + 1) if month < 12 else (year + 1, 1)
                yield self._ns(date(year, month, 1), time())
        starts = [time()] if calendar == DAY else [time.fromisoformat(word) for word in calendar.split()]
        day = today - timedelta(days=1)
        while True:
            for start in starts:
                yield self._ns(day, start)
            day += timedelta(days=1)

    def _ns(self, day: date, at: time) -> int:
        local = datetime.combine(day, at, self._zone)
        # A local time that there is not goes back to the moment of the change when it is read in UTC and back again.
        seconds = int(local.timestamp())
        if datetime.fromtimestamp(seconds, UTC).astimezone(self._zone).replace(tzinfo=None) != local.replace(
            tzinfo=None
        ):
            seconds = self._change_near(seconds)
        return seconds * NS_PER_S

    def _change_near(self, seconds: int) -> int:
        """The moment within some hours of `seconds` at which the zone's offset changes."""
        low, high = seconds - 6 * 3600, seconds + 6 * 3600
        first = self._offset(low)
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(middle) == first:
                low = middle
            else:
                high = middle
        return high

    def _offset(self, seconds: int) -> timedelta | None:
        return datetime.fromtimestamp(seconds, UTC).astimezone(self._zone).utcoffset()
