"""The poll thread: one jitted function that asks and reads all plain Modbus TCP links, without the GIL.

It waits in `epoll_wait` until a socket has something or a link wants its turn; reads each ready socket once; sends what
is due; and calls nothing but libc. A good reply goes from the socket through check, decoding and report by exception
into its link's lane without Python. What is unusual is reported, and the loop's commands say what follows.

Only this thread closes a descriptor that was handed over, and nothing is sent on one that is closed: a number that the
system gives to somebody else is never in `FD`. Sends never block; one that takes less than the whole frame closes the
connection.

A wake costs more than a read, so they are shared: waits are whole milliseconds, and the replies to requests that went
out together are collected together, along with what falls due meanwhile, a tenth of the shortest period later (1 to
5 ms); unless a link has more to ask than may be under way, or somebody waits for an answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from gateway.core.kernels.atomics import load_acquire, store_release
from gateway.core.kernels.histogram import observe
from gateway.core.kernels.lanes import CAPACITY, HEAD, TAIL
from gateway.core.types import NS_PER_MS
from gateway.native import libc
from gateway.protocol.modbus import frames, schedule
from gateway.protocol.modbus import schedule_rows as rows
from gateway.protocol.modbus.kernel import kernel
from gateway.sources.modbus import fast_commands
from gateway.sources.modbus import fast_memory as at
from gateway.sources.modbus.errands import RUN_MAX
from gateway.sources.modbus.fast_memory import Memory
from gateway.sources.modbus.fast_reply import bury, take_frame, word

IDLE_NS = np.int64(50 * NS_PER_MS)
"""The longest wait: the heartbeat moves at least so often."""
SEND_FLAGS = libc.MSG_DONTWAIT | libc.MSG_NOSIGNAL
TOGETHER = 2
"""So many requests in one wake have their replies collected."""
PEER_CLOSED, PEER_LOST, SEND_REFUSED, BAD_PROTOCOL, BAD_LENGTH, STOPPED = (
    np.int64(reason)
    for reason in (at.PEER_CLOSED, at.PEER_LOST, at.SEND_REFUSED, at.BAD_PROTOCOL, at.BAD_LENGTH, at.STOPPED)
)
NOTHING = np.int64(0)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def run(m: Memory) -> None:
    """Until the stop flag is set; then every descriptor is closed."""
    now_ns = clock_ns(m)
    while load_acquire(m.words, at.STOP) == 0:
        fast_commands.obey(m, now_ns)
        until_ns = turns(m, now_ns)
        fast_commands.ring_bell(m)
        ready = wait(m, now_ns, until_ns)
        now_ns = clock_ns(m)
        store_release(m.words, at.HEARTBEAT_NS, now_ns)
        m.words[at.WAKES] += 1
        m.words[at.SENT_NOW] = m.words[at.IS_CROWDED] = 0
        if ready == 0 and now_ns >= until_ns:
            observe(m.lateness, now_ns - until_ns)
        for k in range(ready):
            link = np.int64(m.events[k]["data"])
            if link == m.words[at.LINKS]:
                libc.libc_read(m.words[at.WAKER], m.timespec.ctypes, 8)
            elif m.connections[link, at.FD] >= 0:
                receive(m, link, now_ns)
                if m.connections[link, at.FD] >= 0:
                    turn(m, link, now_ns)
    fast_commands.obey(m, now_ns)
    for each in range(m.words[at.LINKS]):
        fast_commands.close(m, each, STOPPED, NOTHING, now_ns)
    fast_commands.ring_bell(m)


@kernel
def clock_ns(m: Memory) -> Any:
    """Engine time."""
    return libc.monotonic_ns(m.timespec) + load_acquire(m.words, at.ENGINE_OFFSET_NS)


@kernel
def wait(m: Memory, now_ns: int, until_ns: int) -> Any:
    """How many sockets are ready, at `until_ns` at the latest, rounded up to a millisecond."""
    for_ns = until_ns - now_ns
    if m.words[at.SENT_NOW] >= TOGETHER and m.words[at.IS_CROWDED] == 0:
        collected_ns = now_ns + int(m.words[at.COLLECT_NS])
        libc.sleep_until(m.timespec, collected_ns - load_acquire(m.words, at.ENGINE_OFFSET_NS))
        ready = libc.libc_epoll_wait(m.words[at.EPOLL], m.events.ctypes, at.EVENTS, 0)
        if ready > 0 or collected_ns >= until_ns:
            return max(0, ready)
        for_ns = until_ns - collected_ns
    timeout_ms = -(-for_ns // NS_PER_MS) if for_ns > 0 else np.int64(0)
    return max(0, libc.libc_epoll_wait(m.words[at.EPOLL], m.events.ctypes, at.EVENTS, timeout_ms))


@kernel
def turns(m: Memory, now_ns: int) -> Any:
    """Give each link that wants it its turn; returns when the next one does."""
    until_ns = now_ns + IDLE_NS
    for link in range(m.words[at.LINKS]):
        if m.wake[link] <= now_ns:
            turn(m, link, now_ns)
        until_ns = min(until_ns, m.wake[link])
    return until_ns


@kernel
def turn(m: Memory, link: int, now_ns: int) -> None:
    """Give up what is overdue, send what is due."""
    s = m.s
    connection = m.connections[link]
    schedule.lose_patience(s, link, now_ns)
    bury(m, link, now_ns)
    while connection[at.ASKS_WAITING] and schedule.has_room(s, link) and now_ns >= s.links[link, rows.FREE_NS]:
        if connection[at.ASKS_IN_ROW] >= RUN_MAX and s.due[schedule.earliest(s, link)] <= now_ns:
            break
        connection[at.ASKS_IN_ROW] += 1
        m.words[at.IS_CROWDED] = 1
        if not fast_commands.send_ask(m, link, now_ns):
            return
    lane = m.lanes[link]
    is_held_back = 4 * (lane[HEAD] - load_acquire(lane, TAIL)) > 3 * lane[CAPACITY]
    slot = schedule.next_request(s, link, now_ns, is_held_back)
    while slot >= 0:
        connection[at.ASKS_IN_ROW] = 0
        frame = m.frames[s.slots[slot, rows.OF_BLOCK]]
        number = s.slots[slot, rows.ID]
        frame[0] = number >> 8
        frame[1] = number & 255
        if libc.libc_send(connection[at.FD], frame.ctypes, at.FRAME_BYTES, SEND_FLAGS) != at.FRAME_BYTES:
            fast_commands.close(m, link, SEND_REFUSED, NOTHING, now_ns)
            return
        connection[at.REQUESTS] += 1
        m.words[at.SENT_NOW] += 1
        slot = schedule.next_request(s, link, now_ns, is_held_back)
    if not schedule.has_room(s, link) and s.due[schedule.earliest(s, link)] <= now_ns:
        m.words[at.IS_CROWDED] = 1
    m.wake[link] = schedule.wake_ns(s, link, now_ns)
    if connection[at.ASKS_WAITING] and schedule.has_room(s, link):
        m.wake[link] = min(m.wake[link], max(now_ns, s.links[link, rows.FREE_NS]))


@kernel
def receive(m: Memory, link: int, now_ns: int) -> None:
    """Read what is there, at most one buffer full, and deal with every whole frame in it."""
    connection = m.connections[link]
    buffer = m.received[link]
    have = connection[at.RECEIVED]
    room = at.RECEIVE_BYTES - have
    got = libc.libc_recv(connection[at.FD], buffer[have:].ctypes, room, libc.MSG_DONTWAIT)
    if got <= 0:
        fast_commands.close(m, link, PEER_CLOSED if got == 0 else PEER_LOST, NOTHING, now_ns)
        return
    end = have + got
    start = np.int64(0)
    while end - start >= 4:
        if word(buffer, start + 2) != 0:
            fast_commands.close(m, link, BAD_PROTOCOL, word(buffer, start + 2), now_ns)
            return
        if end - start < 6:
            break
        length = word(buffer, start + 4)
        if length < frames.LENGTH_MIN or length > frames.LENGTH_MAX:
            fast_commands.close(m, link, BAD_LENGTH, length, now_ns)
            return
        if end - start < 6 + length:
            break
        take_frame(m, link, start, 6 + length, now_ns)
        start += 6 + length
    if start > 0:
        for i in range(end - start):
            buffer[i] = buffer[start + i]
    connection[at.RECEIVED] = end - start
