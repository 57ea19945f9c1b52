"""Modbus RTU units at a serial line, over a pseudo-terminal that takes as long as a line of its speed.

Whoever opens `path` is the master. Each request is answered after the time that its characters and the reply's take
and the unit's own turnaround; two requests at once ruin each other, as on a wire. Register `a` of unit `u` holds
`1000 * u + a`. It lives on the running loop.
"""

from __future__ import annotations

import asyncio
import os
import tty
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from types import TracebackType

from gateway.core.types import NS_PER_S
from gateway.protocol.modbus.line import crc16

REQUEST_BYTES = 8


class SerialLine:
    """Entered: the line is there, with every unit alive but those in `dead`, which may change."""

    def __init__(self, *, byte_ns: int, turnaround_ns: int, dead: Collection[int] = ()) -> None:
        self.dead = set(dead)
        self.asked: Counter[int] = Counter()
        self.collisions = 0
        self._byte_ns = byte_ns
        self._turnaround_ns = turnaround_ns
        self._master, self._slave = os.openpty()
        tty.setraw(self._master)
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._held = b""
        self._answering: asyncio.TimerHandle | None = None

    def __enter__(self) -> SerialLine:
        asyncio.get_running_loop().add_reader(self._master, self._read)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        if self._answering is not None:
            self._answering.cancel()
        os.close(self._master)
        os.close(self._slave)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            self._held += os.read(self._master, 4_096)
        while len(self._held) >= REQUEST_BYTES:
            request, self._held = self._held[:REQUEST_BYTES], self._held[REQUEST_BYTES:]
            self.asked[request[0]] += 1
            if self._answering is not None:
                self.collisions += 1
                self._answering.cancel()
                self._answering = None
                continue
            if request[0] not in self.dead and crc16(request) == 0:
                reply = _reply_to(request)
                wire_ns = (REQUEST_BYTES + len(reply)) * self._byte_ns + self._turnaround_ns
                self._answering = asyncio.get_running_loop().call_later(wire_ns / NS_PER_S, self._answer, reply)

    def _answer(self, reply: bytes) -> None:
        self._answering = None
        os.write(self._master, reply)


def _reply_to(request: bytes) -> bytes:
    """To a read of registers."""
    unit, address, count = request[0], int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
    data = b"".join(((1000 * unit + address + n) & 0xFFFF).to_bytes(2, "big") for n in range(count))
    reply = request[:2] + bytes([len(data)]) + data
    return reply + crc16(reply).to_bytes(2, "little")
