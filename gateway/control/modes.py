"""A loop's modes: what its output is to be, decided on memory alone.

    INITIALISING  until the device's present output was read and an input is there
    AUTO          the controller steps, with the setpoint that was written last
    CASCADE       the same with the setpoint of a block or another loop; while that is bad the last one holds
    TRACKING      the loop below is not in its cascade mode: the output is that loop's setpoint
    MANUAL        the output is what was written; needs no input and ignores its quality
    FAILSAFE      no good input, or no command within the dead man's time: the declared output, at once or with its rate
    INTERLOCKED   an interlock demands an output: at once, in every mode, before everything else

AUTO, CASCADE and TRACKING are entered only with a good input and from the output that the device holds (`pid.track`),
so no entry moves the output by itself. Which of MANUAL, AUTO and CASCADE it is was asked for (`MODE_ASKED`); the others
are entered and left by themselves.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gateway.control import frames, pid, program, tell, verdicts
from gateway.control import layout as at
from gateway.control.layout import Blocks
from gateway.core.kernels.atomics import load_acquire
from gateway.native.jit import inner


@inner
def take_commands(b: Blocks, loop: int, now_ns: int) -> None:
    """Setpoint, mode and manual output as Python last wrote them. An output command counts in MANUAL only.

    Each command, one with the value that is there as well, is a sign of life of the commander.
    """
    state = b.loops[loop]
    base = loop * at.COMMANDS
    version = load_acquire(b.commands, base + at.SETPOINT_VERSION)
    if version != state[at.SETPOINT_SEEN]:
        state[at.SETPOINT_SEEN] = version
        state[at.COMMANDED_NS] = now_ns
        b.reals[loop, at.SETPOINT_WANTED] = np.int64(b.commands[base + at.SETPOINT_VALUE]).view(np.float64)
        if b.reals[loop, at.SETPOINT_RATE] <= 0.0:
            b.pid[loop, pid.SETPOINT] = b.reals[loop, at.SETPOINT_WANTED]
    asked = load_acquire(b.commands, base + at.MODE_WANTED)
    if asked != state[at.MODE_ASKED]:
        state[at.MODE_ASKED] = asked
        state[at.COMMANDED_NS] = now_ns
        b.reals[loop, at.MANUAL_OUTPUT] = b.pid[loop, pid.OUTPUT]
    version = load_acquire(b.commands, base + at.OUTPUT_VERSION)
    if version != state[at.OUTPUT_SEEN]:
        state[at.OUTPUT_SEEN] = version
        state[at.COMMANDED_NS] = now_ns
        if asked == at.MANUAL:
            b.reals[loop, at.MANUAL_OUTPUT] = np.int64(b.commands[base + at.OUTPUT_VALUE]).view(np.float64)
    version = load_acquire(b.commands, base + at.ALIVE)
    if version != state[at.ALIVE_SEEN]:
        state[at.ALIVE_SEEN] = version
        state[at.COMMANDED_NS] = now_ns


@inner
def move_setpoint(b: Blocks, loop: int, dt_s: float) -> None:
    """Towards the one that was written last, no faster than the loop permits; one from a signal comes as it is."""
    rate = b.reals[loop, at.SETPOINT_RATE]
    if rate > 0.0:
        travel = rate * dt_s
        setpoint = b.pid[loop, pid.SETPOINT]
        wanted = b.reals[loop, at.SETPOINT_WANTED]
        b.pid[loop, pid.SETPOINT] = min(max(wanted, setpoint - travel), setpoint + travel)


@inner
def run_standing(b: Blocks, loop: int, now_ns: int) -> None:
    """At the loop's deadline: what needs no input."""
    state = b.loops[loop]
    program.run(b, loop, now_ns)
    if has_interlock(b, loop):
        run_interlock(b, loop)
        return
    if state[at.MODE] == at.INTERLOCKED:
        state[at.MODE] = at.INITIALISING
    if is_commander_lost(b, loop, now_ns):
        fail_safe(b, loop, verdicts.R_COMMANDER_LOST, now_ns)
        b.reals[loop, at.MANUAL_OUTPUT] = b.pid[loop, pid.OUTPUT]
    elif state[at.MODE_ASKED] == at.MANUAL:
        run_manual(b, loop)
    elif state[at.MODE] == at.FAILSAFE:
        hold_failsafe(b, loop, now_ns)


