"""The poll thread as the loop knows it: started with its first link, told what to do, heard from.

`PollThread` owns the memory, the thread and both bells. Commands are put from the loop alone; what does not fit waits
and is put a moment later. Reports are taken on the loop and go to the link that they are about.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import select
import signal
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.core.kernels.atomics import read_word, write_word
from gateway.core.kernels.lanes import SharedLanes
from gateway.core.kernels.symbols import symbol_words
from gateway.core.ports import Clock
from gateway.core.readings import HistogramReading, Reading, histogram_reading
from gateway.core.symbols import Symbols
from gateway.core.types import NS_PER_MS
from gateway.native.clock import set_engine_offset
from gateway.native.libc import EPOLL_CTL_ADD, EPOLL_IN
from gateway.protocol.modbus import schedule_rows
from gateway.protocol.modbus.plan import Block
from gateway.sources.modbus import fast_loop
from gateway.sources.modbus import fast_memory as at
from gateway.sources.modbus.fast_memory import Memory
from gateway.sources.modbus.passing import Passing

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_modbus_thread_wakes_total", "counter", "Wakes of the thread that polls Modbus TCP links."),
    ("fieldgate_modbus_thread_lateness_seconds", "histogram", "How late the thread that polls wakes."),
    ("fieldgate_modbus_thread_reports_dropped_total", "counter", "Unusual replies not told because too many were."),
)
COLLECT_SHARE = 10
COLLECT_NS_MIN, COLLECT_NS_MAX = NS_PER_MS, 5 * NS_PER_MS
"""Replies are collected after a tenth of the shortest period, within these bounds."""
PUT_AGAIN_S = 0.001
JOIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Share:
    """A link's share of the thread: its name, what it reads at first, and the capacity of its lane in samples."""

    name: str
    blocks: Sequence[Block]
    lane_samples: int


class Listener(Protocol):
    """Whoever a link's reports go to. `report` is a record that is written over once this returns."""

    def reported(self, report: Any) -> None: ...

    def look(self) -> None:
        """Reports were dropped: see for yourself."""
        ...

    def fail(self, error: BaseException) -> None:
        """An error of ours came out of the listener."""
        ...


def load_kernels() -> None:
    """Load or compile the thread's function: one cycle that finds its stop flag set."""
    memory = at.allocate([], [], symbol_words(1, 1))
    memory.words[at.STOP] = 1
    memory.words[at.BELL] = memory.words[at.WAKER] = memory.words[at.EPOLL] = -1
    fast_loop.run(memory)
    write_word(memory.words, 0, read_word(memory.words, 0))


