"""Where the panes of each row begin: not all at the same moment."""

from __future__ import annotations

import numpy as np

from gateway.core.types import Int64s


def phases_ns(rows: Int64s, panes_ns: Int64s) -> Int64s:
    """Spreads the rows evenly over a pane (Fibonacci hashing): the pane times a 32-bit fraction of the row.

    The product has up to 96 bits, so the pane's high and low half are multiplied apart.
    """
    low_half, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    fractions = rows.astype(np.uint64) * np.uint64(0x9E3779B1) & low_half
    panes = panes_ns.astype(np.uint64)
    spread: Int64s = ((panes >> half) * fractions + ((panes & low_half) * fractions >> half)).astype(np.int64)
    return spread
