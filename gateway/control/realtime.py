"""Real-time priority for the calling thread, where the system permits it."""

from __future__ import annotations

import ctypes
import os
from typing import Final

from gateway.native import libc

PRIORITY: Final = 20


def become_real_time(priority: int = PRIORITY) -> bool:
    """SCHED_FIFO, and timers that are not rounded. False when the priority was refused."""
    ctypes.CDLL(None).prctl(libc.PR_SET_TIMERSLACK, 1, 0, 0, 0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        return False
    return True
