"""One Modbus TCP link: a connection shared by all units behind it, polled without end.

It sends what `Poller` decides, has each reply checked and decoded into the lane, and tells changes of state.

Who is told what:
- a block's rows get a bad quality once, when its state changes; a value is never refreshed;
- the link goes up with its first reply or, when all units are silent, its first timeout, so that a peer that accepts
  and hangs up again does not make an event per attempt;
- a link on which nothing came back for long is connected anew, and then is up only with a reply;
- bytes that are not Modbus close the connection, since the stream cannot be resynchronised; a reply that does not fit
  its request fails that request alone.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from gateway.core.backoff import Backoff
from gateway.core.events import Emit, Event, Severity
from gateway.core.histogram import BUCKETS, SIZE
from gateway.core.inbox import Lane
from gateway.core.kernels.histogram import observe
from gateway.core.ports import Clock
from gateway.core.readings import HistogramReading, Reading
from gateway.core.symbols import Symbols
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Quality, Samples
from gateway.protocol.modbus.codes import ModbusException
from gateway.protocol.modbus.decode import Bytes, decode_block
from gateway.protocol.modbus.frames import (
    DeviceRefusedError,
    Reply,
    ReplyError,
    check_read,
    exception_name,
)
from gateway.protocol.modbus.plan import plan
from gateway.protocol.modbus.points import MEMORY, POINT, RULE
from gateway.protocol.modbus.polling import Poll, Poller, Transaction, Unit
from gateway.protocol.modbus.report import keep_news
from gateway.protocol.modbus.texts import decode_texts, scratch_bytes
from gateway.settings.planning import point_of
from gateway.settings.schema import ModbusTcpLink, Tag
from gateway.sources.modbus.session import LinkSilentError, Session

LINK_SILENCE_NS: Final = 60 * NS_PER_S
"""Without a single reply for so long, a connection is given up: a router on the way may have forgotten it."""
RECONNECT: Final = Backoff(base_ns=500 * NS_PER_MS, cap_ns=30 * NS_PER_S)

UNREACHABLE: Final = (
    ModbusException.GATEWAY_PATH_UNAVAILABLE,
    ModbusException.GATEWAY_TARGET_FAILED_TO_RESPOND,
)
ILLEGAL: Final = (
    ModbusException.ILLEGAL_FUNCTION,
    ModbusException.ILLEGAL_DATA_ADDRESS,
    ModbusException.ILLEGAL_DATA_VALUE,
)
SPLITTING: Final = (ModbusException.ILLEGAL_DATA_ADDRESS, ModbusException.ILLEGAL_DATA_VALUE)
"""What a device answers to a read of which it knows only a part, or that is longer than it likes."""

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_modbus_requests_total", "counter", "Requests sent."),
    ("fieldgate_modbus_responses_total", "counter", "Replies that answered a request, exceptions among them."),
    ("fieldgate_modbus_timeouts_total", "counter", "Requests without a reply within the response timeout."),
    ("fieldgate_modbus_exceptions_total", "counter", "Exception replies, by code."),
    ("fieldgate_modbus_reply_errors_total", "counter", "Replies that did not fit their request."),
    ("fieldgate_modbus_stray_replies_total", "counter", "Replies to no request under way: late, or never asked for."),
    ("fieldgate_modbus_protocol_errors_total", "counter", "Connections closed because the bytes were not Modbus TCP."),
    ("fieldgate_modbus_late_polls_total", "counter", "Polls left out because the link was busy."),
    ("fieldgate_modbus_skipped_polls_total", "counter", "Polls left out, by reason: inbox full, or block failing."),
    ("fieldgate_modbus_unchanged_samples_total", "counter", "Readings not passed on: report by exception."),
    ("fieldgate_modbus_connects_total", "counter", "Connections made."),
    ("fieldgate_modbus_failed_connects_total", "counter", "Connections not made, or lost."),
    ("fieldgate_modbus_connected", "gauge", "1 while connected."),
    ("fieldgate_modbus_blocks", "gauge", "Read requests that the link's tags were merged into."),
    ("fieldgate_modbus_device_up", "gauge", "1 while the link is connected and the device's unit answers."),
    ("fieldgate_modbus_round_trip_seconds", "histogram", "From request sent to reply complete."),
)


def load_kernels() -> None:
    """Load or compile what the first reply would otherwise wait for."""
    nothing = np.zeros(0, SAMPLE)
    decode_block(nothing, np.zeros(0, POINT), np.zeros(1, np.uint8), 0, 0)
    decode_texts(nothing, np.zeros(0, POINT), np.zeros(1, np.uint8), 0, Symbols(1, 1).words, scratch_bytes())
    keep_news(nothing, np.zeros(0, RULE), np.zeros(0, MEMORY))
    observe(np.zeros(SIZE, np.int64), 1)


class ModbusTcpSource:
    """Polls all units behind one Modbus TCP connection into its lane. `tags` are (row, tag) of this link."""

    def __init__(
        self,
        *,
        link: ModbusTcpLink,
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
        self._emit = emit
        self._seed = zlib.crc32(link.name.encode())
        blocks = plan(point_of(row, tag) for row, tag in tags)
        self.poller = Poller(
            blocks,
            requests_in_flight=link.requests_in_flight,
            response_timeout_ns=link.response_timeout_ns,
            request_gap_ns=link.request_gap_ns,
        )
        self._failures = 0  # attempts at a working connection, in a row
        self._is_up = False
        self._was_told_down = False
        self._is_connected = False
        self._is_in_doubt = False
        self._heard_ns = 0
        self.requests = 0
        self.responses = 0
        self.reply_errors = 0
        self.protocol_errors = 0
        self.connects = 0
        self.failed_connects = 0
        self.unchanged = 0
        self._exceptions: Counter[int] = Counter()
        self._round_trips = np.zeros(SIZE, np.int64)

    # The connection

    async def run(self) -> None:
        """Connect, poll, and again with back-off, until cancelled."""
        while True:
            reason = await self._attempt()
            self._is_connected = False
            self._disconnected(reason)
            self._failures += 1
            self.failed_connects += 1
            await asyncio.sleep(RECONNECT.delay_ns(self._failures, self._seed) / NS_PER_S)

    async def _attempt(self) -> str:
        """One connection from beginning to end; returns why it ended, or was not made."""
        loop = asyncio.get_running_loop()
        session = Session(self, loop)
        try:
            async with asyncio.timeout(self._link.connect_timeout_ns / NS_PER_S):
                await loop.create_connection(lambda: session, self._link.host, self._link.port)
            return await session.closed
        except TimeoutError:
            return "does not answer to the connection attempt: check address, cabling and firewall"
        except OSError as error:
            return f"cannot be reached ({error}): check host, port, and that the device is on"
        finally:
            session.abort()

    def connected(self, now_ns: int) -> None:
        self.connects += 1
        self._is_connected = True
        self._heard_ns = now_ns
        self.poller.begin(now_ns)

    def _disconnected(self, reason: str) -> None:
        now_ns = self.now_ns()
        if self._is_up or not self._was_told_down:
            self._tell(now_ns, Severity.WARNING, "link.down", self.name, f"{self._place} {reason}")
        self._is_up = False
        self._was_told_down = True
        for poll in self.poller.polls:
            self._mark(poll, Quality.BAD_NOT_CONNECTED, now_ns)

    def _works(self, now_ns: int) -> None:
        """The connection has shown that it is one."""
        self._failures = 0
        self._is_in_doubt = False
        if not self._is_up:
            self._is_up = True
            self._tell(now_ns, Severity.INFO, "link.up", self.name, f"{self._place} is connected")

    @property
    def _place(self) -> str:
        return f"{self._link.host}:{self._link.port}"

    # Requests and replies

    def next_request(self, now_ns: int) -> Transaction | None:
        if not self.poller.is_due(now_ns):
            return None
        transaction = self.poller.next_request(now_ns, is_held_back=self._lane.is_past_mark)
        if transaction is not None:
            self.requests += 1
        return transaction

    def replied(self, reply: Reply, buffer: bytearray, data: Bytes, now_ns: int) -> None:
        """A whole frame has come; `data` is `buffer` as an array."""
        transaction = self.poller.take_reply(reply.transaction, now_ns)
        if transaction is None:
            return
        self.responses += 1
        self._heard_ns = now_ns
        if not self._is_up:
            self._works(now_ns)
        observe(self._round_trips, now_ns - transaction.sent_ns)
        poll = transaction.poll
        try:
            start = check_read(poll.block.request, reply, buffer)
        except DeviceRefusedError as error:
            self._refused(transaction, error.code, now_ns)
            return
        except ReplyError as error:
            self._garbled(transaction, error, now_ns)
            return
        if poll.unit.is_silent:
            self._heard(poll.unit, now_ns)
        if not self.poller.read(transaction, now_ns):
            return
        decode_block(poll.out, poll.block.table, data, start, now_ns)
        if poll.block.has_texts:
            decode_texts(poll.out, poll.block.table, data, start, self._symbols.words, self._scratch)
        if poll.block.rules is None:
            self._lane.append(poll.out)
        else:
            self._append_news(poll, poll.block.rules)
        if poll.quality != Quality.GOOD or poll.unit.is_babbling:
            self._recovered(poll, now_ns)

    def _append_news(self, poll: Poll, rules: Samples) -> None:
        news = keep_news(poll.out, rules, poll.memory)
        self.unchanged += len(poll.out) - news
        if self._lane.append(poll.out[:news]) < news:
            poll.memory["is_known"] = 0  # what did not fit was not passed on

    def wake_ns(self, now_ns: int) -> int:
        return self.poller.wake_ns(now_ns)

    def expire(self, now_ns: int) -> None:
        dead = self.poller.expired(now_ns)
        for transaction in dead:
            if not self._is_up and not self._is_in_doubt:
                self._works(now_ns)
            poll = transaction.poll
            if poll.good_ns < transaction.sent_ns:
                self._mark(poll, Quality.BAD_COMM_FAILURE, now_ns)
            if self.poller.is_found_silent(transaction):
                self._silent(poll.unit, f"no reply within {self._link.response_timeout_ns / NS_PER_S:g} s", now_ns)
        if dead and now_ns - self._heard_ns >= LINK_SILENCE_NS:
            self._is_in_doubt = True
            raise LinkSilentError(f"has not answered for {(now_ns - self._heard_ns) / NS_PER_S:.0f} s")

    # Changes of state

    def _recovered(self, poll: Poll, now_ns: int) -> None:
        unit = poll.unit
        if unit.is_babbling:
            self._tell_unit(unit, Severity.NOTICE, "unit.answers", "sends fitting replies again", now_ns)
        if poll.exception:
            self._tell_unit(unit, Severity.NOTICE, "unit.answers", f"answers to {poll.block.place} again", now_ns)
        unit.is_babbling = False
        poll.exception = 0
        poll.quality = int(Quality.GOOD)

    def _heard(self, unit: Unit, now_ns: int) -> None:
        if unit.is_silent:
            unit.is_silent = False
            self._tell_unit(unit, Severity.NOTICE, "unit.answers", "answers again", now_ns)

    def _silent(self, unit: Unit, why: str, now_ns: int) -> None:
        if not unit.is_silent:
            unit.is_silent = True
            advice = f"is silent ({why}); it is probed with back-off: check its power, wiring and unit id"
            self._tell_unit(unit, Severity.WARNING, "unit.silent", advice, now_ns)
        for poll in unit.polls:
            self._mark(poll, Quality.BAD_COMM_FAILURE, now_ns)

    def _refused(self, transaction: Transaction, code: int, now_ns: int) -> None:
        self._exceptions[code] += 1
        poll = transaction.poll
        unit = poll.unit
        if code in UNREACHABLE:
            self.poller.unreachable(transaction, now_ns)
            self._mark(poll, Quality.BAD_COMM_FAILURE, now_ns)
            if unit.breaker.is_open:
                self._silent(unit, f"the gateway says: {exception_name(code)}", now_ns)
            return
        self._heard(unit, now_ns)
        self.poller.refused(transaction, now_ns)
        if code in SPLITTING and self.poller.split(poll, now_ns):
            return
        is_illegal = code in ILLEGAL
        self._mark(poll, Quality.BAD_CONFIG if is_illegal else Quality.BAD_DEVICE_FAILURE, now_ns)
        if poll.exception != code:
            poll.exception = code
            remedy = "address and table against its manual" if is_illegal else "the device's own diagnostics"
            why = f"exception {code}, {exception_name(code)}: check {remedy}"
            what = f"refuses {poll.block.place} ({poll.block.tags}) with {why}"
            self._tell_unit(unit, Severity.WARNING, "unit.exception", what, now_ns)

    def _garbled(self, transaction: Transaction, error: ReplyError, now_ns: int) -> None:
        self.reply_errors += 1
        poll = transaction.poll
        self._heard(poll.unit, now_ns)
        self.poller.refused(transaction, now_ns)
        self._mark(poll, Quality.BAD_COMM_FAILURE, now_ns)
        if not poll.unit.is_babbling:
            poll.unit.is_babbling = True
            advice = "check for a second unit with this id, and its firmware"
            what = f"sends replies that do not fit ({error}; asked for {poll.block.place}): {advice}"
            self._tell_unit(poll.unit, Severity.WARNING, "unit.garbage", what, now_ns)

    def _mark(self, poll: Poll, quality: Quality, now_ns: int) -> None:
        """Tell the engine once that a block's rows are bad; again at the next failure if the lane has no room."""
        if poll.quality == quality:
            return
        samples = np.zeros(len(poll.block.points), SAMPLE)
        samples["row"] = poll.block.table["row"]
        samples["quality"] = quality
        samples["source_ns"] = now_ns
        samples["arrival_ns"] = now_ns
        poll.memory["is_known"] = 0  # the next good reading is news
        if self._lane.append(samples) == len(samples):
            poll.quality = int(quality)

    def _tell_unit(self, unit: Unit, severity: Severity, kind: str, what: str, now_ns: int) -> None:
        self._tell(now_ns, severity, kind, ", ".join(unit.devices), f"unit {unit.id} on {self.name} {what}")

    def _tell(self, now_ns: int, severity: Severity, kind: str, subject: str, message: str) -> None:
        self._emit(Event(now_ns, severity, kind, subject, message))

    # Measured

    def readings(self) -> Iterator[Reading | HistogramReading]:
        poller = self.poller
        link = ("link", self.name)
        labels = (link,)
        yield Reading("fieldgate_modbus_requests_total", self.requests, labels)
        yield Reading("fieldgate_modbus_responses_total", self.responses, labels)
        yield Reading("fieldgate_modbus_timeouts_total", poller.timeouts, labels)
        for code, count in list(self._exceptions.items()):
            yield Reading("fieldgate_modbus_exceptions_total", count, (link, ("code", str(code))))
        yield Reading("fieldgate_modbus_reply_errors_total", self.reply_errors, labels)
        yield Reading("fieldgate_modbus_stray_replies_total", poller.strays, labels)
        yield Reading("fieldgate_modbus_protocol_errors_total", self.protocol_errors, labels)
        yield Reading("fieldgate_modbus_late_polls_total", poller.late, labels)
        for reason, count in (("inbox full", poller.skipped_held_back), ("failing", poller.skipped_failing)):
            yield Reading("fieldgate_modbus_skipped_polls_total", count, (link, ("reason", reason)))
        yield Reading("fieldgate_modbus_unchanged_samples_total", self.unchanged, labels)
        yield Reading("fieldgate_modbus_connects_total", self.connects, labels)
        yield Reading("fieldgate_modbus_failed_connects_total", self.failed_connects, labels)
        yield Reading("fieldgate_modbus_connected", self._is_connected, labels)
        yield Reading("fieldgate_modbus_blocks", sum(len(unit.polls) for unit in poller.units.values()), labels)
        for unit in poller.units.values():
            for device in unit.devices:
                is_up = self._is_up and not unit.is_silent
                yield Reading("fieldgate_modbus_device_up", is_up, (link, ("device", device)))
        counts = self._round_trips.copy()
        yield HistogramReading("fieldgate_modbus_round_trip_seconds", counts[:BUCKETS], int(counts[BUCKETS]), labels)
