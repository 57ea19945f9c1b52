"""The daemon with an error of a programmer's in store: `python -m tests.support.dying_daemon run --config FILE`.

SIGUSR1 has the next turn of the spool's thread raise it, SIGUSR2 that of the journal's thread.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from gateway.__main__ import main
from gateway.spool.journal.writer import Journal
from gateway.spool.thread import DiskThread
from gateway.spool.worker import SpoolWorker


def ruin(thread: type[DiskThread]) -> Callable[..., None]:
    def turn(self: DiskThread) -> bool:
        raise ZeroDivisionError("nobody foresaw this")

    return lambda *_: setattr(thread, "_turn", turn)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, ruin(SpoolWorker))
    signal.signal(signal.SIGUSR2, ruin(Journal))
    sys.exit(main())
