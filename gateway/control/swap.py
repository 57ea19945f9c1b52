"""A reload without a lost cycle: one record of memory takes the other's place between two turns.

Python fills the record that is not in use, says what goes on in it (`carried_loops`, `carried_links`) and sets
`SWAP_BY_NS`. The executive swaps at the first moment with nothing under way on any link; once that time is over,
whatever is under way: a reply that comes after all is then a stray, and what was written counts as unknown.

A carried loop keeps its deadlines, its modes and what it knows of its output. With other parameters its controller
starts anew from the present output (`pid.track`), with another input it is initialised from the output it holds:
either way nothing moves by the reload itself. A carried link keeps its connection. Links that are not carried are
closed; loops that are not carried leave their outputs as they are.
"""

from __future__ import annotations

from gateway.control import layout as at
from gateway.control import pid, tell, transport, verdicts
from gateway.control.layout import Blocks
from gateway.core.kernels.atomics import store_release
from gateway.core.limits import BLOCKS_MAX
from gateway.native.jit import inner


@inner
def is_time(b: Blocks, now_ns: int) -> bool:
    """Whether nothing is under way, or the other record has waited long enough."""
    if now_ns >= b.words[at.SWAP_BY_NS]:
        return True
    for link in range(b.words[at.LINKS]):
        if b.links[link, at.IN_FLIGHT] > 0:
            return False
    for loop in range(b.words[at.LOOPS]):
        if b.loops[loop, at.CYCLE] != at.DONE or b.loops[loop, at.WRITE_WANTED] != at.NOTHING:
            return False
        if b.loops[loop, at.ASKED] != at.FREE:
            return False
    return True


@inner
def begin_loop(b: Blocks, loop: int, now_ns: int) -> None:
    """A loop that has no past: its first deadline is one period from now, and no input was missed yet."""
    b.loops[loop, at.DUE_NS] = now_ns + b.loops[loop, at.PERIOD_NS]
    b.loops[loop, at.INPUT_NS] = now_ns
    b.loops[loop, at.COMMANDED_NS] = now_ns


@inner
def take_over(old: Blocks, new: Blocks, now_ns: int) -> None:
    """Have `new` go on where `old` stands, and release `old`."""
    new.words[at.HEARTBEAT] = old.words[at.HEARTBEAT]
    new.words[at.WAKES] = old.words[at.WAKES]
    for link in range(new.words[at.LINKS]):
        if new.carried_links[link] > 0:
            carry_link(old, new, new.carried_links[link] - 1, link)
    new.words[at.FED_NS] = old.words[at.FED_NS]
    for feed in range(new.words[at.FEEDS]):
        if new.carried_feeds[feed] > 0:
            carry_feed(old, new, new.carried_feeds[feed] - 1, feed)
    for block in range(BLOCKS_MAX):
        if new.carried_blocks[block] > 0:
            carry_block(old, new, new.carried_blocks[block] - 1, block)
    for loop in range(new.words[at.LOOPS]):
        if new.carried_loops[loop, at.CARRIED_LOOP] > 0:
            carry_loop(old, new, new.carried_loops[loop, at.CARRIED_LOOP] - 1, loop, now_ns)
        else:
            begin_loop(new, loop, now_ns)
        tell.publish(new, loop)
    for link in range(old.words[at.LINKS]):
        transport.adopt(old, link)
        transport.break_link(old, link, now_ns, verdicts.R_STOPPED)
    store_release(old.words, at.SWAP_BY_NS, 0)


@inner
def carry_link(old: Blocks, new: Blocks, a: int, link: int) -> None:
    """The connection, its counters and the words by which the next one is handed over."""
    for field in range(at.FD, at.LINK_FIELDS):
        new.links[link, field] = old.links[a, field]
    new.links[link, at.IN_FLIGHT] = 0
    for i in range(at.LINK_WORDS):
        new.link_words[link * at.LINK_WORDS + i] = old.link_words[a * at.LINK_WORDS + i]
    for i in range(old.links[a, at.RECEIVED]):
        new.received[link, i] = old.received[a, i]
    new.descriptors[link, 0] = old.descriptors[a, 0]
    new.descriptors[link, 1] = transport.POLL_EVENTS
    # Neither the connection nor one that waits to be taken is the old record's any more: it must close neither.
    old.links[a, at.FD] = -1
    old.links[a, at.GENERATION] = old.link_words[a * at.LINK_WORDS + at.OFFER_GENERATION]
    old.descriptors[a, 0] = -1


