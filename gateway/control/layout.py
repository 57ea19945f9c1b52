"""The memory that the executive and Python share: which array holds what, and who may write it.

Every array is allocated once and touched before the start. A block is `[row, field]`; its fields are numbered here and
nowhere else. "Config" fields are written before the start only, "state" fields by the executive only; the few words
that cross threads while it runs live in `words`, `commands`, `link_words` and `ring` and go through acquire and
release (`gateway.core.kernels.atomics`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.core import histogram
from gateway.core.types import SAMPLE, Float64s, Int64s, Samples
from gateway.core.view import LOOP, Mode

Bytes = npt.NDArray[np.uint8]
Int32s = npt.NDArray[np.int32]

# words: the executive as a whole. STOP and OFFSET are Python's, the others the executive's.
STOP, ENGINE_OFFSET, HEARTBEAT, STOPPED, WAKES, WORDS = range(6)
"""ENGINE_OFFSET: engine time less monotonic time, ns. HEARTBEAT: monotonic ns of the last wake."""
# values of STOP
GO, STOP_FOR_GOOD, STOP_FOR_HANDOVER = range(3)

# commands: Python writes a value, then releases its version. The value is one aligned word, so it cannot be torn.
SETPOINT_VERSION, SETPOINT_VALUE, MODE_WANTED, OUTPUT_VERSION, OUTPUT_VALUE, _C5, _C6, _C7, COMMANDS = range(9)

# link_words: the handing over of descriptors. Python writes OFFER_*, the executive the rest.
OFFER_FD, OFFER_GENERATION, TAKEN_GENERATION, CLOSED_GENERATION, CLOSED_REASON, REPLIES, _W6, _W7, LINK_WORDS = range(9)

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
) = range(17)
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
    DIRTY,
) = range(17, 38)
# loops, counters: published together with the LOOP record
COUNTERS_FROM = 38
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
    LOOP_FIELDS,
) = range(COUNTERS_FROM, COUNTERS_FROM + 14)
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
    PROCESS_VALUE,
    MANUAL_OUTPUT,
    REAL_FIELDS,
) = range(10)

# histograms
WAKE_LATENESS, INPUT_TO_OUTPUT, FULL_CYCLE, HISTOGRAMS = range(4)

# modes, as plain integers for jitted code
MANUAL, AUTO, FAILSAFE, INITIALISING = (int(m) for m in (Mode.MANUAL, Mode.AUTO, Mode.FAILSAFE, Mode.INITIALISING))

# frames
READ_FRAME_BYTES = 12
WRITE_FRAME_BYTES = 24
RECEIVE_BYTES = 2048
SAMPLES = 32_768
"""Samples between the executive and the engine: a second of 64 loops at 2 ms. Overflow: newest dropped, counted."""


class Blocks(NamedTuple):
    """All arrays of one executive; one argument to every jitted function."""

    words: Int64s
    commands: Int64s
    command_values: Float64s
    """The same memory as `commands`."""
    link_words: Int64s
    links: Int64s
    slots: Int64s
    received: Bytes
    descriptors: Int32s
    """`struct pollfd` a link: the descriptor, then events in the low and revents in the high half (little-endian)."""
    blocks: Int64s
    read_frames: Bytes
    init_frames: Bytes
    write_frames: Bytes
    loops: Int64s
    reals: Float64s
    pid: Float64s
    histograms: Int64s
    ring: Int64s
    samples: Samples
    sequence: Int64s
    published: Samples
    counters: Int64s
    timespec: Int64s


def allocate(loops: int, links: int, blocks: int, pid_fields: int, samples: int = SAMPLES) -> Blocks:
    """Zeroed arrays, every page touched; descriptors are closed (-1) and modes INITIALISING."""
    commands = np.zeros(max(loops, 1) * COMMANDS, np.int64)
    made = Blocks(
        words=np.zeros(WORDS, np.int64),
        commands=commands,
        command_values=commands.view(np.float64),
        link_words=np.zeros(max(links, 1) * LINK_WORDS, np.int64),
        links=np.zeros((links, LINK_FIELDS), np.int64),
        slots=np.zeros((links, SLOTS, SLOT_FIELDS), np.int64),
        received=np.zeros((links, RECEIVE_BYTES), np.uint8),
        descriptors=np.zeros((links, 2), np.int32),
        blocks=np.zeros((blocks, BLOCK_FIELDS), np.int64),
        read_frames=np.zeros((blocks, READ_FRAME_BYTES), np.uint8),
        init_frames=np.zeros((loops, READ_FRAME_BYTES), np.uint8),
        write_frames=np.zeros((loops, WRITE_FRAME_BYTES), np.uint8),
        loops=np.zeros((loops, LOOP_FIELDS), np.int64),
        reals=np.zeros((loops, REAL_FIELDS), np.float64),
        pid=np.zeros((loops, pid_fields), np.float64),
        histograms=np.zeros((HISTOGRAMS, loops, histogram.SIZE), np.int64),
        ring=np.zeros(RING_WORDS, np.int64),
        samples=np.zeros(samples, SAMPLE),
        sequence=np.zeros(max(loops, 1), np.int64),
        published=np.zeros(loops, LOOP),
        counters=np.zeros((loops, COUNTERS), np.int64),
        timespec=np.zeros(2, np.int64),
    )
    for array in made:
        array[...] = array.copy()  # a page of zeros is only there once it was written
    made.links[:, FD] = -1
    made.descriptors[:, 0] = -1
    made.loops[:, MODE] = INITIALISING
    made.published["mode"] = INITIALISING
    return made
