"""The daemon with errors planted in it, which a test has happen: `python -m tests.support.failing_daemon run ...`.

FAILING_DAEMON names a file of words, read again and again; while it has one, that error happens:

    engine     the engine's thread hangs
    component  a task of the supervisor's fails, and again whenever it was started anew
    leak       200 MB are held for nothing
    reading    a metric is told that is in no table
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.cli.app import main
from gateway.core.pressure import Step
from gateway.core.readings import Reading
from gateway.runtime.cycle import EngineThread
from gateway.runtime.supervisor import Supervisor
from gateway.runtime.uplink import Way

ERRORS = Path(os.environ["FAILING_DAEMON"])
LEAK_BYTES = 200_000_000
leak = bytearray()


def happens(error: str) -> bool:
    return error in ERRORS.read_text().split()


def plant() -> None:
    cycle, step, readings = EngineThread.cycle, Way.step, Supervisor.readings

    def hanging_cycle(self: EngineThread) -> None:
        while happens("engine"):
            time.sleep(0.05)
        cycle(self)

    def failing_step(self: Way) -> Step:
        """Asked five times a second, by the task "pressure"."""
        if happens("component"):
            raise RuntimeError("planted")
        if happens("leak") != bool(leak):
            leak[:] = bytes(0) if leak else b"\1" * LEAK_BYTES
        return step(self)

    def more_readings(self: Supervisor) -> Iterator[Reading]:
        yield from readings(self)
        if happens("reading"):
            yield Reading("fieldgate_planted", 1)

    EngineThread.cycle = hanging_cycle  # type: ignore[method-assign]
    Way.step = failing_step  # type: ignore[method-assign]
    Supervisor.readings = more_readings  # type: ignore[method-assign]


if __name__ == "__main__":
    plant()
    main()
