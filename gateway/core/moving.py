"""Rows that have moved under a source.

A source that goes on over a reload goes on giving its samples the rows that it was built with, while the model may
have its tags in others by then. Whoever empties its lane puts that right, for a whole batch at once: so no source has
to stand still for a reload of others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gateway.core.types import Int32s, Samples


class Moved:
    """Where the rows that a source was built with are now."""

    def __init__(self) -> None:
        self._now: Int32s | None = None

    def move(self, rows: Int32s) -> None:
        """`rows[i]` is where the tag of row i is from now on, -1 where there is no such tag any more."""
        now = rows if self._now is None else np.where(self._now >= 0, rows[self._now], np.int32(-1))
        is_as_built = np.array_equal(now[now >= 0], np.flatnonzero(now >= 0))
        self._now = None if is_as_built else now

    def put_right(self, samples: Samples) -> int:
        """Give samples of the source their present rows, in place; those of tags that are gone are left out. Returns
        how many there are then."""
        if self._now is None:
            return len(samples)
        rows = self._now[samples["row"]]
        is_there = rows >= 0
        kept = int(np.count_nonzero(is_there))
        if kept < len(samples):
            samples[:kept] = samples[is_there]
        samples["row"][:kept] = rows[is_there]
        return kept

    def as_built(self) -> Callable[[int], int]:
        """From the present row of a tag to the one that the source knows it by."""
        if self._now is None:
            return int
        return {now: row for row, now in enumerate(self._now.tolist()) if now >= 0}.__getitem__
