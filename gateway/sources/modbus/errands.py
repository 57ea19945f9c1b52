"""Errands: single requests out of the schedule, each with somebody who waits for the answer.

Writes, device identification and the scan go this way. They are sent before reads that are due, but after
`RUN_MAX` of them in a row one due read has its turn, so that neither starves the other. An errand is sent once: whether
to try again is for the one who waits to say, since a write that was not confirmed may have been carried out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

import numpy as np

from gateway.core.limits import ERRANDS_WAITING_MAX
from gateway.core.types import NS_PER_S
from gateway.protocol.modbus.errands import CrowdedError
from gateway.protocol.modbus.frames import request_of
from gateway.protocol.modbus.plan import Block
from gateway.protocol.modbus.points import POINT
from gateway.protocol.modbus.polled import Poll, Unit

RUN_MAX: Final = 4


class Errand(Poll):
    """A block of no tags that is due once."""

    __slots__ = ("answer", "pdu")

    def __init__(self, unit: Unit, pdu: bytes, answer: asyncio.Future[bytes]) -> None:
        request = request_of(unit.id, pdu)
        super().__init__(Block("", NS_PER_S, 0, (), request, np.zeros(0, POINT)), unit)
        self.pdu = pdu
        self.answer = answer

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Errands:
    """Those of one link that wait, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: deque[Errand] = deque()
        self._guests: dict[int, Unit] = {}
        self._run = 0
        self.refused = 0

    def add(self, errand: Errand) -> None:
        """Raises CrowdedError."""
        if len(self._waiting) >= ERRANDS_WAITING_MAX:
            self.refused += 1
            raise CrowdedError(f"{ERRANDS_WAITING_MAX} requests wait for this link already; try again later")
        self._waiting.append(errand)

    def guest(self, unit_id: int) -> Unit:
        """A unit of which no tag is polled."""
        return self._guests.setdefault(unit_id, Unit(unit_id))

    def first(self, *, is_read_due: bool) -> Errand | None:
        """The one to send now; None when there is none, or when it is a read's turn."""
        while self._waiting and self._waiting[0].answer.done():
            self._waiting.popleft()  # nobody waits for it any more
        if not self._waiting or (is_read_due and self._run >= RUN_MAX):
            return None
        return self._waiting[0]

    def sent(self) -> None:
        self._waiting.popleft()
        self._run += 1

    def read_sent(self) -> None:
        self._run = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def fail_all(self, error: Exception) -> None:
        while self._waiting:
            self._waiting.popleft().fail(error)
