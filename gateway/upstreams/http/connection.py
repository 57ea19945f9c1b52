"""One HTTP/1.1 connection: requests one after the other, by h11, over asyncio's streams.

How long an answer may take counts from when something moved last: bytes of the request leaving, or of the reply coming.
Behind a narrow line a request takes as long as it takes; where nothing moves, the time is over.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, NamedTuple

import h11

from gateway.core.patience import LOOKS
from gateway.core.ports import Clock
from gateway.core.types import NS_PER_S
from gateway.sendqueue import unacknowledged

TOLD_CHARACTERS_MAX: Final = 300
READ_BYTES: Final = 65_536
FAREWELL_S: Final = 1.0


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> str:
        """What a server says about it, on one line."""
        text = " ".join(self.body.decode(errors="replace").split())[:TOLD_CHARACTERS_MAX]
        return f"{self.status}{f': {text}' if text else ''}"


class Broken(Exception):
    """The connection ended before the reply was whole. `is_idle`: before anything of it came."""

    def __init__(self, reason: str, *, is_idle: bool) -> None:
        super().__init__(reason)
        self.is_idle = is_idle


class Connection:
    """One connection: requests one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._state = h11.Connection(our_role=h11.CLIENT)
        self._came = 0
        self.is_used = False

    @property
    def may_go_on(self) -> bool:
        return self._state.our_state is h11.IDLE and not self._reader.at_eof() and not self._writer.is_closing()

    async def exchange(
        self, request: h11.Request, body: bytes, bytes_max: int, *, timeout_s: float, stopwatch_ns: Clock
    ) -> Reply:
        """Raises Broken, and TimeoutError where nothing moves for so long."""
        exchanging = asyncio.ensure_future(self._exchange(request, body, bytes_max))
        try:
            before, since_ns = (-1, -1), stopwatch_ns()
            while not exchanging.done():
                now_ns, moved = stopwatch_ns(), (self._queued_bytes(), min(self._came, bytes_max + READ_BYTES))
                if moved != before:
                    before, since_ns = moved, now_ns
                elif now_ns - since_ns > timeout_s * NS_PER_S:
                    raise TimeoutError
                await asyncio.wait([exchanging], timeout=timeout_s / LOOKS)
            return exchanging.result()
        finally:
            exchanging.cancel()

    def _queued_bytes(self) -> int:
        """Handed over, and not at the other side's TCP."""
        return self._writer.transport.get_write_buffer_size() + unacknowledged(
            self._writer.get_extra_info("socket").fileno()
        )

    async def _exchange(self, request: h11.Request, body: bytes, bytes_max: int) -> Reply:
        """Raises Broken."""
        self._came = 0
        reply: Reply | None = None
        came = False
        try:
            # Not drained: what one record has is little, and a server may answer before it has read everything.
            parts = (request, h11.Data(data=body), h11.EndOfMessage())
            self._writer.write(b"".join(self._state.send(part) or b"" for part in parts))
            while True:
                event = self._state.next_event()
                if event is h11.NEED_DATA:
                    chunk = await self._reader.read(READ_BYTES)
                    came = came or bool(chunk)
                    self._came += len(chunk)
                    if not chunk and reply is None:
                        raise Broken("closed by the other side", is_idle=not came)
                    self._state.receive_data(chunk)
                elif isinstance(event, h11.Response):
                    headers = {name.decode().lower(): value.decode("latin-1") for name, value in event.headers}
                    reply = Reply(event.status_code, headers, b"")
                elif isinstance(event, h11.Data) and reply is not None:
                    room = bytes_max - len(reply.body)
                    reply = reply._replace(body=reply.body + bytes(event.data[:room]))
                elif isinstance(event, h11.EndOfMessage):
                    break
                elif isinstance(event, h11.ConnectionClosed):
                    raise Broken("closed by the other side", is_idle=not came)
        except (h11.RemoteProtocolError, OSError) as error:
            raise Broken(str(error) or type(error).__name__, is_idle=not came) from error
        assert reply is not None
        self.is_used = True
        if self._state.our_state is h11.DONE and self._state.their_state is h11.DONE:
            self._state.start_next_cycle()
        return reply

    async def close(self) -> None:
        self._writer.close()
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(FAREWELL_S):
                await self._writer.wait_closed()
