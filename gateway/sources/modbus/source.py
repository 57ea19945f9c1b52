"""One Modbus link polled on the loop: a connection shared by all units behind it, over TCP, TLS or a serial port.

It sends what `Poller` decides, has each reply checked and decoded into the lane, and tells changes of state. Plain TCP
that is kept open is the poll thread's (`fast_source`), which says and counts the same.

Who is told what:
- a block's rows get a bad quality once, when its state changes; a value is never refreshed;
- when the link is up, and when it is not, is for `standing` to say;
- bytes that are not Modbus close the connection, since the stream cannot be resynchronised; a reply that does not fit
  its request fails that request alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import zlib
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from gateway.core.backoff import Backoff
from gateway.core.events import Emit
from gateway.core.histogram import SIZE
from gateway.core.inbox import Lane
from gateway.core.kernels.histogram import observe
from gateway.core.ports import Clock
from gateway.core.pressure import Step
from gateway.core.readings import HistogramReading, Reading
from gateway.core.symbols import Symbols
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Quality, Samples
from gateway.protocol.deadband import MEMORY, RULE
from gateway.protocol.modbus.decode import Bytes, decode_block
from gateway.protocol.modbus.errands import NoAnswerError, NotConnectedError
from gateway.protocol.modbus.frames import (
    DeviceRefusedError,
    Reply,
    ReplyError,
    check_read,
    exception_name,
)
from gateway.protocol.modbus.pdu import check_function
from gateway.protocol.modbus.plan import plan
from gateway.protocol.modbus.points import POINT
from gateway.protocol.modbus.polled import Poll, Transaction
from gateway.protocol.modbus.polling import BUSY_RETRY_NS, Poller
from gateway.protocol.modbus.reactions import Reaction, rule_of
from gateway.protocol.modbus.report import keep_news
from gateway.protocol.modbus.texts import decode_texts, scratch_bytes
from gateway.settings.planning import point_of
from gateway.settings.schema import ModbusLink, Tag
from gateway.sources.modbus.connect import CannotConnectError, framer_of, gap_of, line_of, open_connection
from gateway.sources.modbus.counts import Counts, polled
from gateway.sources.modbus.errands import Errand, Errands
from gateway.sources.modbus.session import ROUND_OVER, LinkSilentError, Session
from gateway.sources.modbus.standing import Standing
from gateway.sources.modbus.tell import LaneTeller

LINK_SILENCE_NS: Final = 60 * NS_PER_S
"""Without a single reply for so long, a connection is given up: a router on the way may have forgotten it."""
RECONNECT: Final = Backoff(base_ns=500 * NS_PER_MS, cap_ns=30 * NS_PER_S)
REOPEN: Final = Backoff(base_ns=250 * NS_PER_MS, cap_ns=2 * NS_PER_S)
"""Of a port of this machine, which costs nobody anything to look for."""
REST_NS_MIN: Final = 200 * NS_PER_MS
"""A connection that is not kept open stays so all the same when the next read is due within so long."""


def load_kernels() -> None:
    """Load or compile what the first reply would otherwise wait for."""
    nothing = np.zeros(0, SAMPLE)
    decode_block(nothing, np.zeros(0, POINT), np.zeros(1, np.uint8), 0, 0)
    decode_texts(nothing, np.zeros(0, POINT), np.zeros(1, np.uint8), 0, Symbols(1, 1).words, scratch_bytes())
    keep_news(nothing, np.zeros(0, RULE), np.zeros(0, MEMORY))
    observe(np.zeros(SIZE, np.int64), 1)


class ModbusSource:
    """Polls all units behind one connection into its lane. `tags` are (row, tag) of this link."""

    def __init__(
        self,
        *,
        link: ModbusLink,
        tags: Sequence[tuple[int, Tag]],
        lane: Lane,
        symbols: Symbols,
        now_ns: Clock,
        emit: Emit,
    ) -> None:
        load_kernels()
        self.name = link.name
        self.now_ns = now_ns
        self._link = link
        self._lane = lane
        self._symbols = symbols
        self._scratch = scratch_bytes()
        self._errands = Errands()
        self._seed = zlib.crc32(link.name.encode())
        blocks = plan(point_of(row, tag) for row, tag in tags)
        self.poller = Poller(
            blocks if link.keep_open else [dataclasses.replace(block, phase_ns=0) for block in blocks],
            requests_in_flight=link.requests_in_flight,
            response_timeout_ns=link.response_timeout_ns,
            request_gap_ns=gap_of(link),
            line=line_of(link),
        )
        self._tell = LaneTeller(link=link, units=self.poller.units, lane=lane, emit=emit)
        self._reconnect = RECONNECT if link.serial is None else REOPEN
        self._framer = framer_of(link)
        self._is_resumed = False
        self._wanted = asyncio.Event()
        self._standing = Standing(self._tell)
        self._heard_ns = 0
        self._session: Session | None = None
        self.counts = Counts()
        self._discarded = 0  # on earlier connections
        self._discarded_told = 0

    @property
    def is_connected(self) -> bool:
        return self._session is not None

    # The connection

    async def run(self) -> None:
        """Connect, poll, and again with back-off, until cancelled."""
        try:
            self._tell.presence(self.now_ns())
            while True:
                reason = await self._attempt()
                if reason == ROUND_OVER:
                    await self._rest()
                    continue
                self._disconnected(reason)
                self._is_resumed = False
                self._standing.failures += 1
                self.counts.failed_connects += 1
                await asyncio.sleep(self._reconnect.delay_ns(self._standing.failures, self._seed) / NS_PER_S)
        finally:
            self._fail_errands("the link was stopped")

    async def _attempt(self) -> str:
        """One connection from beginning to end; returns why it ended, or was not made."""
        self._discarded += self._framer.discarded
        self._discarded_told = 0
        self._framer = framer_of(self._link)
        session = Session(self, self._framer, asyncio.get_running_loop())
        try:
            await open_connection(self._link, session)
            return await session.closed
        except CannotConnectError as error:
            return str(error)
        finally:
            self._session = None
            session.abort()

    def connected(self, session: Session, now_ns: int) -> None:
        self._session = session
        self.counts.connects += 1
        self._heard_ns = now_ns
        if self._is_resumed:
            self.poller.resume(now_ns)
        else:
            self.poller.begin(now_ns)

    async def _rest(self) -> None:
        """Between two rounds: until the next block is due, or somebody has an errand."""
        self._is_resumed = True
        self._wanted.clear()
        due_ns = self.poller.next_due_ns
        if due_ns is None or len(self._errands):
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wanted.wait(), max(0, due_ns - self.now_ns()) / NS_PER_S)

    def is_round_over(self, now_ns: int) -> bool:
        if self._link.keep_open or len(self._errands):
            return False
        due_ns = self.poller.next_due_ns
        return due_ns is not None and due_ns - now_ns > REST_NS_MIN

    def _disconnected(self, reason: str) -> None:
        now_ns = self.now_ns()
        self._fail_errands(f"{self._link.place} {reason}")
        if self._standing.lost(reason, now_ns):
            for poll in self.poller.polls:
                self._tell.mark(poll, Quality.BAD_NOT_CONNECTED, now_ns)

    # Errands

    async def request(self, unit: int, pdu: bytes) -> bytes:
        """The PDU that answers this one. Raises as `gateway.protocol.modbus.errands.Requester` says."""
        if self._session is None and not self._is_resumed:
            raise NotConnectedError(f"{self._link.place} is not connected")
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        known = self.poller.units.get(unit) or self._errands.guest(unit)
        self._errands.add(Errand(known, pdu, answer))
        if self._session is None:
            self._wanted.set()
        else:
            self._session.wake()
        return await answer

    def _fail_errands(self, why: str) -> None:
        """Nothing that was sent on this connection will be answered any more."""
        for transaction in self.poller.under_way:
            if isinstance(transaction.poll, Errand):
                transaction.poll.fail(NoAnswerError(f"the connection was lost: {why}"))
        self._errands.fail_all(NotConnectedError(why))

    def _errand_answered(
        self, errand: Errand, transaction: Transaction, reply: Reply, buffer: bytearray, now_ns: int
    ) -> None:
        pdu = bytes(buffer[reply.start - 1 : reply.stop])
        try:
            if reply.unit != errand.unit.id:
                raise ReplyError(f"reply from unit {reply.unit} to a request for unit {errand.unit.id}")
            check_function(errand.pdu, pdu)
        except DeviceRefusedError as error:
            self.counts.exceptions[error.code] += 1
            if rule_of(error.code).reaction is Reaction.UNREACHABLE:
                self.poller.unreachable(transaction, now_ns)
            else:
                self.poller.read(transaction, now_ns)
            errand.fail(error)
            return
        except ReplyError as error:
            self.counts.reply_errors += 1
            self.poller.read(transaction, now_ns)
            errand.fail(error)
            return
        self.poller.read(transaction, now_ns)
        self._tell.heard(errand.unit, now_ns)
        if not errand.answer.done():
            errand.answer.set_result(pdu)

    # Requests and replies

    def next_request(self, now_ns: int) -> Transaction | None:
        is_due = self.poller.is_due(now_ns)
        if len(self._errands):
            errand = self._errands.first(is_read_due=is_due)
            transaction = self.poller.send_apart(errand, now_ns) if errand is not None else None
            if transaction is not None:
                self._errands.sent()
                self.counts.errands += 1
                self.counts.requests += 1
                return transaction
        if not is_due:
            return None
        transaction = self.poller.next_request(now_ns, is_held_back=self._lane.is_past_mark)
        if transaction is not None:
            self.counts.requests += 1
            self._errands.read_sent()
        return transaction

    def press(self, step: Step) -> None:
        self.poller.is_eased = step >= Step.SLOW_POLLS

    def heard_bytes(self, now_ns: int) -> None:
        self.poller.heard_bytes(now_ns)

    def replied(self, reply: Reply, buffer: bytearray, data: Bytes, now_ns: int) -> None:
        """A whole frame has come; `data` is `buffer` as an array."""
        transaction = self.poller.take_reply(reply.transaction, now_ns)
        if transaction is None:
            return
        self.counts.responses += 1
        self._heard_ns = now_ns
        self._standing.heard(now_ns)
        observe(self.counts.round_trips, now_ns - transaction.sent_ns)
        poll = transaction.poll
        if poll.is_cut:
            self._tell.heard(poll.unit, now_ns)
            self.poller.heard(transaction, now_ns)
            return
        if isinstance(poll, Errand):
            self._errand_answered(poll, transaction, reply, buffer, now_ns)
            return
        try:
            start = check_read(poll.block.request, reply, buffer)
        except DeviceRefusedError as error:
            self._refused(transaction, error.code, now_ns)
            return
        except ReplyError as error:
            self.counts.reply_errors += 1
            self._tell.heard(poll.unit, now_ns)
            self.poller.refused(transaction, now_ns)
            self._tell.garbled(poll, error, now_ns)
            return
        if poll.unit.is_silent or self._tell.is_bus_dead:
            self._tell.heard(poll.unit, now_ns)
        if not self.poller.read(transaction, now_ns):
            return
        decode_block(poll.out, poll.block.table, data, start, now_ns)
        if poll.block.has_texts:
            decode_texts(poll.out, poll.block.table, data, start, self._symbols.words, self._scratch)
        if poll.block.rules is None:
            self._lane.append(poll.out)
        else:
            self._append_news(poll, poll.block.rules)
        if poll.quality != Quality.GOOD or poll.unit.is_babbling or poll.exception:
            self._tell.recovered(poll, now_ns)

    def _append_news(self, poll: Poll, rules: Samples) -> None:
        news = keep_news(poll.out, rules, poll.memory)
        self.counts.unchanged += len(poll.out) - news
        if self._lane.append(poll.out[:news]) < news:
            poll.memory["is_known"] = 0  # what did not fit was not passed on

    def wake_ns(self, now_ns: int) -> int:
        return self.poller.wake_ns(now_ns)

    def expire(self, now_ns: int) -> None:
        dead = self.poller.expired(now_ns)
        within = f"no reply within {self._link.response_timeout_ns / NS_PER_S:g} s"
        if dead and self._framer.discarded > self._discarded_told:
            noise = self._framer.discarded - self._discarded_told
            within += f", but {noise} bytes that are no frame: check baud rate, parity and wiring"
        if dead:
            self._discarded_told = self._framer.discarded
        for transaction in dead:
            self._standing.timed_out(now_ns)
            poll = transaction.poll
            if isinstance(poll, Errand):
                poll.fail(NoAnswerError(f"unit {poll.unit.id} on {self.name}: {within}"))
            elif poll.good_ns < transaction.sent_ns and not poll.is_cut:
                self._tell.mark(poll, Quality.BAD_COMM_FAILURE, now_ns)
            if poll.unit.polls and self.poller.is_found_silent(transaction):
                self._tell.silent(poll.unit, within, self.poller.answered_ns, now_ns)
        if dead and now_ns - self._heard_ns >= LINK_SILENCE_NS:
            self._standing.doubted()
            raise LinkSilentError(f"has not answered for {(now_ns - self._heard_ns) / NS_PER_S:.0f} s")

    def _refused(self, transaction: Transaction, code: int, now_ns: int) -> None:
        """An exception reply to a read; `reactions` says what is done."""
        self.counts.exceptions[code] += 1
        poll = transaction.poll
        rule = rule_of(code)
        if rule.reaction is Reaction.UNREACHABLE:
            self.poller.unreachable(transaction, now_ns)
            self._tell.mark(poll, rule.quality, now_ns)
            if poll.unit.breaker.is_open:
                why = f"the gateway says: {exception_name(code)}"
                self._tell.silent(poll.unit, why, self.poller.answered_ns, now_ns)
            return
        self._tell.heard(poll.unit, now_ns)
        if rule.reaction is Reaction.LATER:
            self.poller.postponed(transaction, now_ns)
            self._tell.busy(poll, code, rule, BUSY_RETRY_NS / NS_PER_S, now_ns)
            return
        self.poller.refused(transaction, now_ns)
        if rule.reaction is Reaction.SPLIT and self.poller.split(poll, now_ns):
            return
        self._tell.refused(poll, code, rule, now_ns)

    # Measured

    def readings(self) -> Iterator[Reading | HistogramReading]:
        yield from self.counts.readings(self.name)
        link = ("link", self.name)
        poller = self.poller
        yield from polled(self.name, poller)
        discarded = self._discarded + self._framer.discarded
        yield Reading("fieldgate_modbus_discarded_bytes_total", discarded, (link,))
        yield Reading("fieldgate_modbus_errands_refused_total", self._errands.refused, (link,))
        yield Reading("fieldgate_modbus_connected", self._session is not None, (link,))
        yield Reading("fieldgate_modbus_bus_silent", self._tell.is_bus_dead, (link,))
        for unit in poller.units.values():
            for device in unit.devices:
                is_up = self._standing.is_up and not unit.is_silent
                yield Reading("fieldgate_modbus_device_up", is_up, (link, ("device", device)))
