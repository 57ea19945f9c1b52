"""The control executive: one jitted function that runs all loops in its own thread, without the GIL.

It sleeps to absolute deadlines of CLOCK_MONOTONIC on each loop's own grid, sends, waits with `ppoll` while a reply is
due, reacts, and calls nothing but libc. It takes no lock and allocates nothing. Once in 50 ms at the latest it looks at
its stop flag and moves its heartbeat.

At a stop it writes the declared fail-safe outputs, waits for their acknowledgement (at most `FAREWELL_NS`) and closes
every descriptor it was given, those included that it had not taken yet. A loop without one holds its output; at a
handover, to the executive of another configuration, all do.

A reload fills the memory's other record and has it taken over between two turns (`swap`): no cycle is lost by it.
"""

from __future__ import annotations

from typing import Any, Final

from numba import njit

from gateway.control import clock, modes, outbox, program, swap, tell, transport, verdicts
from gateway.control import layout as at
from gateway.control import loops as react
from gateway.control.layout import Blocks, Memory
from gateway.core.kernels.atomics import load_acquire, store_release
from gateway.core.types import NS_PER_MS
from gateway.native import libc
from gateway.native.jit import inner, whole

SLEEP_MAX_NS: Final = 50 * NS_PER_MS
SPIN_PERIOD_MAX_NS: Final = 5 * NS_PER_MS
SPIN_NS: Final = whole(60_000)
"""Before the deadline of a loop with a short period it wakes so much earlier and spins: a sleep ends some 50 µs late,
which is much of 2 ms and nothing of 20."""
FAREWELL_NS: Final = 500 * NS_PER_MS
FAREWELL_LOOK_NS: Final = whole(5 * NS_PER_MS)


@njit(cache=True, nogil=True, error_model="numpy")
def run(memory: Memory) -> None:
    """Until the stop flag is set: replies first, then deadlines, then what both want sent."""
    place = 0
    b = memory[place]
    if b.words[at.HEARTBEAT] == 0:
        begin(b)
    while load_acquire(b.words, at.STOP) == 0:
        now_ns = clock.now_ns(b)
        if load_acquire(b.words, at.SWAP_BY_NS) != 0 and swap.is_time(b, now_ns):
            place = 1 - place
            swap.take_over(b, memory[place], now_ns)
            b = memory[place]
        turn(b, now_ns)
        if b.words[at.SCRIPT_NS] != 0:
            return
        wait(b)
    farewell(b)
    store_release(b.words, at.STOPPED, 1)


@inner
def begin(b: Blocks) -> None:
    """Every loop's first deadline is one period from now."""
    now_ns = clock.now_ns(b)
    for loop in range(b.words[at.LOOPS]):
        swap.begin_loop(b, loop, now_ns)


@inner
def turn(b: Blocks, now_ns: int) -> None:
    """All that is to be done at one moment."""
    store_release(b.words, at.HEARTBEAT, now_ns)
    b.words[at.WAKES] += 1
    for link in range(b.words[at.LINKS]):
        transport.adopt(b, link)
    serve_links(b, now_ns)
    outbox.take_answers(b, now_ns)
    program.take_feeds(b, now_ns)
    for loop in range(b.words[at.LOOPS]):
        if now_ns >= b.loops[loop, at.DUE_NS]:
            react.begin_cycle(b, loop, now_ns)
    react.serve_pokes(b, now_ns)
    for link in range(b.words[at.LINKS]):
        transport.pump(b, link, now_ns)
    outbox.ask_all(b, now_ns)
    for loop in range(b.words[at.LOOPS]):
        if b.loops[loop, at.DIRTY]:
            tell.publish(b, loop)


@inner
def serve_links(b: Blocks, now_ns: int) -> None:
    """Receive from the links that have something, and give up what is overdue."""
    if libc.poll_for(b.descriptors, b.words[at.LINKS] + 1, b.timespec, react.NONE_NS) > 0:
        for link in range(b.words[at.LINKS]):
            if b.descriptors[link, 1] >> 16 and b.links[link, at.FD] >= 0:
                transport.receive(b, link)
                transport.pump(b, link, clock.now_ns(b))
    for link in range(b.words[at.LINKS]):
        if b.links[link, at.IN_FLIGHT] > 0:
            transport.expire(b, link, now_ns)


