"""Bytes put in the order in which a compressor finds what they have in common.

Records of the same kind differ little in their high bytes and much in their low ones. Written plane by plane (all first
bytes, then all second bytes, ...) the high ones become runs, which zstd takes at memory speed: the byte shuffle of HDF5
and Blosc. Samples are first rewritten as differences: each arrival from the one before, each source time from its
arrival. Integer arithmetic wraps (two's complement), so any int64 comes back.
"""

from __future__ import annotations

from numba import njit

from gateway.core.types import Bytes, Samples


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def shuffle(records: Bytes, size: int, out: Bytes) -> None:
    """`records` are n records of `size` bytes each; `out[plane * n + i]` becomes byte `plane` of record i."""
    n = len(records) // size
    for i in range(n):
        at = i * size
        for plane in range(size):
            out[plane * n + i] = records[at + plane]


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def unshuffle(planes: Bytes, size: int, out: Bytes) -> None:
    """The inverse of `shuffle`."""
    n = len(planes) // size
    for i in range(n):
        at = i * size
        for plane in range(size):
            out[at + plane] = planes[plane * n + i]


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
