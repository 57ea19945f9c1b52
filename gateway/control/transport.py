"""The executive's side of its Modbus TCP links: adopt, send, receive, give up.

At most `requests_in_flight` transactions of a link are outstanding; each holds a slot with its transaction id until it
is answered or `response_timeout` is over. A reply whose id no slot holds is late or strange: it is counted and never
looked at. A link that fails three times in a row (no reply, or one that does not match) or whose bytes are not Modbus
is closed, so that whatever was under way on it dies with the connection.

What is sent first: urgent writes (fail-safe), which may exceed `requests_in_flight`, then writes, then reads of
outputs, then reads of inputs; within each, earlier loops of the configuration first. Sends never block; a send that
takes less than the whole frame breaks the link.

Only this module closes a control descriptor, and it does so before it tells Python (`CLOSED_GENERATION`): a descriptor
number that the system gives to somebody else is never in `FD`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gateway.control import clock, frames, modes, verdicts
from gateway.control import layout as at
from gateway.control import loops as react
from gateway.control.layout import Blocks
from gateway.core.kernels.atomics import load_acquire, store_release
from gateway.native import libc
from gateway.native.jit import inner

FAULTS_IN_ROW_MAX: Final = 3
POLL_EVENTS: Final = libc.POLLIN | libc.POLLRDHUP
SEND_FLAGS: Final = libc.MSG_DONTWAIT | libc.MSG_NOSIGNAL


@inner
def adopt(b: Blocks, link: int) -> None:
    """Take a descriptor that Python offers, if this link has none."""
    state = b.links[link]
    base = link * at.LINK_WORDS
    generation = load_acquire(b.link_words, base + at.OFFER_GENERATION)
    if state[at.FD] >= 0 or generation == state[at.GENERATION]:
        return
    state[at.GENERATION] = generation
    state[at.FD] = b.link_words[base + at.OFFER_FD]
    state[at.IN_FLIGHT] = 0
    state[at.NOT_BEFORE_NS] = 0
    state[at.RECEIVED] = 0
    state[at.FAULTS_IN_ROW] = 0
    b.descriptors[link, 0] = state[at.FD]
    b.descriptors[link, 1] = POLL_EVENTS
    for loop in range(b.words[at.LOOPS]):
        if b.loops[loop, at.OUT_LINK] == link:
            b.loops[loop, at.INIT_WANTED] = 1
    store_release(b.link_words, base + at.TAKEN_GENERATION, generation)


@inner
def break_link(b: Blocks, link: int, now_ns: int, reason: int) -> None:
    """Close the descriptor, fail what was under way, tell Python: in this order."""
    state = b.links[link]
    if state[at.FD] < 0:
        return
    libc.libc_close(state[at.FD])
    state[at.FD] = -1
    state[at.IN_FLIGHT] = 0
    state[at.RECEIVED] = 0
    b.descriptors[link, 0] = -1
    for slot in range(at.SLOTS):
        b.slots[link, slot, at.SLOT_KIND] = at.FREE
    for block in range(b.words[at.BLOCKS]):
        if b.blocks[block, at.BLOCK_LINK] == link:
            b.blocks[block, at.BLOCK_WANTED] = 0
            b.blocks[block, at.BLOCK_OUTSTANDING] = 0
            block_failed(b, block, now_ns, verdicts.NOT_CONNECTED, verdicts.R_NOT_CONNECTED)
    for loop in range(b.words[at.LOOPS]):
        if b.loops[loop, at.OUT_LINK] == link:
            react.output_lost(b, loop, now_ns)
    base = link * at.LINK_WORDS
    b.link_words[base + at.CLOSED_REASON] = reason
    store_release(b.link_words, base + at.CLOSED_GENERATION, state[at.GENERATION])


@inner
def block_failed(b: Blocks, block: int, now_ns: int, quality: int, reason: int) -> None:
    for loop in range(b.words[at.LOOPS]):
        if b.loops[loop, at.BLOCK] == block and b.loops[loop, at.SOURCE] < 0:
            modes.input_failed(b, loop, now_ns, quality, reason)
            if reason == verdicts.R_EXCEPTION:
                modes.fail_safe(b, loop, reason, now_ns)


@inner
def pump(b: Blocks, link: int, now_ns: int) -> None:
    """Send what is wanted, as far as the link may take it now."""
    state = b.links[link]
    if state[at.FD] < 0:
        return
    limit = state[at.IN_FLIGHT_MAX]
    for loop in range(b.words[at.LOOPS]):
        if b.loops[loop, at.OUT_LINK] == link and b.loops[loop, at.WRITE_WANTED] == at.URGENT:
            send_write(b, link, loop, now_ns)
    for loop in range(b.words[at.LOOPS]):
        if state[at.IN_FLIGHT] >= limit or now_ns < state[at.NOT_BEFORE_NS]:
            return
        wanted = b.loops[loop, at.WRITE_WANTED] == at.ORDINARY and b.loops[loop, at.WRITE_OUTSTANDING] == 0
        if b.loops[loop, at.OUT_LINK] == link and wanted:
            send_write(b, link, loop, now_ns)
    for loop in range(b.words[at.LOOPS]):
        if state[at.IN_FLIGHT] >= limit or now_ns < state[at.NOT_BEFORE_NS]:
            return
        wanted = b.loops[loop, at.INIT_WANTED] == 1 and b.loops[loop, at.INIT_OUTSTANDING] == 0
        if b.loops[loop, at.OUT_LINK] == link and wanted:
            b.loops[loop, at.INIT_WANTED] = 0
            b.loops[loop, at.INIT_OUTSTANDING] = 1
            send(b, link, b.init_frames[loop], at.READ_OUTPUT, loop, now_ns)
    for block in range(b.words[at.BLOCKS]):
        if state[at.IN_FLIGHT] >= limit or now_ns < state[at.NOT_BEFORE_NS]:
            return
        if b.blocks[block, at.BLOCK_LINK] == link and b.blocks[block, at.BLOCK_WANTED] == 1:
            b.blocks[block, at.BLOCK_WANTED] = 0
            b.blocks[block, at.BLOCK_OUTSTANDING] = 1
            send(b, link, b.read_frames[block], at.READ_BLOCK, block, now_ns)


@inner
def send_write(b: Blocks, link: int, loop: int, now_ns: int) -> None:
    frame = b.write_frames[loop]
    start = 10 if frame[7] == frames.WRITE_SINGLE else 13
    frames.store_bits(
        frame, start, b.loops[loop, at.OUT_REGISTERS], b.loops[loop, at.OUT_ORDER], b.loops[loop, at.RAW_NEXT]
    )
    if send(b, link, frame, at.WRITE_OUTPUT, loop, now_ns):
        react.write_sent(b, loop, clock.now_ns(b))


@inner
def send(b: Blocks, link: int, frame: at.Bytes, kind: int, index: int, now_ns: int) -> bool:
    """Send one request and hold a slot for its reply. False when it did not go out."""
    state = b.links[link]
    chosen = -1
    for slot in range(at.SLOTS):
        if b.slots[link, slot, at.SLOT_KIND] == at.FREE:
            chosen = slot
            break
    if state[at.FD] < 0 or chosen < 0:
        return False
    transaction = (state[at.TRANSACTION] + 1) & 0xFFFF
    state[at.TRANSACTION] = transaction
    frame[0] = transaction >> 8
    frame[1] = transaction & 0xFF
    size = 6 + frames.word(frame, frames.LENGTH_AT)
    sent = libc.libc_send(state[at.FD], frame.ctypes, size, SEND_FLAGS)
    if sent != size:
        break_link(b, link, now_ns, verdicts.R_SEND_REFUSED)
        return False
    slot_state = b.slots[link, chosen]
    slot_state[at.SLOT_KIND] = kind
    slot_state[at.SLOT_INDEX] = index
    slot_state[at.SLOT_TRANSACTION] = transaction
    slot_state[at.SLOT_DEADLINE_NS] = now_ns + state[at.RESPONSE_TIMEOUT_NS]
    slot_state[at.SLOT_SENT] = b.loops[index, at.RAW_NEXT] if kind == at.WRITE_OUTPUT else 0
    state[at.IN_FLIGHT] += 1
    state[at.NOT_BEFORE_NS] = now_ns + state[at.REQUEST_GAP_NS]
    state[at.SENT] += 1
    return True


@inner
def receive(b: Blocks, link: int) -> None:
    """Read what is there, at most one buffer full, and react to every whole frame in it."""
    state = b.links[link]
    buffer = b.received[link]
    have = state[at.RECEIVED]
    got = libc.libc_recv(state[at.FD], buffer[have:].ctypes, at.RECEIVE_BYTES - have, libc.MSG_DONTWAIT)
    now_ns = clock.now_ns(b)
    if got <= 0:
        break_link(b, link, now_ns, verdicts.R_PEER_CLOSED)
        return
    end = have + got
    start = np.int64(0)
    size = frames.frame_bytes(buffer, start, end)
    while size > 0:
        take_frame(b, link, start, now_ns)
        if state[at.FD] < 0:
            return
        start += size
        size = frames.frame_bytes(buffer, start, end)
    if size == frames.NOT_MODBUS:
        state[at.BAD_FRAMES] += 1
        break_link(b, link, now_ns, verdicts.R_BAD_FRAME)
        return
    for i in range(end - start):
        buffer[i] = buffer[start + i]
    state[at.RECEIVED] = end - start


@inner
def take_frame(b: Blocks, link: int, start: int, now_ns: int) -> None:
    """One whole frame begins at `start` of the link's buffer."""
    state = b.links[link]
    buffer = b.received[link]
    transaction = frames.word(buffer, start)
    for slot in range(at.SLOTS):
        held = b.slots[link, slot]
        if held[at.SLOT_KIND] == at.FREE or held[at.SLOT_TRANSACTION] != transaction:
            continue
        kind = held[at.SLOT_KIND]
        index = held[at.SLOT_INDEX]
        sent_bits = held[at.SLOT_SENT]
        held[at.SLOT_KIND] = at.FREE
        state[at.IN_FLIGHT] -= 1
        if kind == at.READ_BLOCK:
            verdict = frames.check_read(buffer, start, b.read_frames[index])
        elif kind == at.READ_OUTPUT:
            verdict = frames.check_read(buffer, start, b.init_frames[index])
        else:
            verdict = frames.check_write(buffer, start, b.write_frames[index], b.loops[index, at.OUT_ORDER], sent_bits)
        if verdict == frames.MISMATCH:
            state[at.BAD_FRAMES] += 1
            transaction_failed(b, link, kind, index, now_ns, verdicts.COMM_FAILURE, verdicts.R_BAD_FRAME)
            return
        state[at.FAULTS_IN_ROW] = 0
        state[at.ANSWERED] += 1
        store_release(b.link_words, link * at.LINK_WORDS + at.REPLIES, state[at.ANSWERED])
        if verdict == frames.REFUSED:
            state[at.EXCEPTIONS] += 1
            release(b, kind, index)
            give_up(b, kind, index, now_ns, verdicts.DEVICE_FAILURE, verdicts.R_EXCEPTION)
        else:
            answered(b, kind, index, buffer, start + 9, now_ns, sent_bits)
        return
    state[at.STRAYS] += 1


