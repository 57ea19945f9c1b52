"""What a control loop does, decided on memory alone: no socket, no clock. Everything is a reaction to one of

    begin_cycle     its deadline came           input_arrived   a reply with its input is complete
    output_known    its output was read back    input_failed    a read failed, or its link is down
    write_done      a write was answered        output_lost     the output's link is down

    take_source     its input is a signal: at its deadline, or when that comes

What its output is to be then, by its mode, is decided in `modes`. FAILSAFE is entered at once on an exception, a value
that is not finite or outside its valid range, a bad signal, and when no good input came for `stale_after`; the next
good input ends it.

A loop in *shadow* does all that and writes nothing, in no mode and at no stop; what somebody else has the device hold
is read again in place of each refresh, for the tag's sake.

A *miss*, at most one a cycle: the output was handed to the socket more than 10 ms after its input was complete (where
the loop thread carries it: it was not confirmed within the loop's own budget, see `outbox`), or the cycle was not done
(input in, output handed over if it changed) when the next one was due. Each period that an overrun skipped is a miss
too.

The executive marks what it wants sent (`BLOCK_WANTED`, `INIT_WANTED`, `WRITE_WANTED`); `transport` sends it.
"""

from __future__ import annotations

import math

from gateway.control import frames, modes, pid, program, tell, verdicts
from gateway.control import layout as at
from gateway.control.layout import Blocks
from gateway.core.kernels.histogram import observe
from gateway.native.jit import inner, whole

NONE_NS = whole(0)
BACK_AFTER_PERIODS = 3
"""A write is read back so many periods after the last one, so that an output that moves is not read all the time."""


@inner
def begin_cycle(b: Blocks, loop: int, now_ns: int) -> None:
    """The loop's deadline has come: account for the last cycle, take commands, ask for the input."""
    state = b.loops[loop]
    period_ns = state[at.PERIOD_NS]
    lateness_ns = now_ns - state[at.DUE_NS]
    skipped = lateness_ns // period_ns
    observe(b.histograms[at.WAKE_LATENESS, loop], lateness_ns)
    if state[at.CYCLE] != at.DONE:
        count_miss(b, loop, reason_or(state[at.INPUT_REASON], verdicts.R_OVER_PERIOD))
    if skipped > 0:
        state[at.OVERRUNS] += skipped
        state[at.MISSES] += skipped
        state[at.MISSES_IN_ROW] += skipped
        state[at.MISS_REASON] = verdicts.R_OVER_PERIOD
    state[at.CYCLE_NS] = state[at.DUE_NS] + skipped * period_ns
    state[at.DUE_NS] = state[at.CYCLE_NS] + period_ns
    state[at.CYCLES] += 1
    state[at.CYCLE] = at.AWAITS_INPUT
    state[at.WRITE_AGE] += 1 + skipped
    state[at.DIRTY] = 1

    modes.take_commands(b, loop, now_ns)
    modes.move_setpoint(b, loop, (1 + skipped) * period_ns * 1e-9)
    ask_for_output(b, loop)
    if state[at.SOURCE] < 0:
        ask_for_input(b, loop, now_ns)
        modes.run_standing(b, loop, now_ns)
    else:
        modes.run_standing(b, loop, now_ns)
        take_source(b, loop, now_ns)
    modes.judge_age(b, loop, now_ns)
    put_signals(b, loop, now_ns)


@inner
def ask_for_output(b: Blocks, loop: int) -> None:
    """What the device holds: before the first write, and now and then in shadow or for a read-back."""
    state = b.loops[loop]
    if not state[at.HAS_OUTPUT]:
        state[at.OUTPUT_KNOWN] = 1
        return
    if state[at.INIT_OUTSTANDING] or not (state[at.IS_CARRIED] or b.links[state[at.OUT_LINK], at.FD] >= 0):
        return
    if not state[at.OUTPUT_KNOWN] or (state[at.SHADOW] and state[at.WRITE_AGE] >= state[at.REFRESH_PERIODS]):
        state[at.INIT_WANTED] = 1
    elif state[at.READ_BACK] and state[at.WRITE_AGE] == BACK_AFTER_PERIODS and state[at.RAW_VALID]:
        # Devices answer in order: the reply is of the time before whatever is written after this.
        state[at.INIT_WANTED] = 1
        state[at.BACK_ASKED] = 1
        state[at.BACK_RAW] = state[at.RAW]


@inner
def ask_for_input(b: Blocks, loop: int, now_ns: int) -> None:
    block = b.blocks[b.loops[loop, at.BLOCK]]
    if b.links[block[at.BLOCK_LINK], at.FD] < 0:
        modes.input_failed(b, loop, now_ns, verdicts.NOT_CONNECTED, verdicts.R_NOT_CONNECTED)
    elif not block[at.BLOCK_OUTSTANDING]:
        block[at.BLOCK_WANTED] = 1


