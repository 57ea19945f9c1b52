"""The memory that the executive and Python share: which array holds what, and who may write it.

It is one record with room for the most loops and links there may be, allocated once and touched before the start. So
its type is the same for every plant, and jitted functions hand each other one pointer; twenty arrays as arguments took
twice as long to compile and were copied at every call. Most arrays are `[row, field]`; their fields are numbered here
and nowhere else. "Config" fields are written before the start only, "state" fields by the executive only; the few words
that cross threads while it runs live in `words`, `commands`, `link_words` and `ring` and go through acquire and
release (`gateway.core.kernels.atomics`).
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.control import blocks, pid
from gateway.core import histogram
from gateway.core.limits import BLOCKS_MAX, FAST_LINKS_MAX, FEEDS_MAX, LOOPS_MAX
from gateway.core.types import SAMPLE
from gateway.core.view import LOOP, Mode

Bytes = npt.NDArray[np.uint8]

# words: the executive as a whole. STOP and OFFSET are Python's, the counts are config, the others the executive's.
(
    STOP,
    ENGINE_OFFSET,
    HEARTBEAT,
    STOPPED,
    WAKES,
    LOOPS,
    LINKS,
    BLOCKS,
    SCRIPT_NS,
    SWAP_BY_NS,
    FEEDS,
    FED_NS,
    WAKE_FD,
    ASK_FD,
    WORDS,
) = range(15)
"""ENGINE_OFFSET: engine time less monotonic time, ns. HEARTBEAT: monotonic ns of the last wake. SCRIPT_NS: see `clock`.
SWAP_BY_NS: Python asks for the other record to be taken, at this time at the latest; 0 once that is done.
FED_NS: engine time at which the engine last handed its feeds over. WAKE_FD: an eventfd that says that some are new, or
0. ASK_FD: an eventfd by which the executive tells the courier that it asks something, or 0."""
# values of STOP
GO, STOP_FOR_GOOD, STOP_FOR_HANDOVER = range(3)

# commands: Python writes a value, then releases its version. The value is one aligned word, so it cannot be torn.
# ALIVE counts signs of life that say nothing else.
SETPOINT_VERSION, SETPOINT_VALUE, MODE_WANTED, OUTPUT_VERSION, OUTPUT_VALUE, ALIVE, _C6, _C7, COMMANDS = range(9)

# link_words: the handing over of descriptors. Python writes OFFER_*, the executive the rest.
OFFER_FD, OFFER_GENERATION, TAKEN_GENERATION, CLOSED_GENERATION, CLOSED_REASON, REPLIES, _W6, _W7, LINK_WORDS = range(9)

# out_words: outputs that the loop thread carries (`outbox`). The executive writes ASK_…, Python the others.
ASK_VERSION, ASK_KIND, ANSWER_VERSION, ANSWER_REASON, ANSWER_QUALITY, ANSWER_NS, LOST_VERSION, _W8, OUT_WORDS = range(9)
REPLY_BYTES = 8
"""Of `out_replies`: the registers of an output, big-endian."""

# ring: head and tail on cache lines of their own.
RING_HEAD, RING_TAIL, RING_OVERFLOW, RING_WORDS = 0, 8, 16, 24

# links, config
IN_FLIGHT_MAX, RESPONSE_TIMEOUT_NS, REQUEST_GAP_NS = range(3)
# links, state
FD, GENERATION, IN_FLIGHT, NOT_BEFORE_NS, TRANSACTION, RECEIVED, FAULTS_IN_ROW = range(3, 10)
# links, counters
SENT, ANSWERED, TIMEOUTS, STRAYS, BAD_FRAMES, EXCEPTIONS, LINK_FIELDS = range(10, 17)

# slots: one outstanding transaction each
SLOT_KIND, SLOT_INDEX, SLOT_TRANSACTION, SLOT_DEADLINE_NS, SLOT_SENT, SLOT_FIELDS = range(6)
FREE, READ_BLOCK, READ_OUTPUT, WRITE_OUTPUT = range(4)
SLOTS = 16
"""Outstanding transactions of a link: at most 8 by settings, and urgent writes on top while a slot is free."""
IN_FLIGHT_CAP = 8
NUMBERS_MAX = 256

# blocks: one read request each
BLOCK_LINK, BLOCK_REGISTERS, BLOCK_WANTED, BLOCK_OUTSTANDING, BLOCK_FIELDS = range(5)

# loops, config
(
    BLOCK,
    IN_BYTE,
    IN_REGISTERS,
    IN_TYPE,
    IN_ORDER,
    IN_ROW,
    IN_KIND,
    OUT_LINK,
    OUT_REGISTERS,
    OUT_TYPE,
    OUT_ORDER,
    OUT_ROW,
    OUT_KIND,
    PERIOD_NS,
    STALE_NS,
    REFRESH_PERIODS,
    HAS_FAILSAFE,
    SHADOW,
    HAS_OUTPUT,
    FOLLOWS,
    CAN_CASCADE,
    TRACKS,
    ON_ARRIVAL,
    SOURCE,
    SETPOINT_FROM,
    FEED_FORWARD,
    KP_FROM,
    TI_FROM,
    TD_FROM,
    INTERLOCK,
    STEPS_FROM,
    STEPS_TO,
    READ_BACK,
    DEAD_MAN_NS,
    IS_CARRIED,
    BUDGET_NS,
) = range(36)
"""SOURCE, …_FROM, FEED_FORWARD and INTERLOCK are signals, TRACKS is a loop; NOT_THERE for none. IS_CARRIED: the output
goes by the loop thread. BUDGET_NS: longest time from input to output that is no miss."""
NOT_THERE = -1
# loops, state
(
    DUE_NS,
    CYCLE_NS,
    CYCLE,
    MODE,
    MODE_ASKED,
    QUALITY,
    INPUT_NS,
    STEP_NS,
    OUTPUT_KNOWN,
    INIT_WANTED,
    INIT_OUTSTANDING,
    WRITE_WANTED,
    WRITE_OUTSTANDING,
    REPLY_NS,
    RAW,
    RAW_VALID,
    RAW_NEXT,
    WRITE_AGE,
    SETPOINT_SEEN,
    OUTPUT_SEEN,
    POKED,
    BACK_ASKED,
    BACK_RAW,
    COMMANDED_NS,
    ALIVE_SEEN,
    DIRTY,
    ASKED,
    ASKED_NS,
    ASKED_SINCE_NS,
    ASK_IS_LATE,
    ASK_FAULTS,
    LOST_SEEN,
) = range(36, 68)
# loops, counters: published together with the LOOP record
COUNTERS_FROM = 68
(
    CYCLES,
    MISSES,
    MISSES_IN_ROW,
    OVERRUNS,
    MISS_REASON,
    INPUTS,
    INPUT_ERRORS,
    INPUT_REASON,
    FAILSAFES,
    FAILSAFE_REASON,
    WRITES,
    WRITE_ERRORS,
    WRITE_REASON,
    INTERLOCKS,
    LOOP_FIELDS,
) = range(COUNTERS_FROM, COUNTERS_FROM + 15)
COUNTERS = LOOP_FIELDS - COUNTERS_FROM

# CYCLE: how far the present cycle has come
DONE, AWAITS_INPUT, AWAITS_WRITE = range(3)
# WRITE_WANTED
NOTHING, ORDINARY, URGENT = range(3)

# loops, float64 config and state
(
    IN_SCALE,
    IN_OFFSET,
    VALID_LOW,
    VALID_HIGH,
    OUT_SCALE,
    OUT_OFFSET,
    FAILSAFE_OUTPUT,
    FAILSAFE_RATE,
    SETPOINT_LOW,
    SETPOINT_HIGH,
    SETPOINT_RATE,
    SETPOINT_WANTED,
    PROCESS_VALUE,
    MANUAL_OUTPUT,
    REAL_FIELDS,
) = range(15)

# histograms
WAKE_LATENESS, INPUT_TO_OUTPUT, FULL_CYCLE, INPUT_AGE, HISTOGRAMS = range(5)

# modes, as plain integers for jitted code
MANUAL, AUTO, FAILSAFE, INITIALISING = (int(m) for m in (Mode.MANUAL, Mode.AUTO, Mode.FAILSAFE, Mode.INITIALISING))
CASCADE, TRACKING, INTERLOCKED = (int(m) for m in (Mode.CASCADE, Mode.TRACKING, Mode.INTERLOCKED))

# signals: numbers that blocks and loops take from each other; NaN is bad. First three of each loop, then the feeds,
# then the blocks' outputs, then numbers that stand in the file.
OF_LOOP_INPUT, OF_LOOP_SETPOINT, OF_LOOP_OUTPUT, OF_LOOP = range(4)
FIRST_FEED = OF_LOOP * LOOPS_MAX
FIRST_BLOCK = FIRST_FEED + FEEDS_MAX
FIRST_NUMBER = FIRST_BLOCK + BLOCKS_MAX
SIGNALS = FIRST_NUMBER + NUMBERS_MAX
ALWAYS_NS = 2**62
"""The time of a number in the file."""

# feeds: Python writes the cell, quality and time, then releases the version.
FEED_VERSION, FEED_VALUE, FEED_QUALITY, FEED_NS, FEED_WORDS = range(5)

# program: a row a block. Then its inputs' signals; STEPPED_NS is state
STEP_KIND, STEP_OUT, STEP_INPUTS, STEPPED_NS, FIRST_INPUT = range(5)
PROGRAM_FIELDS = FIRST_INPUT + blocks.INPUTS_MAX
STEPS = 1_024
"""Places in all loops' lists of blocks."""

