"""The calibration curves of one plant, applied to what comes in before anything else sees it.

A batch is copied, since the journal stores what came: a replay calibrates it again. In a plant without curves nothing
is copied, and nothing compiled.
"""

from __future__ import annotations

import numpy as np

from gateway.core.kernels.curve import calibrate
from gateway.core.model import Model
from gateway.core.types import SAMPLE, Samples


class Curves:
    def __init__(self, model: Model) -> None:
        curves = [tag.curve for tag in model.tags]
        self._counts = np.array([len(curve) for curve in curves], np.int32)
        self._firsts = np.concatenate(([0], np.cumsum(self._counts)))[:-1].astype(np.int32)
        points = np.array([point for curve in curves for point in curve], np.float64).reshape(-1, 2)
        self._shown = np.ascontiguousarray(points[:, 0])
        self._true = np.ascontiguousarray(points[:, 1])

    def calibrated(self, batch: Samples) -> Samples:
        """The batch, or one like it."""
        if not len(self._shown) or not len(batch):
            return batch
        copied = batch.copy()
        calibrate(self._firsts, self._counts, self._shown, self._true, copied)
        return copied

    def warm(self) -> None:
        """Compile, if there is anything to calibrate."""
        if len(self._shown):
            calibrate(self._firsts, self._counts, self._shown, self._true, np.zeros(0, SAMPLE))