@inner
def carry_feed(old: Blocks, new: Blocks, a: int, feed: int) -> None:
    """What the engine handed over last holds until it hands over again, or is dead."""
    for i in range(at.FEED_WORDS):
        new.feeds[feed * at.FEED_WORDS + i] = old.feeds[a * at.FEED_WORDS + i]
    new.feeds_seen[feed] = old.feeds_seen[a]
    new.signals[at.FIRST_FEED + feed] = old.signals[at.FIRST_FEED + a]
    new.signals_ns[at.FIRST_FEED + feed] = old.signals_ns[at.FIRST_FEED + a]


@inner
def carry_block(old: Blocks, new: Blocks, a: int, block: int) -> None:
    for i in range(new.states.shape[1]):
        new.states[block, i] = old.states[a, i]
    new.program[block, at.STEPPED_NS] = old.program[a, at.STEPPED_NS]
    new.signals[new.program[block, at.STEP_OUT]] = old.signals[old.program[a, at.STEP_OUT]]
    new.signals_ns[new.program[block, at.STEP_OUT]] = old.signals_ns[old.program[a, at.STEP_OUT]]


@inner
def carry_loop(old: Blocks, new: Blocks, a: int, loop: int, now_ns: int) -> None:
    how = new.carried_loops[loop, at.CARRIED_HOW]
    period_ns = old.loops[a, at.PERIOD_NS]
    for field in range(at.DUE_NS, at.LOOP_FIELDS):
        new.loops[loop, field] = old.loops[a, field]
    state = new.loops[loop]
    if state[at.PERIOD_NS] != period_ns:
        state[at.DUE_NS] = now_ns + state[at.PERIOD_NS]
    if state[at.WRITE_OUTSTANDING] > 0:
        state[at.RAW_VALID] = 0
    state[at.WRITE_OUTSTANDING] = 0
    state[at.INIT_OUTSTANDING] = 0
    # What was asked is answered into the old record, where nobody looks.
    state[at.ASKED] = at.FREE
    state[at.ASK_IS_LATE] = 0
    state[at.LOST_SEEN] = 0
    new.reals[loop, at.PROCESS_VALUE] = old.reals[a, at.PROCESS_VALUE]
    new.reals[loop, at.MANUAL_OUTPUT] = old.reals[a, at.MANUAL_OUTPUT]
    new.reals[loop, at.SETPOINT_WANTED] = old.reals[a, at.SETPOINT_WANTED]
    new.pid[loop, pid.SETPOINT] = old.pid[a, pid.SETPOINT]
    for field in range(pid.FEED_FORWARD, pid.OUTPUT + 1):
        new.pid[loop, field] = old.pid[a, field]
    for which in range(at.HISTOGRAMS):
        for i in range(new.histograms.shape[2]):
            new.histograms[which, loop, i] = old.histograms[which, a, i]
    for field in range(at.OF_LOOP):
        new.signals[at.OF_LOOP * loop + field] = old.signals[at.OF_LOOP * a + field]
        new.signals_ns[at.OF_LOOP * loop + field] = old.signals_ns[at.OF_LOOP * a + field]
    if how == at.RETUNED and (state[at.MODE] == at.AUTO or state[at.MODE] == at.CASCADE):
        pid.track(new.pid, loop, old.pid[a, pid.MEASURED], old.pid[a, pid.OUTPUT])
    elif how == at.INITIALISED and state[at.MODE_ASKED] != at.MANUAL:
        state[at.MODE] = at.INITIALISING
        state[at.INPUT_NS] = now_ns
