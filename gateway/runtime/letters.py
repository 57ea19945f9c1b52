"""The dead letters of the way in, wired: from every session to their file, and those that are tried again back."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.core.events import Emit
from gateway.core.letters import Letter
from gateway.runtime.clock import EngineClock
from gateway.runtime.plant import Plant
from gateway.spool.letters import LETTERS_FILE, DeadLetters

STOP_S = 0.5


class Letters:
    """Lives as long as the daemon."""

    def __init__(self, state_dir: Path, *, clock: EngineClock, emit: Emit) -> None:
        self.plant: Plant | None = None
        """The present one."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self.store = DeadLetters(
            state_dir / LETTERS_FILE,
            now_ns=clock,
            wall_offset_ns=clock.wall_offset_ns,
            emit=emit,
            hand_back=self._hand_back,
        )

    def keep(self, letter: Letter) -> None:
        self.store.put(letter)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.store.start()

    async def stop(self) -> None:
        """What came last is kept, if the disk is quick; it was counted in any case."""
        await asyncio.to_thread(self.store.stop, STOP_S)

    def _hand_back(self, letter: Letter) -> None:
        """From the store's thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._take_again, letter)

    def _take_again(self, letter: Letter) -> None:
        if self.plant is None or not self.plant.take_again(letter):
            self.store.put(letter)
