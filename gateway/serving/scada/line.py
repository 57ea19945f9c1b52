"""The Modbus server as an RTU slave at a serial port: one master, the units of the register map, whoever else is there.

A port that is lost (an adapter that is pulled out) or cannot be opened is told once and tried again every `RETRY_S`:
the rest of the gateway goes on. The master asks one thing at a time and takes what comes next for the answer; so an
answer goes out after the silence that parts two frames, and one that comes too late, after the line went on (a device
took its time with a write), never does. Requests to units that are not ours, and broadcasts, are left without a word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import Any, Final, Protocol

from gateway.core.events import Emit, Event, Severity
from gateway.core.ports import Clock
from gateway.core.readings import Reading
from gateway.core.types import NS_PER_S
from gateway.protocol.modbus.load import FAST_BAUD, SILENCE_CHARACTERS, SILENCE_FLOOR_NS
from gateway.protocol.modbus.rtuserver import RtuRequests, rtu_frame
from gateway.protocol.modbus.server import Adu
from gateway.serialport import PortError, SerialTransport, open_port
from gateway.serving.scada.answers import TAG_WRITES_MAX, Asker
from gateway.settings.schema import ScadaRule
from gateway.settings.schema_scada import ScadaLine

READ_BYTES: Final = 1_024
RETRY_S: Final = 2.0
HEAP_S: Final = 0.02
"""USB adapters hand over what came every 16 ms, unless told otherwise."""


class LineServer(Protocol):
    """What a line calls."""

    def answer(self, adu: Adu, client: Asker) -> bytes: ...


class Line(asyncio.BufferedProtocol):
    """One port, and the master behind it as a client."""

    def __init__(
        self, settings: ScadaLine, units: frozenset[int], server: LineServer, now_ns: Clock, emit: Emit
    ) -> None:
        self.host = self.peer = self.who = settings.serial.path
        self.rule: ScadaRule | None = None
        self.refused = ""
        self.read_only = "" if settings.may_write else "write is false under [scada.modbus_rtu]"
        self._settings = settings
        self._server = server
        self._now_ns = now_ns
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._framer = RtuRequests(units)
        self._buffer = bytearray(READ_BYTES)
        self._transport: asyncio.WriteTransport | None = None
        self._is_stopped = False
        self._has_told = False
        self._retry: asyncio.TimerHandle | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._answer: asyncio.TimerHandle | None = None
        self._turn = 0
        """Counts heaps of bytes: an answer belongs to the turn of its request."""
        self._later: set[asyncio.Task[bytes]] = set()
        self._late = 0
        character_s = settings.serial.character_bits / settings.serial.baud
        is_fast = settings.serial.baud > FAST_BAUD
        self._character_s = character_s
        self._gap_s = SILENCE_FLOOR_NS / NS_PER_S if is_fast else SILENCE_CHARACTERS * character_s

    def start(self) -> None:
        self._open()

    def stop(self) -> None:
        self._is_stopped = True
        for timer in (self._retry, self._silence, self._answer):
            if timer is not None:
                timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    def readings(self) -> Iterator[Reading]:
        yield Reading("fieldgate_scada_line_up", int(self._transport is not None))
        yield Reading("fieldgate_scada_line_discarded_bytes_total", self._framer.discarded)
        yield Reading("fieldgate_scada_line_late_answers_total", self._late)

    # The port.

    def _open(self) -> None:
        self._retry = None
        try:
            fd = open_port(self._settings.serial)
        except PortError as error:
            self._is_down(str(error))
        else:
            SerialTransport(fd, self, self._loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._has_told = False
        self._say(Severity.INFO, "scada.line.up", f"{self.host} is open at {self._settings.serial.describe}")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return
        self._transport = None
        self._withdraw()
        self._framer.silence()
        if not self._is_stopped:
            self._is_down(f"is lost ({exc}): check the adapter")

    def _is_down(self, why: str) -> None:
        if not self._has_told:
            self._has_told = True
            self._say(Severity.WARNING, "scada.line.down", f"{self.host} {why}; it is tried again every {RETRY_S:g} s")
        self._retry = self._loop.call_later(RETRY_S, self._open)

    def _say(self, severity: Severity, kind: str, message: str) -> None:
        self._emit(Event(self._now_ns(), severity, kind, self.host, message))

    # Requests.

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._withdraw()
        requests = self._framer.feed(bytes(self._buffer[:nbytes]))
        self._await_silence(0.0)
        self._take(requests)

    def _heard_silence(self) -> None:
        self._silence = None
        self._take(self._framer.silence())

    def _take(self, requests: list[Adu]) -> None:
        """Carry out all of them. Only the last may be answered, and only when nothing came behind it."""
        for number, adu in enumerate(requests, 1):
            is_last = number == len(requests) and self._framer.is_clear
            pdu = self._server.answer(adu, self)
            if is_last and pdu:
                self._answer_after_gap(adu, pdu)
            elif not is_last:
                self._turn += 1
                self._late += bool(pdu)

    def _answer_after_gap(self, adu: Adu, pdu: bytes) -> None:
        self._answer = self._loop.call_later(self._gap_s, self._send, rtu_frame(adu.unit, pdu))

    def _send(self, frame: bytes) -> None:
        self._answer = None
        if self._transport is not None:
            self._framer.sent(frame)
            self._await_silence(len(frame) * self._character_s)
            self._transport.write(frame)

    def _withdraw(self) -> None:
        """The line goes on: an answer that was not sent yet comes too late."""
        self._turn += 1
        if self._answer is not None:
            self._answer.cancel()
            self._answer = None
            self._late += 1

    def _await_silence(self, from_s: float) -> None:
        """From a moment on that lies so far ahead."""
        if self._silence is not None:
            self._silence.cancel()
        self._silence = self._loop.call_later(from_s + self._gap_s + HEAP_S, self._heard_silence)

    # Answers that wait for a device.

    @property
    def has_room(self) -> bool:
        return len(self._later) < TAG_WRITES_MAX

    def answer_later(self, adu: Adu, response: Coroutine[Any, Any, bytes]) -> None:
        task = self._loop.create_task(response)
        self._later.add(task)
        task.add_done_callback(partial(self._answer_now, adu, self._turn))

    def _answer_now(self, adu: Adu, turn: int, task: asyncio.Task[bytes]) -> None:
        self._later.discard(task)
        if task.cancelled():
            return
        if turn == self._turn and self._transport is not None:
            self._answer_after_gap(adu, task.result())
        else:
            self._late += 1
