"""Messages of many readings in jitted code: JSON arrays of objects with a name, and SenML (RFC 8428) as JSON.

What is decoded here is decoded exactly as `gateway.protocol.mqtt.readings` decodes it; a message about which there is
any doubt is left to that, whole: its samples count only when the function says how many. Readings mostly come in the
same order again, so the tag after the last one is tried first, then the hash of the name.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from gateway.core.types import Quality, Samples
from gateway.protocol.mqtt.fastjson import (
    BOOLEAN,
    BRACE,
    BRACE_END,
    COLON,
    COMMA,
    DIGITS_MAX,
    F64,
    NO_NUMBER,
    NUMBER,
    QUOTE,
    SLOW,
    TENS,
    end_of_string,
    read_scalar,
    skip_space,
    store_cell,
    wall_from_number,
)
from gateway.protocol.mqtt.fastnested import quality_code
from gateway.protocol.mqtt.fasttexts import wall_from_text
from gateway.protocol.mqtt.form import Layout, TimeForm
from gateway.protocol.mqtt.table import Table
from gateway.protocol.octets import FNV_OFFSET, Bytes, hash_more, octet, same_bytes, spread
from gateway.protocol.times import WALL_NS_MAX, believed_ns

BRACKET, BRACKET_END, UNDERSCORE = 0x5B, 0x5D, 0x5F
NAME, VALUE, TIME, QUALITY = 0, 1, 2, 3
"""Members of a reading, in the order in which the table has their names."""

# Scratch of one reading.
NAME_AT, NAME_SIZE, WHAT, NEGATIVE, MANTISSA, EXPONENT, WHOLE, WALL_NS, CODE, VALUES, SUMS_HERE = range(11)
# Scratch of one message: what later records of SenML stand on, and counts.
BASE_AT, BASE_SIZE, BASE_NS, UNKNOWN_NAMES, SUMS, REFUSED_TIMES = 11, 12, 13, 14, 15, 16

GOOD: Final = int(Quality.GOOD)
STALE: Final = int(Quality.UNCERTAIN_STALE)
SENML: Final = int(Layout.SENML)
ISO8601: Final = int(TimeForm.ISO8601)
NO_TIME: Final = -1
RELATIVE_NS: Final = (1 << 28) * 1_000_000_000
"""Times of SenML below are relative to now (RFC 8428, 4.5.3)."""
VERSION_MAX: Final = 10
VERSION_LABEL: Final = np.frombuffer(b"bver", np.uint8)
SUM_NS_MAX: Final = WALL_NS_MAX // 4
"""Two times of which none is greater can be added."""
TIME_SHIFT: Final = 9


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def is_named(table: Table, e: int, buffer: Bytes) -> bool:
    """Whether an entry has the name in scratch, which is base and own name joined."""
    reading = table.reading
    base, own = reading[BASE_SIZE], reading[NAME_SIZE]
    at = table.entries[e]["field_at"]
    return bool(
        table.entries[e]["field_bytes"] == base + own
        and same_bytes(table.text, at, buffer, reading[BASE_AT], base)
        and same_bytes(table.text, at + base, buffer, reading[NAME_AT], own)
    )


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def find_entry(table: Table, t: int, buffer: Bytes, guess: int) -> int:
    """The entry with the name in scratch, or -1."""
    first = table.topics[t]["first"]
    after = first + table.topics[t]["count"]
    if guess < after and is_named(table, guess, buffer):
        return guess
    reading = table.reading
    h = hash_more(FNV_OFFSET, buffer, reading[BASE_AT], reading[BASE_AT] + reading[BASE_SIZE])
    h = hash_more(h, buffer, reading[NAME_AT], reading[NAME_AT] + reading[NAME_SIZE])
    slots = len(table.name_slots)
    slot = spread(h, t, slots)
    while True:
        e = table.name_slots[slot]
        if e < 0:
            return -1
        if e >= first and e < after and is_named(table, e, buffer):
            return int(e)
        slot = (slot + 1) & (slots - 1)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def member_of(table: Table, t: int, buffer: Bytes, at: int, size: int) -> int:
    """Which member of a reading this name is, or -1."""
    for m in range(4):
        if (
            table.members[t, 2 * m + 1] == size
            and size > 0
            and same_bytes(table.text, table.members[t, 2 * m], buffer, at, size)
        ):
            return m
    return -1


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def take_member(table: Table, t: int, buffer: Bytes, key_at: int, key_size: int, at: int, stop: int) -> int:
    """A member of a reading, whose value begins at `at`, into scratch; the position after it, or SLOW."""
    reading = table.reading
    after, what, negative, mantissa, exponent, whole = read_scalar(buffer, at, stop)
    if after < 0:
        return SLOW
    m = member_of(table, t, buffer, key_at, key_size)
    if m == NAME:
        if octet(buffer, at) != QUOTE:
            return SLOW
        reading[NAME_AT] = at + 1
        reading[NAME_SIZE] = after - at - 2
    elif m == VALUE:
        if what == NO_NUMBER:
            return SLOW
        reading[WHAT] = what
        reading[NEGATIVE] = negative
        reading[MANTISSA] = mantissa
        reading[EXPONENT] = exponent
        reading[WHOLE] = whole
    elif m == TIME:
        form = table.topics[t]["time_form"]
        if what == NUMBER and form != ISO8601:
            reading[WALL_NS] = wall_from_number(negative, mantissa, exponent, form)
        elif octet(buffer, at) == QUOTE and (form == 0 or form == ISO8601):
            reading[WALL_NS] = wall_from_text(buffer, at + 1, after - 1)
            if reading[WALL_NS] < 0:
                return SLOW
        else:
            return SLOW
    elif m == QUALITY:
        reading[CODE] = quality_code(table, t, buffer, at, after - at)
        if reading[CODE] < 0:
            return SLOW
    return int(after)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def ns_of_number(negative: bool, mantissa: int, exponent: int) -> tuple[bool, int]:
    """(whether it can be told, ns) of a number of seconds, cut towards zero."""
    shift = exponent + TIME_SHIFT
    if mantissa == 0 or shift < -DIGITS_MAX:
        return True, 0
    if shift < 0:
        ns = int(mantissa // TENS[-shift])
    elif shift > DIGITS_MAX or mantissa > SUM_NS_MAX // TENS[shift]:
        return False, 0
    else:
        ns = int(mantissa * TENS[shift])
    return True, -ns if negative else ns


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def take_label(table: Table, buffer: Bytes, key_at: int, key_size: int, at: int, stop: int) -> int:
    """A member of a SenML record into scratch; the position after its value, or SLOW."""
    reading = table.reading
    after, what, negative, mantissa, exponent, whole = read_scalar(buffer, at, stop)
    if after < 0:
        return SLOW
    c = octet(buffer, key_at) if key_size > 0 else 0
    d = octet(buffer, key_at + 1) if key_size > 1 else 0
    is_base = c == 0x62 and key_size == 2
    if (key_size == 1 and c == 0x6E) or (is_base and d == 0x6E):  # n, bn
        if octet(buffer, at) != QUOTE:
            return SLOW
        reading[BASE_AT if is_base else NAME_AT] = at + 1
        reading[BASE_SIZE if is_base else NAME_SIZE] = after - at - 2
    elif (key_size == 1 and c == 0x76) or (key_size == 2 and c == 0x76 and d == 0x62):  # v, vb
        if what != (NUMBER if key_size == 1 else BOOLEAN):
            return SLOW
        reading[VALUES] += 1
        reading[WHAT] = what
        reading[NEGATIVE] = negative
        reading[MANTISSA] = mantissa
        reading[EXPONENT] = exponent
        reading[WHOLE] = whole
    elif (key_size == 1 and c == 0x74) or (is_base and d == 0x74):  # t, bt
        is_told, ns = ns_of_number(negative, mantissa, exponent)
        if what != NUMBER or not is_told:
            return SLOW
        reading[BASE_NS if is_base else WALL_NS] = ns
    elif key_size == 1 and c == 0x73:  # s
        if what != NUMBER:
            return SLOW
        reading[SUMS_HERE] = 1
    elif (is_base and d != 0x75) or (key_size == 2 and c == 0x76):  # bv, bs and what is not known; bu goes on
        return SLOW
    elif key_size == 4 and same_bytes(VERSION_LABEL, 0, buffer, key_at, 4):
        if what != NUMBER or not whole or negative or mantissa > VERSION_MAX:
            return SLOW
    elif key_size == 0 or octet(buffer, key_at + key_size - 1) == UNDERSCORE:
        # A label that must be understood.
        return SLOW
    return int(after)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def read_object(table: Table, t: int, buffer: Bytes, at: int, stop: int) -> int:
    """One reading or record into scratch; `at` is behind its brace. The position after it, or SLOW."""
    is_senml = table.topics[t]["layout"] == SENML
    reading = table.reading
    for i in range(BASE_AT):
        reading[i] = 0
    reading[WALL_NS] = 0 if is_senml else NO_TIME
    reading[CODE] = GOOD
    reading[WHAT] = NO_NUMBER
    at = skip_space(buffer, at, stop)
    while True:
        if at >= stop or octet(buffer, at) != QUOTE:
            return SLOW
        key_at = at + 1
        key_end = end_of_string(buffer, key_at, stop)
        if key_end < 0:
            return SLOW
        at = skip_space(buffer, key_end + 1, stop)
        if at >= stop or octet(buffer, at) != COLON:
            return SLOW
        at = skip_space(buffer, at + 1, stop)
        if is_senml:
            at = take_label(table, buffer, key_at, key_end - key_at, at, stop)
        else:
            at = take_member(table, t, buffer, key_at, key_end - key_at, at, stop)
        if at < 0:
            return SLOW
        at = skip_space(buffer, at, stop)
        if at >= stop:
            return SLOW
        if octet(buffer, at) == BRACE_END:
            return int(at + 1)
        if octet(buffer, at) != COMMA:
            return SLOW
        at = skip_space(buffer, at + 1, stop)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def wall_of_record(table: Table, arrival_wall_ns: int) -> int:
    """Wall time of a SenML record, NO_TIME when it says now."""
    reading = table.reading
    ns = reading[BASE_NS] + reading[WALL_NS]
    if ns == 0:
        return NO_TIME
    return int(max(0, arrival_wall_ns + ns) if ns < RELATIVE_NS else ns)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def put_reading(
    table: Table, e: int, wall_ns: int, arrival_ns: int, arrival_wall_ns: int, untimed: int, samples: Samples, n: int
) -> bool:
    """The value in scratch as sample n of entry e. False: let the slow path decide."""
    reading = table.reading
    if not store_cell(
        table, e, 0, reading[NEGATIVE] != 0, reading[MANTISSA], reading[EXPONENT], reading[WHOLE] != 0
    ):  # fmt: skip
        return False
    source_ns = NO_TIME
    if wall_ns >= 0:
        source_ns = believed_ns(wall_ns, arrival_ns, arrival_wall_ns)
        reading[REFUSED_TIMES] += source_ns < 0
    quality = reading[CODE]
    if source_ns < 0:
        source_ns = arrival_ns
        if quality == GOOD:
            quality = untimed
    samples[n]["row"] = table.entries[e]["row"]
    samples[n]["quality"] = quality
    samples[n]["source_ns"] = source_ns
    samples[n]["arrival_ns"] = arrival_ns
    if table.entries[e]["kind"] == F64:
        samples[n]["value"] = table.values[0]
    else:
        samples[n]["bits"] = table.bits[0]
    return True


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def take_reading(
    table: Table, t: int, guess: int, buffer: Bytes, arrival_ns: int, arrival_wall_ns: int, untimed: int,
    samples: Samples, n: int,
) -> tuple[int, int]:  # fmt: skip
    """(entry to try next or SLOW, samples after it) of the reading or record in scratch."""
    reading = table.reading
    wall_ns = reading[WALL_NS]
    if table.topics[t]["layout"] == SENML:
        if reading[VALUES] == 0:
            reading[SUMS] += reading[SUMS_HERE]
            return guess, n
        if reading[VALUES] > 1 or reading[BASE_SIZE] + reading[NAME_SIZE] == 0:
            return SLOW, n
        reading[SUMS] += reading[SUMS_HERE]
        wall_ns = wall_of_record(table, arrival_wall_ns)
    elif reading[NAME_SIZE] == 0 or reading[WHAT] == NO_NUMBER:
        return SLOW, n
    e = find_entry(table, t, buffer, guess)
    if e < 0:
        reading[UNKNOWN_NAMES] += 1
        return guess, n
    if not put_reading(table, e, wall_ns, arrival_ns, arrival_wall_ns, untimed, samples, n):
        return SLOW, n
    return e + 1, n + 1


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def decode_readings(
    table: Table, t: int, buffer: Bytes, at: int, stop: int, arrival_ns: int, arrival_wall_ns: int, untimed: int,
    samples: Samples, start: int,
) -> int:  # fmt: skip
    """Samples after a message of readings or records, which go to index `start` and on; or SLOW.

    `untimed` is the quality of what brings no time of its own. Counts are in the table's scratch.
    """
    reading = table.reading
    for i in range(BASE_AT, REFUSED_TIMES + 1):
        reading[i] = 0
    n = start
    guess = table.topics[t]["first"]
    at = skip_space(buffer, at, stop)
    if at >= stop or octet(buffer, at) != BRACKET:
        return SLOW
    at = skip_space(buffer, at + 1, stop)
    if at < stop and octet(buffer, at) == BRACKET_END:
        return n if skip_space(buffer, at + 1, stop) == stop else SLOW
    while True:
        if at >= stop or octet(buffer, at) != BRACE or n - start >= len(table.found):
            return SLOW
        at = read_object(table, t, buffer, at + 1, stop)
        if at < 0:
            return SLOW
        guess, n = take_reading(table, t, guess, buffer, arrival_ns, arrival_wall_ns, untimed, samples, n)
        if guess < 0:
            return SLOW
        at = skip_space(buffer, at, stop)
        if at >= stop:
            return SLOW
        if octet(buffer, at) == BRACKET_END:
            return n if skip_space(buffer, at + 1, stop) == stop else SLOW
        if octet(buffer, at) != COMMA:
            return SLOW
        at = skip_space(buffer, at + 1, stop)
