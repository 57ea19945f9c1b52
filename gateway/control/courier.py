"""The loop thread's side of outputs that it carries (`outbox`): look what the executive asks, have it done, answer.

Each loop has a carrier, which knows its way to the device: `gateway.runtime.outputs` makes them. One request of a loop
is under way at a time, so that a device sees its writes in the order in which they were decided.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

import numpy as np

from gateway.control import frames
from gateway.control import layout as at
from gateway.control.reasons import Reason
from gateway.core.kernels.atomics import read_word, write_word
from gateway.core.ports import Clock
from gateway.core.types import Quality
from gateway.settings.schema import PidLoop

FINISH_S: Final = 1.0
"""How long what is under way may take when the courier is stopped."""
QUALITIES: Final = {
    Reason.NOT_CONNECTED: Quality.BAD_NOT_CONNECTED,
    Reason.EXCEPTION: Quality.BAD_DEVICE_FAILURE,
    Reason.NOT_KNOWN: Quality.BAD_NOT_INITIALISED,
}


class OutputFailedError(Exception):
    """A present output could not be read, or one not be written."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


class Carrier(Protocol):
    """One output's way. A request is as of Modbus: its PDU for `unit`."""

    async def write(self, unit: int, pdu: bytes) -> None:
        """Returns when it is confirmed. Raises OutputFailedError."""
        ...

    async def read(self, unit: int, pdu: bytes) -> bytes:
        """The registers that hold the present output. Raises OutputFailedError."""
        ...


class Ask(NamedTuple):
    """What the executive wants of one loop's output."""

    loop: int
    name: str
    is_write: bool
    unit: int
    pdu: bytes
    version: int
    epoch: int


class Outbox:
    """The words between both, of whichever configuration the executive runs. May be called from any thread."""

    def __init__(self, now_ns: Clock) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._epoch = 0
        self._blocks: at.Blocks = None
        self._carried: list[tuple[int, str]] = []
        self._seen: dict[int, int] = {}

    def bind(self, b: at.Blocks, loops: Sequence[PidLoop]) -> None:
        """From now on it is about this record; answers to what the one before asked go nowhere."""
        with self._lock:
            self._epoch += 1
            self._blocks = b
            self._carried = [(i, loop.name) for i, loop in enumerate(loops) if b.loops[i, at.IS_CARRIED]]
            self._seen = {}

    def asked(self) -> list[Ask]:
        """What was asked since the last look."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.fd)
        with self._lock:
            return list(self._new())

    def ask_again(self) -> None:
        """Have what is not answered yet be seen anew: another courier begins."""
        with self._lock:
            self._seen = {}

    def _new(self) -> Iterator[Ask]:
        b = self._blocks
        for loop, name in self._carried:
            base = loop * at.OUT_WORDS
            version = int(read_word(b.out_words, base + at.ASK_VERSION))
            if version in (self._seen.get(loop, 0), int(b.out_words[base + at.ANSWER_VERSION])):
                continue
            self._seen[loop] = version
            is_write = int(b.out_words[base + at.ASK_KIND]) == at.WRITE_OUTPUT
            frame = bytes(b.write_frames[loop] if is_write else b.init_frames[loop])
            size = 6 + int.from_bytes(frame[frames.LENGTH_AT : frames.LENGTH_AT + 2], "big")
            yield Ask(loop, name, is_write, frame[6], frame[7:size], version, self._epoch)

    def answer(self, ask: Ask, reason: Reason, registers: bytes = b"") -> None:
        with self._lock:
            if ask.epoch != self._epoch:
                return
            b, base = self._blocks, ask.loop * at.OUT_WORDS
            b.out_replies[ask.loop, : len(registers)] = np.frombuffer(registers, np.uint8)
            b.out_words[base + at.ANSWER_REASON] = int(reason)
            b.out_words[base + at.ANSWER_QUALITY] = int(QUALITIES.get(reason, Quality.BAD_COMM_FAILURE))
            b.out_words[base + at.ANSWER_NS] = self._now_ns() - int(read_word(b.words, at.ENGINE_OFFSET))
            write_word(b.out_words, base + at.ANSWER_VERSION, ask.version)

    def lost(self, name: str) -> None:
        """The loop's way to its device is gone."""
        with self._lock:
            for loop, known in self._carried:
                if known == name:
                    place = loop * at.OUT_WORDS + at.LOST_VERSION
                    write_word(self._blocks.out_words, place, int(self._blocks.out_words[place]) + 1)


class Courier:
    """Of one plant; `carriers` by the loop's name."""

    def __init__(self, outbox: Outbox, carriers: Mapping[str, Carrier]) -> None:
        self._outbox = outbox
        self._carriers = carriers
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled; what is under way then is brought to its end first."""
        loop = asyncio.get_running_loop()
        self._outbox.ask_again()
        loop.add_reader(self._outbox.fd, self._look)
        try:
            self._look()
            await asyncio.Event().wait()
        finally:
            loop.remove_reader(self._outbox.fd)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=FINISH_S)
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _look(self) -> None:
        for ask in self._outbox.asked():
            if ask.name in self._carriers:
                task = asyncio.create_task(self._carry(ask, self._carriers[ask.name]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _carry(self, ask: Ask, carrier: Carrier) -> None:
        registers = b""
        reason = Reason.NONE
        try:
            if ask.is_write:
                await carrier.write(ask.unit, ask.pdu)
            else:
                registers = await carrier.read(ask.unit, ask.pdu)
        except OutputFailedError as error:
            reason = error.reason
        except asyncio.CancelledError:
            reason = Reason.NO_REPLY
        self._outbox.answer(ask, reason, registers)
