"""What the births have said, as arrays that the jitted decoder reads.

An edge node is a row of `nodes`. The metrics of a birth lie side by side in `metrics`, in the order of the birth, which
is the order in which most data messages bring them: the metric after the last one is tried first, then the hash
(`slots`, open addressing by topic and alias or name). A birth takes a new block; the old one is abandoned, and what
still leads to it is seen to lie outside the topic's block. When the arrays are full, what lives is moved together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numba import njit

from gateway.core.types import Int64s, Samples
from gateway.protocol.octets import Bytes, hash_bytes, spread

METRIC = np.dtype(
    [
        ("alias", "<i8"),
        ("topic", "<i8"),
        ("name_at", "<i8"),
        ("name_bytes", "<i8"),
        ("scale", "<f8"),
        ("offset", "<f8"),
        ("row", "<i4"),
        ("kind", "<i4"),
        ("datatype", "<i8"),
    ],
    align=True,
)
"""`alias` is -1 without one; `row` is -1 when no tag wants it. Aliases are uint64 and compared by their bits."""

LIVE, EXPECTED = 0, 1
"""Columns of `nodes`: whether the next message may be decoded here, and the sequence number that it must have."""
NO_ALIAS: Final = -1
UNWANTED: Final = -1
FIELDS: Final = 8


class Births(NamedTuple):
    """`used`: metrics and bytes of names in use. `fields` is scratch for one metric."""

    nodes: Int64s
    metrics: Samples
    slots: Int64s
    names: Bytes
    used: Int64s
    fields: Int64s


@dataclass(frozen=True, slots=True)
class Known:
    """A metric of a birth, as the table takes it."""

    alias: int | None
    name: bytes
    datatype: int
    row: int
    kind: int
    scale: float
    offset: float


def births(nodes: int, metrics: int = 1_024, name_bytes: int = 65_536) -> Births:
    """Empty tables with room for so many."""
    size = 1 << max(4, (2 * metrics).bit_length())
    return Births(
        np.zeros((nodes, 2), np.int64),
        np.zeros(metrics, METRIC),
        np.full(size, -1, np.int64),
        np.zeros(name_bytes, np.uint8),
        np.zeros(2, np.int64),
        np.zeros(FIELDS, np.int64),
    )


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def slot_of_alias(table: Births, topic: int, alias: int) -> int:
    return int(spread(alias ^ (alias >> 31), topic, len(table.slots)))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def index_block(table: Births, first: int, count: int) -> None:
    """Let the hash lead to metrics first to first + count - 1, which are in place."""
    mask = len(table.slots) - 1
    for m in range(first, first + count):
        metric = table.metrics[m]
        if metric["alias"] != NO_ALIAS:
            slot = slot_of_alias(table, metric["topic"], metric["alias"])
        else:
            at = metric["name_at"]
            slot = spread(hash_bytes(table.names, at, at + metric["name_bytes"]), metric["topic"], len(table.slots))
        while table.slots[slot] >= 0:
            slot = (slot + 1) & mask
        table.slots[slot] = m


def has_room(table: Births, known: list[Known]) -> bool:
    metrics, names = table.used.tolist()
    return (
        metrics + len(known) <= len(table.metrics)
        and names + sum(len(metric.name) for metric in known if metric.alias is None) <= len(table.names)
    )  # fmt: skip


def add_block(table: Births, topic: int, known: list[Known]) -> int:
    """Put a birth's metrics down for a topic; returns the first one's index. There must be room."""
    assert has_room(table, known)
    first, name_at = table.used.tolist()
    for m, metric in enumerate(known, first):
        # Names of metrics with an alias are not looked for.
        name = metric.name if metric.alias is None else b""
        table.names[name_at : name_at + len(name)] = np.frombuffer(name, np.uint8)
        alias = NO_ALIAS if metric.alias is None else metric.alias - (1 << 64 if metric.alias >= 1 << 63 else 0)
        table.metrics[m] = (
            alias, topic, name_at, len(name), metric.scale, metric.offset, metric.row, metric.kind, metric.datatype
        )  # fmt: skip
        name_at += len(name)
    table.used[:] = first + len(known), name_at
    index_block(table, first, len(known))
    return first
