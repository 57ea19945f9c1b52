"""Modbus TCP peers for tests: a real pymodbus server, and one that misbehaves as it is told.

The scripted server knows one rule: holding and input register `a` of unit `u` holds `(1000 * u + a) % 65536`.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pymodbus import ModbusDeviceIdentification
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import SimData, SimDevice
from pymodbus.simulator.simutils import DataType

from gateway.core.events import Event
from gateway.core.inbox import Lane
from gateway.core.kernels.lanes import SharedLane
from gateway.core.symbols import Symbols
from gateway.core.types import NS_PER_MS, SAMPLE, Kind, Samples
from gateway.protocol.modbus.plan import plan
from gateway.settings.planning import point_of
from gateway.settings.schema import ModbusLink, ModbusPoint, RegisterType, Report, Table, Tag
from gateway.sources.modbus.fast_source import FastModbusSource, is_for_thread
from gateway.sources.modbus.fast_thread import PollThread, Share
from gateway.sources.modbus.source import ModbusSource


@dataclass(frozen=True)
class Asked:
    transaction: int
    unit: int
    function: int
    address: int
    count: int

    def values(self) -> bytes:
        registers = ((1000 * self.unit + self.address + i) % 65536 for i in range(self.count))
        return b"".join(register.to_bytes(2, "big") for register in registers)

    def reply(
        self, *, transaction: int | None = None, unit: int | None = None, function: int | None = None,
        data: bytes | None = None,
    ) -> bytes:  # fmt: skip
        """A right reply, but for what is given."""
        data = self.values() if data is None else data
        pdu = bytes([self.function if function is None else function, len(data)]) + data
        return self.frame(pdu, transaction, unit)

    def exception(self, code: int) -> bytes:
        return self.frame(bytes([self.function | 0x80, code]))

    def frame(self, pdu: bytes, transaction: int | None = None, unit: int | None = None) -> bytes:
        transaction = self.transaction if transaction is None else transaction
        unit = self.unit if unit is None else unit
        return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


async def good(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(asked.reply())


async def silent(asked: Asked, writer: asyncio.StreamWriter) -> None:
    return


@dataclass
class ScriptedServer:
    """Answers each unit by its own script; `answers[None]` is for the rest. Counts what it was asked, by unit."""

    answers: dict[int | None, Answer]
    port: int = 0
    asked: Counter[int] = field(default_factory=Counter)
    asked_last: dict[int, Asked] = field(default_factory=dict)
    connections: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked = Asked(*struct.unpack(">H4xBBHH", await reader.readexactly(12)))
                self.asked[asked.unit] += 1
                self.asked_last[asked.unit] = asked
                await self.answers.get(asked.unit, self.answers[None])(asked, writer)
        self.writers.discard(writer)
        writer.close()


@asynccontextmanager
async def scripted(answers: dict[int | None, Answer]) -> AsyncIterator[ScriptedServer]:
    script = ScriptedServer({None: good, **answers})
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.port = server.sockets[0].getsockname()[1]
    try:
        yield script
    finally:
        server.close()
        for writer in list(script.writers):
            writer.transport.abort()


@asynccontextmanager
async def pymodbus_server(registers: Sequence[int], bits: Sequence[bool], port: int = 0) -> AsyncIterator[int]:
    """Unit 1 with `registers` as holding and input registers and `bits` as coils and discretes; yields the port."""
    words = [SimData(0, values=list(registers), datatype=DataType.REGISTERS)]
    flags = [SimData(0, values=list(bits), datatype=DataType.BITS)]
    identity = ModbusDeviceIdentification(
        info_name={"VendorName": "acme", "ProductCode": "P1", "MajorMinorRevision": "2.1"}
    )
    device = SimDevice(1, simdata=(flags, flags, words, words))
    server = ModbusTcpServer(device, address=("127.0.0.1", port), identity=identity)
    await server.serve_forever(background=True)
    assert server.transport is not None
    try:
        yield server.transport.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()


def tag(
    name: str, address: int, wire: RegisterType = RegisterType.UINT16, *, unit: int = 1, table: Table = Table.HOLDING,
    every_ms: int = 20, kind: Kind = Kind.F64, scale: float = 1.0, big_endian_words: bool = True,
    not_available: tuple[int, ...] = (), report: Report | None = None, text_registers: int = 0,
) -> Tag:  # fmt: skip
    return Tag(
        name=f"u{unit}.{name}",
        device=f"u{unit}",
        kind=kind,
        windows_ns=(),
        stale_after_ns=NS_PER_MS,
        point=ModbusPoint(
            unit=unit, table=table, address=address, type=wire, scale=scale,
            big_endian_words=big_endian_words, every_ns=every_ms * NS_PER_MS,
            not_available=not_available, report=report, text_registers=text_registers,
        ),
    )  # fmt: skip


class Rig:
    """A source under test with its lane, events and counted readings."""

    polled_by = "thread"
    """Who polls it: "thread", as plain Modbus TCP is polled, or "loop", as everything else is."""

    def __init__(
        self, tags: Sequence[Tag], port: int = 0, *, in_flight: int = 1, timeout_ms: int = 300, gap_ms: int = 0,
        lane_samples: int = 10_000, **link_settings: Any,
    ) -> None:  # fmt: skip
        self.events: list[Event] = []
        self.samples: Samples = np.zeros(0, SAMPLE)
        link = ModbusLink(
            name="plc",
            host="127.0.0.1",
            port=port,
            connect_timeout_ns=1_000 * NS_PER_MS,
            response_timeout_ns=timeout_ms * NS_PER_MS,
            requests_in_flight=in_flight,
            request_gap_ns=gap_ms * NS_PER_MS,
            **link_settings,
        )
        self.symbols = Symbols()
        self.lane: Lane | SharedLane
        self.source: ModbusSource | FastModbusSource
        if Rig.polled_by == "loop" or not is_for_thread(link):
            self.lane = Lane("test", lane_samples)
            self.source = ModbusSource(
                link=link,
                tags=list(enumerate(tags)),
                lane=self.lane,
                symbols=self.symbols,
                now_ns=lambda: round(asyncio.get_running_loop().time() * 1e9),
                emit=self.events.append,
            )
        else:
            blocks = plan(point_of(row, tag) for row, tag in enumerate(tags))
            self.thread = PollThread([Share("test", blocks, lane_samples)], self.symbols, time.monotonic_ns)
            self.lane = self.thread.lanes[0]
            self.source = FastModbusSource(
                link=link, index=0, blocks=blocks, thread=self.thread, emit=self.events.append
            )

    def drain(self) -> Samples:
        """All samples since the beginning."""
        out = np.zeros(len(self.lane), SAMPLE)
        self.lane.take_into(out)
        self.samples = np.concatenate([self.samples, out])
        return self.samples

    def of(self, row: int) -> Samples:
        samples = self.drain()
        return samples[samples["row"] == row]

    def qualities(self, row: int) -> list[int]:
        """The row's qualities with repetitions left out."""
        return [quality for quality, _ in itertools.groupby(int(q) for q in self.of(row)["quality"])]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def reading(self, name: str, **labels: str) -> float:
        wanted = {"link": "plc", **labels}
        found = [
            reading.value  # type: ignore[union-attr]
            for reading in self.source.readings()
            if reading.name == f"fieldgate_modbus_{name}" and wanted.items() <= dict(reading.labels).items()
        ]
        assert found, f"no reading {name} {labels}"
        return sum(found)


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[Rig]:
    """Runs the rig's source; its end before the test's end is an error."""
    task = asyncio.create_task(rig.source.run())
    try:
        yield rig
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool], what: str, within_s: float = 5.0) -> None:
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    while not condition():
        assert loop.time() < deadline_s, f"within {within_s} s it did not come about that {what}"
        await asyncio.sleep(0.005)
