"""Serial lines for tests: a pair of pseudo-terminals with a plug, devices that answer at it, and independent peers."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tty
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import SimData, SimDevice
from pymodbus.simulator.simutils import DataType

from gateway.protocol.modbus.line import crc16

NATIVE = Path(__file__).parent / "native"


class Line:
    """A pseudo-terminal behind a path that can be unplugged and plugged in again. `master` is the devices' end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.master = -1
        self.device = ""
        self._slave = -1

    def plug(self) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self.master)
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.device = os.ttyname(self._slave)
        self.path.symlink_to(self.device)

    def unplug(self) -> None:
        self.path.unlink()
        os.close(self._slave)
        os.close(self.master)
        self.master = self._slave = -1


@contextmanager
def plugged(path: Path) -> Iterator[Line]:
    line = Line(path)
    line.plug()
    try:
        yield line
    finally:
        if line.master >= 0:
            line.unplug()


class Bus:
    """Devices at a line: register `a` of unit `u` holds `1000 * u + a`. Units in `dead` say nothing.

    `answer(unit, right_reply)` may spoil a reply; `turnaround_s` is how long each takes to answer.
    """

    def __init__(self, line: Line, *, dead: tuple[int, ...] = (), turnaround_s: float = 0.0) -> None:
        self.line = line
        self.dead = set(dead)
        self.turnaround_s = turnaround_s
        self.asked: Counter[int] = Counter()
        self.spoil: Callable[[int, bytes], bytes] = lambda unit, reply: reply
        self.overlaps = 0
        self._held = b""
        self._busy = False

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self.line.master, self._read)

    def stop(self) -> None:
        if self.line.master >= 0:
            asyncio.get_running_loop().remove_reader(self.line.master)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            self._held += os.read(self.line.master, 4_096)
        while len(self._held) >= 8:
            request, self._held = self._held[:8], self._held[8:]
            assert crc16(request) == 0, request.hex()
            self.overlaps += self._busy
            unit = request[0]
            self.asked[unit] += 1
            if unit not in self.dead:
                self._busy = True
                asyncio.get_running_loop().call_later(self.turnaround_s, self._answer, request)

    def _answer(self, request: bytes) -> None:
        self._busy = False
        unit, address, count = request[0], int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        data = b"".join((1000 * unit + address + n).to_bytes(2, "big") for n in range(count))
        reply = request[:2] + bytes([len(data)]) + data
        if self.line.master >= 0:
            os.write(self.line.master, self.spoil(unit, reply + crc16(reply).to_bytes(2, "little")))


class WritableBus:
    """Units at a line that share registers which can be read (3) and written (6, 16)."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.registers = [0] * 64
        self.writes: list[tuple[int, tuple[int, ...]]] = []
        self.is_silent = False
        self._held = b""

    def start(self) -> None:
        self._held = b""
        asyncio.get_running_loop().add_reader(self.line.master, self._read)

    def stop(self) -> None:
        if self.line.master >= 0:
            asyncio.get_running_loop().remove_reader(self.line.master)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            self._held += os.read(self.line.master, 4_096)
        while len(self._held) >= (size := self._size()):
            request, self._held = self._held[:size], self._held[size:]
            assert crc16(request) == 0, request.hex()
            if not self.is_silent:
                body = self._answer(request[1], request[2:-2])
                reply = request[:1] + body
                os.write(self.line.master, reply + crc16(reply).to_bytes(2, "little"))

    def _size(self) -> int:
        is_many = len(self._held) > 6 and self._held[1] == 16
        return 9 + self._held[6] if is_many else 8

    def _answer(self, function: int, data: bytes) -> bytes:
        address, word = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
        if function == 3:
            found = b"".join(value.to_bytes(2, "big") for value in self.registers[address : address + word])
            return bytes([function, len(found)]) + found
        words = [word] if function == 6 else [int.from_bytes(data[i : i + 2], "big") for i in range(5, len(data), 2)]
        self.registers[address : address + len(words)] = words
        self.writes.append((address, tuple(words)))
        return bytes([function]) + data[:4]


@asynccontextmanager
async def served(line: Line, **options: object) -> AsyncIterator[Bus]:
    bus = Bus(line, **options)  # type: ignore[arg-type]
    bus.start()
    try:
        yield bus
    finally:
        bus.stop()


@asynccontextmanager
async def pymodbus_line(framer: FramerType, registers: list[int]) -> AsyncIterator[int]:
    """Unit 1 of a pymodbus server that speaks a line's frames over TCP; yields the port."""
    words = [SimData(0, values=registers, datatype=DataType.REGISTERS)]
    flags = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
    device = SimDevice(1, simdata=(flags, flags, words, words))
    server = ModbusTcpServer(device, framer=framer, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    assert server.transport is not None
    try:
        yield server.transport.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()


@asynccontextmanager
async def converter(line: Line, port: int) -> AsyncIterator[None]:
    """Passes the bytes of a line on to a TCP server, as an RS-485 converter does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    loop = asyncio.get_running_loop()

    def upwards() -> None:
        with suppress(BlockingIOError):
            writer.write(os.read(line.master, 4_096))

    async def downwards() -> None:
        while data := await reader.read(4_096):
            os.write(line.master, data)

    loop.add_reader(line.master, upwards)
    task = asyncio.create_task(downwards())
    try:
        yield
    finally:
        loop.remove_reader(line.master)
        task.cancel()
        writer.close()


@contextmanager
def libmodbus(directory: Path, *arguments: str) -> Iterator[None]:
    """The C server beside this file, compiled here; skips the test where there is no compiler or no libmodbus."""
    if shutil.which("gcc") is None or not Path("/usr/include/modbus/modbus.h").exists():
        pytest.skip("needs gcc and libmodbus-dev: make tools")
    program = directory / "libmodbus_server"
    if not program.exists():
        source = NATIVE / "libmodbus_server.c"
        subprocess.run(["gcc", "-O1", "-o", program, source, "-lmodbus"], check=True, timeout=60)
    with subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()
