"""The peer of the pipeline benchmark: the engine's statistics as one would write them with NumPy alone.

Panes in a ring with closed totals recomputed at rotation, EWMA, first and last value, and the score's three intervals,
for whole batches by fancy indexing and `ufunc.at`. It does less than the engine: no late samples, no checks of
quality, range or source time, no locks for readers, sums of squares instead of Welford; of several samples of a tag
in one batch only the sums are right.
"""

from __future__ import annotations

import numpy as np

from gateway.core.types import Float64s, Int64s, Samples


class NumpyPeer:
    def __init__(self, tags: int, window_ns: int, panes: int) -> None:
        self.window_ns = window_ns
        self.pane_ns = window_ns // panes
        self.panes = panes
        self.pane = np.full((tags, panes), -1, np.int64)
        self.ring = np.zeros((5, tags, panes))  # count, sum, squares, min, max
        self.closed = np.zeros((5, tags))
        self.current = np.full(tags, -1, np.int64)
        self.first = np.zeros(tags)
        self.first_ns = np.zeros(tags, np.int64)
        self.last = np.zeros(tags)
        self.last_ns = np.zeros(tags, np.int64)
        self.ewma = np.zeros(tags)
        self.slow = np.zeros(tags)
        self.var = np.zeros(tags)
        self.cov = np.zeros(tags)
        self.low = np.zeros((3, tags))
        self.high = np.zeros((3, tags))
        self.score = np.zeros(tags)

    def fold(self, batch: Samples) -> None:
        rows: Int64s = batch["row"].astype(np.int64)
        values: Float64s = batch["value"]
        times_ns: Int64s = batch["source_ns"]
        pane = times_ns // self.pane_ns
        moved = self.current[rows] != pane
        if moved.any():
            self._rotate(rows[moved], pane[moved], values[moved], times_ns[moved])
        slot = pane % self.panes
        count, total, squares, low, high = self.ring
        np.add.at(count, (rows, slot), 1.0)
        np.add.at(total, (rows, slot), values)
        np.add.at(squares, (rows, slot), values * values)
        np.minimum.at(low, (rows, slot), values)
        np.maximum.at(high, (rows, slot), values)
        self._score(rows, values, times_ns)
        self.last[rows] = values
        self.last_ns[rows] = times_ns

    def _rotate(self, rows: Int64s, pane: Int64s, values: Float64s, times_ns: Int64s) -> None:
        slot = pane % self.panes
        self.pane[rows, slot] = pane
        self.ring[:3, rows, slot] = 0.0
        self.ring[3, rows, slot] = np.inf
        self.ring[4, rows, slot] = -np.inf
        self.current[rows] = pane
        ids = self.pane[rows]
        inside = (ids > (pane - self.panes)[:, None]) & (ids < pane[:, None])
        for place in range(3):
            self.closed[place, rows] = np.where(inside, self.ring[place, rows], 0.0).sum(axis=1)
        self.closed[3, rows] = np.where(inside, self.ring[3, rows], np.inf).min(axis=1)
        self.closed[4, rows] = np.where(inside, self.ring[4, rows], -np.inf).max(axis=1)
        empty = self.closed[0, rows] == 0.0
        self.first[rows[empty]] = values[empty]
        self.first_ns[rows[empty]] = times_ns[empty]

    def _score(self, rows: Int64s, values: Float64s, times_ns: Int64s) -> None:
        elapsed = (times_ns - self.last_ns[rows]) / self.window_ns
        fast, slow = 1.0 - np.exp(-elapsed), 1.0 - np.exp(-elapsed / 10.0)
        mean = self.slow[rows]
        before, now = self.last[rows] - mean, values - mean
        var, cov = self.var[rows], self.cov[rows]
        slope = np.clip(np.divide(cov, var, out=np.zeros_like(var), where=var > 0.0), -1.0, 1.0)
        self.var[rows] = var + slow * (before * before - var)
        self.cov[rows] = cov + slow * (before * now - cov)
        ewma = self.ewma[rows] + fast * (values - self.ewma[rows])
        self.ewma[rows] = ewma
        self.slow[rows] = mean + slow * now
        worst: Float64s = np.zeros(len(rows))
        for place, signal in enumerate((values, ewma - self.slow[rows], now - slope * before)):
            low, high = self.low[place, rows], self.high[place, rows]
            width = high - low
            outside = np.maximum(signal - high, low - signal)
            np.maximum(worst, outside / np.maximum(width, 1e-9), out=worst)
            shrink = np.minimum(elapsed * 1e-6, 0.25) * width
            self.low[place, rows] = np.minimum(low + shrink, signal)
            self.high[place, rows] = np.maximum(high - shrink, signal)
        self.score[rows] = worst / (worst + 1.0)
