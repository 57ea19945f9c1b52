"""Outputs that the loop thread carries: serial lines, Modbus over TLS or RTU framing, and MQTT.

The executive decides such an output as any other one, and hands it over instead of sending it: request and version into
its memory, then a word to `ASK_FD`, which wakes the courier on the loop (`courier`). One request of a loop is under way
at a time. What the device or the broker said comes back the same way, and means what a reply means: the present output
before the first write, a confirmed write, a refused one.

*Budget.* From a complete input to the confirmed output; a loop has its own (`output_within`). What is not confirmed by
then is a miss and a failed write, told once, and written again as soon as the answer to the first one is there. Python
standing still is nothing else. A link that is down, or three requests in a row without an answer, means that the output
is not known any more: the loop begins again with what the device holds, as after any lost link.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.control import frames, verdicts
from gateway.control import layout as at
from gateway.control import loops as react
from gateway.control.layout import Blocks
from gateway.core.kernels.atomics import load_acquire, store_release
from gateway.core.kernels.histogram import observe
from gateway.native import libc
from gateway.native.jit import inner

FAULTS_IN_ROW_MAX: Final = 3
WORD_BYTES: Final = 8


@inner
def take_answers(b: Blocks, now_ns: int) -> None:
    for loop in range(b.words[at.LOOPS]):
        if b.loops[loop, at.IS_CARRIED]:
            take_answer(b, loop, now_ns)


@inner
def ask_all(b: Blocks, now_ns: int) -> None:
    """Hand over what is wanted, and wake the courier once."""
    is_new = False
    for loop in range(b.words[at.LOOPS]):
        if b.loops[loop, at.IS_CARRIED] and b.loops[loop, at.ASKED] == at.FREE:
            is_new |= ask(b, loop, now_ns)
    if is_new and b.words[at.ASK_FD] > 0:
        b.timespec[0] = 1
        libc.libc_write(b.words[at.ASK_FD], b.timespec.ctypes, WORD_BYTES)


@inner
def ask(b: Blocks, loop: int, now_ns: int) -> bool:
    """Whether there was something to ask."""
    state = b.loops[loop]
    if state[at.WRITE_WANTED] != at.NOTHING:
        kind = at.WRITE_OUTPUT
        frame = b.write_frames[loop]
        start = 10 if frame[7] == frames.WRITE_SINGLE else 13
        frames.store_bits(frame, start, state[at.OUT_REGISTERS], state[at.OUT_ORDER], state[at.RAW_NEXT])
        react.write_handed_over(b, loop, now_ns)
    elif state[at.INIT_WANTED]:
        kind = at.READ_OUTPUT
        state[at.INIT_WANTED] = 0
        state[at.INIT_OUTSTANDING] = 1
    else:
        return False
    base = loop * at.OUT_WORDS
    state[at.ASKED] = kind
    state[at.ASKED_NS] = now_ns
    state[at.ASK_IS_LATE] = 0
    b.out_words[base + at.ASK_KIND] = kind
    store_release(b.out_words, base + at.ASK_VERSION, b.out_words[base + at.ASK_VERSION] + 1)
    return True


@inner
def take_answer(b: Blocks, loop: int, now_ns: int) -> None:
    state = b.loops[loop]
    base = loop * at.OUT_WORDS
    lost = load_acquire(b.out_words, base + at.LOST_VERSION)
    if lost != state[at.LOST_SEEN]:
        state[at.LOST_SEEN] = lost
        lose(b, loop, now_ns, verdicts.NOT_CONNECTED, verdicts.R_NOT_CONNECTED)
    if state[at.ASKED] == at.FREE:
        return
    if load_acquire(b.out_words, base + at.ANSWER_VERSION) != b.out_words[base + at.ASK_VERSION]:
        judge_lateness(b, loop, now_ns)
        return
    kind = state[at.ASKED]
    state[at.ASKED] = at.FREE
    if not is_awaited(b, loop, kind):
        return  # its output was lost meanwhile
    if kind == at.READ_OUTPUT:
        state[at.INIT_OUTSTANDING] = 0
    else:
        state[at.WRITE_OUTSTANDING] = 0
    reason = b.out_words[base + at.ANSWER_REASON]
    if reason != verdicts.R_NONE:
        failed(b, loop, now_ns, b.out_words[base + at.ANSWER_QUALITY], reason)
        return
    state[at.ASK_FAULTS] = 0
    answer_ns = b.out_words[base + at.ANSWER_NS]
    if kind == at.READ_OUTPUT:
        react.output_known(b, loop, b.out_replies[loop], 0, answer_ns)
    else:
        confirmed(b, loop, answer_ns)


@inner
def is_awaited(b: Blocks, loop: int, kind: int) -> Any:
    if kind == at.READ_OUTPUT:
        return b.loops[loop, at.INIT_OUTSTANDING] > 0
    return b.loops[loop, at.WRITE_OUTSTANDING] > 0


@inner
def confirmed(b: Blocks, loop: int, answer_ns: int) -> None:
    state = b.loops[loop]
    if state[at.ASKED_SINCE_NS] != 0:
        took_ns = answer_ns - state[at.ASKED_SINCE_NS]
        observe(b.histograms[at.INPUT_TO_OUTPUT, loop], took_ns)
        if took_ns > state[at.BUDGET_NS] and not state[at.ASK_IS_LATE]:
            react.count_miss(b, loop, verdicts.R_NOT_CONFIRMED)
    state[at.ASK_IS_LATE] = 0
    react.write_done(b, loop, answer_ns, state[at.RAW])


@inner
def judge_lateness(b: Blocks, loop: int, now_ns: int) -> None:
    state = b.loops[loop]
    if state[at.ASK_IS_LATE] or now_ns - state[at.ASKED_NS] <= state[at.BUDGET_NS]:
        return
    state[at.ASK_IS_LATE] = 1
    if state[at.ASKED] == at.WRITE_OUTPUT and state[at.WRITE_OUTSTANDING] > 0:
        react.count_miss(b, loop, verdicts.R_NOT_CONFIRMED)
        react.write_failed(b, loop, now_ns, verdicts.COMM_FAILURE, verdicts.R_NOT_CONFIRMED)


@inner
def failed(b: Blocks, loop: int, now_ns: int, quality: int, reason: int) -> None:
    """A refusal is an answer; silence is not, and the third in a row is a lost link."""
    state = b.loops[loop]
    if reason != verdicts.R_EXCEPTION:
        state[at.ASK_FAULTS] += 1
    if reason == verdicts.R_NOT_CONNECTED or state[at.ASK_FAULTS] >= FAULTS_IN_ROW_MAX:
        lose(b, loop, now_ns, quality, reason)
    elif state[at.OUTPUT_KNOWN] or state[at.WRITE_REASON] != reason:
        react.write_failed(b, loop, now_ns, quality, reason)


@inner
def lose(b: Blocks, loop: int, now_ns: int, quality: int, reason: int) -> None:
    state = b.loops[loop]
    state[at.ASK_FAULTS] = 0
    if state[at.OUTPUT_KNOWN] or state[at.WRITE_REASON] != reason:
        react.write_failed(b, loop, now_ns, quality, reason)
    react.output_lost(b, loop, now_ns)
