"""The connection under a link: bytes in and out, one timer, and why it ended.

All work is done in callbacks of the loop: a reply is taken and the next request sent in the same callback, one timer
covers everything that is due, and no task is woken per request. An error inside a callback comes out of `closed`, so
that it reaches the owner of the source and not just the loop's handler.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, Protocol, cast

import numpy as np

from gateway.core.ports import Clock
from gateway.core.types import NS_PER_MS
from gateway.protocol.modbus.decode import Bytes
from gateway.protocol.modbus.frames import Framer, ProtocolError, Reply
from gateway.protocol.modbus.polled import Transaction
from gateway.serialport import SerialTransport
from gateway.sources.modbus.counts import Counts
from gateway.sources.modbus.passing import Passing
from gateway.sources.modbus.tls import HUNG_UP, why_refused

ROUND_OVER: Final = "round over"
"""The reason of a connection that was closed because nothing is due for a while."""


class LinkSilentError(Exception):
    """Nothing has come back for so long that the connection itself is in doubt."""


class Conversation(Protocol):
    """What is said over the connection."""

    now_ns: Clock
    counts: Counts

    def connected(self, session: Session, now_ns: int) -> None: ...

    def next_request(self, now_ns: int) -> Transaction | None: ...

    def is_round_over(self, now_ns: int) -> bool:
        """Whether the connection is to be closed until there is something to ask again."""
        ...

    def heard_bytes(self, now_ns: int) -> None:
        """Of a line: something came, whatever it is."""
        ...

    def replied(self, reply: Reply, buffer: bytearray, data: Bytes, now_ns: int) -> None: ...

    def expire(self, now_ns: int) -> None:
        """Raises LinkSilentError."""
        ...

    def wake_ns(self, now_ns: int) -> int: ...


class Session(asyncio.BufferedProtocol):
    """One connection, from made to lost. `closed` holds why it ended."""

    def __init__(self, conversation: Conversation, framer: Framer, loop: asyncio.AbstractEventLoop) -> None:
        self._conversation = conversation
        self._loop = loop
        self._passing = Passing(self)
        self._framer = framer
        self._data = np.frombuffer(self._framer.buffer, np.uint8)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._is_tls = False
        self._has_heard = False
        self.closed: asyncio.Future[str] = loop.create_future()

    # From the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is not registered as one
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        with self._passing:
            now_ns = self._now_ns()
            self._conversation.connected(self, now_ns)
            self._turn(now_ns)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._framer.free()

    def buffer_updated(self, nbytes: int) -> None:
        with self._passing:
            self._framer.received(nbytes)
            self._has_heard = True
            now_ns = self._now_ns()
            if self._framer.is_line:
                self._conversation.heard_bytes(now_ns)
            try:
                while (reply := self._framer.next_reply()) is not None:
                    self._conversation.replied(reply, self._framer.buffer, self._data, now_ns)
            except ProtocolError as error:
                self._conversation.counts.protocol_errors += 1
                self._close(f"sends what is not Modbus TCP ({error}): check host, port and the device's protocol")
                return
            self._turn(now_ns)

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, ssl.SSLError):
            self._close(why_refused(exc))
        elif self._framer.is_line and isinstance(self._transport, SerialTransport):
            self._close(f"was lost ({exc}): check the adapter and its plug")
        elif self._is_unheard_tls():
            self._close(HUNG_UP)
        else:
            reason = "closed the connection" if exc is None else f"connection lost ({exc})"
            self._close(f"{reason}: check the device, and how many connections it allows")

    def _is_unheard_tls(self) -> bool:
        """Under TLS 1.3 a server judges the client's certificate after the client thinks that all is well."""
        return not self._has_heard and self._is_tls

    def wake(self) -> None:
        """There may be something to send that was not there before."""
        with self._passing:
            self._turn(self._now_ns())

    # Inside

    def _now_ns(self) -> int:
        return self._conversation.now_ns()

    def _on_timer(self) -> None:
        self._timer = None
        with self._passing:
            now_ns = self._now_ns()
            while (reply := self._framer.salvage()) is not None:
                self._conversation.replied(reply, self._framer.buffer, self._data, now_ns)
            try:
                self._conversation.expire(now_ns)
            except LinkSilentError as error:
                self._close(f"{error}: check the path to the device, and whether it still knows this connection")
            self._turn(now_ns)

    def _turn(self, now_ns: int) -> None:
        """Send all that may go now, and set the timer for what comes next."""
        transport = self._transport
        if transport is None:
            return
        while (transaction := self._conversation.next_request(now_ns)) is not None:
            transport.write(self._framer.frame(transaction.poll.block.request, transaction.id))
        if self._conversation.is_round_over(now_ns):
            self._close(ROUND_OVER)
            return
        wake_ns = self._conversation.wake_ns(now_ns)
        if self._timer is not None:
            if self._timer_ns <= wake_ns:
                return
            self._timer.cancel()
        # Whole milliseconds, rounded up: a timer of the loop is no finer, and one that fires early fires twice.
        self._timer_ns = wake_ns
        self._timer = self._loop.call_later(max(0, -((now_ns - wake_ns) // NS_PER_MS)) / 1000, self._on_timer)

    def _close(self, reason: str) -> None:
        """Idempotent: the first reason stands."""
        self.abort()
        if not self.closed.done():
            self.closed.set_result(reason)

    def fail(self, error: BaseException) -> None:
        self.abort()
        if not self.closed.done():
            self.closed.set_exception(error)

    def abort(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
