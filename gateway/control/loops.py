"""What a control loop does, decided on memory alone: no socket, no clock. Everything is a reaction to one of

    begin_cycle     its deadline came           input_arrived   a reply with its input is complete
    output_known    its output was read back    input_failed    a read failed, or its link is down
    write_done      a write was answered        output_lost     the output's link is down

Modes: INITIALISING until the device's present output was read and an input is there, then AUTO, MANUAL or FAILSAFE.
AUTO is entered only with a good input and from the output that the device holds, so no entry moves the output by
itself. FAILSAFE is entered at once on an exception, a value that is not finite or outside its valid range, and when
no good input came for `stale_after`; the next good input ends it. MANUAL needs no input and ignores its quality.

A loop in *shadow* does all that and writes nothing, in no mode and at no stop; what somebody else has the device hold
is read again in place of each refresh, for the tag's sake.

A *miss*, at most one a cycle: the output was handed to the socket more than 10 ms after its input was complete, or
the cycle was not done (input in, output handed over if it changed) when the next one was due. Each period that an
overrun skipped is a miss too.

The executive marks what it wants sent (`BLOCK_WANTED`, `INIT_WANTED`, `WRITE_WANTED`); `transport` sends it.
"""

from __future__ import annotations

import math

import numpy as np

from gateway.control import frames, pid, tell
from gateway.control import layout as at
from gateway.control.layout import Blocks
from gateway.control.reasons import Reason
from gateway.core.kernels.atomics import load_acquire
from gateway.core.kernels.histogram import observe
from gateway.core.types import NS_PER_MS, Quality
from gateway.native.jit import inner, whole

BUDGET_NS = 10 * NS_PER_MS
NONE_NS = whole(0)

GOOD = whole(Quality.GOOD)
COMM_FAILURE = whole(Quality.BAD_COMM_FAILURE)
DEVICE_FAILURE = whole(Quality.BAD_DEVICE_FAILURE)
SENSOR_FAILURE = whole(Quality.BAD_SENSOR_FAILURE)
NOT_CONNECTED = whole(Quality.BAD_NOT_CONNECTED)
RANGE_EXCEEDED = whole(Quality.UNCERTAIN_OUT_OF_RANGE)

R_NONE = whole(Reason.NONE)
R_NO_REPLY = whole(Reason.NO_REPLY)
R_EXCEPTION = whole(Reason.EXCEPTION)
R_NOT_A_NUMBER = whole(Reason.NOT_A_NUMBER)
R_OUT_OF_RANGE = whole(Reason.OUT_OF_RANGE)
R_NOT_CONNECTED = whole(Reason.NOT_CONNECTED)
R_TOO_OLD = whole(Reason.TOO_OLD)
R_OVER_BUDGET = whole(Reason.OVER_BUDGET)
R_OVER_PERIOD = whole(Reason.OVER_PERIOD)


@inner
def begin_cycle(b: Blocks, loop: int, now_ns: int) -> None:
    """The loop's deadline has come: account for the last cycle, take commands, ask for the input."""
    state = b.loops[loop]
    period_ns = state[at.PERIOD_NS]
    lateness_ns = now_ns - state[at.DUE_NS]
    skipped = lateness_ns // period_ns
    observe(b.histograms[at.WAKE_LATENESS, loop], lateness_ns)
    if state[at.CYCLE] != at.DONE:
        count_miss(b, loop, reason_or(state[at.INPUT_REASON], R_OVER_PERIOD))
    if skipped > 0:
        state[at.OVERRUNS] += skipped
        state[at.MISSES] += skipped
        state[at.MISSES_IN_ROW] += skipped
        state[at.MISS_REASON] = R_OVER_PERIOD
    state[at.CYCLE_NS] = state[at.DUE_NS] + skipped * period_ns
    state[at.DUE_NS] = state[at.CYCLE_NS] + period_ns
    state[at.CYCLES] += 1
    state[at.CYCLE] = at.AWAITS_INPUT
    state[at.WRITE_AGE] += 1 + skipped
    state[at.DIRTY] = 1

    take_commands(b, loop)
    is_asked = not state[at.OUTPUT_KNOWN] or (state[at.SHADOW] and state[at.WRITE_AGE] >= state[at.REFRESH_PERIODS])
    if b.links[state[at.OUT_LINK], at.FD] >= 0 and is_asked and not state[at.INIT_OUTSTANDING]:
        state[at.INIT_WANTED] = 1
    block = b.blocks[state[at.BLOCK]]
    if b.links[block[at.BLOCK_LINK], at.FD] < 0:
        input_failed(b, loop, now_ns, NOT_CONNECTED, R_NOT_CONNECTED)
    elif not block[at.BLOCK_OUTSTANDING]:
        block[at.BLOCK_WANTED] = 1

    if state[at.MODE_ASKED] == at.MANUAL:
        run_manual(b, loop)
    elif state[at.MODE] == at.FAILSAFE:
        hold_failsafe(b, loop)
    judge_age(b, loop, now_ns)


