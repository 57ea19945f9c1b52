"""What the page shows, as it changes: one stream of server-sent events a viewer (WHATWG HTML, 9.2).

All viewers are told in the same moments, once a second, and what is told is made once for all that look at the same:
ten viewers cost little more than one. A viewer who is told nothing has no connection; one who does not read is not
told more (the stream waits until what was sent is taken), and the connection's watch cuts it off.

A stream ends when the server stops, and when its viewer is let in no longer: each second asks for the role anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import suppress
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

LIVE_PATH: Final = "/api/live"
EVERY_S: Final = 1.0
STREAMS_MAX: Final = 32
"""Viewers at a time; one more is answered 503."""

Make = Callable[[], bytes]
"""The JSON, on one line, that those are told who ask the same."""
Allowed = Callable[[Request], Awaitable[bool]]


class Live:
    """Lives on the loop of the http thread."""

    def __init__(self) -> None:
        self._viewers = 0
        self._closing = asyncio.Event()
        self._tick = -1
        self._told: dict[Hashable, bytes] = {}

    @property
    def viewers(self) -> int:
        return self._viewers

    def close(self) -> None:
        """All streams end."""
        self._closing.set()

    def answer(self, request: Request, asked: Hashable, make: Make, allowed: Allowed) -> Response:
        """Viewers whose `asked` is equal are told the same, made once."""
        if self._viewers >= STREAMS_MAX:
            return PlainTextResponse(f"{STREAMS_MAX} viewers are here; try again later\n", 503)
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return StreamingResponse(self._stream(request, asked, make, allowed), media_type="text/event-stream")

    async def _stream(self, request: Request, asked: Hashable, make: Make, allowed: Allowed) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        self._viewers += 1
        try:
            tick = int(loop.time() / EVERY_S)
            while not self._closing.is_set() and await allowed(request):
                yield b"data: " + self._of(asked, make, tick) + b"\n\n"
                # Counted, not read from the clock: a timer may be a hair early, and the same moment would come twice.
                tick = max(tick + 1, int(loop.time() / EVERY_S))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), tick * EVERY_S - loop.time())
        finally:
            self._viewers -= 1

    def _of(self, asked: Hashable, make: Make, tick: int) -> bytes:
        if tick != self._tick:
            self._tick = tick
            self._told.clear()
        told = self._told.get(asked)
        if told is None:
            told = self._told[asked] = make()
        return told
