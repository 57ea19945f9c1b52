"""Signals: what the engine hands over, and the blocks that a loop needs, stepped in their order.

A feed is a tag's value, its score or a number of one of its windows. The engine writes those that changed in each of
its cycles under a version, and says when (`FED_NS`); should it stand still for `FEEDS_DEAD_NS`, all feeds are bad until
it goes on. A feed whose quality is not good is NaN. Its time is that of the sample's arrival, so a loop that lives on
it judges the age of the sample, not of the hand-over.

A block is stepped whenever a loop that needs it is: at the loop's deadline, and when its input comes. Its output is as
old as the oldest of its inputs.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from gateway.control import blocks
from gateway.control import layout as at
from gateway.control.layout import Blocks
from gateway.core.kernels.atomics import fence_acquire, load_acquire
from gateway.core.types import NS_PER_MS, Quality
from gateway.native import libc
from gateway.native.jit import inner, whole

FEEDS_DEAD_NS: Final = 500 * NS_PER_MS
WAKE_BYTES: Final = 8
NEVER: Final = whole(-1)
GOOD = whole(Quality.GOOD)


@inner
def take_feeds(b: Blocks, now_ns: int) -> None:
    """New feeds become signals, and the loops that act on them are poked."""
    if b.words[at.FEEDS] == 0:
        return
    wake = b.words[at.LINKS]
    if b.descriptors[wake, 1] >> 16 and b.descriptors[wake, 0] >= 0:
        libc.libc_read(b.descriptors[wake, 0], b.timespec.ctypes, WAKE_BYTES)
        b.descriptors[wake, 1] = libc.POLLIN
    offset_ns = load_acquire(b.words, at.ENGINE_OFFSET)
    is_alive = now_ns + offset_ns - load_acquire(b.words, at.FED_NS) < FEEDS_DEAD_NS
    for feed in range(b.words[at.FEEDS]):
        if is_alive:
            take_feed(b, feed, offset_ns)
        elif b.feeds_seen[feed] != NEVER:
            b.feeds_seen[feed] = NEVER
            b.signals[at.FIRST_FEED + feed] = math.nan


@inner
def take_feed(b: Blocks, feed: int, offset_ns: int) -> None:
    base = feed * at.FEED_WORDS
    version = load_acquire(b.feeds, base + at.FEED_VERSION)
    if version & 1 or version == 0 or version == b.feeds_seen[feed]:
        return
    value = np.int64(b.feeds[base + at.FEED_VALUE]).view(np.float64)
    quality = b.feeds[base + at.FEED_QUALITY]
    arrived_ns = b.feeds[base + at.FEED_NS]
    fence_acquire()
    if load_acquire(b.feeds, base + at.FEED_VERSION) != version:
        return
    b.feeds_seen[feed] = version
    b.signals[at.FIRST_FEED + feed] = value if quality == GOOD else math.nan
    b.signals_ns[at.FIRST_FEED + feed] = arrived_ns - offset_ns
    poke(b, at.FIRST_FEED + feed)


@inner
def poke(b: Blocks, signal: int) -> None:
    """The loops that act on this signal are to be stepped in this turn."""
    for loop in range(b.words[at.LOOPS]):
        if b.pokes[signal, loop]:
            b.loops[loop, at.POKED] = 1


@inner
def put_signal(b: Blocks, signal: int, value: float, now_ns: int) -> None:
    b.signals[signal] = value
    b.signals_ns[signal] = now_ns


@inner
def run(b: Blocks, loop: int, now_ns: int) -> None:
    """Step the blocks that this loop needs."""
    for place in range(b.loops[loop, at.STEPS_FROM], b.loops[loop, at.STEPS_TO]):
        block = b.steps[place]
        row = b.program[block]
        count = row[at.STEP_INPUTS]
        oldest_ns = np.int64(at.ALWAYS_NS)
        for i in range(count):
            signal = row[at.FIRST_INPUT + i]
            b.inputs[i] = b.signals[signal]
            oldest_ns = min(oldest_ns, b.signals_ns[signal])
        dt_s = 0.0
        if row[at.STEPPED_NS] != 0:
            dt_s = (now_ns - row[at.STEPPED_NS]) * 1e-9
        row[at.STEPPED_NS] = now_ns
        value = blocks.step(row[at.STEP_KIND], b.parameters[block], b.states[block], b.inputs, count, dt_s)
        put_signal(b, row[at.STEP_OUT], value, oldest_ns)
