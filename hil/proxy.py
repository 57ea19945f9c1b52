"""A TCP proxy that can be cut: how tests and the demo take a link down without touching either end.

`cut` closes every connection through it and refuses new ones until `mend`. `hold` makes a black hole of it: sockets
stay open and new ones are accepted, and nothing comes through until `release`, as when a router drops packets and TCP
sends them again. `delay_s` holds every piece back. A connection's two directions are pumped by two tasks with bounded
buffers, so a slow reader holds the writer up, as on a real line.
"""

from __future__ import annotations

import asyncio
import contextlib

CHUNK_BYTES = 65_536


class Proxy:
    """Forwards 127.0.0.1:`port` to `host`:`target_port`."""

    def __init__(self, target_port: int, host: str = "127.0.0.1") -> None:
        self._host = host
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._port = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.delay_s = 0.0

    @property
    def port(self) -> int:
        return self._port

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Close what is open, refuse what comes."""
        assert self._server is not None
        self._server.close()
        self._server = None
        for pump in tuple(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def mend(self) -> None:
        await self.start()

    def hold(self) -> None:
        """Let nothing through, and say so to nobody."""
        self._flowing.clear()

    def release(self) -> None:
        self._flowing.set()

    async def stop(self) -> None:
        if self._server is not None:
            await self.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, self._target_port)
        except OSError:
            writer.transport.abort()
            return
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            try:
                while chunk := await reader.read(CHUNK_BYTES):
                    await asyncio.sleep(self.delay_s)
                    await self._flowing.wait()
                    writer.write(chunk)
                    await writer.drain()
            finally:
                writer.transport.abort()
