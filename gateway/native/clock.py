"""Engine time in a thread that runs without the GIL: the monotonic clock plus a word that Python keeps."""

from __future__ import annotations

import time
from typing import Final

from gateway.core.kernels.atomics import write_word
from gateway.core.ports import Clock
from gateway.core.types import NS_PER_MS, Int64s

OFFSET_STEP_NS: Final = NS_PER_MS


def set_engine_offset(words: Int64s, index: int, now_ns: Clock) -> None:
    """Engine time less monotonic time, from the narrowest of a few looks at both clocks.

    A look that was interrupted is worth nothing once there is an offset, and small differences are left alone.
    """
    narrowest_ns, offset_ns = min(_look_at_clocks(now_ns) for _ in range(5))
    known_ns = int(words[index])
    if known_ns == 0 or (narrowest_ns < OFFSET_STEP_NS // 2 and abs(offset_ns - known_ns) > OFFSET_STEP_NS):
        write_word(words, index, offset_ns)


def _look_at_clocks(now_ns: Clock) -> tuple[int, int]:
    """How long it took, and engine time less monotonic time, in ns."""
    before_ns = time.monotonic_ns()
    engine_ns = now_ns()
    after_ns = time.monotonic_ns()
    return after_ns - before_ns, engine_ns - before_ns
