"""The supervisor: the one owner of every long-running task, and the only place that catches everything.

A task handles its operating errors itself. What still comes out of it is a programmer's error in that one component,
which must not touch the others: the supervisor says it once, with the traceback, and starts the task again with
exponential back-off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

from gateway.core.events import Emit, Event, Severity
from gateway.core.ports import Clock
from gateway.core.readings import Reading

METRICS = (("fieldgate_supervisor_restarts_total", "counter", "Times a component was restarted after an error."),)

RESTART_S_MIN = 0.5
RESTART_S_MAX = 30.0

_log = logging.getLogger("fieldgate.supervisor")


class Supervisor:
    """Runs named tasks for ever, until told to stop them. Lives on one event loop."""

    def __init__(self, *, now_ns: Clock, emit: Emit) -> None:
        self._now_ns = now_ns
        self._emit = emit
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._restarts: dict[str, int] = {}

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        assert name not in self._tasks, f"{name} is running"
        self._restarts.setdefault(name, 0)
        self._tasks[name] = asyncio.create_task(self._keep(name, run), name=name)

    async def stop_all(self) -> None:
        await self.stop(*self._tasks)

    async def stop(self, *names: str) -> None:
        """Cancel the named tasks, and wait until they are gone."""
        gone = [self._tasks.pop(name) for name in names]
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)

    async def _keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        delay_s = RESTART_S_MIN
        while True:
            started_ns = self._now_ns()
            try:
                await run()
                what = "ended by itself"
            except Exception as error:  # noqa: BLE001 - the one place that does
                _log.exception("%s failed", name)
                what = f"failed: {type(error).__name__}: {error}"
            if self._now_ns() - started_ns > RESTART_S_MAX * 1e9:
                delay_s = RESTART_S_MIN
            self._restarts[name] += 1
            message = f"{name} {what}; it is started again in {delay_s:g} s. Please report this."
            self._emit(Event(self._now_ns(), Severity.ERROR, "component.failed", name, message))
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, RESTART_S_MAX)

    def readings(self) -> Iterator[Reading]:
        for name, restarts in tuple(self._restarts.items()):
            yield Reading("fieldgate_supervisor_restarts_total", restarts, (("component", name),))
