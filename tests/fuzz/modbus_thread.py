"""What the poll thread makes of streams: `python -m tests.fuzz.modbus_thread SEED SECONDS`, with NUMBA_BOUNDSCHECK=1.

Its own functions run here step by step over a socket pair. They send their requests; back come streams of right
replies, replies that do not fit, exceptions, replies to earlier requests and to none, and plain noise: whole, byte by
byte and in other pieces. The framer and the check of the loop's side (`frames`), fed with the same stream, are the
oracle: the same replies counted, strays counted, misfits told, samples decoded, connection closed for the same reason.
The last line is a JSON object of what came about.
"""

from __future__ import annotations

import json
import os
import random
import select
import socket
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from gateway.kernelcache import VARIABLE

if __name__ == "__main__":
    assert os.environ.get("NUMBA_BOUNDSCHECK") == "1", "set NUMBA_BOUNDSCHECK=1"
    assert Path(os.environ[VARIABLE]).name == "numba-bounds", "a checked kernel must not get into the usual cache"

import numpy as np
from numba import njit

from gateway.core.symbols import Symbols
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Kind, Quality
from gateway.protocol.modbus import schedule_rows as rows
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.frames import (
    DeviceRefusedError,
    ProtocolError,
    ReplyError,
    Request,
    ResponseFramer,
    check_read,
)
from gateway.protocol.modbus.plan import Block, Point, plan
from gateway.protocol.modbus.points import WireType
from gateway.settings.schema import ModbusLink
from gateway.sources.modbus import fast_commands, fast_loop
from gateway.sources.modbus import fast_memory as at
from gateway.sources.modbus.fast_memory import Memory
from gateway.sources.modbus.fast_source import FastModbusSource
from gateway.sources.modbus.fast_thread import PollThread, Share

ADOPT, TURN, RECEIVE, OBEY, CLOSE = range(5)
LINK = 1
"""Not the first one."""
TIMEOUT_NS = 300 * NS_PER_MS
UNITS = 3
END = bytes(8)
"""No frame is of length 0: whatever is left of a stream is settled by it."""


@njit(nogil=True, error_model="numpy")
def play(m: Memory, what: int, value: int, now_ns: int) -> None:
    """One step of the thread."""
    if what == ADOPT:
        fast_commands.adopt(m, np.int64(LINK), value, np.int64(1), now_ns)
    elif what == TURN:
        fast_loop.turn(m, np.int64(LINK), now_ns)
    elif what == RECEIVE:
        fast_loop.receive(m, np.int64(LINK), now_ns)
    elif what == OBEY:
        fast_commands.obey(m, now_ns)
    elif what == CLOSE:
        fast_commands.close(m, np.int64(LINK), np.int64(at.ASKED_TO), np.int64(0), now_ns)


def some_blocks() -> tuple[Block, ...]:
    """Registers and bits of three units; values are as they lie there."""
    return plan(
        Point(
            row=10 * unit + 4 * table + k, name=f"t{unit}.{table}.{k}", device=f"u{unit}", unit=unit,
            function=function, address=50 * table + k, period_ns=20 * NS_PER_MS, kind=Kind.F64,
            wire=WireType.UINT16 if function in (3, 4) else WireType.BOOL,
        )
        for unit in range(1, UNITS + 1)
        for table, function in enumerate((Function.READ_HOLDING_REGISTERS, Function.READ_COILS))
        for k in range(3)
    )  # fmt: skip


@dataclass(slots=True)
class Seen:
    """What came of a stream: by the thread, or as it should."""

    responses: int = 0
    strays: int = 0
    misfits: int = 0
    refusals: list[tuple[int, int]] = field(default_factory=list)
    values: list[tuple[int, float]] = field(default_factory=list)
    is_closed: bool = False


@dataclass(slots=True)
class Asked:
    """A request that the thread has sent."""

    number: int
    row: int
    block: Block
    sent_ns: int