@inner
def answered(b: Blocks, kind: int, index: int, buffer: at.Bytes, data: int, now_ns: int, sent_bits: int) -> None:
    release(b, kind, index)
    if kind == at.READ_BLOCK:
        for loop in range(b.words[at.LOOPS]):
            if b.loops[loop, at.BLOCK] == index and b.loops[loop, at.SOURCE] < 0:
                react.input_arrived(b, loop, buffer, data, now_ns)
    elif kind == at.READ_OUTPUT:
        react.output_known(b, index, buffer, data, now_ns)
    else:
        react.write_done(b, index, now_ns, sent_bits)


@inner
def release(b: Blocks, kind: int, index: int) -> None:
    """The transaction is over, one way or the other."""
    if kind == at.READ_BLOCK:
        b.blocks[index, at.BLOCK_OUTSTANDING] = 0
    elif kind == at.READ_OUTPUT:
        b.loops[index, at.INIT_OUTSTANDING] = 0
    else:
        b.loops[index, at.WRITE_OUTSTANDING] -= 1


@inner
def give_up(b: Blocks, kind: int, index: int, now_ns: int, quality: int, reason: int) -> None:
    if kind == at.READ_BLOCK:
        block_failed(b, index, now_ns, quality, reason)
    else:
        react.write_failed(b, index, now_ns, quality, reason)


@inner
def transaction_failed(b: Blocks, link: int, kind: int, index: int, now_ns: int, quality: int, reason: int) -> None:
    """No reply, or one that does not match; the third in a row closes the link."""
    release(b, kind, index)
    give_up(b, kind, index, now_ns, quality, reason)
    b.links[link, at.FAULTS_IN_ROW] += 1
    if b.links[link, at.FAULTS_IN_ROW] >= FAULTS_IN_ROW_MAX:
        break_link(b, link, now_ns, reason)


@inner
def expire(b: Blocks, link: int, now_ns: int) -> None:
    """Give up what is past its response timeout. A reply that comes after all finds no slot."""
    for slot in range(at.SLOTS):
        held = b.slots[link, slot]
        if held[at.SLOT_KIND] != at.FREE and now_ns >= held[at.SLOT_DEADLINE_NS]:
            kind = held[at.SLOT_KIND]
            held[at.SLOT_KIND] = at.FREE
            b.links[link, at.IN_FLIGHT] -= 1
            b.links[link, at.TIMEOUTS] += 1
            transaction_failed(b, link, kind, held[at.SLOT_INDEX], now_ns, verdicts.COMM_FAILURE, verdicts.R_NO_REPLY)