@inner
def put_signals(b: Blocks, loop: int, now_ns: int) -> None:
    """The loop as blocks and other loops see it; whose source this is acts in this turn."""
    base = at.OF_LOOP * loop
    if b.loops[loop, at.OUTPUT_KNOWN]:
        program.put_signal(b, base + at.OF_LOOP_OUTPUT, b.pid[loop, pid.OUTPUT], now_ns)
        program.poke(b, base + at.OF_LOOP_OUTPUT)
    program.put_signal(b, base + at.OF_LOOP_SETPOINT, b.pid[loop, pid.SETPOINT], now_ns)


@inner
def serve_pokes(b: Blocks, now_ns: int) -> None:
    """Step the loops that act on a signal which came: each once, in the order in which they stand."""
    for loop in range(b.words[at.LOOPS]):
        if b.loops[loop, at.POKED]:
            b.loops[loop, at.POKED] = 0
            if b.loops[loop, at.ON_ARRIVAL]:
                program.run(b, loop, now_ns)
                take_source(b, loop, now_ns)
                put_signals(b, loop, now_ns)


@inner
def take_source(b: Blocks, loop: int, now_ns: int) -> None:
    """The input is a signal; one that never was is only waited for."""
    state = b.loops[loop]
    value = b.signals[state[at.SOURCE]]
    then_ns = b.signals_ns[state[at.SOURCE]]
    if math.isnan(value):
        if then_ns != 0:
            modes.input_failed(b, loop, now_ns, verdicts.COMM_FAILURE, verdicts.R_BAD_SIGNAL)
            modes.fail_safe(b, loop, verdicts.R_BAD_SIGNAL, now_ns)
    else:
        if then_ns != at.ALWAYS_NS:
            observe(b.histograms[at.INPUT_AGE, loop], now_ns - then_ns)
        b.reals[loop, at.PROCESS_VALUE] = value
        state[at.INPUT_NS] = min(then_ns, now_ns)
        if now_ns - then_ns <= state[at.STALE_NS]:
            good_input(b, loop, value, now_ns)
    input_done(b, loop, now_ns)


@inner
def good_input(b: Blocks, loop: int, value: float, now_ns: int) -> None:
    state = b.loops[loop]
    state[at.QUALITY] = verdicts.GOOD
    state[at.INPUT_REASON] = verdicts.R_NONE
    state[at.INPUTS] += 1
    modes.run_auto(b, loop, value, now_ns)


@inner
def input_done(b: Blocks, loop: int, reply_ns: int) -> None:
    state = b.loops[loop]
    state[at.DIRTY] = 1
    state[at.REPLY_NS] = reply_ns
    if state[at.CYCLE] == at.AWAITS_INPUT:
        if state[at.WRITE_WANTED] != at.NOTHING:
            state[at.CYCLE] = at.AWAITS_WRITE
        else:
            end_cycle(b, loop, reply_ns, NONE_NS)


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
        modes.input_failed(b, loop, reply_ns, verdicts.SENSOR_FAILURE, verdicts.R_NOT_A_NUMBER)
        modes.fail_safe(b, loop, verdicts.R_NOT_A_NUMBER, reply_ns)
    else:
        cell = frames.cell_of(value, bits, kind, scale, offset, state[at.IN_KIND])
        b.reals[loop, at.PROCESS_VALUE] = value
        if value < b.reals[loop, at.VALID_LOW] or value > b.reals[loop, at.VALID_HIGH]:
            tell.put_sample(b, state[at.IN_ROW], verdicts.RANGE_EXCEEDED, reply_ns, cell)
            modes.count_failure(b, loop, verdicts.RANGE_EXCEEDED, verdicts.R_OUT_OF_RANGE)
            modes.fail_safe(b, loop, verdicts.R_OUT_OF_RANGE, reply_ns)
        else:
            tell.put_sample(b, state[at.IN_ROW], verdicts.GOOD, reply_ns, cell)
            state[at.INPUT_NS] = reply_ns
            program.put_signal(b, at.OF_LOOP * loop + at.OF_LOOP_INPUT, value, reply_ns)
            program.poke(b, at.OF_LOOP * loop + at.OF_LOOP_INPUT)
            program.run(b, loop, reply_ns)
            good_input(b, loop, value, reply_ns)
            put_signals(b, loop, reply_ns)
    input_done(b, loop, reply_ns)


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
        write_failed(b, loop, reply_ns, verdicts.DEVICE_FAILURE, verdicts.R_NOT_A_NUMBER)
        return
    if state[at.SHADOW] and state[at.OUTPUT_KNOWN]:
        state[at.WRITE_AGE] = 0
        state[at.WRITE_REASON] = verdicts.R_NONE
        tell.put_output(b, loop, bits, reply_ns)
        return
    if state[at.BACK_ASKED] and state[at.OUTPUT_KNOWN]:
        state[at.BACK_ASKED] = 0
        tell.put_output(b, loop, bits, reply_ns)
        if bits == state[at.BACK_RAW]:
            state[at.WRITE_REASON] = verdicts.R_NONE
        else:
            write_failed(b, loop, reply_ns, verdicts.DEVICE_FAILURE, verdicts.R_OVERRULED)
        return
    state[at.BACK_ASKED] = 0
    b.pid[loop, pid.OUTPUT] = value
    b.reals[loop, at.MANUAL_OUTPUT] = value
    state[at.OUTPUT_KNOWN] = 1
    state[at.RAW] = bits
    state[at.RAW_VALID] = 1
    state[at.WRITE_AGE] = 0
    state[at.WRITE_REASON] = verdicts.R_NONE
    state[at.DIRTY] = 1
    tell.put_output(b, loop, bits, reply_ns)
    modes.judge_age(b, loop, reply_ns)


