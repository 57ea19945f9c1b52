"""What `gateway.core.kernels.thin` does, one sample after the other, with dictionaries."""

from __future__ import annotations

from collections.abc import Iterable

Sample = tuple[int, int, int]
"""Row, quality, source time."""


class Thinner:
    def __init__(self, every_ns: int, rows: int) -> None:
        self._every_ns = every_ns
        self._rows = rows
        self._last: dict[int, tuple[int, int]] = {}

    def keep(self, samples: Iterable[Sample]) -> tuple[list[int], list[int]]:
        """Places of those that are kept, and the rows of the others."""
        kept, left = [], []
        for place, (row, quality, source_ns) in enumerate(samples):
            if row >= self._rows:
                kept.append(place)
                continue
            last_quality, last_ns = self._last.get(row, (None, 0))
            if last_quality == quality and source_ns - last_ns < self._every_ns:
                left.append(row)
            else:
                self._last[row] = (quality, source_ns)
                kept.append(place)
        return kept, left
