"""Time zones, from the machine's or Python's time zone database into the data that the core takes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.core.calendar import Zone
from gateway.settings.forms import says
from gateway.settings.units import WrongValueError, show, text

YEARS: Final = range(2000, 2100)
"""What is written down; after it the last offset goes on."""


class TimeZone(str):
    """The key of a zone; its data are read when it is asked for."""

    __slots__ = ()

    def data(self) -> Zone:
        zone = ZoneInfo(self)
        offset = _offset(zone, _seconds(YEARS.start, 1))
        found = [(_seconds(YEARS.start, 1), offset)]
        for year in YEARS:
            for month in range(1, 13):
                low, high = _seconds(year, month), _seconds(year + month // 12, month % 12 + 1)
                if _offset(zone, high) != found[-1][1]:
                    found.append(_change(zone, low, high))
        return tuple(found)


def _seconds(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp())


def _offset(zone: ZoneInfo, seconds: int) -> int:
    offset = datetime.fromtimestamp(seconds, UTC).astimezone(zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def _change(zone: ZoneInfo, low: int, high: int) -> tuple[int, int]:
    """The moment in (low, high] from which on the offset of `high` holds."""
    offset = _offset(zone, high)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == offset:
            high = middle
        else:
            low = middle
    return high, offset


def time_zone(value: object) -> TimeZone:
    """A key of the IANA time zone database."""
    key = text(value)
    try:
        ZoneInfo(key)
    except (ZoneInfoNotFoundError, ValueError):
        raise WrongValueError(f'{show(key)} is not a time zone; write one like "Europe/Berlin" or "UTC"') from None
    return TimeZone(key)


says(time_zone, 'a time zone like "Europe/Berlin"', {"type": "string"})
