"""One plain Modbus TCP link that the poll thread polls: the loop's side of it.

The thread sends, reads, decodes and marks by itself; this side connects, hands the descriptor over, decides what an
exception means (`gateway.protocol.modbus.reactions`, as every way of polling), and tells what has changed. What it
says, counts and lets pass is what `ModbusSource` does, and the same tests hold both.

`poller` serves as the picture of units and blocks that events speak of; the schedule itself is the thread's.
"""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from gateway.core.events import Emit
from gateway.core.limits import ERRANDS_WAITING_MAX
from gateway.core.pressure import Step
from gateway.core.readings import HistogramReading, Reading
from gateway.core.types import NS_PER_S, Quality
from gateway.protocol.modbus import schedule_rows as rows
from gateway.protocol.modbus.errands import CrowdedError, NoAnswerError, NotConnectedError
from gateway.protocol.modbus.frames import (
    DeviceRefusedError,
    ReplyError,
    exception_name,
)
from gateway.protocol.modbus.pdu import check_function
from gateway.protocol.modbus.plan import Block, halved
from gateway.protocol.modbus.polled import Poll, Unit
from gateway.protocol.modbus.polling import BUSY_RETRY_NS, SPLITS_MAX, Poller
from gateway.protocol.modbus.reactions import Reaction, rule_of
from gateway.settings.schema import Link, ModbusLink
from gateway.sources.modbus import fast_memory as at
from gateway.sources.modbus import source
from gateway.sources.modbus.connect import CannotConnectError, open_connection
from gateway.sources.modbus.counts import Counts, polled
from gateway.sources.modbus.fast_connect import Handover, why_closed, why_garbled
from gateway.sources.modbus.fast_thread import PollThread
from gateway.sources.modbus.standing import Standing
from gateway.sources.modbus.tell import FastTeller

CLOSE_WITHIN_S: Final = 1.0


def is_for_thread(link: Link) -> bool:
    """Plain Modbus TCP over a connection that is kept: other Modbus links are polled on the loop (`ModbusSource`)."""
    return isinstance(link, ModbusLink) and link.is_plain_tcp and link.keep_open