# carried: what of the record before goes on in this one, for `swap`. Places in it plus one; 0: nothing
CARRIED_LOOP, CARRIED_HOW, CARRIED_FIELDS = range(3)
KEPT, RETUNED, INITIALISED = range(3)
"""A loop goes on as it was, with other parameters, or from its output with another input."""

# frames
FRAME_BYTES = 24
"""The longest request: a write of four registers has 21."""
RECEIVE_BYTES = 2048
SAMPLES = 32_768
"""Samples between the executive and the engine: a second of 64 loops at 2 ms. Overflow: newest dropped, counted."""


MEMORY: Final = np.dtype(
    (
        np.record,
        [
            ("words", np.int64, (WORDS,)),
            ("commands", np.int64, (LOOPS_MAX * COMMANDS,)),
            ("link_words", np.int64, (FAST_LINKS_MAX * LINK_WORDS,)),
            ("out_words", np.int64, (LOOPS_MAX * OUT_WORDS,)),
            ("out_replies", np.uint8, (LOOPS_MAX, REPLY_BYTES)),
            ("links", np.int64, (FAST_LINKS_MAX, LINK_FIELDS)),
            ("slots", np.int64, (FAST_LINKS_MAX, SLOTS, SLOT_FIELDS)),
            ("received", np.uint8, (FAST_LINKS_MAX, RECEIVE_BYTES)),
            # `struct pollfd` a link, then of WAKE_FD: the descriptor, then events in the low, revents in the high half
            # (little-endian)
            ("descriptors", np.int32, (FAST_LINKS_MAX + 1, 2)),
            ("blocks", np.int64, (LOOPS_MAX, BLOCK_FIELDS)),
            ("read_frames", np.uint8, (LOOPS_MAX, FRAME_BYTES)),
            ("init_frames", np.uint8, (LOOPS_MAX, FRAME_BYTES)),
            ("write_frames", np.uint8, (LOOPS_MAX, FRAME_BYTES)),
            ("loops", np.int64, (LOOPS_MAX, LOOP_FIELDS)),
            ("reals", np.float64, (LOOPS_MAX, REAL_FIELDS)),
            ("pid", np.float64, (LOOPS_MAX, len(pid.FIELDS))),
            ("histograms", np.int64, (HISTOGRAMS, LOOPS_MAX, histogram.SIZE)),
            ("ring", np.int64, (RING_WORDS,)),
            ("samples", SAMPLE, (SAMPLES,)),
            ("sequence", np.int64, (LOOPS_MAX,)),
            ("published", LOOP, (LOOPS_MAX,)),
            ("counters", np.int64, (LOOPS_MAX, COUNTERS)),
            ("signals", np.float64, (SIGNALS,)),
            ("signals_ns", np.int64, (SIGNALS,)),
            ("feeds", np.int64, (FEEDS_MAX * FEED_WORDS,)),
            ("feeds_seen", np.int64, (FEEDS_MAX,)),
            ("pokes", np.uint8, (SIGNALS, LOOPS_MAX)),
            ("program", np.int64, (BLOCKS_MAX, PROGRAM_FIELDS)),
            ("parameters", np.float64, (BLOCKS_MAX, blocks.PARAMETERS_MAX)),
            ("states", np.float64, (BLOCKS_MAX, blocks.STATE_WORDS)),
            ("steps", np.int64, (STEPS,)),
            ("inputs", np.float64, (blocks.INPUTS_MAX,)),
            ("carried_feeds", np.int64, (FEEDS_MAX,)),
            ("carried_blocks", np.int64, (BLOCKS_MAX,)),
            ("carried_loops", np.int64, (LOOPS_MAX, CARRIED_FIELDS)),
            ("carried_links", np.int64, (FAST_LINKS_MAX,)),
            ("timespec", np.int64, (2,)),
        ],
    ),
    align=True,
)
"""All that the executive works on, in one piece with fixed places: jitted functions pass it on as one pointer."""

Memory: TypeAlias = Any
"""An array of two MEMORY: the one in use, and the one that a reload fills to be taken in its place."""
Blocks: TypeAlias = Any
"""One of them: every field is a view."""
RECORDS: Final = 2


def allocate() -> Memory:
    """Zeroed memory, every page touched."""
    memory = np.recarray(RECORDS, MEMORY)
    memory.view(np.uint8)[...] = 0  # writes every page: one of zeros is only there once it was written
    for place in range(RECORDS):
        clear(memory, place)
    return memory


def clear(memory: Memory, place: int) -> Blocks:
    """One record without loops and links: descriptors are closed (-1) and modes INITIALISING."""
    memory[place : place + 1].view(np.uint8)[...] = 0
    b = memory[place]
    b.links[:, FD] = -1
    b.descriptors[:, 0] = -1
    b.loops[:, MODE] = INITIALISING
    b.signals[:] = np.nan
    b.published["mode"] = INITIALISING
    return b
