"""Python's side of the fast links: connect, hand the descriptor over, wait until it is closed, connect again.

One small thread a link, so that a name that resolves slowly or a host that does not answer holds up nobody. A
descriptor is handed over by generation: written first, its generation released after it. From then on it is the
executive's, which alone closes it; this side never touches the number again.
"""

from __future__ import annotations

import socket
import threading
from typing import Final

from gateway.control import layout as at
from gateway.core.kernels.atomics import read_word, write_word
from gateway.core.types import NS_PER_S, Int64s
from gateway.settings.schema import ModbusLink

DELAY_FIRST_S: Final = 0.05
DELAY_MAX_S: Final = 5.0
LOOK_EVERY_S: Final = 0.05


class Connector:
    """Keeps one link connected, with doubling delays that start over once a device has answered."""

    def __init__(self, link: ModbusLink, words: Int64s, index: int) -> None:
        self.link = link
        self.connects = 0
        self.failures = 0
        self.error = ""
        """Why the last attempt failed; empty after one that did not."""
        self._words = words
        self._base = index * at.LINK_WORDS
        self._stopping = threading.Event()
        self._handing_over = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"control-{link.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """After this no descriptor is handed over any more, even if an attempt is still under way."""
        with self._handing_over:
            self.end()

    def held(self) -> threading.Lock:
        """While this is held no descriptor is handed over."""
        return self._handing_over

    def end(self) -> None:
        """`stop`, for who holds it."""
        self._stopping.set()

    def move(self, link: ModbusLink, words: Int64s, index: int) -> None:
        """The words are elsewhere from now on, and the link may have other settings. To be called while held."""
        self.link, self._words, self._base = link, words, index * at.LINK_WORDS

    @property
    def is_up(self) -> bool:
        """The executive has taken a connection and not closed it."""
        return self.generation > int(read_word(self._words, self._base + at.CLOSED_GENERATION))

    @property
    def generation(self) -> int:
        """Of the connection that the executive took last."""
        return int(read_word(self._words, self._base + at.TAKEN_GENERATION))

    @property
    def closed_reason(self) -> int:
        return int(self._words[self._base + at.CLOSED_REASON])

    def _run(self) -> None:
        delay_s = DELAY_FIRST_S
        while not self._stopping.is_set():
            replies = self._replies()
            try:
                connection = connect(self.link)
            except OSError as error:
                self.failures += 1
                self.error = str(error)
            else:
                self.error = ""
                self._hand_over(connection)
                self._wait_until_closed()
            if self._replies() > replies:
                delay_s = DELAY_FIRST_S
            self._stopping.wait(delay_s)
            delay_s = min(2 * delay_s, DELAY_MAX_S)

    def _replies(self) -> int:
        return int(read_word(self._words, self._base + at.REPLIES))

    def _hand_over(self, connection: socket.socket) -> None:
        with self._handing_over:
            if self._stopping.is_set():
                connection.close()
                return
            self.connects += 1
            self._words[self._base + at.OFFER_FD] = connection.detach()
            write_word(self._words, self._base + at.OFFER_GENERATION, self.connects)

    def _wait_until_closed(self) -> None:
        while read_word(self._words, self._base + at.CLOSED_GENERATION) < self.connects:
            if self._stopping.wait(LOOK_EVERY_S):
                return


def connect(link: ModbusLink) -> socket.socket:
    """A connected, non-blocking socket that sends small frames at once. Raises OSError."""
    connection = socket.create_connection((link.host, link.port), link.connect_timeout_ns / NS_PER_S)
    try:
        if connection.getsockname() == connection.getpeername():
            # On loopback a connection to a free ephemeral port can meet itself.
            raise ConnectionRefusedError(f"nobody listens on {link.host}:{link.port}")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
    except OSError:
        connection.close()
        raise
    return connection
