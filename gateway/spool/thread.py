"""A thread of its own for what waits for a disk: it owns its files, and others hand it things under `changed`.

It sleeps on the condition until there is something to do, takes all that has come in one go, and works on it without
the lock. A stop is something that has come, too: what was handed over before it is still dealt with.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class DiskThread(ABC):
    """`_changed` guards what is shared; `_stopping` is set under it."""

    def __init__(self, name: str) -> None:
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name[:15], daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Deal with what was handed over and end; False when that took longer than the time-out."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @abstractmethod
    def _run(self) -> None:
        """On the thread, until `_stopping`."""
