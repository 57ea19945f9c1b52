"""The common payloads, decoded in jitted code: a bare number or boolean, or a flat JSON object of plain members (nested
ones: `fastnested`).

What is decoded here is decoded exactly as the slow path (`gateway.protocol.mqtt.payloads`) decodes it; a payload about
which there is any doubt is left to that. Numbers are exact: a decimal of a mantissa below 2**53 and a power of ten up
to 22 is one correctly rounded multiplication or division away from its double (Clinger 1990), and nothing else is
tried. Integers and times are read from up to 18 digits, without a detour through doubles.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from gateway.core.types import Kind, Samples
from gateway.protocol.mqtt.fasttexts import end_of_text, wall_from_text
from gateway.protocol.mqtt.form import TimeForm
from gateway.protocol.mqtt.table import Table
from gateway.protocol.octets import Bytes, octet, same_bytes
from gateway.protocol.times import WALL_NS_MAX

SLOW: Final = -1
"""Returned instead of a position or a count: let the slow path decide."""
DIGITS_MAX: Final = 18
MANTISSA_MAX: Final = 1 << 53
EXPONENT_MAX: Final = 22
COMPARISONS_MAX: Final = 4_096
"""Member names compared in one object; past it the slow path, which looks names up, is the faster one."""

POWERS = np.array([float(10**k) for k in range(EXPONENT_MAX + 1)])
TENS = np.array([10**k for k in range(19)], np.int64)

ISO8601: Final = int(TimeForm.ISO8601)
F64: Final = int(Kind.F64)
U64: Final = int(Kind.U64)

QUOTE, BACKSLASH, MINUS, PLUS, POINT, COMMA, COLON = 0x22, 0x5C, 0x2D, 0x2B, 0x2E, 0x2C, 0x3A
ZERO, NINE, BRACE, BRACE_END = 0x30, 0x39, 0x7B, 0x7D
NO_NUMBER, NUMBER, BOOLEAN = 0, 1, 2


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def skip_space(buffer: Bytes, at: int, stop: int) -> int:
    while at < stop and (buffer[at] == 0x20 or buffer[at] == 0x0A or buffer[at] == 0x0D or buffer[at] == 0x09):
        at += 1
    return at


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def is_digit(buffer: Bytes, at: int, stop: int) -> bool:
    return at < stop and buffer[at] >= ZERO and buffer[at] <= NINE


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_exponent(buffer: Bytes, at: int, stop: int) -> tuple[int, int]:
    """(position after it, value) of what follows an `e`; at most three digits."""
    negative = False
    if at < stop and (buffer[at] == PLUS or buffer[at] == MINUS):
        negative = buffer[at] == MINUS
        at += 1
    value = 0
    first = at
    while is_digit(buffer, at, stop) and at - first < 4:
        value = value * 10 + (octet(buffer, at) - ZERO)
        at += 1
    if at == first or at - first > 3:
        return SLOW, 0
    return at, -value if negative else value


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_number(buffer: Bytes, at: int, stop: int) -> tuple[int, bool, int, int, bool]:
    """(position after it or SLOW, negative, mantissa, power of ten, is an integer literal) of a JSON number."""
    negative = at < stop and buffer[at] == MINUS
    if negative:
        at += 1
    if not is_digit(buffer, at, stop):
        return SLOW, False, 0, 0, False
    mantissa = 0
    digits = 0
    if buffer[at] == ZERO:
        at += 1
    else:
        while is_digit(buffer, at, stop) and digits < DIGITS_MAX:
            mantissa = mantissa * 10 + (octet(buffer, at) - ZERO)
            digits += 1
            at += 1
    exponent = 0
    whole = True
    if at < stop and buffer[at] == POINT:
        whole = False
        at += 1
        if not is_digit(buffer, at, stop):
            return SLOW, False, 0, 0, False
        while is_digit(buffer, at, stop) and digits < DIGITS_MAX and exponent > -999:
            mantissa = mantissa * 10 + (octet(buffer, at) - ZERO)
            digits += mantissa != 0
            exponent -= 1
            at += 1
    if is_digit(buffer, at, stop):
        return SLOW, False, 0, 0, False
    if at < stop and (buffer[at] == 0x65 or buffer[at] == 0x45):
        whole = False
        at, given = read_exponent(buffer, at + 1, stop)
        exponent += given
    return at, negative, mantissa, exponent, whole


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_literal(buffer: Bytes, at: int, stop: int) -> tuple[int, int, int]:
    """(position after it or SLOW, NO_NUMBER or BOOLEAN, 1 or 0) of `true`, `false` or `null`."""
    c = buffer[at]
    if c == 0x74:
        if stop - at >= 4 and buffer[at + 1] == 0x72 and buffer[at + 2] == 0x75 and buffer[at + 3] == 0x65:
            return at + 4, BOOLEAN, 1
    elif c == 0x66:
        if (
            stop - at >= 5
            and buffer[at + 1] == 0x61
            and buffer[at + 2] == 0x6C
            and buffer[at + 3] == 0x73
            and buffer[at + 4] == 0x65
        ):
            return at + 5, BOOLEAN, 0
    elif c == 0x6E and stop - at >= 4 and buffer[at + 1] == 0x75 and buffer[at + 2] == 0x6C and buffer[at + 3] == 0x6C:
        return at + 4, NO_NUMBER, 0
    return SLOW, NO_NUMBER, 0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def end_of_string(buffer: Bytes, at: int, stop: int) -> int:
    """Position of the closing quote of a string of plain ASCII; `at` is behind the opening one."""
    while at < stop:
        c = buffer[at]
        if c == QUOTE:
            return at
        if c == BACKSLASH or c < 0x20 or c >= 0x80:
            return SLOW
        at += 1
    return SLOW


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_scalar(buffer: Bytes, at: int, stop: int) -> tuple[int, int, bool, int, int, bool]:
    """(position after it or SLOW, NO_NUMBER, NUMBER or BOOLEAN, then as read_number) of a value without inside."""
    if at >= stop:
        return SLOW, NO_NUMBER, False, 0, 0, False
    c = buffer[at]
    if c == MINUS or (c >= ZERO and c <= NINE):
        after, negative, mantissa, exponent, whole = read_number(buffer, at, stop)
        return after, NUMBER, negative, mantissa, exponent, whole
    if c == QUOTE:
        end = end_of_string(buffer, at + 1, stop)
        return (SLOW if end < 0 else end + 1), NO_NUMBER, False, 0, 0, False
    after, what, truth = read_literal(buffer, at, stop)
    return after, what, False, truth, 0, True


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_any(buffer: Bytes, at: int, stop: int) -> tuple[int, int, bool, int, int, bool]:
    """As read_scalar, of texts of all kinds, too; of what is in them nothing is told."""
    if at < stop and buffer[at] == QUOTE:
        end = end_of_text(buffer, at + 1, stop, True)
        return (SLOW if end < 0 else end + 1), NO_NUMBER, False, 0, 0, False
    return read_scalar(buffer, at, stop)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def store_cell(
    table: Table, entry_index: int, k: int, negative: bool, mantissa: int, exponent: int, whole: bool
) -> bool:
    """The number as the entry's kind wants it, into scratch element k. False: let the slow path decide."""
    entry = table.entries[entry_index]
    scale = entry["scale"]
    offset = entry["offset"]
    if entry["kind"] == F64:
        if mantissa > MANTISSA_MAX or exponent > EXPONENT_MAX or exponent < -EXPONENT_MAX:
            return False
        x = float(mantissa)
        if exponent < 0:
            x /= POWERS[-exponent]
        else:
            x *= POWERS[exponent]
        if negative:
            x = -x
        x = x * scale + offset
        if not np.isfinite(x):
            return False
        table.values[k] = x
    else:
        if not whole or scale != 1.0 or offset != 0.0:
            return False
        if negative and mantissa != 0 and entry["kind"] == U64:
            return False
        table.bits[k] = -mantissa if negative else mantissa
    table.found[k] = 1
    return True


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def wall_from_number(negative: bool, mantissa: int, exponent: int, form: int) -> int:
    """Wall time in ns of a number that counts from 1970 on, in the unit of `form` (a TimeForm); 0 when implausible.

    Without a unit, s, ms, µs and ns are told apart by magnitude: seconds reach 11 digits before the point (year 5138),
    and each finer unit takes three more.
    """
    if negative or mantissa == 0:
        return 0
    digits = 0
    while digits < DIGITS_MAX and mantissa >= TENS[digits]:
        digits += 1
    before_point = digits + exponent
    if before_point > 20:
        return 0
    shift = exponent
    if form > 0:
        shift += 12 - 3 * form
    elif before_point < 1:
        return 0
    elif before_point <= 11:
        shift += 9
    elif before_point <= 14:
        shift += 6
    elif before_point <= 17:
        shift += 3
    if shift < 0:
        return int(mantissa // TENS[-shift]) if shift >= -DIGITS_MAX else 0
    if shift > DIGITS_MAX or mantissa > WALL_NS_MAX // TENS[shift]:
        return 0
    return int(mantissa * TENS[shift])


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def decode_bare(table: Table, t: int, buffer: Bytes, at: int, stop: int) -> int:
    """Cells of the entries without a field into scratch; how many, or SLOW."""
    after, what, negative, mantissa, exponent, whole = read_scalar(buffer, at, stop)
    if after < 0 or what == NO_NUMBER or skip_space(buffer, after, stop) != stop:
        return SLOW
    first = table.topics[t]["first"]
    got = 0
    for k in range(table.topics[t]["count"]):
        if table.entries[first + k]["field_bytes"] == 0:
            if not store_cell(table, first + k, k, negative, mantissa, exponent, whole):
                return SLOW
            got += 1
    return got if got else SLOW


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def store_member(
    table: Table, t: int, buffer: Bytes, key_at: int, size: int, what: int, negative: bool, mantissa: int,
    exponent: int, whole: bool,
) -> bool:  # fmt: skip
    """A member of the object into the scratch of every entry that wants it. False: let the slow path decide."""
    first = table.topics[t]["first"]
    for k in range(table.topics[t]["count"]):
        entry = table.entries[first + k]
        if (
            entry["field_bytes"] == size
            and size > 0
            and same_bytes(table.text, entry["field_at"], buffer, key_at, size)
            and (what == NO_NUMBER or not store_cell(table, first + k, k, negative, mantissa, exponent, whole))
        ):
            return False
    return True


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def decode_object(table: Table, t: int, buffer: Bytes, at: int, stop: int) -> tuple[int, int]:
    """(SLOW or 0, wall time in ns; 0 implausible, -1 none given) of an object; `at` is behind its brace."""
    topic = table.topics[t]
    wall_ns = -1
    budget = COMPARISONS_MAX
    at = skip_space(buffer, at, stop)
    while True:
        if at >= stop or buffer[at] != QUOTE:
            return SLOW, 0
        key_at = at + 1
        key_end = end_of_text(buffer, key_at, stop, False)
        if key_end < 0:
            return SLOW, 0
        at = skip_space(buffer, key_end + 1, stop)
        if at >= stop or buffer[at] != COLON:
            return SLOW, 0
        value_at = skip_space(buffer, at + 1, stop)
        at, what, negative, mantissa, exponent, whole = read_any(buffer, value_at, stop)
        budget -= topic["count"]
        if at < 0 or budget < 0:
            return SLOW, 0
        size = key_end - key_at
        if not store_member(table, t, buffer, key_at, size, what, negative, mantissa, exponent, whole):
            return SLOW, 0
        if size == topic["time_bytes"] and size > 0 and same_bytes(table.text, topic["time_at"], buffer, key_at, size):
            form = topic["time_form"]
            if what == NUMBER and form != ISO8601:
                wall_ns = wall_from_number(negative, mantissa, exponent, form)
            elif buffer[value_at] == QUOTE and (form == 0 or form == ISO8601):
                wall_ns = wall_from_text(buffer, value_at + 1, at - 1)
                if wall_ns < 0:
                    return SLOW, 0
            else:
                return SLOW, 0
        at = skip_space(buffer, at, stop)
        if at >= stop:
            return SLOW, 0
        if buffer[at] == BRACE_END:
            return (0 if skip_space(buffer, at + 1, stop) == stop else SLOW), wall_ns
        if buffer[at] != COMMA:
            return SLOW, 0
        at = skip_space(buffer, at + 1, stop)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def decode(table: Table, t: int, buffer: Bytes, at: int, stop: int) -> tuple[int, int]:
    """(SLOW or 0, wall time as decode_object). Cells are in the table's scratch, `found` says which."""
    for k in range(table.topics[t]["count"]):
        table.found[k] = 0
    at = skip_space(buffer, at, stop)
    if at < stop and buffer[at] == BRACE:
        status, wall_ns = decode_object(table, t, buffer, at + 1, stop)
        if status < 0:
            return SLOW, 0
        for k in range(table.topics[t]["count"]):
            if table.found[k]:
                return 0, wall_ns
        return SLOW, 0
    return (SLOW if decode_bare(table, t, buffer, at, stop) < 0 else 0), -1


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def put_samples(table: Table, t: int, samples: Samples, n: int, source_ns: int, arrival_ns: int, quality: int) -> int:
    """The cells in scratch as samples from index n on; returns the index after them."""
    first = table.topics[t]["first"]
    for k in range(table.topics[t]["count"]):
        if table.found[k]:
            entry = table.entries[first + k]
            samples[n]["row"] = entry["row"]
            samples[n]["quality"] = quality
            samples[n]["source_ns"] = source_ns
            samples[n]["arrival_ns"] = arrival_ns
            if entry["kind"] == F64:
                samples[n]["value"] = table.values[k]
            else:
                samples[n]["bits"] = table.bits[k]
            n += 1
    return n
