"""A bare periodic thread: what the machine itself gives somebody who only wants to wake on time.

It sleeps to absolute deadlines like the executive, at the same priority, and does nothing. How late it wakes is the
floor under the executive's own figures when both run at the same time.
"""

from __future__ import annotations

import threading

import numpy as np
from numba import njit

from gateway.control.realtime import become_real_time
from gateway.core.histogram import SIZE
from gateway.core.kernels.atomics import load_acquire, write_word
from gateway.core.kernels.histogram import observe
from gateway.core.types import Int64s
from gateway.native import libc


@njit(cache=True, nogil=True, error_model="numpy")
def tick(stop: Int64s, timespec: Int64s, counts: Int64s, period_ns: int) -> None:
    """Wake every period until `stop[0]` is set; count each lateness. Missed periods are skipped."""
    due_ns = libc.monotonic_ns(timespec) + period_ns
    while load_acquire(stop, 0) == 0:
        libc.sleep_until(timespec, due_ns)
        late_ns = libc.monotonic_ns(timespec) - due_ns
        observe(counts, late_ns)
        due_ns += (1 + late_ns // period_ns) * period_ns


class Twin:
    """The thread. `counts` is a histogram of lateness (`gateway.core.histogram`)."""

    def __init__(self, period_ns: int) -> None:
        self.counts: Int64s = np.zeros(SIZE, np.int64)
        self._stop: Int64s = np.zeros(1, np.int64)
        self._period_ns = period_ns
        self._thread = threading.Thread(target=self._run, name="control-twin", daemon=True)

    def start(self) -> None:
        write_word(self._stop, 0, 1)
        tick(self._stop, np.zeros(2, np.int64), self.counts, self._period_ns)  # compiled before the thread runs
        write_word(self._stop, 0, 0)
        self._thread.start()

    def stop(self) -> None:
        write_word(self._stop, 0, 1)
        self._thread.join()

    def _run(self) -> None:
        become_real_time()
        tick(self._stop, np.zeros(2, np.int64), self.counts, self._period_ns)
