"""The poll thread's dealings with the loop: commands, descriptors adopted and closed, requests sent for others."""

from __future__ import annotations

from typing import Any

import numpy as np

from gateway.core.kernels.atomics import load_acquire, store_release
from gateway.core.types import Quality
from gateway.native import libc
from gateway.protocol.modbus import schedule
from gateway.protocol.modbus import schedule_rows as rows
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.kernel import kernel
from gateway.protocol.modbus.schedule_breakers import is_open, unit_missed
from gateway.sources.modbus import fast_memory as at
from gateway.sources.modbus.fast_memory import Memory
from gateway.sources.modbus.fast_reply import answers, mark, mark_unit, tell, word

COMM_FAILURE = np.int64(Quality.BAD_COMM_FAILURE)
NOTHING = np.int64(0)
SEND_FLAGS = libc.MSG_DONTWAIT | libc.MSG_NOSIGNAL
CLOSED, SILENT, SPLIT_DONE, ASK_LOST = (np.int64(kind) for kind in (at.CLOSED, at.SILENT, at.SPLIT_DONE, at.ASK_LOST))
ADDRESS_AT = np.int64(8)
BIT_READS_MAX = int(Function.READ_DISCRETE_INPUTS)
SEND_REFUSED = np.int64(at.SEND_REFUSED)
ASKED_TO = np.int64(at.ASKED_TO)


@kernel
def obey(m: Memory, now_ns: int) -> None:
    """Carry out all commands that have come."""
    tail = m.words[at.COMMAND_TAIL]
    head = load_acquire(m.words, at.COMMAND_HEAD)
    while tail < head:
        command = m.commands[tail % at.COMMANDS_MAX]
        obey_one(m, command, command[at.LINK], now_ns)
        tail += 1
        store_release(m.words, at.COMMAND_TAIL, tail)


@kernel
def obey_one(m: Memory, command: Any, link: int, now_ns: int) -> None:
    kind = command[at.KIND]
    block = command[at.BLOCK]
    connection = m.connections[link]
    if kind == at.ADOPT:
        adopt(m, link, command[at.VALUE], command[at.TIME_NS], now_ns)
    elif kind == at.CLOSE:
        if connection[at.GENERATION] == command[at.VALUE]:
            close(m, link, ASKED_TO, NOTHING, now_ns)
    elif kind == at.ASK:
        if connection[at.FD] < 0:
            lose_ask(m, link, command[at.VALUE], now_ns)
        else:
            connection[at.ASKS_WAITING] += 1
    elif kind == at.MARK:
        mark(m, link, block, command[at.VALUE], now_ns)
    elif connection[at.FD] >= 0 and m.s.blocks[block, rows.WAITS] == at.IN_REVIEW:
        judge(m, link, block, command, now_ns)
    if m.connections[link, at.FD] >= 0:
        m.wake[link] = now_ns


@kernel
def judge(m: Memory, link: int, block: int, command: Any, now_ns: int) -> None:
    """The loop's verdict on an exception that came at `TIME_NS` and had been asked for at `SINCE_NS`."""
    s = m.s
    kind = command[at.KIND]
    unit = s.blocks[block, rows.UNIT]
    sent_ns = command[at.SINCE_NS]
    came_ns = command[at.TIME_NS]
    s.blocks[block, rows.WAITS] = 0
    if kind == at.UNREACHABLE:
        unit_missed(s, unit, sent_ns, came_ns)
        mark(m, link, block, COMM_FAILURE, now_ns)
        if is_open(s, unit) and s.units[unit, rows.ANSWERED_NS] < sent_ns:
            mark_unit(m, link, unit, COMM_FAILURE, sent_ns, now_ns)
            s.units[unit, rows.IS_SILENT] = 1
            tell(m, SILENT, link, unit, block, command[at.VALUE], now_ns, sent_ns)
        return
    answers(m, link, unit, now_ns, sent_ns)
    m.reads[block, at.IS_EXCEPTED] = kind != at.SPLIT
    if kind == at.POSTPONED:
        schedule.postponed(s, link, unit, block, sent_ns, came_ns)
        return
    schedule.refused(s, link, unit, block, sent_ns, came_ns)
    if kind == at.SPLIT:
        cut(m, link, block, command, now_ns)
    else:
        mark(m, link, block, command[at.VALUE], now_ns)


