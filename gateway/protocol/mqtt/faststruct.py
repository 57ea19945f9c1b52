"""Structs in jitted code: numbers at fixed places. `gateway.protocol.mqtt.readings` decodes the same bytes the same."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from gateway.core.types import Kind
from gateway.protocol.mqtt.fastjson import SLOW
from gateway.protocol.mqtt.form import BIG_END, WIRE_BYTES, WireForm
from gateway.protocol.mqtt.table import Table
from gateway.protocol.octets import Bytes, octet

F64, U64 = int(Kind.F64), int(Kind.U64)
SIZES: Final = np.array(WIRE_BYTES, np.int64)
BOOL, UINT64, FLOAT32, FLOAT64 = (
    int(WireForm.BOOL),
    int(WireForm.UINT64),
    int(WireForm.FLOAT32),
    int(WireForm.FLOAT64),
)
INT8: Final = int(WireForm.INT8)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_bits(buffer: Bytes, at: int, size: int, is_big: bool) -> int:
    """The bytes as a number; eight of them as two's complement."""
    value = 0
    for i in range(size):
        byte = octet(buffer, at + size - 1 - i if is_big else at + i)
        if i == 7 and byte >= 0x80:
            byte -= 0x100
        value |= byte << (8 * i)
    return value


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def store_bits(table: Table, e: int, k: int, form: int, bits: int) -> bool:
    """A number of this form as the entry's kind wants it, into scratch element k. False: let the slow path decide."""
    entry = table.entries[e]
    is_float = form in (FLOAT32, FLOAT64)
    if form == FLOAT32:
        x = float(np.uint32(bits).view(np.float32))
    elif form == FLOAT64:
        x = float(np.int64(bits).view(np.float64))
    else:
        if form == BOOL:
            bits = 1 if bits != 0 else 0
        elif form < UINT64 and (form - INT8) % 2 == 0:
            size = SIZES[form]
            if size < 8 and bits >> (8 * size - 1):
                bits -= 1 << (8 * size)
        x = float(np.int64(bits).view(np.uint64)) if form == UINT64 and bits < 0 else float(bits)
    if entry["kind"] == F64:
        x = x * entry["scale"] + entry["offset"]
        if not np.isfinite(x):
            return False
        table.values[k] = x
    else:
        if is_float or entry["scale"] != 1.0 or entry["offset"] != 0.0:
            return False
        if bits < 0 and (form == UINT64) != (entry["kind"] == U64):
            return False
        table.bits[k] = bits
    table.found[k] = 1
    return True


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def decode_struct(table: Table, t: int, buffer: Bytes, at: int, stop: int) -> int:
    """Cells of all entries into scratch; 0, or SLOW."""
    first = table.topics[t]["first"]
    for k in range(table.topics[t]["count"]):
        entry = table.entries[first + k]
        wire = entry["field_bytes"]
        form = wire & (BIG_END - 1)
        here = at + entry["field_at"]
        if here + SIZES[form] > stop:
            return SLOW
        if not store_bits(table, first + k, k, form, read_bits(buffer, here, SIZES[form], wire >= BIG_END)):
            return SLOW
    return 0
