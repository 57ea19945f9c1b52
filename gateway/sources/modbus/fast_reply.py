"""What becomes of a reply, in the poll thread: checked against its request, decoded, passed on; or told as unusual.

A reply passes the gates that `gateway.protocol.modbus.frames` has: an id that is under way, then unit, function, size
and byte count of its request. What does not fit fails its request alone and is told once. An exception goes to the
loop, which decides what it means; until then the block is under review and not asked for again.

Samples go straight from the receive buffer into the lane. A lane without room loses the newest, counted, like
`inbox.Lane`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gateway.core.kernels.atomics import load_acquire, store_release
from gateway.core.kernels.histogram import observe
from gateway.core.kernels.lanes import BASE, CAPACITY, DEPTH_MAX, DROPPED, FIRST, HEAD, TAIL
from gateway.core.types import Quality, Samples
from gateway.protocol.modbus import schedule
from gateway.protocol.modbus import schedule_rows as rows
from gateway.protocol.modbus.codes import EXCEPTION_BIT, ModbusException
from gateway.protocol.modbus.decode import decode_block
from gateway.protocol.modbus.kernel import kernel
from gateway.protocol.modbus.report import keep_news
from gateway.protocol.modbus.schedule_breakers import unit_missed
from gateway.protocol.modbus.texts import decode_texts
from gateway.sources.modbus import fast_memory as at
from gateway.sources.modbus.fast_memory import Bytes, Memory

GOOD = np.int64(Quality.GOOD)
COMM_FAILURE = np.int64(Quality.BAD_COMM_FAILURE)
NOTHING = np.int64(0)
PATH_UNAVAILABLE = int(ModbusException.GATEWAY_PATH_UNAVAILABLE)
NO_RESPONSE = int(ModbusException.GATEWAY_TARGET_FAILED_TO_RESPOND)
MATCHES, REFUSED, MISMATCH = range(3)

HEARD, DEAD, REFUSED_REPORT, GARBLED, RECOVERED, ANSWERS = (
    np.int64(kind) for kind in (at.HEARD, at.DEAD, at.REFUSED, at.GARBLED, at.RECOVERED, at.ANSWERS)
)
ASK_REPLY, ASK_DEAD = np.int64(at.ASK_REPLY), np.int64(at.ASK_DEAD)


@kernel
def word(data: Bytes, place: int) -> Any:
    return (np.int64(data[place]) << 8) | np.int64(data[place + 1])


@kernel
def tell(m: Memory, kind: int, link: int, unit: int, block: int, value: int, now_ns: int, sent_ns: int) -> Any:
    """Put a report; its place, or -1 when there was no room: dropped and counted."""
    head = m.words[at.REPORT_HEAD]
    if head - load_acquire(m.words, at.REPORT_TAIL) >= at.REPORTS_MAX:
        m.words[at.REPORTS_DROPPED] += 1
        return np.int64(-1)
    place = head % at.REPORTS_MAX
    report = m.reports[place]
    report["kind"] = kind
    report["link"] = link
    report["unit"] = unit
    report["block"] = block
    report["value"] = value
    report["time_ns"] = now_ns
    report["sent_ns"] = sent_ns
    report["generation"] = m.connections[link, at.GENERATION]
    report["size"] = m.words[at.FRAME_SIZE]
    m.words[at.FRAME_SIZE] = 0
    store_release(m.words, at.REPORT_HEAD, head + 1)
    m.words[at.UNTOLD] = 1
    return place


@kernel
def tell_frame(
    m: Memory, kind: int, link: int, unit: int, block: int, value: int, now_ns: int, sent_ns: int, start: int, size: int
) -> Any:
    """Put a report with the frame at `start` of the link's buffer. Whether there was room."""
    place = m.words[at.REPORT_HEAD] % at.REPORTS_MAX
    if m.words[at.REPORT_HEAD] - load_acquire(m.words, at.REPORT_TAIL) < at.REPORTS_MAX:
        data = m.reports[place]["data"]
        for i in range(size):
            data[i] = m.received[link, start + i]
        m.words[at.FRAME_SIZE] = size
    return tell(m, kind, link, unit, block, value, now_ns, sent_ns) >= 0


@kernel
def take_frame(m: Memory, link: int, start: int, size: int, now_ns: int) -> None:
    """One whole frame of `size` bytes begins at `start` of the link's buffer."""
    s = m.s
    connection = m.connections[link]
    slot = schedule.find(s, link, word(m.received[link], start))
    if slot < 0:
        s.links[link, rows.STRAYS] += 1
        return
    block = s.slots[slot, rows.OF_BLOCK]
    unit = s.slots[slot, rows.OF_UNIT]
    sent_ns = s.slots[slot, rows.SENT_NS]
    schedule.take(s, link, slot, now_ns)
    connection[at.RESPONSES] += 1
    connection[at.HEARD_NS] = now_ns
    observe(m.trips[link], now_ns - sent_ns)
    if connection[at.IS_TOLD_HEARD] == 0:
        connection[at.IS_TOLD_HEARD] = tell(m, HEARD, link, unit, block, NOTHING, now_ns, sent_ns) >= 0
    if block < 0:
        ask_replied(m, link, slot, start, size, now_ns)
    elif not is_present(m, slot):
        answers(m, link, unit, now_ns, sent_ns)
        schedule.answered(s, link, unit, sent_ns, now_ns)
    elif s.blocks[block, rows.WAITS] != at.IN_REVIEW:
        read_replied(m, link, slot, start, size, now_ns)
    schedule.drop(s, link, slot)


