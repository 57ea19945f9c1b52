"""Texts of JSON in jitted code: where one ends, and the time that one tells (RFC 3339).

What is understood here is understood exactly as `gateway.protocol.mqtt.payloads` does; the rest is left to that.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from gateway.protocol.octets import Bytes, octet
from gateway.protocol.times import WALL_NS_MAX

SLOW: Final = -1
QUOTE, BACKSLASH, MINUS, PLUS, POINT, COLON, ZERO, NINE = 0x22, 0x5C, 0x2D, 0x2B, 0x2E, 0x3A, 0x30, 0x39
SPACE, UPPER_T, LOWER_T, UPPER_Z, LOWER_Z, LOWER_U = 0x20, 0x54, 0x74, 0x5A, 0x7A, 0x75
STAMP_BYTES: Final = 19
"""Of 2026-11-26T00:00:00."""
FRACTION_DIGITS_MAX: Final = 18
NS_DIGITS: Final = 9
FIRST_YEAR: Final = 1971
"""Earlier ones may lie before 1970, by their zone."""
DAYS_BEFORE: Final = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334], np.int64)
"""Of a month, in a year that is no leap year."""
DAYS_IN: Final = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def end_of_character(buffer: Bytes, at: int, stop: int) -> int:
    """Position after a character of two to four bytes, or SLOW (RFC 3629, 4: nothing overlong, no surrogate)."""
    first = octet(buffer, at)
    more = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
    if first < 0xC2 or first > 0xF4 or at + more >= stop:
        return SLOW
    second = octet(buffer, at + 1)
    low = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
    high = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
    if second < low or second > high:
        return SLOW
    for i in range(at + 2, at + 1 + more):
        if octet(buffer, i) & 0xC0 != 0x80:
            return SLOW
    return at + 1 + more


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def end_of_escape(buffer: Bytes, at: int, stop: int) -> int:
    """Position after an escape whose backslash is before `at`, or SLOW; half of a surrogate pair is left to others."""
    if at >= stop:
        return SLOW
    c = octet(buffer, at)
    if c in (QUOTE, BACKSLASH, 0x2F, 0x62, 0x66, 0x6E, 0x72, LOWER_T):
        return at + 1
    if c != LOWER_U or at + 5 > stop:
        return SLOW
    value = 0
    for i in range(at + 1, at + 5):
        d = octet(buffer, i)
        if d >= ZERO and d <= NINE:
            d -= ZERO
        elif (d | 0x20) >= 0x61 and (d | 0x20) <= 0x66:
            d = (d | 0x20) - 0x61 + 10
        else:
            return SLOW
        value = value << 4 | d
    return SLOW if value >= 0xD800 and value <= 0xDFFF else at + 5


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def end_of_text(buffer: Bytes, at: int, stop: int, escapes: bool) -> int:
    """Position of the closing quote of a text in UTF-8; `at` is behind the opening one. With `escapes` there may be:
    nobody asks what it says."""
    while at < stop:
        c = octet(buffer, at)
        if c == QUOTE:
            return at
        if c < SPACE:
            return SLOW
        if c == BACKSLASH:
            if not escapes:
                return SLOW
            at = end_of_escape(buffer, at + 1, stop)
        elif c >= 0x80:
            at = end_of_character(buffer, at, stop)
        else:
            at += 1
        if at < 0:
            return SLOW
    return SLOW


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def digits(buffer: Bytes, at: int, count: int) -> int:
    """The number that so many digits are, or SLOW."""
    value = 0
    for i in range(at, at + count):
        c = octet(buffer, i)
        if c < ZERO or c > NINE:
            return SLOW
        value = value * 10 + c - ZERO
    return value


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def day_number(year: int, month: int, day: int) -> int:
    """Days since 1970 of a day of the Gregorian calendar, or SLOW where there is none such."""
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if month < 1 or month > 12 or day < 1 or day > DAYS_IN[month - 1] + (is_leap and month == 2):
        return SLOW
    before = year - 1
    days = 365 * (year - 1970) + (before // 4 - before // 100 + before // 400) - 477
    return int(days + DAYS_BEFORE[month - 1] + (is_leap and month > 2) + day - 1)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def zone_s(buffer: Bytes, at: int, stop: int) -> tuple[bool, int]:
    """(whether `buffer[at:stop]` is a zone, how far it is ahead of UTC in s)."""
    if stop - at == 1:
        return octet(buffer, at) == UPPER_Z or octet(buffer, at) == LOWER_Z, 0
    if stop - at != 6 or octet(buffer, at + 3) != COLON:
        return False, 0
    sign = octet(buffer, at)
    hours, minutes = digits(buffer, at + 1, 2), digits(buffer, at + 4, 2)
    if (sign != PLUS and sign != MINUS) or hours < 0 or hours > 23 or minutes < 0 or minutes > 59:
        return False, 0
    ahead_s = 3_600 * hours + 60 * minutes
    return True, -ahead_s if sign == MINUS else ahead_s


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def wall_from_text(buffer: Bytes, at: int, stop: int) -> int:
    """Wall time in ns of a time as in RFC 3339, or SLOW where there is any doubt about it."""
    if stop - at <= STAMP_BYTES:
        return SLOW
    between = octet(buffer, at + 10)
    if between != UPPER_T and between != LOWER_T and between != SPACE:
        return SLOW
    if octet(buffer, at + 4) != MINUS or octet(buffer, at + 7) != MINUS:
        return SLOW
    if octet(buffer, at + 13) != COLON or octet(buffer, at + 16) != COLON:
        return SLOW
    year, month, day = digits(buffer, at, 4), digits(buffer, at + 5, 2), digits(buffer, at + 8, 2)
    hour, minute, second = digits(buffer, at + 11, 2), digits(buffer, at + 14, 2), digits(buffer, at + 17, 2)
    if year < FIRST_YEAR or hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return SLOW
    day_of_all = day_number(year, month, day)
    if day_of_all < 0:
        return SLOW
    at += STAMP_BYTES
    ns = 0
    if octet(buffer, at) == POINT:
        at += 1
        first = at
        while at < stop and octet(buffer, at) >= ZERO and octet(buffer, at) <= NINE:
            if at - first < NS_DIGITS:
                ns = ns * 10 + octet(buffer, at) - ZERO
            at += 1
        if at == first or at - first > FRACTION_DIGITS_MAX:
            return SLOW
        for _ in range(NS_DIGITS - (at - first)):
            ns *= 10
    if at >= stop:
        return SLOW
    is_zone, ahead_s = zone_s(buffer, at, stop)
    if not is_zone:
        return SLOW
    seconds = 86_400 * day_of_all + 3_600 * hour + 60 * minute + second - ahead_s
    if seconds >= WALL_NS_MAX // 1_000_000_000:
        return SLOW
    return int(seconds * 1_000_000_000 + ns)
