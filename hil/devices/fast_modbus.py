"""A Modbus TCP device at compiled speed, for benchmarks: it must not be the limit of what is measured.

One jitted loop without the GIL answers reads of holding and input registers over any number of connections. Register
`a` holds `a` plus a count of the requests answered, so that values move. Units from `SILENT_FROM` up never answer,
those from `MORTAL_FROM` up only `MORTAL_ANSWERS` times.
Run as a program, it prints its port and serves until its standard input is closed.
"""

from __future__ import annotations

import select
import socket
import sys
import threading
from typing import Any

import numpy as np
from numba import njit

from gateway.native.libc import EPOLL_EVENT, MSG_DONTWAIT, MSG_NOSIGNAL, libc_epoll_wait, libc_recv, libc_send

DESCRIPTORS_MAX = 4_096
MORTAL_FROM = 150
MORTAL_ANSWERS = 3
SILENT_FROM = 200
REQUEST_BYTES = 12
BUFFER_BYTES = 1_200
"""A hundred requests of one connection."""
REPLY_BYTES_MAX = 260
POLL_MS = 50
SLOTS = 100
EVENTS = 256


@njit(cache=True, nogil=True, error_model="numpy")
def answer(request: Any, reply: Any, answered: Any) -> Any:
    """Write the reply to one request; returns its length, 0 for silence. `answered` counts all, then by unit."""
    unit = np.int64(request[6])
    if unit >= MORTAL_FROM and answered[1 + unit] >= MORTAL_ANSWERS:
        return 0
    registers = (np.int64(request[10]) << 8) | np.int64(request[11])
    if request[6] >= SILENT_FROM or request[7] < 3 or request[7] > 4 or registers > 125:
        return 0
    size = 2 * registers
    reply[:4] = request[:4]
    reply[4] = (3 + size) >> 8
    reply[5] = (3 + size) & 255
    reply[6] = request[6]
    reply[7] = request[7]
    reply[8] = size
    first = (np.int64(request[8]) << 8) + np.int64(request[9]) + answered[0]
    for i in range(registers):
        reply[9 + 2 * i] = ((first + i) >> 8) & 255
        reply[10 + 2 * i] = (first + i) & 255
    answered[0] += 1
    answered[1 + unit] += 1
    return 9 + size


@njit(cache=True, nogil=True, error_model="numpy")
def serve(epoll: int, listener: int, events: Any, filled: Any, buffers: Any, replies: Any, answered: Any) -> Any:
    """Answer until the listener has something, nothing came for a while, or a connection ended: its descriptor, or 0.

    `filled` and `buffers` are indexed by descriptor; `answered` counts.
    """
    while True:
        ready = libc_epoll_wait(epoll, events.ctypes, EVENTS, POLL_MS)
        if ready <= 0:
            return 0
        for k in range(ready):
            fd = events[k]["data"]
            if fd == listener:
                return 0
            at = filled[fd]
            got = libc_recv(fd, buffers[fd][at:].ctypes, BUFFER_BYTES - at, MSG_DONTWAIT)
            if got <= 0:
                return fd
            have = at + got
            done = 0
            out = 0
            while have - done >= REQUEST_BYTES:
                size = answer(buffers[fd][done : done + REQUEST_BYTES], replies[out:], answered)
                out += size
                done += REQUEST_BYTES
            for i in range(have - done):
                buffers[fd][i] = buffers[fd][done + i]
            filled[fd] = have - done
            if out:
                libc_send(fd, replies.ctypes, out, MSG_NOSIGNAL)


class FastDevice:
    """The listener and its connections; the loop runs in the thread that calls `run`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=DESCRIPTORS_MAX)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._connections: dict[int, socket.socket] = {}
        self._epoll = select.epoll()
        self._events = np.zeros(EVENTS, EPOLL_EVENT)
        self._filled = np.zeros(DESCRIPTORS_MAX, np.int64)
        self._buffers = np.zeros((DESCRIPTORS_MAX, BUFFER_BYTES), np.uint8)
        self._replies = np.zeros(SLOTS * REPLY_BYTES_MAX, np.uint8)
        self._answered = np.zeros(1 + 256, np.int64)
        self._serve()  # loads or compiles
        self._epoll.register(self._listener, select.EPOLLIN)

    def _serve(self) -> int:
        listener = self._listener.fileno()
        memory = (self._events, self._filled, self._buffers, self._replies, self._answered)
        return int(serve(self._epoll.fileno(), listener, *memory))

    def run(self, is_over: threading.Event) -> None:
        while not is_over.is_set():
            ended = self._serve()
            if ended:
                self._connections.pop(ended).close()
            self._accept()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            if connection.fileno() >= DESCRIPTORS_MAX:
                connection.close()
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[connection.fileno()] = connection
            self._filled[connection.fileno()] = 0
            self._epoll.register(connection, select.EPOLLIN)


def main() -> None:
    device = FastDevice()
    is_over = threading.Event()
    threading.Thread(target=device.run, args=(is_over,)).start()
    sys.stdout.write(f"{device.port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    is_over.set()


if __name__ == "__main__":
    main()