@kernel
def is_present(m: Memory, slot: int) -> Any:
    """Whether the block that a transaction asked for has not been cut since."""
    block = m.s.slots[slot, rows.OF_BLOCK]
    return m.s.blocks[block, rows.VERSION] == m.s.slots[slot, rows.OF_VERSION]


@kernel
def ask_replied(m: Memory, link: int, slot: int, start: int, size: int, now_ns: int) -> None:
    s = m.s
    unit = s.slots[slot, rows.OF_UNIT]
    sent_ns = s.slots[slot, rows.SENT_NS]
    code = np.int64(m.received[link, start + 8]) if size == 9 and m.received[link, start + 7] >= EXCEPTION_BIT else 0
    if code in (PATH_UNAVAILABLE, NO_RESPONSE):
        unit_missed(s, unit, sent_ns, now_ns)
    else:
        schedule.answered(s, link, unit, sent_ns, now_ns)
        answers(m, link, unit, now_ns, sent_ns)
    tell_frame(m, ASK_REPLY, link, unit, schedule.NOBODY, s.slots[slot, rows.OF_VERSION], now_ns, sent_ns, start, size)


@kernel
def read_replied(m: Memory, link: int, slot: int, start: int, size: int, now_ns: int) -> None:
    s = m.s
    block = s.slots[slot, rows.OF_BLOCK]
    unit = s.slots[slot, rows.OF_UNIT]
    sent_ns = s.slots[slot, rows.SENT_NS]
    verdict = check_read(m, block, m.received[link], start, size)
    if verdict == MATCHES:
        answers(m, link, unit, now_ns, sent_ns)
        if schedule.read(s, link, slot, now_ns):
            pass_on(m, link, block, start + 9, now_ns)
            read = m.reads[block]
            if read[at.QUALITY] != GOOD or s.units[unit, rows.IS_BABBLING] or read[at.IS_EXCEPTED]:
                read[at.QUALITY] = GOOD
                read[at.IS_EXCEPTED] = 0
                s.units[unit, rows.IS_BABBLING] = 0
                tell(m, RECOVERED, link, unit, block, NOTHING, now_ns, sent_ns)
    elif verdict == REFUSED:
        code = np.int64(m.received[link, start + 8])
        if tell(m, REFUSED_REPORT, link, unit, block, code, now_ns, sent_ns) >= 0:
            s.blocks[block, rows.WAITS] = at.IN_REVIEW
        else:
            schedule.refused(s, link, unit, block, sent_ns, now_ns)
    else:
        m.connections[link, at.REPLY_ERRORS] += 1
        answers(m, link, unit, now_ns, sent_ns)
        schedule.refused(s, link, unit, block, sent_ns, now_ns)
        mark(m, link, block, COMM_FAILURE, now_ns)
        if s.units[unit, rows.IS_BABBLING] == 0:
            s.units[unit, rows.IS_BABBLING] = tell_frame(
                m, GARBLED, link, unit, block, NOTHING, now_ns, sent_ns, start, size
            )


@kernel
def check_read(m: Memory, block: int, data: Bytes, start: int, size: int) -> Any:
    """Whether the whole frame at `start` answers the block's request, transaction ids aside."""
    request = m.frames[block]
    if data[start + 6] != request[6]:
        return MISMATCH
    if data[start + 7] != request[7]:
        return REFUSED if data[start + 7] == np.int64(request[7]) | EXCEPTION_BIT and size == 9 else MISMATCH
    expected = m.reads[block, at.REPLY_BYTES]
    return MATCHES if size == 9 + expected and np.int64(data[start + 8]) == expected else MISMATCH


@kernel
def answers(m: Memory, link: int, unit: int, now_ns: int, sent_ns: int) -> None:
    if m.s.units[unit, rows.IS_SILENT]:
        told = tell(m, ANSWERS, link, unit, schedule.NOBODY, NOTHING, now_ns, sent_ns) >= 0
        m.s.units[unit, rows.IS_SILENT] = not told  # without room for it, at the next reply