@inner
def take_commands(b: Blocks, loop: int) -> None:
    """Setpoint, mode and manual output as Python last wrote them. An output command counts in MANUAL only."""
    state = b.loops[loop]
    base = loop * at.COMMANDS
    version = load_acquire(b.commands, base + at.SETPOINT_VERSION)
    if version != state[at.SETPOINT_SEEN]:
        state[at.SETPOINT_SEEN] = version
        b.pid[loop, pid.SETPOINT] = np.int64(b.commands[base + at.SETPOINT_VALUE]).view(np.float64)
    asked = load_acquire(b.commands, base + at.MODE_WANTED)
    if asked != state[at.MODE_ASKED]:
        state[at.MODE_ASKED] = asked
        b.reals[loop, at.MANUAL_OUTPUT] = b.pid[loop, pid.OUTPUT]
    version = load_acquire(b.commands, base + at.OUTPUT_VERSION)
    if version != state[at.OUTPUT_SEEN]:
        state[at.OUTPUT_SEEN] = version
        if asked == at.MANUAL:
            b.reals[loop, at.MANUAL_OUTPUT] = np.int64(b.commands[base + at.OUTPUT_VALUE]).view(np.float64)


@inner
def run_manual(b: Blocks, loop: int) -> None:
    if b.loops[loop, at.OUTPUT_KNOWN]:
        b.loops[loop, at.MODE] = at.MANUAL
        want_output(b, loop, b.reals[loop, at.MANUAL_OUTPUT], at.ORDINARY)


@inner
def fail_safe(b: Blocks, loop: int, reason: int) -> None:
    """Enter or keep the fail-safe state; only once it is known what the device holds, and never in MANUAL."""
    state = b.loops[loop]
    if state[at.MODE_ASKED] == at.MANUAL or not state[at.OUTPUT_KNOWN]:
        return
    if state[at.MODE] != at.FAILSAFE:
        state[at.MODE] = at.FAILSAFE
        state[at.FAILSAFES] += 1
        state[at.FAILSAFE_REASON] = reason
        state[at.DIRTY] = 1
    hold_failsafe(b, loop)


@inner
def judge_age(b: Blocks, loop: int, now_ns: int) -> None:
    """FAILSAFE when no good input came for too long."""
    state = b.loops[loop]
    if now_ns - state[at.INPUT_NS] > state[at.STALE_NS]:
        if state[at.INPUT_REASON] == R_NONE:
            input_failed(b, loop, now_ns, COMM_FAILURE, R_TOO_OLD)
        fail_safe(b, loop, state[at.INPUT_REASON])


@inner
def hold_failsafe(b: Blocks, loop: int) -> None:
    """The declared output, subject to nothing but the range; without one, what the device holds."""
    output = b.pid[loop, pid.OUTPUT]
    if b.loops[loop, at.HAS_FAILSAFE]:
        wanted = b.reals[loop, at.FAILSAFE_OUTPUT]
        output = min(max(wanted, b.pid[loop, pid.OUTPUT_MIN]), b.pid[loop, pid.OUTPUT_MAX])
    want_output(b, loop, output, at.URGENT)


@inner
def want_output(b: Blocks, loop: int, output: float, how: int) -> None:
    """Have `output` written if it differs from what the device holds, or if that was written too long ago.

    This is the only way to a write; a loop in shadow ends here.
    """
    state = b.loops[loop]
    b.pid[loop, pid.OUTPUT] = output
    if state[at.SHADOW]:
        return
    number = (output - b.reals[loop, at.OUT_OFFSET]) / b.reals[loop, at.OUT_SCALE]
    raw = frames.bits_of(number, state[at.OUT_TYPE])
    unchanged = state[at.RAW_VALID] and raw == state[at.RAW]
    if unchanged and state[at.WRITE_AGE] < state[at.REFRESH_PERIODS]:
        state[at.WRITE_WANTED] = at.NOTHING
        return
    state[at.RAW_NEXT] = raw
    # A mere refresh is never urgent, and a second write of the same value need not overtake the first.
    state[at.WRITE_WANTED] = at.ORDINARY if unchanged else how