class PollThread:
    """Polls the links of `shares`, each of which has its rows and its lane by its place there."""

    def __init__(self, shares: Sequence[Share], symbols: Symbols, now_ns: Clock) -> None:
        load_kernels()
        self.now_ns = now_ns
        sizes = [schedule_rows.size_of(share.blocks) for share in shares]
        self.memory: Memory = at.allocate(sizes, [share.lane_samples for share in shares], symbols.words)
        self.memory.words[at.LINKS] = len(shares)
        periods = [block.period_ns for share in shares for block in share.blocks]
        shared_ns = min(periods, default=0) // COLLECT_SHARE
        self.memory.words[at.COLLECT_NS] = min(max(shared_ns, COLLECT_NS_MIN), COLLECT_NS_MAX)
        self.waiting = SharedLanes([share.name for share in shares], self.memory.ring, self.memory.lanes)
        self.lanes = self.waiting.lanes
        self._listeners: dict[int, Listener] = {}
        self._backlog: deque[tuple[int, ...]] = deque()
        self._asks = list(range(at.ASKS_MAX))
        self._users = 0
        self._thread: threading.Thread | None = None
        self._epoll: select.epoll | None = None
        self._seen_dropped = 0

    @property
    def is_running(self) -> bool:
        return self._thread is not None

    def heartbeat_ns(self) -> int:
        """Engine time of the thread's last wake, which comes every 50 ms at the latest; 0 before the first."""
        return int(read_word(self.memory.words, at.HEARTBEAT_NS))

    # Life

    @asynccontextmanager
    async def running(self, link: int, listener: Listener) -> AsyncIterator[None]:
        """The thread runs while any link needs it; meanwhile the link's reports go to `listener`."""
        assert link not in self._listeners, f"link {link} is polled already"
        self._listeners[link] = listener
        self._users += 1
        if self._users == 1:
            self._start(asyncio.get_running_loop())
        try:
            yield
        finally:
            self._users -= 1
            if self._users == 0:
                self._stop(asyncio.get_running_loop())
            del self._listeners[link]

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        words = self.memory.words
        set_engine_offset(words, at.ENGINE_OFFSET_NS, self.now_ns)
        self._epoll = select.epoll()
        words[at.EPOLL] = self._epoll.fileno()
        words[at.WAKER] = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        words[at.BELL] = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        words[at.STOP] = 0
        self._register_waker()
        loop.add_reader(int(words[at.BELL]), self._take_reports)
        self._thread = threading.Thread(target=self._run, name="polling", daemon=True)
        self._thread.start()

    def _register_waker(self) -> None:
        words = self.memory.words
        self.memory.events[0]["events"] = EPOLL_IN
        self.memory.events[0]["data"] = words[at.LINKS]
        assert self._epoll is not None
        libc = ctypes.CDLL(None)
        result = libc.epoll_ctl(
            self._epoll.fileno(), EPOLL_CTL_ADD, int(words[at.WAKER]), ctypes.c_void_p(self.memory.events.ctypes.data)
        )
        assert result == 0, "the poll thread's own descriptors are good"

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        fast_loop.run(self.memory)

    def _stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close all connections, end the thread, hear it out. Raises TimeoutError when it does not end."""
        words = self.memory.words
        assert self._thread is not None
        assert self._epoll is not None
        self._flush()
        write_word(words, at.STOP, 1)
        self._wake()
        self._thread.join(JOIN_S)
        if self._thread.is_alive():
            raise TimeoutError(f"the Modbus poll thread did not end within {JOIN_S:g} s")
        self._take_reports()
        loop.remove_reader(int(words[at.BELL]))
        for descriptor in (at.BELL, at.WAKER):
            os.close(int(words[descriptor]))
            words[descriptor] = -1
        self._epoll.close()
        self._backlog.clear()
        self._thread = None

    # Words with the thread

    def put(self, kind: int, link: int, *values: int) -> None:
        """Give a command: `values` fill its fields from BLOCK on."""
        self._backlog.append((kind, link, *values))
        self._flush()

    def _flush(self) -> None:
        words = self.memory.words
        head = int(words[at.COMMAND_HEAD])
        room = at.COMMANDS_MAX - (head - int(read_word(words, at.COMMAND_TAIL)))
        for _ in range(min(room, len(self._backlog))):
            command = self._backlog.popleft()
            self.memory.commands[head % at.COMMANDS_MAX, : len(command)] = command
            head += 1
        write_word(words, at.COMMAND_HEAD, head)
        self._wake()
        if self._backlog:
            asyncio.get_running_loop().call_later(PUT_AGAIN_S, self._flush)

    def _wake(self) -> None:
        if self._thread is not None:
            os.eventfd_write(int(self.memory.words[at.WAKER]), 1)

    def _take_reports(self) -> None:
        words = self.memory.words
        with suppress(BlockingIOError):  # at the end it is read whether or not it has rung
            os.eventfd_read(int(words[at.BELL]))
        tail = int(words[at.REPORT_TAIL])
        while tail < int(read_word(words, at.REPORT_HEAD)):
            report = self.memory.reports[tail % at.REPORTS_MAX]
            listener = self._listeners.get(int(report["link"]))
            if listener is not None:
                with Passing(listener):
                    listener.reported(report)
            tail += 1
            write_word(words, at.REPORT_TAIL, tail)
        dropped = int(words[at.REPORTS_DROPPED])
        if dropped != self._seen_dropped:
            self._seen_dropped = dropped
            for listener in list(self._listeners.values()):
                with Passing(listener):
                    listener.look()

    def take_ask(self) -> int | None:
        """A row of `asks` to be filled; None when all are taken. `give_ask` is owed."""
        return self._asks.pop() if self._asks else None

    def give_ask(self, ask: int) -> None:
        self.memory.asks[ask]["state"] = at.ASK_FREE
        self._asks.append(ask)

    # Measured

    def readings(self) -> Iterator[Reading | HistogramReading]:
        words = self.memory.words
        yield Reading("fieldgate_modbus_thread_wakes_total", int(words[at.WAKES]))
        yield histogram_reading("fieldgate_modbus_thread_lateness_seconds", self.memory.lateness)
        yield Reading("fieldgate_modbus_thread_reports_dropped_total", int(words[at.REPORTS_DROPPED]))
