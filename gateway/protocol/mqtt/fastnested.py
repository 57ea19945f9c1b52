"""JSON objects with objects and arrays inside, in jitted code: values, time and quality at any place in them.

One pass, without recursion: the way from the root to the member under the eye lies in the table's scratch, a pair of
numbers for each level (place and length of a name, or an index and -1), and is compared with the ways that the topic's
entries want. Where a member comes that is on the way to something, what was found below it before is forgotten, so of a
name that comes twice the last counts, with all that is in it. As in `fastjson`, what leaves any doubt is left to the
slow path, whole.
"""

from __future__ import annotations

from typing import Final

from numba import njit

from gateway.core.types import Quality
from gateway.protocol.mqtt.fastjson import (
    BRACE,
    BRACE_END,
    COLON,
    COMMA,
    COMPARISONS_MAX,
    ISO8601,
    NO_NUMBER,
    NUMBER,
    QUOTE,
    SLOW,
    read_any,
    skip_space,
    store_cell,
    wall_from_number,
)
from gateway.protocol.mqtt.fasttexts import end_of_text, wall_from_text
from gateway.protocol.mqtt.table import DEPTH_MAX, READING_FIELDS, Table
from gateway.protocol.octets import Bytes, octet, same_bytes

BRACKET, BRACKET_END = 0x5B, 0x5D
GOOD: Final = int(Quality.GOOD)
ELEMENT: Final = -1
"""In place of a name's length: an element of an array, by its index."""
WAY_FIRST: Final = READING_FIELDS
WAY_LAST: Final = READING_FIELDS + 2 * DEPTH_MAX


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def quality_code(table: Table, t: int, buffer: Bytes, at: int, size: int) -> int:
    """The quality that a JSON text is a word for, or SLOW."""
    topic = table.topics[t]
    for q in range(topic["quality_first"], topic["quality_first"] + topic["quality_count"]):
        if table.qualities[q, 1] == size and same_bytes(table.text, table.qualities[q, 0], buffer, at, size):
            return int(table.qualities[q, 2])
    return SLOW


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def is_on_way(table: Table, first: int, count: int, depth: int, buffer: Bytes) -> bool:
    """Whether the way to the present member is how the path `parts[first:first + count]` begins, or all of it."""
    if count < depth:
        return False
    for level in range(depth - 1, -1, -1):
        size = table.reading[WAY_FIRST + 2 * level + 1]
        if table.parts[first + level, 1] != size:
            return False
        at = table.reading[WAY_FIRST + 2 * level]
        if size == ELEMENT:
            if table.parts[first + level, 0] != at:
                return False
        elif not same_bytes(table.text, table.parts[first + level, 0], buffer, at, size):
            return False
    return True


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def take_value(
    table: Table, t: int, depth: int, buffer: Bytes, at: int, after: int, what: int, negative: bool, mantissa: int,
    exponent: int, whole: bool, is_inner: bool,
) -> bool:  # fmt: skip
    """The present member, `buffer[at:after]`, to all that want it; what was below it is forgotten. `is_inner`: it is an
    object or an array. False: let the slow path decide."""
    topic = table.topics[t]
    first = topic["first"]
    for k in range(topic["count"]):
        entry = table.entries[first + k]
        if is_on_way(table, entry["part_first"], entry["parts"], depth, buffer):
            table.found[k] = 0
            if entry["parts"] == depth and (
                is_inner
                or what == NO_NUMBER
                or not store_cell(table, first + k, k, negative, mantissa, exponent, whole)
            ):
                return False
    reading = table.reading
    if is_on_way(table, topic["time_first"], topic["time_parts"], depth, buffer):
        reading[WAY_LAST] = -1
        if topic["time_parts"] == depth:
            form = topic["time_form"]
            if is_inner:
                return False
            if what == NUMBER and form != ISO8601:
                reading[WAY_LAST] = wall_from_number(negative, mantissa, exponent, form)
            elif octet(buffer, at) == QUOTE and (form == 0 or form == ISO8601):
                reading[WAY_LAST] = wall_from_text(buffer, at + 1, after - 1)
                if reading[WAY_LAST] < 0:
                    return False
            else:
                return False
    if is_on_way(table, topic["quality_way"], topic["quality_parts"], depth, buffer):
        reading[WAY_LAST + 1] = GOOD
        if topic["quality_parts"] == depth:
            reading[WAY_LAST + 1] = SLOW if is_inner else quality_code(table, t, buffer, at, after - at)
            if reading[WAY_LAST + 1] < 0:
                return False
    return True


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def read_key(table: Table, depth: int, buffer: Bytes, at: int, stop: int) -> int:
    """The name of a member onto the way; the position of its value, or SLOW. Of an array's element: `at`."""
    level = WAY_FIRST + 2 * (depth - 1)
    if table.reading[level + 1] == ELEMENT:
        return at
    if at >= stop or octet(buffer, at) != QUOTE:
        return SLOW
    end = end_of_text(buffer, at + 1, stop, False)
    if end < 0:
        return SLOW
    table.reading[level] = at + 1
    table.reading[level + 1] = end - at - 1
    at = skip_space(buffer, end + 1, stop)
    if at >= stop or octet(buffer, at) != COLON:
        return SLOW
    return int(skip_space(buffer, at + 1, stop))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def close(table: Table, depth: int, buffer: Bytes, at: int, stop: int) -> tuple[int, int]:
    """(position of what comes next or SLOW, depth) behind a value that ends before `at`: 0 when all is read."""
    while True:
        at = skip_space(buffer, at, stop)
        if at >= stop:
            return SLOW, depth
        c = octet(buffer, at)
        level = WAY_FIRST + 2 * (depth - 1)
        is_array = table.reading[level + 1] == ELEMENT
        if c == COMMA:
            table.reading[level] += is_array
            return int(skip_space(buffer, at + 1, stop)), depth
        if c != (BRACKET_END if is_array else BRACE_END):
            return SLOW, depth
        depth -= 1
        at += 1
        if depth == 0:
            return (at if skip_space(buffer, at, stop) == stop else SLOW), 0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def open_level(table: Table, depth: int, buffer: Bytes, at: int) -> None:
    """One level more: the brace or bracket at `at`."""
    level = WAY_FIRST + 2 * (depth - 1)
    table.reading[level] = 0
    table.reading[level + 1] = ELEMENT if octet(buffer, at) == BRACKET else 0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def decode_nested(table: Table, t: int, buffer: Bytes, at: int, stop: int) -> int:
    """SLOW or 0 for the object whose brace is at `at`. Cells are in the table's scratch, `found` says which; so are the
    wall time in ns (-1: none, 0: implausible) and the quality, at WAY_LAST and behind it."""
    topic = table.topics[t]
    reading = table.reading
    reading[WAY_LAST] = -1
    reading[WAY_LAST + 1] = GOOD
    for k in range(topic["count"]):
        table.found[k] = 0
    budget = COMPARISONS_MAX
    depth = 1
    open_level(table, depth, buffer, at)
    at = skip_space(buffer, at + 1, stop)
    while True:
        at = read_key(table, depth, buffer, at, stop)
        budget -= topic["count"] + 2
        if at < 0 or at >= stop or budget < 0:
            return SLOW
        c = octet(buffer, at)
        if c in (BRACE, BRACKET):
            if depth == DEPTH_MAX or not take_value(table, t, depth, buffer, at, at, 0, False, 0, 0, False, True):
                return SLOW
            inside = skip_space(buffer, at + 1, stop)
            if inside >= stop:
                return SLOW
            if octet(buffer, inside) != (BRACE_END if c == BRACE else BRACKET_END):
                depth += 1
                open_level(table, depth, buffer, at)
                at = inside
                continue
            after = inside + 1
        else:
            after, what, negative, mantissa, exponent, whole = read_any(buffer, at, stop)
            if after < 0:
                return SLOW
            if not take_value(
                table, t, depth, buffer, at, after, what, negative, mantissa, exponent, whole, False
            ):  # fmt: skip
                return SLOW
        at, depth = close(table, depth, buffer, after, stop)
        if at < 0:
            return SLOW
        if depth == 0:
            break
    for k in range(topic["count"]):
        if table.found[k]:
            return 0
    return SLOW
