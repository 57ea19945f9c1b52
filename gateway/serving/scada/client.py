"""One connection to the Modbus server: bytes in, answers out, and no more than its share of the loop.

Its transport is the socket's own, or `tls.Secured` above it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final, Protocol

from gateway.protocol.modbus.server import Adu, FrameError, RequestFramer, frame
from gateway.serving.scada.answers import TAG_WRITES_MAX
from gateway.serving.scada.audit import Audit
from gateway.settings.schema import ScadaRule

READ_BYTES: Final = 1_024
"""Bytes of one read: 85 requests, about a millisecond's work."""

UNSENT_BYTES_MAX: Final = 65_536
UNREAD_S: Final = 5.0


class Server(Protocol):
    """What a connection calls."""

    audit: Audit

    def admit(self, client: Client) -> bool: ...

    def leave(self, client: Client) -> None: ...

    def malformed(self, client: Client, why: str) -> None: ...

    def slow(self, client: Client) -> None: ...

    def answer(self, adu: Adu, client: Client) -> bytes:
        """The PDU, or nothing when it comes later."""
        ...


class Client(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._framer = RequestFramer()
        self._buffer = bytearray(READ_BYTES)
        self._transport: Any = None
        self._unread: asyncio.TimerHandle | None = None
        self._is_paused = False
        self._is_closing = False
        self.host = ""
        self.peer = ""
        self.who = ""
        self.rule: ScadaRule | None = None
        self.refused = ""
        self.read_only = ""
        self._later: set[asyncio.Task[bytes]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        address = transport.get_extra_info("peername")
        if address is None:  # It has gone again.
            self.abort()
            return
        self.host = self.who = address[0]
        self.peer = f"{self.host}:{address[1]}"
        if self._server.admit(self):
            self._transport.set_write_buffer_limits(high=UNSENT_BYTES_MAX)
        else:
            self.abort()

    def is_known(self, name: str, refused: str, read_only: str) -> None:
        """Its certificate says who it is; the reasons say what it may not, and are empty where it may."""
        self.who = name
        self.peer = f"{name} at {self.peer}"
        self.refused = refused
        self.read_only = self.read_only or read_only

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closing = True
        self._set_deadline(None)
        self._server.leave(self)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._is_closing:
            return
        answers = []
        try:
            for adu in self._framer.feed(bytes(self._buffer[:nbytes])):
                if pdu := self._server.answer(adu, self):
                    answers.append(frame(adu, pdu))
        except FrameError as error:
            self._send(answers)
            self._server.malformed(self, str(error))
            self._close()
            return
        self._send(answers)
        if nbytes == READ_BYTES and self._may_read():
            # There is more: let the others have their turn first.
            self._transport.pause_reading()
            self._loop.call_soon(self._listen)

    def pause_writing(self) -> None:
        """The answers are not read: do not take more requests, and do not wait for ever."""
        if self._may_read():
            self._transport.pause_reading()
        self._is_paused = True
        self._set_deadline(UNREAD_S)

    def resume_writing(self) -> None:
        self._is_paused = False
        self._set_deadline(None)
        self._listen()

    def abort(self) -> None:
        self._is_closing = True
        self._transport.abort()

    @property
    def has_room(self) -> bool:
        return len(self._later) < TAG_WRITES_MAX

    def answer_later(self, adu: Adu, response: Coroutine[Any, Any, bytes]) -> None:
        """Send it when it is there. Others may be answered before: Modbus TCP tells them apart by transaction."""
        task = self._loop.create_task(response)
        self._later.add(task)
        task.add_done_callback(partial(self._answer_now, adu))

    def _answer_now(self, adu: Adu, task: asyncio.Task[bytes]) -> None:
        self._later.discard(task)
        if not task.cancelled() and not (self._is_closing or self._transport.is_closing()):
            self._transport.write(frame(adu, task.result()))

    def _send(self, answers: list[bytes]) -> None:
        if answers:
            self._transport.write(b"".join(answers))
            self._server.audit.behaved(self.host)

    def _listen(self) -> None:
        if self._may_read():
            self._transport.resume_reading()

    def _may_read(self) -> bool:
        return not (self._is_paused or self._is_closing or self._transport.is_closing())

    def _close(self) -> None:
        """Send what was answered, then close; a client that does not read it is cut off like any other."""
        self._is_closing = True
        self._transport.close()
        self._set_deadline(UNREAD_S)

    def _set_deadline(self, seconds: float | None) -> None:
        if self._unread is not None:
            self._unread.cancel()
        self._unread = None if seconds is None else self._loop.call_later(seconds, self._cut_off)

    def _cut_off(self) -> None:
        self._server.slow(self)
        self.abort()