@inner
def is_commander_lost(b: Blocks, loop: int, now_ns: int) -> bool:
    state = b.loops[loop]
    return state[at.DEAD_MAN_NS] > 0 and now_ns - state[at.COMMANDED_NS] > state[at.DEAD_MAN_NS]


@inner
def has_interlock(b: Blocks, loop: int) -> bool:
    """Whether an output is demanded; only once it is known what the device holds."""
    state = b.loops[loop]
    return state[at.INTERLOCK] >= 0 and state[at.OUTPUT_KNOWN] and not math.isnan(b.signals[state[at.INTERLOCK]])


@inner
def run_interlock(b: Blocks, loop: int) -> None:
    state = b.loops[loop]
    if state[at.MODE] != at.INTERLOCKED:
        state[at.MODE] = at.INTERLOCKED
        state[at.INTERLOCKS] += 1
        state[at.DIRTY] = 1
    wanted = b.signals[state[at.INTERLOCK]]
    want_output(b, loop, min(max(wanted, b.pid[loop, pid.OUTPUT_MIN]), b.pid[loop, pid.OUTPUT_MAX]), at.URGENT)
    b.reals[loop, at.MANUAL_OUTPUT] = b.pid[loop, pid.OUTPUT]


@inner
def run_manual(b: Blocks, loop: int) -> None:
    if b.loops[loop, at.OUTPUT_KNOWN]:
        b.loops[loop, at.MODE] = at.MANUAL
        want_output(b, loop, b.reals[loop, at.MANUAL_OUTPUT], at.ORDINARY)


@inner
def run_auto(b: Blocks, loop: int, value: float, now_ns: int) -> None:
    """A good input is there."""
    state = b.loops[loop]
    if state[at.MODE_ASKED] == at.MANUAL or not state[at.OUTPUT_KNOWN] or has_interlock(b, loop):
        return
    if is_commander_lost(b, loop, now_ns):
        return
    take_signals(b, loop)
    output = b.pid[loop, pid.OUTPUT]
    mode = state[at.MODE_ASKED]
    if state[at.TRACKS] >= 0 and b.loops[state[at.TRACKS], at.MODE] != at.CASCADE:
        mode = at.TRACKING
        setpoint = b.pid[state[at.TRACKS], pid.SETPOINT]
        output = min(max(setpoint, b.pid[loop, pid.OUTPUT_MIN]), b.pid[loop, pid.OUTPUT_MAX])
        pid.track(b.pid, loop, value, output)
    elif state[at.MODE] != at.AUTO and state[at.MODE] != at.CASCADE and state[at.MODE] != at.TRACKING:
        pid.track(b.pid, loop, value, output)
    elif state[at.FOLLOWS]:
        output = pid.limited(b.pid, loop, value, (now_ns - state[at.STEP_NS]) * 1e-9)
    else:
        output = pid.step(b.pid, loop, value, (now_ns - state[at.STEP_NS]) * 1e-9)
    state[at.MODE] = mode
    state[at.STEP_NS] = now_ns
    want_output(b, loop, output, at.ORDINARY)


@inner
def take_signals(b: Blocks, loop: int) -> None:
    """Setpoint, feed-forward and gains from elsewhere; where one is bad the last one holds."""
    state = b.loops[loop]
    if state[at.MODE_ASKED] == at.CASCADE and is_good(b, state[at.SETPOINT_FROM]):
        setpoint = b.signals[state[at.SETPOINT_FROM]]
        setpoint = min(max(setpoint, b.reals[loop, at.SETPOINT_LOW]), b.reals[loop, at.SETPOINT_HIGH])
        b.pid[loop, pid.SETPOINT] = setpoint
        b.reals[loop, at.SETPOINT_WANTED] = setpoint
    if is_good(b, state[at.FEED_FORWARD]):
        b.pid[loop, pid.FEED_FORWARD] = b.signals[state[at.FEED_FORWARD]]
    if is_good(b, state[at.KP_FROM]) and is_good(b, state[at.TI_FROM]) and is_good(b, state[at.TD_FROM]):
        kp, ti_s = b.signals[state[at.KP_FROM]], b.signals[state[at.TI_FROM]]
        pid.retune(b.pid, loop, kp, ti_s, b.signals[state[at.TD_FROM]])


