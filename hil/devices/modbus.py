"""Simulated Modbus devices: an instrument is a plant behind registers, served by pymodbus on a real socket.

An instrument is advanced to the present whenever it is read or written, so it costs nothing while nobody asks, and
what a client reads is never older than its question. Registers are big-endian, high word first.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from typing import Protocol

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

REGISTERS = 64
LONGEST_STEP_S = 0.05
"""Plants are integrated in steps no longer than this."""

FORMATS = {"uint16": ">H", "int16": ">h", "uint32": ">I", "float32": ">f", "uint64": ">Q"}


class Instrument(Protocol):
    """A plant with registers. `registers` is name → (address, type); unnamed addresses read 0."""

    registers: Mapping[str, tuple[int, str]]

    def advance(self, dt_s: float) -> None: ...

    def read(self, name: str) -> float: ...

    def write(self, name: str, value: float) -> bool:
        """False when the register cannot be written."""
        ...


def to_words(kind: str, value: float) -> list[int]:
    number = float(value) if kind.startswith("float") else int(value)
    packed = struct.pack(FORMATS[kind], number)
    return list(struct.unpack(f">{len(packed) // 2}H", packed))


def from_words(kind: str, words: list[int]) -> float:
    return float(struct.unpack(FORMATS[kind], struct.pack(f">{len(words)}H", *words))[0])


class Unit:
    """One instrument at one unit id. `is_silent` and `exception` are for those who rehearse faults."""

    def __init__(self, unit: int, instrument: Instrument) -> None:
        self.unit = unit
        self.instrument = instrument
        self.exception: ExcCodes | None = None
        self._advanced_s = time.monotonic()

    def device(self) -> SimDevice:
        return SimDevice(
            self.unit, [SimData(0, count=REGISTERS, values=0, datatype=DataType.REGISTERS)], action=self._serve
        )

    def advance(self) -> None:
        now_s = time.monotonic()
        while self._advanced_s < now_s:
            dt_s = min(LONGEST_STEP_S, now_s - self._advanced_s)
            self.instrument.advance(dt_s)
            self._advanced_s += max(dt_s, 1e-6)

    async def _serve(
        self, function: int, start: int, address: int, count: int, registers: list[int], written: object
    ) -> ExcCodes | None:
        if self.exception is not None:
            return self.exception
        self.advance()
        if isinstance(written, list):
            return self._write(address, [int(word) for word in written])
        for name, (at, kind) in self.instrument.registers.items():
            words = to_words(kind, self.instrument.read(name))
            registers[at - start : at - start + len(words)] = words
        return None

    def _write(self, address: int, words: list[int]) -> ExcCodes | None:
        for name, (at, kind) in self.instrument.registers.items():
            if at == address and len(words) == struct.calcsize(FORMATS[kind]) // 2:
                return None if self.instrument.write(name, from_words(kind, words)) else ExcCodes.ILLEGAL_ADDRESS
        return ExcCodes.ILLEGAL_ADDRESS


class Endpoint:
    """One TCP address with its units, as a Modbus gateway or a PLC is."""

    def __init__(self, *units: Unit) -> None:
        self.units = units
        self.port = 0
        self._server: ModbusTcpServer | None = None

    async def start(self) -> None:
        """Listen on 127.0.0.1; on the same port again after a stop."""
        self._server = ModbusTcpServer(
            [unit.device() for unit in self.units], address=("127.0.0.1", self.port), ignore_missing_devices=True
        )
        await self._server.serve_forever(background=True)
        transport = self._server.transport
        self.port = transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]
            self._server = None