@kernel
def pass_on(m: Memory, link: int, block: int, start: int, now_ns: int) -> None:
    """Decode the reply data at `start` into the lane, without what is no news."""
    read = m.reads[block]
    first = read[at.FIRST_POINT]
    count = read[at.POINTS]
    lane = m.lanes[link]
    head = lane[HEAD]
    capacity = lane[CAPACITY]
    room = capacity - (head - load_acquire(lane, TAIL))
    if room == capacity:
        lane[BASE] = head
    place = (head - lane[BASE]) % capacity
    if read[at.HAS_RULES] == 0 and count <= room and place + count <= capacity:
        base = lane[FIRST] + place
        decode(m, link, block, m.ring[base : base + count], start, now_ns)
        store_release(lane, HEAD, head + count)
        lane[DEPTH_MAX] = max(lane[DEPTH_MAX], capacity - room + count)
        return
    out = m.scratch[:count]
    decode(m, link, block, out, start, now_ns)
    news = count
    if read[at.HAS_RULES]:
        news = np.int64(keep_news(out, m.rules[first : first + count], m.memory[first : first + count]))
        m.connections[link, at.UNCHANGED] += count - news
    if put(m, link, out, news) < news:
        forget(m, block)  # what did not fit was not passed on


@kernel
def decode(m: Memory, link: int, block: int, out: Samples, start: int, now_ns: int) -> None:
    first = m.reads[block, at.FIRST_POINT]
    table = m.table[first : first + m.reads[block, at.POINTS]]
    decode_block(out, table, m.received[link], start, now_ns)
    if m.reads[block, at.HAS_TEXTS]:
        decode_texts(out, table, m.received[link], start, m.symbols, m.text)


@kernel
def put(m: Memory, link: int, samples: Samples, count: int) -> Any:
    """Append the first `count` samples to the lane; returns how many fitted."""
    lane = m.lanes[link]
    head = lane[HEAD]
    capacity = lane[CAPACITY]
    depth = head - load_acquire(lane, TAIL)
    if depth == 0:
        lane[BASE] = head
    fits = min(count, capacity - depth)
    for i in range(fits):
        sample = m.ring[lane[FIRST] + (head - lane[BASE] + i) % capacity]
        sample["row"] = samples[i]["row"]
        sample["quality"] = samples[i]["quality"]
        sample["source_ns"] = samples[i]["source_ns"]
        sample["arrival_ns"] = samples[i]["arrival_ns"]
        sample["bits"] = samples[i]["bits"]
    store_release(lane, HEAD, head + fits)
    lane[DROPPED] += count - fits
    lane[DEPTH_MAX] = max(lane[DEPTH_MAX], depth + fits)
    return fits


@kernel
def forget(m: Memory, block: int) -> None:
    """The next good reading of each tag is news."""
    first = m.reads[block, at.FIRST_POINT]
    for i in range(first, first + m.reads[block, at.POINTS]):
        m.memory[i]["is_known"] = 0


@kernel
def mark(m: Memory, link: int, block: int, quality: int, now_ns: int) -> None:
    """Tell once that a block's rows are bad; again at the next failure if the lane has no room."""
    if m.reads[block, at.QUALITY] == quality:
        return
    first = m.reads[block, at.FIRST_POINT]
    count = m.reads[block, at.POINTS]
    for i in range(count):
        sample = m.scratch[i]
        sample["row"] = m.table[first + i]["row"]
        sample["quality"] = quality
        sample["source_ns"] = now_ns
        sample["arrival_ns"] = now_ns
        sample["bits"] = 0
    forget(m, block)
    if put(m, link, m.scratch, count) == count:
        m.reads[block, at.QUALITY] = quality


@kernel
def mark_unit(m: Memory, link: int, unit: int, quality: int, since_ns: int, now_ns: int) -> None:
    """Mark all blocks of a unit, those excepted that were read with a request sent at `since_ns` or later."""
    first = m.s.links[link, rows.FIRST_BLOCK]
    for block in range(first, first + m.s.links[link, rows.BLOCKS]):
        if m.s.blocks[block, rows.UNIT] == unit and m.s.blocks[block, rows.GOOD_NS] < since_ns:
            mark(m, link, np.int64(block), quality, now_ns)


@kernel
def bury(m: Memory, link: int, now_ns: int) -> None:
    """Requests that were not answered in time: their rows are bad, and the loop hears of it."""
    s = m.s
    while schedule.is_dead(s, link, now_ns):
        slot = s.links[link, rows.FIRST_SLOT]
        block = s.slots[slot, rows.OF_BLOCK]
        unit = s.slots[slot, rows.OF_UNIT]
        sent_ns = s.slots[slot, rows.SENT_NS]
        s.links[link, rows.TIMEOUTS] += 1
        is_silent = schedule.is_found_silent(s, slot)
        if block < 0:
            tell(m, ASK_DEAD, link, unit, block, s.slots[slot, rows.OF_VERSION], now_ns, sent_ns)
        elif is_present(m, slot) and s.blocks[block, rows.GOOD_NS] < sent_ns:
            mark(m, link, block, COMM_FAILURE, now_ns)
        if is_silent:
            mark_unit(m, link, unit, COMM_FAILURE, sent_ns, now_ns)
            s.units[unit, rows.IS_SILENT] = 1
        tell(m, DEAD, link, unit, block, np.int64(is_silent), now_ns, sent_ns)
        schedule.drop(s, link, slot)
