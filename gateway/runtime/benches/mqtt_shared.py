"""What the processes of the MQTT benchmark share: a few words in a mapped file, written by one process each."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Words: TypeAlias = npt.NDArray[np.int64]

RECEIVED: Final = 0
"""Messages that the subscriber has dealt with (ours: readings in their aggregates, by messages). The subscriber's."""
SENT: Final = 1
"""Messages written to the broker's socket. The publisher's."""
STARTED_NS: Final = 2
"""Monotonic time for which the first message of a paced phase is scheduled; 0 before. The publisher's."""
AHEAD: Final = 3
"""Messages that came before those that count (births): not in RECEIVED. The publisher's."""
BEGUN_NS: Final = 4
"""Monotonic time at which the first message that counts was sent, or about; 0 before. The publisher's."""
WORDS: Final = 8


def create(path: Path) -> Words:
    np.zeros(WORDS, np.int64).tofile(path)
    return attach(path)


def attach(path: Path) -> Words:
    return np.memmap(path, np.int64, "r+", shape=(WORDS,))
