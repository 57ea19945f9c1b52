"""A bare periodic thread: what the machine itself gives somebody who only wants to wake on time, or to answer at once.

It sleeps to absolute deadlines like the executive, at the same priority, and does nothing. How late it wakes is the
floor under the executive's own figures when both run at the same time.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

import numpy as np
from numba import njit

from gateway.control import frames
from gateway.control.realtime import become_real_time
from gateway.core.histogram import SIZE
from gateway.core.kernels.atomics import load_acquire, write_word
from gateway.core.kernels.histogram import observe
from gateway.core.types import NS_PER_S, Int64s
from gateway.native import libc
from gateway.protocol.modbus.codes import Function


@njit(cache=True, nogil=True, error_model="numpy")
def tick(stop: Int64s, timespec: Int64s, counts: Int64s, period_ns: int) -> None:
    """Wake every period until `stop[0]` is set; count each lateness. Missed periods are skipped."""
    due_ns = libc.monotonic_ns(timespec) + period_ns
    while load_acquire(stop, 0) == 0:
        libc.sleep_until(timespec, due_ns)
        late_ns = libc.monotonic_ns(timespec) - due_ns
        observe(counts, late_ns)
        due_ns += (1 + late_ns // period_ns) * period_ns


class Twin:
    """The thread. `counts` is a histogram of lateness (`gateway.core.histogram`)."""

    def __init__(self, period_ns: int) -> None:
        self.counts: Int64s = np.zeros(SIZE, np.int64)
        self._stop: Int64s = np.zeros(1, np.int64)
        self._period_ns = period_ns
        self._thread = threading.Thread(target=self._run, name="control-twin", daemon=True)

    def start(self) -> None:
        write_word(self._stop, 0, 1)
        tick(self._stop, np.zeros(2, np.int64), self.counts, self._period_ns)  # compiled before the thread runs
        write_word(self._stop, 0, 0)
        self._thread.start()

    def stop(self) -> None:
        write_word(self._stop, 0, 1)
        self._thread.join()

    def _run(self) -> None:
        become_real_time()
        tick(self._stop, np.zeros(2, np.int64), self.counts, self._period_ns)


@njit(cache=True, nogil=True, error_model="numpy")
def answer_at_once(
    descriptor: int, read: Any, write: Any, reply: Any, scratch: Int64s, counts: Int64s, turns: int, period_ns: int
) -> Any:
    """Each period: ask, and once the reply is there send a write, with nothing in between. How long that send took.

    `descriptor` is a blocking connection to `control.device`. False when it was closed.
    """
    due_ns = libc.monotonic_ns(scratch) + period_ns
    for _ in range(turns):
        libc.sleep_until(scratch, due_ns)
        if libc.libc_send(descriptor, read.ctypes, len(read), libc.MSG_NOSIGNAL) != len(read):
            return False
        if libc.libc_recv(descriptor, reply.ctypes, len(reply), 0) <= 0:
            return False
        arrived_ns = libc.monotonic_ns(scratch)
        if libc.libc_send(descriptor, write.ctypes, len(write), libc.MSG_NOSIGNAL) != len(write):
            return False
        observe(counts, libc.monotonic_ns(scratch) - arrived_ns)
        if libc.libc_recv(descriptor, reply.ctypes, len(reply), 0) <= 0:
            return False
        due_ns += (1 + (libc.monotonic_ns(scratch) - due_ns) // period_ns) * period_ns
    return True


class BareSend:
    """Input to output of a program that computes nothing: one `send` for one `recv`. `counts` is a histogram."""

    def __init__(self, port: int, connections: int, period_ns: int) -> None:
        """So many connections as the device expects; the first is used."""
        self.counts: Int64s = np.zeros(SIZE, np.int64)
        self._connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        for connection in self._connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._period_ns = period_ns

    def run(self, seconds: float) -> None:
        """On a thread of its own, at the executive's priority. Raises OSError when the device is gone."""
        answers: list[bool] = []

        def work() -> None:
            become_real_time()
            answers.append(bool(self._send(round(seconds * NS_PER_S / self._period_ns))))

        try:
            self._send(1)  # compiled before the thread runs
            self.counts[:] = 0
            thread = threading.Thread(target=work, name="bare-send")
            thread.start()
            thread.join()
        finally:
            for connection in self._connections:
                connection.close()
        if answers != [True]:
            raise ConnectionResetError("the device closed the connection")

    def _send(self, turns: int) -> Any:
        read = np.frombuffer(frames.read_request(1, Function.READ_INPUT_REGISTERS, 0, 2), np.uint8).copy()
        write = np.frombuffer(frames.write_request(1, 100, 1), np.uint8).copy()
        reply, scratch = np.zeros(260, np.uint8), np.zeros(2, np.int64)
        descriptor = self._connections[0].fileno()
        return answer_at_once(descriptor, read, write, reply, scratch, self.counts, turns, self._period_ns)