@inner
def is_good(b: Blocks, signal: int) -> Any:
    return signal >= 0 and not math.isnan(b.signals[signal])


@inner
def fail_safe(b: Blocks, loop: int, reason: int, now_ns: int) -> None:
    """Enter or keep the fail-safe state; only once it is known what the device holds.

    In MANUAL only because the commander is lost: a bad input means nothing there.
    """
    state = b.loops[loop]
    is_exempt = state[at.MODE_ASKED] == at.MANUAL and reason != verdicts.R_COMMANDER_LOST
    if is_exempt or not state[at.OUTPUT_KNOWN] or has_interlock(b, loop):
        return
    if state[at.MODE] != at.FAILSAFE:
        state[at.MODE] = at.FAILSAFE
        state[at.FAILSAFES] += 1
        state[at.FAILSAFE_REASON] = reason
        state[at.STEP_NS] = now_ns
        state[at.DIRTY] = 1
    hold_failsafe(b, loop, now_ns)


@inner
def judge_age(b: Blocks, loop: int, now_ns: int) -> None:
    """FAILSAFE when no good input came for too long."""
    state = b.loops[loop]
    if now_ns - state[at.INPUT_NS] > state[at.STALE_NS]:
        if state[at.INPUT_REASON] == verdicts.R_NONE:
            input_failed(b, loop, now_ns, verdicts.COMM_FAILURE, verdicts.R_TOO_OLD)
        fail_safe(b, loop, state[at.INPUT_REASON], now_ns)


@inner
def hold_failsafe(b: Blocks, loop: int, now_ns: int) -> None:
    """The declared output, subject to its range and its own rate; without one, what the device holds."""
    output = b.pid[loop, pid.OUTPUT]
    if b.loops[loop, at.HAS_FAILSAFE]:
        travel = b.reals[loop, at.FAILSAFE_RATE] * ((now_ns - b.loops[loop, at.STEP_NS]) * 1e-9)
        wanted = b.reals[loop, at.FAILSAFE_OUTPUT]
        if b.reals[loop, at.FAILSAFE_RATE] > 0.0:
            wanted = min(max(wanted, output - travel), output + travel)
            b.loops[loop, at.STEP_NS] = now_ns
        output = min(max(wanted, b.pid[loop, pid.OUTPUT_MIN]), b.pid[loop, pid.OUTPUT_MAX])
    want_output(b, loop, output, at.URGENT)


@inner
def want_output(b: Blocks, loop: int, output: float, how: int) -> None:
    """Have `output` written if it differs from what the device holds, or if that was written too long ago.

    This is the only way to a write; a loop in shadow ends here, and so does one without a register.
    """
    state = b.loops[loop]
    b.pid[loop, pid.OUTPUT] = output
    if state[at.SHADOW] or not state[at.HAS_OUTPUT]:
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
def input_failed(b: Blocks, loop: int, now_ns: int, quality: int, reason: int) -> None:
    """No value came. One bad sample tells the engine of each change of quality, where the tag is the executive's."""
    if quality != b.loops[loop, at.QUALITY] and b.loops[loop, at.SOURCE] < 0:
        tell.put_nothing(b, b.loops[loop, at.IN_ROW], quality, now_ns, b.loops[loop, at.IN_KIND])
    count_failure(b, loop, quality, reason)


@inner
def count_failure(b: Blocks, loop: int, quality: int, reason: int) -> None:
    state = b.loops[loop]
    state[at.QUALITY] = quality
    state[at.INPUT_ERRORS] += 1
    state[at.INPUT_REASON] = reason
    state[at.DIRTY] = 1