@inner
def input_arrived(b: Blocks, loop: int, data: at.Bytes, start: int, reply_ns: int) -> None:
    """A reply's registers begin at `data[start]`: decode, judge, step."""
    state = b.loops[loop]
    kind = state[at.IN_TYPE]
    scale = b.reals[loop, at.IN_SCALE]
    offset = b.reals[loop, at.IN_OFFSET]
    bits = frames.load_bits(data, start + state[at.IN_BYTE], state[at.IN_REGISTERS], state[at.IN_ORDER])
    value = frames.number_of(bits, kind) * scale + offset
    if not math.isfinite(value):
        input_failed(b, loop, reply_ns, SENSOR_FAILURE, R_NOT_A_NUMBER)
        fail_safe(b, loop, R_NOT_A_NUMBER)
    else:
        cell = frames.cell_of(value, bits, kind, scale, offset, state[at.IN_KIND])
        b.reals[loop, at.PROCESS_VALUE] = value
        if value < b.reals[loop, at.VALID_LOW] or value > b.reals[loop, at.VALID_HIGH]:
            tell.put_sample(b, state[at.IN_ROW], RANGE_EXCEEDED, reply_ns, cell)
            count_failure(b, loop, RANGE_EXCEEDED, R_OUT_OF_RANGE)
            fail_safe(b, loop, R_OUT_OF_RANGE)
        else:
            tell.put_sample(b, state[at.IN_ROW], GOOD, reply_ns, cell)
            state[at.QUALITY] = GOOD
            state[at.INPUT_NS] = reply_ns
            state[at.INPUT_REASON] = R_NONE
            state[at.INPUTS] += 1
            run_auto(b, loop, value, reply_ns)
    state[at.DIRTY] = 1
    state[at.REPLY_NS] = reply_ns
    if state[at.CYCLE] == at.AWAITS_INPUT:
        if state[at.WRITE_WANTED] != at.NOTHING:
            state[at.CYCLE] = at.AWAITS_WRITE
        else:
            end_cycle(b, loop, reply_ns, NONE_NS)


@inner
def run_auto(b: Blocks, loop: int, value: float, now_ns: int) -> None:
    state = b.loops[loop]
    if state[at.MODE_ASKED] != at.AUTO or not state[at.OUTPUT_KNOWN]:
        return
    if state[at.MODE] == at.AUTO:
        output = pid.step(b.pid, loop, value, (now_ns - state[at.STEP_NS]) * 1e-9)
    else:
        output = b.pid[loop, pid.OUTPUT]
        pid.track(b.pid, loop, value, output)
        state[at.MODE] = at.AUTO
    state[at.STEP_NS] = now_ns
    want_output(b, loop, output, at.ORDINARY)


@inner
def input_failed(b: Blocks, loop: int, now_ns: int, quality: int, reason: int) -> None:
    """No value came. One bad sample tells the engine of each change of quality."""
    if quality != b.loops[loop, at.QUALITY]:
        tell.put_nothing(b, b.loops[loop, at.IN_ROW], quality, now_ns, b.loops[loop, at.IN_KIND])
    count_failure(b, loop, quality, reason)


@inner
def count_failure(b: Blocks, loop: int, quality: int, reason: int) -> None:
    state = b.loops[loop]
    state[at.QUALITY] = quality
    state[at.INPUT_ERRORS] += 1
    state[at.INPUT_REASON] = reason
    state[at.DIRTY] = 1


