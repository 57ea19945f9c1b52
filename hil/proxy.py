"""A TCP proxy that can be cut: how tests and the demo take a link down without touching either end.

`cut` closes every connection through it and refuses new ones until `mend`; `reset` does so the hard way (RST), and new
ones work. `tear` lets some more bytes through and then ends the connection, in the middle of whatever frame that is.
`hold` makes a black hole of it: sockets stay open and new ones are accepted, and nothing comes through until `release`,
as when a router drops packets and TCP sends them again. `forget` leaves connections half open: what they carry is
dropped from then on and nobody is told, as when a firewall forgets them; new ones work. `delay_s` holds every piece
back, `bytes_per_s` makes slow readers of both ends. A connection's two directions are pumped by two tasks with bounded
buffers, so a slow reader holds the writer up, as on a real line; with `buffer_bytes` it has hardly any.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

CHUNK_BYTES = 65_536
SLOW_CHUNK_BYTES = 512
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends a reset."""


class Proxy:
    """Forwards 127.0.0.1:`port` to `host`:`target_port`."""

    def __init__(self, target_port: int, host: str = "127.0.0.1", *, buffer_bytes: int = 0) -> None:
        self._host = host
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._port = 0
        self._buffer_bytes = buffer_bytes
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._generation = 0
        self._left_bytes: int | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.delay_s = 0.0
        self.bytes_per_s = 0
        """0: as fast as it goes."""

    @property
    def port(self) -> int:
        return self._port

    @property
    def is_listening(self) -> bool:
        """False while it is cut."""
        return self._server is not None

    async def start(self) -> None:
        listening = socket.create_server(("127.0.0.1", self._port))
        if self._buffer_bytes:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer_bytes)
        self._server = await asyncio.start_server(self._accept, sock=listening, limit=self._buffer_bytes or CHUNK_BYTES)
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

    def forget(self) -> None:
        """Drop what the present connections carry, and say so to nobody."""
        self._generation += 1

    def tear(self, after_bytes: int) -> None:
        """End the connection that carries something next, `after_bytes` into that."""
        self._left_bytes = after_bytes

    def reset(self) -> None:
        for writer in tuple(self._writers):
            own: socket.socket = writer.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            writer.transport.abort()

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
            self._writers.add(sink)
            pump = asyncio.create_task(self._pump(source, sink, self._generation))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, generation: int) -> None:
        with contextlib.suppress(OSError):
            try:
                while chunk := await reader.read(SLOW_CHUNK_BYTES if self.bytes_per_s else CHUNK_BYTES):
                    await asyncio.sleep(self.delay_s + (len(chunk) / self.bytes_per_s if self.bytes_per_s else 0.0))
                    await self._flowing.wait()
                    if generation != self._generation:
                        continue
                    if writer.is_closing():
                        return
                    left, self._left_bytes = self._left_bytes, None
                    writer.write(chunk[:left])
                    await writer.drain()
                    if left is not None:
                        # What was written still goes out.
                        writer.close()
                        return
            finally:
                self._writers.discard(writer)
                if not writer.is_closing():
                    writer.transport.abort()
