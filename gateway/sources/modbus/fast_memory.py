"""The memory that the poll thread and the loop share: which array holds what, and who may write it.

Config is written by the loop while the link has no connection; state is the poll thread's. What crosses while it runs
goes through words with acquire and release (`gateway.core.kernels.atomics`): commands to the thread and reports from it
(bounded rings, one producer and one consumer each), the lanes, the stop flag. A block that is under review, because its
unit refused it, is left alone until the loop's verdict.

Arrays are as large as the plant: a link's rows are given once, and its blocks may be cut until each tag stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.core import histogram
from gateway.core.kernels.lanes import CAPACITY, FIRST, LANE_WORDS
from gateway.core.types import SAMPLE, Int64s, Samples
from gateway.native.libc import EPOLL_EVENT
from gateway.protocol.deadband import MEMORY, RULE
from gateway.protocol.modbus import schedule_rows
from gateway.protocol.modbus.codes import ADU_BYTES_MAX
from gateway.protocol.modbus.points import POINT
from gateway.protocol.modbus.schedule_rows import Schedule
from gateway.protocol.modbus.texts import scratch_bytes

Bytes: TypeAlias = npt.NDArray[np.uint8]
Records: TypeAlias = Any

# words. STOP, OFFSET and COLLECT are the loop's, the descriptors config, the rest the thread's but for rings' ends.
(
    STOP,
    ENGINE_OFFSET_NS,
    EPOLL,
    WAKER,
    BELL,
    LINKS,
    HEARTBEAT_NS,
    WAKES,
    UNTOLD,
    REPORTS_DROPPED,
    FRAME_SIZE,
    SENT_NOW,
    IS_CROWDED,
    COLLECT_NS,
) = range(14)
"""WAKER wakes the thread, BELL the loop; both are eventfds. HEARTBEAT_NS: engine time of the last wake.
SENT_NOW: requests since then. IS_CROWDED: a link has more to ask than may be under way."""
COMMAND_HEAD, COMMAND_TAIL, REPORT_HEAD, REPORT_TAIL, WORDS = 16, 24, 32, 40, 48
"""Rings' indexes, on cache lines of their own."""

# connections
FD, GENERATION, RECEIVED, IS_TOLD_HEARD, HEARD_NS, ASKS_WAITING, CLOSE_REASON, CLOSE_DETAIL = range(8)
# connections, counters
REQUESTS, RESPONSES, REPLY_ERRORS, UNCHANGED, ASKS_IN_ROW, CONNECTION_FIELDS = range(8, 14)

# reads: what a block asks for, and what becomes of the reply
FIRST_POINT, POINTS, REPLY_BYTES, HAS_RULES, HAS_TEXTS, QUALITY, IS_EXCEPTED, READ_FIELDS = range(8)
"""IS_EXCEPTED: the loop said something of its exception, and wants to hear when it is read again."""

# WAITS of a block, beside 0 and 1: its refusal is under review
IN_REVIEW: Final = 2

# commands
ADOPT, CLOSE, ASK, MARK, REFUSED_COMMAND, UNREACHABLE, POSTPONED, SPLIT = range(1, 9)
KIND, LINK, BLOCK, VALUE, TIME_NS, SINCE_NS, ADDRESS, COUNT, HALF_COUNT, COMMAND_FIELDS = range(10)
"""SPLIT: VALUE points stay, COUNT is asked for them; HALF_COUNT from ADDRESS on for the rest."""

# reports
HEARD, CLOSED, DEAD, REFUSED, GARBLED, RECOVERED, ANSWERS, SILENT, SPLIT_DONE, ASK_REPLY, ASK_DEAD, ASK_LOST = range(
    1, 13
)

# why a connection was closed
ASKED_TO, PEER_CLOSED, PEER_LOST, SEND_REFUSED, BAD_PROTOCOL, BAD_LENGTH, STOPPED = range(1, 8)

# asks
ASK_FREE, ASK_WAITS, ASK_SENT = range(3)