@inner
def output_known(b: Blocks, loop: int, data: at.Bytes, start: int, reply_ns: int) -> None:
    """The device told what its output is: start from there.

    With an input that is too old by then the fail-safe output follows at once: on a link that keeps breaking there may
    be no other moment for it.
    """
    state = b.loops[loop]
    kind = state[at.OUT_TYPE]
    bits = frames.load_bits(data, start, state[at.OUT_REGISTERS], state[at.OUT_ORDER])
    value = frames.number_of(bits, kind) * b.reals[loop, at.OUT_SCALE] + b.reals[loop, at.OUT_OFFSET]
    if not math.isfinite(value):
        write_failed(b, loop, reply_ns, DEVICE_FAILURE, R_NOT_A_NUMBER)
        return
    if state[at.SHADOW] and state[at.OUTPUT_KNOWN]:
        state[at.WRITE_AGE] = 0
        state[at.WRITE_REASON] = R_NONE
        tell.put_output(b, loop, bits, reply_ns)
        return
    b.pid[loop, pid.OUTPUT] = value
    b.reals[loop, at.MANUAL_OUTPUT] = value
    state[at.OUTPUT_KNOWN] = 1
    state[at.RAW] = bits
    state[at.RAW_VALID] = 1
    state[at.WRITE_AGE] = 0
    state[at.WRITE_REASON] = R_NONE
    state[at.DIRTY] = 1
    tell.put_output(b, loop, bits, reply_ns)
    judge_age(b, loop, reply_ns)


@inner
def output_lost(b: Blocks, loop: int, now_ns: int) -> None:
    """The way to the device is gone: what its output does from now on is not known."""
    state = b.loops[loop]
    if state[at.OUTPUT_KNOWN]:
        tell.put_nothing(b, state[at.OUT_ROW], NOT_CONNECTED, now_ns, state[at.OUT_KIND])
    state[at.OUTPUT_KNOWN] = 0
    state[at.RAW_VALID] = 0
    state[at.WRITE_WANTED] = at.NOTHING
    state[at.WRITE_OUTSTANDING] = 0
    state[at.INIT_WANTED] = 0
    state[at.INIT_OUTSTANDING] = 0
    state[at.MODE] = at.INITIALISING
    state[at.DIRTY] = 1


@inner
def write_sent(b: Blocks, loop: int, now_ns: int) -> None:
    state = b.loops[loop]
    state[at.WRITE_WANTED] = at.NOTHING
    state[at.WRITE_OUTSTANDING] += 1
    state[at.RAW] = state[at.RAW_NEXT]
    state[at.RAW_VALID] = 1
    state[at.WRITE_AGE] = 0
    state[at.WRITES] += 1
    state[at.DIRTY] = 1
    if state[at.CYCLE] == at.AWAITS_WRITE:
        reaction_ns = now_ns - state[at.REPLY_NS]
        observe(b.histograms[at.INPUT_TO_OUTPUT, loop], reaction_ns)
        end_cycle(b, loop, now_ns, reaction_ns)


@inner
def write_done(b: Blocks, loop: int, reply_ns: int, bits: int) -> None:
    """The device acknowledged `bits`."""
    b.loops[loop, at.WRITE_REASON] = R_NONE
    tell.put_output(b, loop, bits, reply_ns)


@inner
def write_failed(b: Blocks, loop: int, now_ns: int, quality: int, reason: int) -> None:
    """The device may or may not hold the value: write it again in the next cycle, changed or not."""
    state = b.loops[loop]
    state[at.RAW_VALID] = 0
    state[at.WRITE_ERRORS] += 1
    if state[at.WRITE_REASON] == R_NONE:
        tell.put_nothing(b, state[at.OUT_ROW], quality, now_ns, state[at.OUT_KIND])
    state[at.WRITE_REASON] = reason
    state[at.DIRTY] = 1


@inner
def end_cycle(b: Blocks, loop: int, now_ns: int, reaction_ns: int) -> None:
    state = b.loops[loop]
    state[at.CYCLE] = at.DONE
    observe(b.histograms[at.FULL_CYCLE, loop], now_ns - state[at.CYCLE_NS])
    if reaction_ns > BUDGET_NS:
        count_miss(b, loop, R_OVER_BUDGET)
    elif now_ns >= state[at.DUE_NS]:
        count_miss(b, loop, R_OVER_PERIOD)
    elif state[at.INPUT_REASON] != R_NONE:
        count_miss(b, loop, state[at.INPUT_REASON])
    else:
        state[at.MISSES_IN_ROW] = 0


@inner
def count_miss(b: Blocks, loop: int, reason: int) -> None:
    state = b.loops[loop]
    state[at.MISSES] += 1
    state[at.MISSES_IN_ROW] += 1
    state[at.MISS_REASON] = reason


@inner
def reason_or(reason: int, otherwise: int) -> int:
    return otherwise if reason == R_NONE else reason