@kernel
def cut(m: Memory, link: int, block: int, command: Any, now_ns: int) -> None:
    """Two reads in place of one: the second takes the row after the link's last."""
    s = m.s
    half = s.links[link, rows.FIRST_BLOCK] + s.links[link, rows.BLOCKS]
    points = command[at.VALUE]
    for field in range(rows.BLOCK_FIELDS):
        s.blocks[half, field] = s.blocks[block, field]
    for field in range(at.READ_FIELDS):
        m.reads[half, field] = m.reads[block, field]
    for i in range(at.FRAME_BYTES):
        m.frames[half, i] = m.frames[block, i]
    m.reads[half, at.FIRST_POINT] += points
    m.reads[half, at.POINTS] -= points
    m.reads[block, at.POINTS] = points
    shift = command[at.ADDRESS] - word(m.frames[block], ADDRESS_AT)
    first = m.reads[half, at.FIRST_POINT]
    for i in range(first, first + m.reads[half, at.POINTS]):
        m.table[i]["at"] -= shift
    s.blocks[half, rows.SEED] = command[at.ADDRESS]
    ask_for(m, block, word(m.frames[block], ADDRESS_AT), command[at.COUNT])
    ask_for(m, half, command[at.ADDRESS], command[at.HALF_COUNT])
    schedule.split(s, link, block, half, now_ns)
    tell(m, SPLIT_DONE, link, s.blocks[block, rows.UNIT], block, half, now_ns, now_ns)


@kernel
def ask_for(m: Memory, block: int, address: int, count: int) -> None:
    """Write address and count into a block's request."""
    frame = m.frames[block]
    frame[8] = address >> 8
    frame[9] = address & 255
    frame[10] = count >> 8
    frame[11] = count & 255
    m.reads[block, at.REPLY_BYTES] = (count + 7) // 8 if frame[7] <= BIT_READS_MAX else 2 * count


@kernel
def adopt(m: Memory, link: int, fd: int, generation: int, now_ns: int) -> None:
    """A new connection, from now on this thread's."""
    connection = m.connections[link]
    connection[at.FD] = fd
    connection[at.GENERATION] = generation
    connection[at.RECEIVED] = 0
    connection[at.IS_TOLD_HEARD] = 0
    connection[at.HEARD_NS] = now_ns
    m.events[0]["events"] = libc.EPOLL_IN
    m.events[0]["data"] = link
    libc.libc_epoll_ctl(m.words[at.EPOLL], libc.EPOLL_CTL_ADD, fd, m.events.ctypes)
    schedule.begin(m.s, link, now_ns)


@kernel
def close(m: Memory, link: int, reason: int, detail: int, now_ns: int) -> None:
    """Close the connection, if there is one; then nothing is sent on it any more, and the loop is told."""
    connection = m.connections[link]
    if connection[at.FD] < 0:
        return
    libc.libc_close(connection[at.FD])
    connection[at.FD] = -1
    m.wake[link] = at.NEVER
    m.s.links[link, rows.OUTSTANDING] = 0
    m.s.links[link, rows.HOLDING] = 0
    connection[at.ASKS_WAITING] = 0
    connection[at.CLOSE_REASON] = reason
    connection[at.CLOSE_DETAIL] = detail
    for ask in range(at.ASKS_MAX):
        if m.asks[ask]["state"] != at.ASK_FREE and m.asks[ask]["link"] == link:
            lose_ask(m, link, np.int64(ask), now_ns)
    tell(m, CLOSED, link, NOTHING, schedule.NOBODY, connection[at.GENERATION], now_ns, now_ns)


@kernel
def lose_ask(m: Memory, link: int, ask: int, now_ns: int) -> None:
    tell(m, ASK_LOST, link, NOTHING, schedule.NOBODY, ask, now_ns, now_ns)


@kernel
def send_ask(m: Memory, link: int, now_ns: int) -> Any:
    """Send the request that has waited longest. False when the connection was closed by it."""
    chosen = schedule.NOBODY
    for ask in range(at.ASKS_MAX):
        one = m.asks[ask]
        if one["state"] != at.ASK_WAITS or one["link"] != link:
            continue
        if chosen < 0 or one["order"] < m.asks[chosen]["order"]:
            chosen = np.int64(ask)
    connection = m.connections[link]
    connection[at.ASKS_WAITING] -= 1
    if chosen < 0:
        return True
    one = m.asks[chosen]
    one["state"] = at.ASK_SENT
    s = m.s
    if one["unit"] == s.links[link, rows.FIRST_UNIT] + s.links[link, rows.UNITS]:
        s.units[one["unit"], rows.UNIT_FAILURES] = 0  # the guest of today is not that of yesterday
    slot = schedule.sent(m.s, link, one["unit"], np.int64(rows.NOT_A_BLOCK), now_ns)
    m.s.slots[slot, rows.OF_VERSION] = chosen
    number = m.s.slots[slot, rows.ID]
    data = one["data"]
    data[0] = number >> 8
    data[1] = number & 255
    size = one["size"]
    if libc.libc_send(connection[at.FD], data.ctypes, size, SEND_FLAGS) != size:
        close(m, link, SEND_REFUSED, NOTHING, now_ns)
        return False
    connection[at.REQUESTS] += 1
    return True


@kernel
def ring_bell(m: Memory) -> None:
    """Wake the loop once for all reports of this turn."""
    if m.words[at.UNTOLD]:
        m.words[at.UNTOLD] = 0
        libc.libc_write(m.words[at.BELL], m.bell.ctypes, 8)
