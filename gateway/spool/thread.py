"""A thread of its own for what waits for a disk: it owns its files, and others hand it things under `changed`.

It sleeps on the condition until there is something to do, takes all that has come in one go, and works on it without
the lock. A stop is something that has come, too: what was handed over before it is still dealt with.

Such a thread handles what a disk does. What still comes out of it is a programmer's error, or a file that contradicts
itself, and others would hand it things for ever that nobody takes: it tells `died`, on its way out.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

Died: TypeAlias = Callable[[str, BaseException], None]
"""Told by a thread that ends before it was to end: its name, and what came out of it."""


def nobody(thread: str, error: BaseException) -> None:
    return


class DiskThread(ABC):
    """`_changed` guards what is shared; `_stopping` is set under it."""

    def __init__(self, name: str) -> None:
        self._changed = threading.Condition()
        self._stopping = False
        self.died: Died = nobody
        """To be set before the start."""
        self._thread = threading.Thread(target=self._live, name=name[:15], daemon=True)

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

    def _live(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.died(self._thread.name, error)
            raise

    def _run(self) -> None:
        """On the thread, until `_stopping`."""
        while self._turn():
            pass
        self._close()

    @abstractmethod
    def _turn(self) -> bool:
        """Wait for something to do, and do it; False after the last."""

    def _close(self) -> None:
        """What the thread holds, at its end."""
        return