class Thread:
    """The poll thread with one link that matters, moved by hand."""

    def __init__(self) -> None:
        self.blocks = some_blocks()
        share = Share("fuzz", self.blocks, 1_000)
        self.thread = PollThread([share, share], Symbols(), time.monotonic_ns)
        link = ModbusLink(
            name="fuzz", host="h", connect_timeout_ns=1, response_timeout_ns=TIMEOUT_NS, requests_in_flight=4
        )
        source = FastModbusSource(link=link, index=LINK, blocks=self.blocks, thread=self.thread, emit=lambda _: None)
        self.memory = self.thread.memory
        self.first = int(self.memory.s.links[LINK, rows.FIRST_BLOCK])
        self._ordered = [poll.block for poll in source.poller.polls]
        for word in (at.EPOLL, at.WAKER, at.BELL):
            self.memory.words[word] = -1
        self.now_ns = 10 * NS_PER_S
        self.under_way: dict[int, Asked] = {}
        self.good_ns: dict[int, int] = {}
        self.past: list[Asked] = []
        self.peer = self._connect()

    def _connect(self) -> socket.socket:
        ours, peer = socket.socketpair()
        self.under_way.clear()
        play(self.memory, ADOPT, ours.detach(), self.now_ns)
        return peer

    def renew(self) -> None:
        play(self.memory, CLOSE, 0, self.now_ns)
        self.peer.close()
        self.peer = self._connect()
        self._settle()

    def ask(self, after_ns: int) -> None:
        """Let time pass and the thread have its turn; take note of what it sends and what it has given up."""
        self._settle()
        self.now_ns += after_ns
        play(self.memory, TURN, 0, self.now_ns)
        for number in [n for n, asked in self.under_way.items() if asked.sent_ns + TIMEOUT_NS <= self.now_ns]:
            del self.under_way[number]
        while select.select([self.peer], [], [], 0)[0]:
            frame = self.peer.recv(at.FRAME_BYTES)
            for row, block in enumerate(self._ordered, self.first):
                if block.request.stamped(0)[6:] == frame[6:]:
                    asked = Asked(int.from_bytes(frame[:2], "big"), row, block, self.now_ns)
                    assert asked.number not in self.under_way, "an id under way was given twice"
                    self.under_way[asked.number] = asked
                    self.past = [*self.past[-50:], asked]
                    break
            else:
                raise AssertionError(f"not one of ours: {frame.hex()}")

    def _settle(self) -> None:
        """The verdict of the loop on every refusal: the block is bad. Nothing else is told."""
        words = self.memory.words
        while words[at.REPORT_TAIL] < words[at.REPORT_HEAD]:
            report = self.memory.reports[words[at.REPORT_TAIL] % at.REPORTS_MAX]
            words[at.REPORT_TAIL] += 1
            if report["kind"] == at.REFUSED and self.memory.connections[LINK, at.FD] >= 0:
                times = int(report["time_ns"]), int(report["sent_ns"])
                row = int(report["block"])
                self.thread.put(at.REFUSED_COMMAND, LINK, row, int(Quality.BAD_CONFIG), *times)
        play(self.memory, OBEY, 0, self.now_ns)

    def hear(self, stream: bytes, sizes: list[int]) -> Seen:
        """Give it the stream in pieces of these sizes, over and over."""
        memory = self.memory
        connection, link = memory.connections[LINK], memory.s.links[LINK]
        before = [int(connection[at.RESPONSES]), int(link[rows.STRAYS]), int(connection[at.REPLY_ERRORS])]
        reported = int(memory.words[at.REPORT_HEAD])
        turn = 0
        while stream and connection[at.FD] >= 0:
            size = sizes[turn % len(sizes)]
            self.peer.sendall(stream[:size])
            stream = stream[size:]
            turn += 1
            while connection[at.FD] >= 0 and select.select([int(connection[at.FD])], [], [], 0)[0]:
                play(memory, RECEIVE, 0, self.now_ns)
        out = np.zeros(5_000, SAMPLE)
        samples = out[: self.thread.waiting.take_into(out)]
        good = samples[samples["quality"] == Quality.GOOD]
        reports = [memory.reports[i % at.REPORTS_MAX] for i in range(reported, int(memory.words[at.REPORT_HEAD]))]
        return Seen(
            responses=int(connection[at.RESPONSES]) - before[0],
            strays=int(link[rows.STRAYS]) - before[1],
            misfits=int(connection[at.REPLY_ERRORS]) - before[2],
            refusals=[(int(each["block"]), int(each["value"])) for each in reports if each["kind"] == at.REFUSED],
            values=[(int(sample["row"]), float(sample["value"])) for sample in good],
            is_closed=bool(connection[at.FD] < 0),
        )

    def expected(self, stream: bytes) -> Seen:
        """By the framer and the check of the loop's side."""
        seen = Seen()
        waiting = dict(self.under_way)
        reviewed: set[int] = set()
        framer = ResponseFramer()
        while stream:
            free = framer.free()
            part, stream = stream[: len(free)], stream[len(free) :]
            free[: len(part)] = part
            framer.received(len(part))
            try:
                while (reply := framer.next_reply()) is not None:
                    asked = waiting.pop(reply.transaction, None)
                    if asked is None:
                        seen.strays += 1
                        continue
                    seen.responses += 1
                    if asked.row in reviewed:
                        continue
                    try:
                        start = check_read(asked.block.request, reply, framer.buffer)
                    except DeviceRefusedError as error:
                        seen.refusals.append((asked.row, error.code))
                        reviewed.add(asked.row)
                    except ReplyError:
                        seen.misfits += 1
                    else:
                        if asked.sent_ns >= self.good_ns.get(asked.row, -1):
                            self.good_ns[asked.row] = asked.sent_ns
                            seen.values += values_in(asked.block, framer.buffer, start)
            except ProtocolError:
                seen.is_closed = True
                return seen
        return seen