@inner
def output_lost(b: Blocks, loop: int, now_ns: int) -> None:
    """The way to the device is gone: what its output does from now on is not known."""
    state = b.loops[loop]
    if state[at.OUTPUT_KNOWN]:
        tell.put_nothing(b, state[at.OUT_ROW], verdicts.NOT_CONNECTED, now_ns, state[at.OUT_KIND])
    state[at.OUTPUT_KNOWN] = 0
    state[at.RAW_VALID] = 0
    state[at.WRITE_WANTED] = at.NOTHING
    state[at.WRITE_OUTSTANDING] = 0
    state[at.INIT_WANTED] = 0
    state[at.INIT_OUTSTANDING] = 0
    state[at.BACK_ASKED] = 0
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
def write_handed_over(b: Blocks, loop: int, now_ns: int) -> None:
    """To the courier: the cycle is done, its output is judged when it is confirmed."""
    state = b.loops[loop]
    state[at.WRITE_WANTED] = at.NOTHING
    state[at.WRITE_OUTSTANDING] = 1
    state[at.RAW] = state[at.RAW_NEXT]
    state[at.RAW_VALID] = 1
    state[at.WRITE_AGE] = 0
    state[at.WRITES] += 1
    state[at.DIRTY] = 1
    state[at.ASKED_SINCE_NS] = 0
    if state[at.CYCLE] == at.AWAITS_WRITE:
        state[at.ASKED_SINCE_NS] = state[at.REPLY_NS]
        end_cycle(b, loop, now_ns, NONE_NS)


@inner
def write_done(b: Blocks, loop: int, reply_ns: int, bits: int) -> None:
    """The device acknowledged `bits`."""
    if b.loops[loop, at.WRITE_REASON] != verdicts.R_OVERRULED:
        b.loops[loop, at.WRITE_REASON] = verdicts.R_NONE
    tell.put_output(b, loop, bits, reply_ns)


@inner
def write_failed(b: Blocks, loop: int, now_ns: int, quality: int, reason: int) -> None:
    """The device may or may not hold the value: write it again in the next cycle, changed or not."""
    state = b.loops[loop]
    state[at.RAW_VALID] = 0
    state[at.WRITE_ERRORS] += 1
    if state[at.WRITE_REASON] == verdicts.R_NONE:
        tell.put_nothing(b, state[at.OUT_ROW], quality, now_ns, state[at.OUT_KIND])
    state[at.WRITE_REASON] = reason
    state[at.DIRTY] = 1


@inner
def end_cycle(b: Blocks, loop: int, now_ns: int, reaction_ns: int) -> None:
    state = b.loops[loop]
    state[at.CYCLE] = at.DONE
    observe(b.histograms[at.FULL_CYCLE, loop], now_ns - state[at.CYCLE_NS])
    if reaction_ns > state[at.BUDGET_NS]:
        count_miss(b, loop, verdicts.R_OVER_BUDGET)
    elif now_ns >= state[at.DUE_NS]:
        count_miss(b, loop, verdicts.R_OVER_PERIOD)
    elif state[at.INPUT_REASON] != verdicts.R_NONE:
        count_miss(b, loop, state[at.INPUT_REASON])
    elif not state[at.ASK_IS_LATE]:
        state[at.MISSES_IN_ROW] = 0


@inner
def count_miss(b: Blocks, loop: int, reason: int) -> None:
    state = b.loops[loop]
    state[at.MISSES] += 1
    state[at.MISSES_IN_ROW] += 1
    state[at.MISS_REASON] = reason


@inner
def reason_or(reason: int, otherwise: int) -> int:
    return otherwise if reason == verdicts.R_NONE else reason
