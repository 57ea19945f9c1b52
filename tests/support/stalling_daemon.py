"""The daemon with a hook that stalls it: `python -m tests.support.stalling_daemon run --config FILE`.

SIGUSR1 blocks its event loop for 5 s, SIGUSR2 all of its Python (the GIL is held), SIGRTMIN has the garbage collector
run without pause over a large heap for 5 s.
"""

from __future__ import annotations

import ctypes
import gc
import signal
import sys
import threading
import time

from gateway.__main__ import main

STALL_S = 5


def block_loop(*_: object) -> None:
    time.sleep(STALL_S)


def hold_gil(*_: object) -> None:
    ctypes.PyDLL(None).usleep(STALL_S * 1_000_000)  # unlike CDLL, PyDLL keeps the GIL during a call


def collect_garbage(*_: object) -> None:
    heap = [[n] for n in range(300_000)]

    def collect() -> None:
        end_s = time.monotonic() + STALL_S
        while time.monotonic() < end_s:
            gc.collect()
        heap.clear()

    threading.Thread(target=collect, daemon=True).start()


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, block_loop)
    signal.signal(signal.SIGUSR2, hold_gil)
    signal.signal(signal.SIGRTMIN, collect_garbage)
    sys.exit(main())