def values_in(block: Block, data: bytearray, start: int) -> list[tuple[int, float]]:
    first = block.request.address
    found = []
    for point in block.points:
        k = point.address - first
        if block.request.function is Function.READ_COILS:
            found.append((point.row, float(data[start + k // 8] >> k % 8 & 1)))
        else:
            found.append((point.row, float(int.from_bytes(data[start + 2 * k : start + 2 * k + 2], "big"))))
    return found


def right(request: Request, random_: random.Random) -> bytes:
    return bytes([request.function, request.reply_bytes]) + random_.randbytes(request.reply_bytes)


def a_frame(random_: random.Random, thread: Thread) -> bytes:
    """Mostly of a request under way or an earlier one."""
    known = list(thread.under_way.values()) if random_.random() < 0.7 else thread.past
    if not known or random_.random() < 0.05:
        return random_.randbytes(random_.randrange(1, 40))
    asked = random_.choice(known)
    request = asked.block.request
    unit, number, pdu = request.unit, asked.number, right(request, random_)
    kind = random_.randrange(14)
    if kind == 0:
        unit = random_.randrange(256)
    elif kind == 1:
        pdu = bytes([random_.randrange(256)]) + pdu[1:]
    elif kind == 2:
        pdu = pdu[: random_.randrange(1, len(pdu))]
    elif kind == 3:
        pdu += random_.randbytes(random_.randrange(1, 240))
    elif kind == 4:
        pdu = bytes([pdu[0], random_.randrange(256)]) + pdu[2:]
    elif kind == 5:
        pdu = bytes([request.function | 0x80, random_.randrange(256)])
    elif kind == 6:
        number = random_.randrange(1 << 16)
    protocol = 0 if random_.random() < 0.98 else random_.randrange(1 << 16)
    length = len(pdu) + 1 if random_.random() < 0.97 else random_.randrange(400)
    return struct.pack(">HHHB", number, protocol, length, unit) + pdu


def main(seed: int, seconds: float) -> None:
    random_ = random.Random(seed)
    thread = Thread()
    counts: Counter[str] = Counter()
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        thread.ask(random_.choice((1, 20, 60, 400)) * NS_PER_MS)
        stream = b"".join(a_frame(random_, thread) for _ in range(random_.randrange(1, 8)))
        if random_.random() < 0.3:
            stream += END
        sizes = random_.choice(([len(stream)], [1], [random_.randrange(1, 300) for _ in range(5)]))
        should, did = thread.expected(stream), thread.hear(stream, sizes)
        if not stream.endswith(END) and should.is_closed != did.is_closed:
            # A header of which not all bytes are there yet: the loop's side tells by the first that shows it.
            should.is_closed = did.is_closed
        assert did == should, f"seed {seed}, {stream.hex()} in pieces of {sizes}:\n{did}\n{should}"
        for frame_number in [n for n in thread.under_way if not is_under_way(thread, n)]:
            del thread.under_way[frame_number]
        counts.update(
            streams=1, responses=did.responses, strays=did.strays, misfits=did.misfits, closed=did.is_closed,
            refusals=len(did.refusals), values=len(did.values),
        )  # fmt: skip
        if did.is_closed or random_.random() < 0.3 or thread.memory.connections[LINK, at.RECEIVED]:
            thread.renew()
    print(json.dumps({"seed": seed, **counts}))


def is_under_way(thread: Thread, number: int) -> bool:
    link = thread.memory.s.links[LINK]
    first = int(link[rows.FIRST_SLOT])
    slots = thread.memory.s.slots[first : first + int(link[rows.OUTSTANDING])]
    return number in slots[:, rows.ID]


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
