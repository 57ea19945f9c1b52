"""Bytes put in the order in which a compressor finds what they have in common.

Records of the same kind differ little in their high bytes and much in their low ones. Written plane by plane (all first
bytes, then all second bytes, ...) the high ones become runs, which zstd takes at memory speed: the byte shuffle of HDF5
and Blosc. Samples are first rewritten as differences: each arrival from the one before, each source time from its
arrival. Integer arithmetic wraps (two's complement), so any int64 comes back.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numba import njit

from gateway.core.types import Bytes, Int64s, Samples

Rings: TypeAlias = np.ndarray[tuple[int, int, int], np.dtype[np.uint64]]
"""Records of whole words: [owner, place, word]."""


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def shuffle(records: Bytes, size: int, out: Bytes) -> None:
    """`records` are n records of `size` bytes each; `out[plane * n + i]` becomes byte `plane` of record i.

    A size of 0, of an array that holds nothing, puts nothing.
    """
    n = len(records) // size if size else 0
    for i in range(n):
        at = i * size
        for plane in range(size):
            out[plane * n + i] = records[at + plane]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def unshuffle(planes: Bytes, size: int, out: Bytes) -> None:
    """The inverse of `shuffle`."""
    n = len(planes) // size if size else 0
    for i in range(n):
        at = i * size
        for plane in range(size):
            out[at + plane] = planes[plane * n + i]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def unshuffle_places(planes: Bytes, rings: Rings) -> None:
    """As `unshuffle`, of one block for each place in the rings: the records of all owners at that place. Eight planes
    at a time become a word, with its lowest byte first."""
    owners, places, words = rings.shape
    for place in range(places):
        for i in range(owners):
            for word in range(words):
                begin = (place * words + word) * 8 * owners + i
                value = np.uint64(0)
                for k in range(8):
                    value |= np.uint64(planes[begin + k * owners]) << np.uint64(8 * k)
                rings[i, place, word] = value


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def to_differences(samples: Samples, out: Samples) -> None:
    """`arrival_ns` as the difference to the sample before, `source_ns` as the arrival minus itself; the rest as is."""
    before = 0
    for i in range(len(samples)):
        arrival_ns = samples[i]["arrival_ns"]
        out[i]["row"] = samples[i]["row"]
        out[i]["quality"] = samples[i]["quality"]
        out[i]["source_ns"] = arrival_ns - samples[i]["source_ns"]
        out[i]["arrival_ns"] = arrival_ns - before
        out[i]["bits"] = samples[i]["bits"]
        before = arrival_ns


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def from_differences(samples: Samples) -> None:
    """The inverse of `to_differences`, in place."""
    before = 0
    for i in range(len(samples)):
        arrival_ns = before + samples[i]["arrival_ns"]
        samples[i]["arrival_ns"] = arrival_ns
        samples[i]["source_ns"] = arrival_ns - samples[i]["source_ns"]
        before = arrival_ns


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def keep_rows(samples: Samples, is_kept: Bytes, out: Samples) -> int:
    """Copy the samples whose row is marked in `is_kept`, or lies behind it, and the commands to such rows; returns how
    many."""
    kept = 0
    for i in range(len(samples)):
        row = samples[i]["row"]
        owner = row if row >= 0 else -1 - row
        if owner < len(is_kept) and is_kept[owner] == 0:
            continue
        out[kept]["row"] = row
        out[kept]["quality"] = samples[i]["quality"]
        out[kept]["source_ns"] = samples[i]["source_ns"]
        out[kept]["arrival_ns"] = samples[i]["arrival_ns"]
        out[kept]["bits"] = samples[i]["bits"]
        kept += 1
    return kept


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def keep_by_row(samples: Samples, is_kept: Bytes, places: Int64s, out: Samples) -> int:
    """As `keep_rows`, in the order of the rows, and for each row in the order of the samples (a counting sort); returns
    how many, or -1 when there are commands among them, whose place must stay theirs. Samples of rows behind `is_kept`
    are left out. `places` is scratch, an element for each row."""
    rows = len(is_kept)
    for row in range(rows):
        places[row] = 0
    for i in range(len(samples)):
        row = samples[i]["row"]
        if row < 0:
            return -1
        if row < rows:
            places[row] += is_kept[row]
    total = 0
    for row in range(rows):
        count = places[row]
        places[row] = total
        total += count
    for i in range(len(samples)):
        row = samples[i]["row"]
        if row >= rows or is_kept[row] == 0:
            continue
        at = places[row]
        places[row] = at + 1
        out[at]["row"] = row
        out[at]["quality"] = samples[i]["quality"]
        out[at]["source_ns"] = samples[i]["source_ns"]
        out[at]["arrival_ns"] = samples[i]["arrival_ns"]
        out[at]["bits"] = samples[i]["bits"]
    return int(total)