class FastModbusSource:
    """The `index`-th link of `thread`. `blocks` are what its tags are read by."""

    def __init__(
        self, *, link: ModbusLink, index: int, blocks: Sequence[Block], thread: PollThread, emit: Emit
    ) -> None:
        self.name = link.name
        self.poller = Poller(
            blocks, requests_in_flight=link.requests_in_flight, response_timeout_ns=link.response_timeout_ns
        )
        self.counts = Counts()
        self.counts.round_trips = thread.memory.trips[index]
        self._errands_refused = 0
        self._link = link
        self._index = index
        self._thread = thread
        self._tell = FastTeller(link=link, units=self.poller.units, emit=emit)
        self._seed = zlib.crc32(link.name.encode())
        self._standing = Standing(self._tell)
        self._closed: asyncio.Future[str] | None = None
        self._generation = 0
        self._is_gone = asyncio.Event()
        self._answers: dict[int, tuple[bytes, int, asyncio.Future[bytes]]] = {}
        self._units: dict[int, Unit] = {}
        self._polls: dict[int, Poll] = {}
        self._guest = 0
        self._fill()

    def _fill(self) -> None:
        """Write the link's rows: units, blocks, requests, decode tables and rules."""
        memory = self._thread.memory
        polls = list(self.poller.polls)
        unit_rows = rows.fill(
            memory.s,
            self._index,
            [poll.block for poll in polls],
            in_flight=self._link.requests_in_flight,
            timeout_ns=self._link.response_timeout_ns,
            gap_ns=self._link.request_gap_ns,
        )
        self._units = {row: self.poller.units[unit] for unit, row in unit_rows.items()}
        self._guest = int(memory.s.links[self._index, rows.FIRST_UNIT]) + len(unit_rows)
        first = point = int(memory.s.links[self._index, rows.FIRST_BLOCK])
        for row, poll in enumerate(polls, first):
            self._polls[row] = poll
            block = poll.block
            points = slice(point, point + len(block.points))
            memory.reads[row] = 0
            memory.reads[row, at.FIRST_POINT], memory.reads[row, at.POINTS] = point, len(block.points)
            memory.reads[row, at.REPLY_BYTES] = block.request.reply_bytes
            memory.reads[row, at.HAS_RULES] = block.rules is not None
            memory.reads[row, at.HAS_TEXTS] = block.has_texts
            memory.reads[row, at.QUALITY] = poll.quality
            memory.frames[row] = np.frombuffer(block.request.stamped(0), np.uint8)
            memory.table[points] = block.table
            memory.memory[points] = np.zeros((), memory.memory.dtype)
            if block.rules is not None:
                memory.rules[points] = block.rules
            point = points.stop

    # The connection

    async def run(self) -> None:
        """Connect, have it polled, and again with back-off, until cancelled."""
        async with self._thread.running(self._index, self):
            try:
                while True:
                    reason = await self._attempt()
                    self._disconnected(reason)
                    self._standing.failures += 1
                    self.counts.failed_connects += 1
                    await asyncio.sleep(source.RECONNECT.delay_ns(self._standing.failures, self._seed) / NS_PER_S)
            finally:
                self._fail_errands("the link was stopped")

    async def _attempt(self) -> str:
        """One connection from beginning to end; returns why it ended, or was not made."""
        handover = Handover()
        try:
            await open_connection(self._link, handover)
        except CannotConnectError as error:
            return str(error)
        finally:
            if handover.descriptor >= 0 and asyncio.current_task().cancelling():  # type: ignore[union-attr]
                os.close(handover.descriptor)
        self.counts.connects += 1
        self._generation += 1
        self._closed = asyncio.get_running_loop().create_future()
        self._is_gone.clear()
        self._thread.put(at.ADOPT, self._index, 0, handover.descriptor, self._generation)
        try:
            return await self._closed
        finally:
            self._closed = None
            await self._be_gone()

    async def _be_gone(self) -> None:
        """Wait until the thread has closed the connection: after that it touches neither lane nor rows."""
        if not self._is_gone.is_set():
            self._thread.put(at.CLOSE, self._index, 0, self._generation)
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._is_gone.wait()

    def _disconnected(self, reason: str) -> None:
        self._fail_errands(f"{self._link.place} {reason}")
        if self._standing.lost(reason, self._thread.now_ns()):
            for row in self._polls:
                self._thread.put(at.MARK, self._index, row, int(Quality.BAD_NOT_CONNECTED))

    def press(self, step: Step) -> None:
        self._thread.memory.s.links[self._index, rows.IS_EASED] = step >= Step.SLOW_POLLS

    # What the thread tells

    def reported(self, report: Any) -> None:
        kind = int(report["kind"])
        if int(report["generation"]) != self._generation:
            return  # of a connection that is gone
        if kind == at.CLOSED:
            self._was_closed()
            return
        if self._closed is None:
            return
        now_ns = int(report["time_ns"])
        unit = self._units.get(int(report["unit"]))
        poll = self._polls.get(int(report["block"]))
        if kind == at.HEARD:
            self._standing.heard(now_ns)
        elif kind == at.DEAD:
            self._dead(unit if report["value"] else None, int(report["unit"]), now_ns)
        elif kind == at.ANSWERS and unit is not None:
            self._tell.heard(unit, now_ns)
        elif kind in (at.ASK_REPLY, at.ASK_DEAD, at.ASK_LOST):
            self._ask_over(kind, report)
        elif poll is not None:
            self._of_block(kind, poll, report, now_ns)

    def _of_block(self, kind: int, poll: Poll, report: Any, now_ns: int) -> None:
        if kind == at.RECOVERED:
            self._tell.recovered(poll, now_ns)
        elif kind == at.REFUSED:
            self._refused(poll, report, now_ns)
        elif kind == at.GARBLED:
            self._tell.garbled(poll, why_garbled(poll.block, report), now_ns)
        elif kind == at.SILENT:
            why = f"the gateway says: {exception_name(int(report['value']))}"
            self._silent(poll.unit, int(report["unit"]), why, now_ns)
        elif kind == at.SPLIT_DONE:
            self._was_split(poll, int(report["block"]), int(report["value"]))

    def look(self) -> None:
        """Reports were dropped: the one that must not be missed is the end of the connection."""
        state = self._thread.memory.connections[self._index]
        if state[at.FD] < 0 and state[at.GENERATION] == self._generation:
            self._was_closed()

    def fail(self, error: BaseException) -> None:
        if self._closed is not None and not self._closed.done():
            self._closed.set_exception(error)

    def _was_closed(self) -> None:
        self._is_gone.set()
        if self._closed is None or self._closed.done():
            return
        state = self._thread.memory.connections[self._index]
        reason, detail = int(state[at.CLOSE_REASON]), int(state[at.CLOSE_DETAIL])
        if reason in (at.BAD_PROTOCOL, at.BAD_LENGTH):
            self.counts.protocol_errors += 1
        silence_s = (self._thread.now_ns() - int(state[at.HEARD_NS])) / NS_PER_S
        self._closed.set_result(why_closed(reason, detail, silence_s))

    def _dead(self, unit: Unit | None, row: int, now_ns: int) -> None:
        """A request's response timeout has passed; `unit`, in `row`, was found silent by it."""
        self._standing.timed_out(now_ns)
        if unit is not None:
            self._silent(unit, row, self._within, now_ns)
        heard_ns = int(self._thread.memory.connections[self._index, at.HEARD_NS])
        if now_ns - heard_ns >= source.LINK_SILENCE_NS:
            self._standing.doubted()
            self._thread.put(at.CLOSE, self._index, 0, self._generation)

    def _silent(self, unit: Unit, row: int, why: str, now_ns: int) -> None:
        s = self._thread.memory.s
        unit.owed_ns = int(s.units[row, rows.OWED_NS])
        self._tell.silent(unit, why, int(s.links[self._index, rows.LINK_ANSWERED_NS]), now_ns)

    @property
    def _within(self) -> str:
        return f"no reply within {self._link.response_timeout_ns / NS_PER_S:g} s"

    def _refused(self, poll: Poll, report: Any, now_ns: int) -> None:
        """An exception reply to a read; `reactions` says what is done."""
        row, code = int(report["block"]), int(report["value"])
        self.counts.exceptions[code] += 1
        rule = rule_of(code)
        times = now_ns, int(report["sent_ns"])
        if rule.reaction is Reaction.UNREACHABLE:
            self._thread.put(at.UNREACHABLE, self._index, row, code, *times)
            return
        if rule.reaction is Reaction.LATER:
            self._thread.put(at.POSTPONED, self._index, row, 0, *times)
            self._tell.busy(poll, code, rule, BUSY_RETRY_NS / NS_PER_S, now_ns)
            return
        if rule.reaction is Reaction.SPLIT and self._may_split(row, poll):
            first, second = halved(poll.block)
            cut = second.request.address, first.request.count, second.request.count
            self._thread.put(at.SPLIT, self._index, row, len(first.points), *times, *cut)
            return
        self._thread.put(at.REFUSED_COMMAND, self._index, row, int(rule.quality), *times)
        self._tell.refused(poll, code, rule, now_ns)

    def _may_split(self, row: int, poll: Poll) -> bool:
        was_read = int(self._thread.memory.s.blocks[row, rows.GOOD_NS]) >= 0
        return len(poll.block.points) > 1 and not was_read and poll.unit.splits < SPLITS_MAX

    def _was_split(self, poll: Poll, row: int, half_row: int) -> None:
        """The thread has cut the block; now events speak of its halves."""
        self._polls[row], self._polls[half_row] = poll.unit.cut(poll)
        row_of = {id(each): number for number, each in self._polls.items()}
        rows.rank(self._thread.memory.s, self._index, [row_of[id(each)] for each in self.poller.polls])

    # Errands

    async def request(self, unit: int, pdu: bytes) -> bytes:
        """The PDU that answers this one. Raises as `gateway.protocol.modbus.errands.Requester` says."""
        if self._closed is None:
            raise NotConnectedError(f"{self._link.place} is not connected")
        is_crowded = len(self._answers) >= ERRANDS_WAITING_MAX + self._link.requests_in_flight
        ask = None if is_crowded else self._thread.take_ask()
        if ask is None:
            self._errands_refused += 1
            raise CrowdedError(f"{len(self._answers)} requests wait for this link already; try again later")
        row = next((row for row, known in self._units.items() if known.id == unit), self._guest)
        frame = bytes(4) + (len(pdu) + 1).to_bytes(2, "big") + bytes([unit]) + pdu
        record = self._thread.memory.asks[ask]
        record["link"], record["unit"], record["size"] = self._index, row, len(frame)
        record["order"] = self.counts.errands
        record["data"][: len(frame)] = np.frombuffer(frame, np.uint8)
        record["state"] = at.ASK_WAITS
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[ask] = pdu, unit, answer
        self.counts.errands += 1
        self._thread.put(at.ASK, self._index, 0, ask)
        return await answer

    def _ask_over(self, kind: int, report: Any) -> None:
        ask = int(report["value"])
        pdu, unit, answer = self._answers.pop(ask)
        was_sent = int(self._thread.memory.asks[ask]["state"]) == at.ASK_SENT
        self._thread.give_ask(ask)
        error: Exception
        if kind == at.ASK_REPLY:
            reply = report["data"][6 : int(report["size"])].tobytes()
            try:
                if reply[0] != unit:
                    raise ReplyError(f"reply from unit {reply[0]} to a request for unit {unit}")
                check_function(pdu, reply[1:])
            except DeviceRefusedError as refusal:
                self.counts.exceptions[refusal.code] += 1
                error = refusal
            except ReplyError as mismatch:
                self._thread.memory.connections[self._index, at.REPLY_ERRORS] += 1
                error = mismatch
            else:
                if not answer.done():
                    answer.set_result(reply[1:])
                return
        elif kind == at.ASK_DEAD:
            error = NoAnswerError(f"unit {unit} on {self.name}: {self._within}")
        elif was_sent:
            error = NoAnswerError("the connection was lost")
        else:
            error = NotConnectedError(f"{self._link.place} is not connected")
        if not answer.done():
            answer.set_exception(error)

    def _fail_errands(self, why: str) -> None:
        """Nothing that was sent on this connection will be answered any more."""
        for ask, (_, _, answer) in list(self._answers.items()):
            was_sent = int(self._thread.memory.asks[ask]["state"]) == at.ASK_SENT
            self._thread.give_ask(ask)
            if not answer.done():
                answer.set_exception(
                    NoAnswerError(f"the connection was lost: {why}") if was_sent else NotConnectedError(why)
                )
        self._answers.clear()

    # Measured

    def count(self) -> None:
        """Bring `counts` and the poller's own up to date with what the thread has counted."""
        memory = self._thread.memory
        state, connection = memory.s.links[self._index], memory.connections[self._index]
        self.counts.requests = int(connection[at.REQUESTS])
        self.counts.responses = int(connection[at.RESPONSES])
        self.counts.reply_errors = int(connection[at.REPLY_ERRORS])
        self.counts.unchanged = int(connection[at.UNCHANGED])
        self.poller.timeouts = int(state[rows.TIMEOUTS])
        self.poller.strays = int(state[rows.STRAYS])
        self.poller.late = int(state[rows.LATE])
        self.poller.skipped_held_back = int(state[rows.SKIPPED_HELD_BACK])
        self.poller.skipped_failing = int(state[rows.SKIPPED_FAILING])

    def readings(self) -> Iterator[Reading | HistogramReading]:
        self.count()
        link = ("link", self.name)
        yield from self.counts.readings(self.name)
        yield from polled(self.name, self.poller)
        yield Reading("fieldgate_modbus_discarded_bytes_total", 0, (link,))
        yield Reading("fieldgate_modbus_errands_refused_total", self._errands_refused, (link,))
        is_connected = self._thread.memory.connections[self._index, at.FD] >= 0
        yield Reading("fieldgate_modbus_connected", int(is_connected), (link,))
        yield Reading("fieldgate_modbus_bus_silent", self._tell.is_bus_dead, (link,))
        for unit in self.poller.units.values():
            for device in unit.devices:
                is_up = self._standing.is_up and not unit.is_silent
                yield Reading("fieldgate_modbus_device_up", is_up, (link, ("device", device)))
