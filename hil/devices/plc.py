"""A PLC with a plant behind real sockets, whose every part can fail.

Holding registers: 0-1 the measurement as float32, 10 the actuator as uint16 in 0.1 %, 11 a heartbeat: with a watchdog
(`watchdog_s`) the actuator goes to zero when that was not written for so long. `plant=None` leaves the
measurement where it was put. All knobs may be turned while it runs; every write is kept.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import struct
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, Self

from gateway.protocol.modbus.line import crc16

VALVE = 10
HEARTBEAT = 11
REGISTERS = 256
BITS_A_BYTE = 11.0


class Plant(Protocol):
    """What is behind the registers; `u` is the actuator, 0 to 1."""

    def step(self, dt_s: float, u: float) -> Self: ...

    @property
    def measured(self) -> float: ...


class Plc:
    """`speed` makes the plant's time pass faster than the clock's."""

    def __init__(self, plant: Plant | None = None, speed: float = 1.0, valve: int = 0) -> None:
        self.plant = plant
        self.speed = speed
        self.registers = [0] * REGISTERS
        self.registers[VALVE] = valve
        self.writes: list[tuple[float, int, tuple[int, ...]]] = []
        self.requests = 0
        self.accepted = 0
        self.is_silent = False
        self.is_unplugged = False
        self.is_frozen = False
        self.reads_nan = False
        self.watchdog_s = 0.0
        self.refuses_reads_with = 0
        self.refuses_writes_with = 0
        self.mangle: Callable[[bytes], list[bytes]] = lambda reply: [reply]
        """What is sent in place of each reply to a read."""
        self._stepped_s = time.monotonic()
        self._beat_s = math.inf
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._line: tuple[int, ...] = ()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    # --- knobs

    def set_level(self, level_m: float) -> None:
        self.registers[0:2] = struct.unpack(">HH", struct.pack(">f", level_m))

    @property
    def level_m(self) -> float:
        return float(struct.unpack(">f", struct.pack(">HH", *self.registers[0:2]))[0])

    @property
    def valve(self) -> int:
        return self.registers[VALVE]

    def cut(self) -> None:
        """Drop every connection."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def unplug(self) -> None:
        """Cut, and let nobody in until `is_unplugged` is taken back."""
        self.is_unplugged = True
        self.cut()

    def lose_power(self) -> None:
        """Unplugged, and the actuator falls to zero, as an output card does."""
        self.unplug()
        with self._lock:
            self._run_plant()
            self.registers[VALVE] = 0

    def disturb(self, change: Callable[[Plant], Plant]) -> None:
        """Put another plant in place of the present one, in its present state."""
        with self._lock:
            self._run_plant()
            if self.plant is not None:
                self.plant = change(self.plant)

    def look(self) -> tuple[float, float]:
        """What the plant really measures now, and its actuator in percent, whatever the registers say."""
        with self._lock:
            self._run_plant()
            return (math.nan if self.plant is None else self.plant.measured), self.valve / 10.0

    @property
    def is_connected(self) -> bool:
        return bool(self._connections)

    def send_everywhere(self, data: bytes) -> None:
        for connection in list(self._connections):
            connection.sendall(data)

    def open_line(self, baud: int) -> str:
        """The same registers at a serial line of this speed, as unit 1 with RTU frames; the path of its other end."""
        self._line = os.openpty()
        for end in self._line:
            tty.setraw(end)
        threading.Thread(target=self._serve_line, args=(self._line[0], BITS_A_BYTE / baud), daemon=True).start()
        return os.ttyname(self._line[1])

    def close(self) -> None:
        for end in self._line:
            os.close(end)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    # --- serving

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self.is_unplugged:
                connection.close()
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.add(connection)
            self.accepted += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        buffer = b""
        try:
            while data := connection.recv(4096):
                buffer += data
                while len(buffer) >= 6 and len(buffer) >= 6 + struct.unpack(">H", buffer[4:6])[0]:
                    size = 6 + struct.unpack(">H", buffer[4:6])[0]
                    request, buffer = buffer[:size], buffer[size:]
                    for part in self._answer(request):
                        connection.sendall(part)
        except OSError:
            pass  # cut by the other side, or by the test
        self._connections.discard(connection)
        connection.close()

    def _serve_line(self, line: int, byte_s: float) -> None:
        held = b""
        with contextlib.suppress(OSError):  # closed
            while True:
                held += os.read(line, 4096)
                while len(held) >= (size := 9 + held[6] if len(held) > 6 and held[1] == 16 else 8):
                    request, held = held[:size], held[size:]
                    if crc16(request) != 0:
                        continue
                    for part in self._answer(struct.pack(">HHH", 0, 0, size - 2) + request[:-2]):
                        reply = part[6:] + crc16(part[6:]).to_bytes(2, "little")
                        time.sleep((size + len(reply)) * byte_s)
                        os.write(line, reply)

    def _answer(self, request: bytes) -> list[bytes]:
        with self._lock:
            self.requests += 1
            self._run_plant()
            function = request[7]
            is_read = function in (3, 4)
            refused = self.refuses_reads_with if is_read else self.refuses_writes_with
            if refused:
                reply = _frame(request, bytes([function | 0x80, refused]))
            elif is_read:
                address, count = struct.unpack(">HH", request[8:12])
                data = struct.pack(f">{count}H", *self.registers[address : address + count])
                reply = _frame(request, bytes([function, len(data)]) + data)
            else:
                reply = self._write(request)
        if self.is_silent:
            return []
        return self.mangle(reply) if is_read else [reply]

    def _write(self, request: bytes) -> bytes:
        address, count = struct.unpack(">HH", request[8:12])
        if request[7] == 6:
            values: tuple[int, ...] = (count,)
        else:
            values = struct.unpack(f">{count}H", request[13:])
        self.registers[address : address + len(values)] = values
        if address <= HEARTBEAT < address + len(values):
            self._beat_s = time.monotonic()
        self.writes.append((time.monotonic(), address, values))
        return _frame(request, request[7:12])

    def _run_plant(self) -> None:
        now_s = time.monotonic()
        if self.watchdog_s and now_s - self._beat_s > self.watchdog_s:
            self.registers[VALVE] = 0
        if self.plant is not None:
            self.plant = self.plant.step((now_s - self._stepped_s) * self.speed, self.valve / 1000.0)
            if self.reads_nan:
                self.set_level(math.nan)
            elif not self.is_frozen:
                self.set_level(self.plant.measured)
        self._stepped_s = now_s


def _frame(request: bytes, pdu: bytes) -> bytes:
    return request[:4] + struct.pack(">H", len(pdu) + 1) + request[6:7] + pdu


@contextmanager
def plc(plant: Plant | None = None, speed: float = 1.0, valve: int = 0, level_m: float = math.nan) -> Iterator[Plc]:
    made = Plc(plant, speed, valve)
    if not math.isnan(level_m):
        made.set_level(level_m)
    try:
        yield made
    finally:
        made.close()