REPORT: Final = np.dtype(
    [
        ("kind", "<i4"),
        ("link", "<i4"),
        ("block", "<i4"),
        ("unit", "<i4"),
        ("generation", "<i8"),
        ("time_ns", "<i8"),
        ("sent_ns", "<i8"),
        ("value", "<i8"),
        ("size", "<i8"),
        ("data", "u1", (264,)),
    ],
    align=True,
)
"""`unit` and `block` are rows; `data` holds the frame where there is one."""

ASK_RECORD: Final = np.dtype(
    [
        ("state", "<i8"),
        ("link", "<i8"),
        ("unit", "<i8"),
        ("order", "<i8"),
        ("size", "<i8"),
        ("data", "u1", (264,)),
    ],
    align=True,
)
"""A request outside the schedule: a whole frame, without its transaction id."""

RECEIVE_BYTES: Final = 2_048
FRAME_BYTES: Final = 12
COMMANDS_MAX: Final = 4_096
REPORTS_MAX: Final = 4_096
ASKS_MAX: Final = 256
EVENTS: Final = 256
NEVER: Final = np.iinfo(np.int64).max

assert ADU_BYTES_MAX <= 264


class Memory(NamedTuple):
    words: Int64s
    s: Schedule
    wake: Int64s
    """By link: when it wants its turn, NEVER without a connection."""
    connections: Int64s
    reads: Int64s
    frames: Bytes
    table: Samples
    rules: Samples
    memory: Samples
    lanes: Int64s
    """[link, LANE_WORDS] (`gateway.core.kernels.lanes`)."""
    ring: Samples
    """The samples of all lanes."""
    scratch: Samples
    received: Bytes
    trips: Int64s
    """[link, histogram.SIZE]."""
    lateness: Int64s
    commands: Int64s
    reports: Records
    asks: Records
    events: Records
    bell: Int64s
    timespec: Int64s
    symbols: Int64s
    """`Symbols.words`: for texts."""
    text: Bytes


def allocate(sizes: Sequence[schedule_rows.Size], capacities: Sequence[int], symbols: Int64s) -> Memory:
    """For links of these sizes, with lanes of these capacities in samples; `symbols` is `Symbols.words`."""
    links = max(1, len(sizes))
    s = schedule_rows.allocate(sizes)
    blocks = len(s.due)
    lanes = np.zeros((links, LANE_WORDS), np.int64)
    at = 0
    for row, capacity in zip(lanes, capacities, strict=False):
        row[FIRST], row[CAPACITY] = at, capacity
        at += capacity
    connections = np.zeros((links, CONNECTION_FIELDS), np.int64)
    connections[:, FD] = -1
    return Memory(
        words=np.zeros(WORDS, np.int64),
        s=s,
        wake=np.full(links, NEVER, np.int64),
        connections=connections,
        reads=np.zeros((blocks, READ_FIELDS), np.int64),
        frames=np.zeros((blocks, FRAME_BYTES), np.uint8),
        table=np.zeros(blocks, POINT),
        rules=np.zeros(blocks, RULE),
        memory=np.zeros(blocks, MEMORY),
        lanes=lanes,
        ring=np.zeros(max(1, at), SAMPLE),
        scratch=np.zeros(samples_max(sizes), SAMPLE),
        received=np.zeros((links, RECEIVE_BYTES), np.uint8),
        trips=np.zeros((links, histogram.SIZE), np.int64),
        lateness=np.zeros(histogram.SIZE, np.int64),
        commands=np.zeros((COMMANDS_MAX, COMMAND_FIELDS), np.int64),
        reports=np.zeros(REPORTS_MAX, REPORT),
        asks=np.zeros(ASKS_MAX, ASK_RECORD),
        events=np.zeros(EVENTS, EPOLL_EVENT),
        bell=np.ones(1, np.int64),
        timespec=np.zeros(2, np.int64),
        symbols=symbols,
        text=scratch_bytes(),
    )


def samples_max(sizes: Sequence[schedule_rows.Size]) -> int:
    """The most samples that one reply can make: a block may hold several tags of one register."""
    return max((size.blocks for size in sizes), default=1)