@inner
def wait(b: Blocks) -> None:
    """Sleep until the next deadline; while an input or a place to send is awaited, wake on the reply as well."""
    now_ns = clock.now_ns(b)
    until_ns = now_ns + SLEEP_MAX_NS
    spin_ns = react.NONE_NS
    awaited = b.words[at.WAKE_FD] > 0
    for loop in range(b.words[at.LOOPS]):
        if b.loops[loop, at.DUE_NS] < until_ns:
            until_ns = b.loops[loop, at.DUE_NS]
            spin_ns = SPIN_NS if b.loops[loop, at.PERIOD_NS] <= SPIN_PERIOD_MAX_NS else react.NONE_NS
        awaited |= b.loops[loop, at.CYCLE] != at.DONE or b.loops[loop, at.WRITE_WANTED] != at.NOTHING
    for link in range(b.words[at.LINKS]):
        if b.links[link, at.IN_FLIGHT] > 0:
            for slot in range(at.SLOTS):
                if b.slots[link, slot, at.SLOT_KIND] != at.FREE:
                    until_ns = min(until_ns, b.slots[link, slot, at.SLOT_DEADLINE_NS])
        if b.links[link, at.NOT_BEFORE_NS] > now_ns:
            until_ns = min(until_ns, b.links[link, at.NOT_BEFORE_NS])
    if awaited:
        libc.poll_for(b.descriptors, b.words[at.LINKS] + 1, b.timespec, until_ns - clock.now_ns(b))
    else:
        libc.sleep_until(b.timespec, until_ns - spin_ns)
        while clock.now_ns(b) < until_ns and spin_ns > 0:
            pass


@inner
def farewell(b: Blocks) -> None:
    """Leave each device with its declared output, and no descriptor open."""
    now_ns = clock.now_ns(b)
    end_ns = now_ns + FAREWELL_NS
    is_handover = load_acquire(b.words, at.STOP) == at.STOP_FOR_HANDOVER
    for block in range(b.words[at.BLOCKS]):
        b.blocks[block, at.BLOCK_WANTED] = 0
    for loop in range(b.words[at.LOOPS]):
        b.loops[loop, at.WRITE_WANTED] = at.NOTHING
        b.loops[loop, at.INIT_WANTED] = 0
        if b.loops[loop, at.OUTPUT_KNOWN] and b.loops[loop, at.HAS_FAILSAFE] and not is_handover:
            b.reals[loop, at.FAILSAFE_RATE] = 0.0  # there is no time for a ramp
            modes.hold_failsafe(b, loop, now_ns)
        b.loops[loop, at.OUTPUT_KNOWN] = 0  # an input that is still under way must not be followed any more
    while has_writes(b) and now_ns < end_ns:
        for link in range(b.words[at.LINKS]):
            transport.pump(b, link, now_ns)
        outbox.ask_all(b, now_ns)
        libc.poll_for(b.descriptors, b.words[at.LINKS] + 1, b.timespec, min(end_ns - now_ns, FAREWELL_LOOK_NS))
        now_ns = clock.now_ns(b)
        serve_links(b, now_ns)
        outbox.take_answers(b, now_ns)
    for link in range(b.words[at.LINKS]):
        transport.adopt(b, link)
        transport.break_link(b, link, now_ns, verdicts.R_STOPPED)
    for loop in range(b.words[at.LOOPS]):
        tell.publish(b, loop)


@inner
def has_writes(b: Blocks) -> Any:
    """Whether any output is to be sent or not acknowledged yet."""
    for loop in range(b.words[at.LOOPS]):
        if b.loops[loop, at.WRITE_WANTED] != at.NOTHING or b.loops[loop, at.WRITE_OUTSTANDING] > 0:
            return True
    return False
