"""NDATA and DDATA in jitted code: what plain data messages of a born node bring, straight into SAMPLE records.

Decoded here is what leaves no question open: the sequence number that is due, metrics that the birth has named, by
alias or by name, values of the birth's type, no properties, not null, not historical. All else is left to
`gateway.protocol.sparkplug.host`, which decides the same for the same bytes. A message counts whole or not at all:
samples are valid only when the function says how many.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from gateway.core.types import Kind, Quality, Samples
from gateway.protocol.octets import Bytes, hash_bytes, octet, same_bytes, spread
from gateway.protocol.sparkplug.datatypes import (
    BOOLEAN_VALUE,
    DOUBLE_VALUE,
    FLOAT_VALUE,
    INT_VALUE,
    LONG_VALUE,
    DataType,
)
from gateway.protocol.sparkplug.table import EXPECTED, LIVE, NO_ALIAS, UNWANTED, Births, slot_of_alias
from gateway.protocol.times import MS_MAX, believed_ns

SLOW: Final = -1
ALIAS, TIME, DATATYPE, WHICH, BITS, NAME_AT, NAME_BYTES, HAS_ALIAS = range(8)
UNKNOWN_TIME: Final = -2
GOOD: Final = int(Quality.GOOD)
F64, I64, U64 = int(Kind.F64), int(Kind.I64), int(Kind.U64)
INT8, INT64 = int(DataType.INT8), int(DataType.INT64)
UINT8, UINT64, DATETIME = int(DataType.UINT8), int(DataType.UINT64), int(DataType.DATETIME)
FLOAT, DOUBLE, BOOLEAN = int(DataType.FLOAT), int(DataType.DOUBLE), int(DataType.BOOLEAN)
WHICH_INT, WHICH_LONG, WHICH_FLOAT, WHICH_DOUBLE, WHICH_BOOLEAN = (
    INT_VALUE,
    LONG_VALUE,
    FLOAT_VALUE,
    DOUBLE_VALUE,
    BOOLEAN_VALUE,
)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_varint(buffer: Bytes, at: int, stop: int) -> tuple[int, int]:
    """(position after it or SLOW, its 64 bits)."""
    value = 0
    shift = 0
    while at < stop and shift < 70:
        byte = octet(buffer, at)
        if shift == 63:
            if byte > 1:
                return SLOW, 0
            value |= -byte << 63
        else:
            value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return at, value
        shift += 7
    return SLOW, 0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_fixed(buffer: Bytes, at: int, size: int) -> int:
    """Little-endian bytes; of eight, as two's complement."""
    value = 0
    for i in range(min(size, 7)):
        value |= octet(buffer, at + i) << (8 * i)
    if size == 8:
        top = octet(buffer, at + 7)
        value |= (top if top < 0x80 else top - 0x100) << 56
    return value


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def read_metric(table: Births, buffer: Bytes, at: int, stop: int) -> bool:
    """A metric's fields into scratch. False: let the slow path decide."""
    fields = table.fields
    fields[HAS_ALIAS] = 0
    fields[NAME_BYTES] = 0
    fields[TIME] = -1
    fields[DATATYPE] = 0
    fields[WHICH] = 0
    while at < stop:
        tag = octet(buffer, at)
        at += 1
        if tag == 0x10 or tag == 0x18 or tag == 0x20 or tag == 0x50 or tag == 0x58 or tag == 0x70:
            at, value = read_varint(buffer, at, stop)
            if at < 0:
                return False
            if tag == 0x10:
                fields[ALIAS] = value
                fields[HAS_ALIAS] = 1
            elif tag == 0x18:
                fields[TIME] = value if value >= 0 else MS_MAX
            elif tag == 0x20:
                fields[DATATYPE] = value & 0xFFFFFFFF
            else:
                fields[WHICH] = tag >> 3
                fields[BITS] = value & 0xFFFFFFFF if tag == 0x50 else value
        elif tag == 0x65 or tag == 0x69:
            size = 4 if tag == 0x65 else 8
            if at + size > stop:
                return False
            fields[WHICH] = tag >> 3
            fields[BITS] = read_fixed(buffer, at, size)
            at += size
        elif tag == 0x0A:
            at, size = read_varint(buffer, at, stop)
            if at < 0 or size <= 0 or size > stop - at:
                return False
            fields[NAME_AT] = at
            fields[NAME_BYTES] = size
            at += size
        elif tag == 0x7A:
            # A text: of interest to nobody here, but it may stand beside numbers that are.
            at, size = read_varint(buffer, at, stop)
            if at < 0 or size < 0 or size > stop - at:
                return False
            fields[WHICH] = tag >> 3
            at += size
        else:
            return False
    return fields[WHICH] != 0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def is_metric(table: Births, m: int, buffer: Bytes) -> bool:
    """Whether scratch names this metric."""
    metric = table.metrics[m]
    fields = table.fields
    if metric["alias"] != NO_ALIAS:
        return bool(fields[HAS_ALIAS] and metric["alias"] == fields[ALIAS])
    size = fields[NAME_BYTES]
    return bool(
        not fields[HAS_ALIAS]
        and metric["name_bytes"] == size
        and same_bytes(table.names, metric["name_at"], buffer, fields[NAME_AT], size)
    )


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def find_metric(table: Births, topic: int, first: int, count: int, guess: int, buffer: Bytes) -> int:
    """Index of the metric that scratch names among the topic's, or SLOW."""
    if guess >= first and guess < first + count and is_metric(table, guess, buffer):
        return guess
    fields = table.fields
    if fields[HAS_ALIAS]:
        slot = slot_of_alias(table, topic, fields[ALIAS])
    elif fields[NAME_BYTES] > 0:
        at = fields[NAME_AT]
        slot = spread(hash_bytes(buffer, at, at + fields[NAME_BYTES]), topic, len(table.slots))
    else:
        return SLOW
    mask = len(table.slots) - 1
    while True:
        m = table.slots[slot]
        if m < 0:
            return SLOW
        if m >= first and m < first + count and is_metric(table, m, buffer):
            return int(m)
        slot = (slot + 1) & mask


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def number_of(datatype: int, which: int, bits: int) -> tuple[bool, bool, int, float]:
    """(whether there is one, whether it is an integer, its bits, its value) of a metric's value."""
    if which in (WHICH_INT, WHICH_LONG):
        if datatype >= INT8 and datatype <= INT64:
            if datatype < INT64:
                half = 1 << ((8 << (datatype - INT8)) - 1)
                bits &= 2 * half - 1
                bits = bits - 2 * half if bits >= half else bits
            return True, True, bits, float(bits)
        if (datatype >= UINT8 and datatype <= UINT64) or datatype == DATETIME:
            if datatype < UINT64:
                bits &= (1 << (8 << (datatype - UINT8))) - 1
            return True, True, bits, float(bits) if bits >= 0 else float(np.int64(bits).view(np.uint64))
        return False, False, 0, 0.0
    if which == WHICH_FLOAT and (datatype in (FLOAT, DOUBLE)):
        x = float(np.uint32(bits).view(np.float32))
        return np.isfinite(x), False, 0, x
    if which == WHICH_DOUBLE and (datatype in (FLOAT, DOUBLE)):
        x = float(np.int64(bits).view(np.float64))
        return np.isfinite(x), False, 0, x
    if which == WHICH_BOOLEAN and datatype == BOOLEAN:
        return True, True, 1 if bits != 0 else 0, 1.0 if bits != 0 else 0.0
    return False, False, 0, 0.0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def put_value(table: Births, m: int, samples: Samples, n: int) -> bool:
    """The value in scratch, as the tag wants it, into sample n. False: let the slow path decide."""
    metric = table.metrics[m]
    fields = table.fields
    datatype = metric["datatype"]
    if fields[DATATYPE] != 0 and fields[DATATYPE] != datatype:
        return False
    is_there, is_whole, bits, x = number_of(datatype, fields[WHICH], fields[BITS])
    if not is_there:
        return False
    kind = metric["kind"]
    if kind == F64:
        x = x * metric["scale"] + metric["offset"]
        if not np.isfinite(x):
            return False
        samples[n]["value"] = x
        return True
    if not is_whole or metric["scale"] != 1.0 or metric["offset"] != 0.0:
        return False
    is_unsigned = datatype in (UINT64, DATETIME)
    if (kind == I64 and is_unsigned and bits < 0) or (kind == U64 and not is_unsigned and bits < 0):
        return False
    samples[n]["bits"] = bits
    return kind in (I64, U64)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def put_metric(
    table: Births, topic: int, first: int, count: int, guess: int, buffer: Bytes, at: int, stop: int,
    samples: Samples, n: int,
) -> tuple[int, int]:  # fmt: skip
    """(metric or SLOW, samples after it) of one metric; its time is wall time in ms, UNKNOWN_TIME without one."""
    if not read_metric(table, buffer, at, stop):
        return SLOW, n
    m = find_metric(table, topic, first, count, guess, buffer)
    if m < 0:
        return SLOW, n
    row = table.metrics[m]["row"]
    if row == UNWANTED:
        return m, n
    if n >= len(samples) or not put_value(table, m, samples, n):
        return SLOW, n
    samples[n]["row"] = row
    samples[n]["quality"] = GOOD
    samples[n]["source_ns"] = table.fields[TIME] if table.fields[TIME] >= 0 else UNKNOWN_TIME
    return m, n + 1


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def put_times(samples: Samples, start: int, n: int, sent_ms: int, arrival_ns: int, arrival_wall_ns: int) -> bool:
    """Turn the times of samples start to n - 1 into engine time; whether one was not to be believed."""
    refused = False
    for i in range(start, n):
        wall_ms = samples[i]["source_ns"]
        if wall_ms == UNKNOWN_TIME:
            wall_ms = sent_ms
        source_ns = np.int64(-1)
        if wall_ms >= 0:
            wall_ns = wall_ms * 1_000_000 if wall_ms < MS_MAX else 0
            source_ns = believed_ns(wall_ns, arrival_ns, arrival_wall_ns)
            refused |= source_ns < 0
        samples[i]["source_ns"] = source_ns if source_ns >= 0 else arrival_ns
        samples[i]["arrival_ns"] = arrival_ns
    return refused


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def decode_data(
    table: Births, node: int, topic: int, first: int, count: int, buffer: Bytes, at: int, stop: int,
    arrival_ns: int, arrival_wall_ns: int, samples: Samples, start: int, samples_max: int,
) -> tuple[int, bool]:  # fmt: skip
    """(samples after the message, or SLOW; whether a time in it was not believed) of an NDATA or DDATA.

    `first`, `count`: the topic's block of metrics. Samples go to index `start` and on, at most `samples_max`.
    """
    if table.nodes[node, LIVE] == 0:
        return SLOW, False
    n = start
    guess = first
    seq = -1
    sent_ms = -1
    while at < stop:
        tag = octet(buffer, at)
        at, value = read_varint(buffer, at + 1, stop)
        if at < 0:
            return SLOW, False
        if tag == 0x12:
            if value < 0 or value > stop - at or n - start >= samples_max:
                return SLOW, False
            m, n = put_metric(table, topic, first, count, guess, buffer, at, at + value, samples, n)
            if m < 0:
                return SLOW, False
            guess = m + 1
            at += value
        elif tag == 0x08:
            sent_ms = value if value >= 0 else MS_MAX
        elif tag == 0x18:
            seq = value
        else:
            return SLOW, False
    if seq != table.nodes[node, EXPECTED]:
        return SLOW, False
    table.nodes[node, EXPECTED] = (seq + 1) & 0xFF
    return n, put_times(samples, start, n, sent_ms, arrival_ns, arrival_wall_ns)
