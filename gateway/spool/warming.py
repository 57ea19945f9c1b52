"""The kernels of the spool's threads, compiled before anything is due: compiling holds Python's lock for a while, and
with it the engine's thread, some tenths of a second on a small machine.
"""

from __future__ import annotations

import numpy as np
import zstandard

from gateway.core.kernels.shuffle import (
    from_differences,
    keep_by_row,
    keep_rows,
    to_differences,
    unshuffle,
    unshuffle_places,
)
from gateway.core.kernels.thin import thin
from gateway.core.types import SAMPLE, Samples
from gateway.spool.checkpoints import encode_block


def warm_up() -> None:
    """Checkpoints and the journal, both ways, and the sieve that thins under pressure."""
    encode_block((np.zeros((1, 1), np.uint8),), zstandard.ZstdCompressor())
    samples: Samples = np.zeros(1, SAMPLE)
    into: Samples = np.zeros(1, SAMPLE)
    to_differences(samples, into)
    from_differences(into)
    unshuffle(np.zeros(1, np.uint8), 1, np.zeros(1, np.uint8))
    unshuffle_places(np.zeros(8, np.uint8), np.zeros((1, 1, 1), np.uint64))
    keep_by_row(samples, np.zeros(1, np.uint8), np.zeros(1, np.int64), into)
    keep_rows(samples, np.zeros(1, np.uint8), into)
    thin(samples, 1, np.zeros(1, np.int64), np.zeros(1, np.int32), into, np.zeros(1, np.int32))
