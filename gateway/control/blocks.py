"""Function blocks, apart from all plumbing: numbers in, one number out, a few words of state.

Each takes `p`, its parameters, `s`, its state (zeros before the first step), `x`, its inputs, `n` how many these are,
and `dt_s`, the time since its last step (0 at the first). NaN is a value that is bad: it makes the result NaN, except
where a block says otherwise. Logic is by numbers as well: above 0.5 is true, results are 0 or 1.

    scale         gain · x + offset                       p: gain, offset
    sum           Σ gain · x                              p: gain of each input
    product       Π x (a ratio is a product with a number)
    minimum, maximum, median, mean, first                 of the inputs that are good; bad when none is
    lead_lag      (1 + lead · d/dt) / (1 + lag · d/dt)    p: lead_s, lag_s; starts at rest
    deadband      keeps its value until x is `band` away  p: band
    rate_limit    follows x at most so fast               p: up and down, in units a second
    profile       a course over time, from when run becomes true; hold stops its clock
                                                          p: points, then t_s, value of each; x: run, hold
    curve         y of x between points, flat outside     p: points, then x, y of each
    on_off        a switch with hysteresis and minimum times
                                                          p: on_at, off_at, min_on_s, min_off_s
    compare       x above (or below) a limit, with hysteresis
                                                          p: limit, hysteresis, 1 for above or -1
    all, any, none                                        of the inputs
    latch         set and reset, reset first              x: set, reset; a bad input changes nothing
    timer         true when x was for on_s, until it was not for off_s
                                                          p: on_s, off_s
    sequence      number of the step that it is at: 0 until run, then 1, 2, … as their conditions come true, one more
                  than there are at the end; -k once step k took too long. Not run: 0 again
                                                          p: time-out of each step, s; x: run, then each condition
    choose        the input with the number of the first  x: which (0, 1, …), then the values
    counter       counts up by one every so often, from 0 to its end and again: a heartbeat
                                                          p: every_s, end
    interlock     the output that is demanded, NaN if none is; a bad condition demands
                                                          p: output of each condition

The arithmetic is in the order written here; the twins in the tests give the same bits.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit

from gateway.core.types import Float64s

KINDS: Final = (
    "scale",
    "sum",
    "product",
    "minimum",
    "maximum",
    "median",
    "mean",
    "first",
    "lead_lag",
    "deadband",
    "rate_limit",
    "profile",
    "curve",
    "on_off",
    "compare",
    "all",
    "any",
    "none",
    "latch",
    "timer",
    "sequence",
    "choose",
    "interlock",
    "counter",
)
"""A block's number in jitted code is its place here."""
(
    SCALE,
    SUM,
    PRODUCT,
    MINIMUM,
    MAXIMUM,
    MEDIAN,
    MEAN,
    FIRST,
    LEAD_LAG,
    DEADBAND,
    RATE_LIMIT,
    PROFILE,
    CURVE,
    ON_OFF,
    COMPARE,
    ALL,
    ANY,
    NONE,
    LATCH,
    TIMER,
    SEQUENCE,
    CHOOSE,
    INTERLOCK,
    COUNTER,
) = range(len(KINDS))

INPUTS_MAX: Final = 9
POINTS_MAX: Final = 12
PARAMETERS_MAX: Final = 1 + 2 * POINTS_MAX
STATE_WORDS: Final = 4
TRUE_ABOVE: Final = 0.5
NAN: Final = math.nan


@njit(cache=True, nogil=True, error_model="numpy")
def step(kind: int, p: Float64s, s: Float64s, x: Float64s, n: int, dt_s: float) -> Any:
    """One step of a block."""
    if kind >= MINIMUM and kind <= FIRST:
        return select(kind, x, n)
    if kind >= ALL and kind <= NONE:
        return logic(kind, x, n)
    if kind == INTERLOCK:
        return interlock(p, x, n)
    if kind == LATCH:
        return latch(s, x)
    if kind == CHOOSE:
        return choose(x, n)
    for i in range(n):
        if math.isnan(x[i]):
            return NAN
    if kind <= PRODUCT:
        return combine(kind, p, x, n)
    if kind == LEAD_LAG:
        return lead_lag(p, s, x[0], dt_s)
    if kind in (DEADBAND, RATE_LIMIT):
        return follow(kind, p, s, x[0], dt_s)
    if kind == PROFILE:
        return profile(p, s, x, n, dt_s)
    if kind == CURVE:
        return between(p, x[0])
    if kind == COUNTER:
        return counter(p, s, dt_s)
    if kind == SEQUENCE:
        return sequence(p, s, x, n, dt_s)
    return switch(kind, p, s, x[0], dt_s)


@njit(cache=True, nogil=True, error_model="numpy")
def combine(kind: int, p: Float64s, x: Float64s, n: int) -> Any:
    if kind == SCALE:
        return p[0] * x[0] + p[1]
    total = 0.0 if kind == SUM else 1.0
    for i in range(n):
        if kind == SUM:
            total += p[i] * x[i]
        else:
            total *= x[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def select(kind: int, x: Float64s, n: int) -> Any:
    """Of the inputs that are good; the lower middle and the upper, halved, of an even number."""
    good = 0
    total = 0.0
    low = high = first = NAN
    for i in range(n):
        if not math.isnan(x[i]):
            if good == 0:
                low = high = first = x[i]
            low, high = min(low, x[i]), max(high, x[i])
            total += x[i]
            good += 1
    if good == 0 or kind == FIRST:
        return first
    if kind == MINIMUM:
        return low
    if kind == MAXIMUM:
        return high
    if kind == MEAN:
        return total / good
    return 0.5 * ranked(x, n, (good - 1) // 2) + 0.5 * ranked(x, n, good // 2)


@njit(cache=True, nogil=True, error_model="numpy")
def ranked(x: Float64s, n: int, rank: int) -> Any:
    """The good input with so many below it, those that are equal counted by their places."""
    for i in range(n):
        below = 0
        for j in range(n):
            below += x[j] < x[i] or (x[j] == x[i] and j < i)
        if not math.isnan(x[i]) and below == rank:
            return x[i]
    return NAN


@njit(cache=True, nogil=True, error_model="numpy")
def lead_lag(p: Float64s, s: Float64s, x: float, dt_s: float) -> Any:
    """Backward Euler; state: input, output, whether there are any."""
    if s[2] == 0.0:
        s[0] = s[1] = x
        s[2] = 1.0
    elif dt_s > 0.0:
        s[1] = (p[1] * s[1] + (dt_s + p[0]) * x - p[0] * s[0]) / (p[1] + dt_s)
        s[0] = x
    return s[1]


@njit(cache=True, nogil=True, error_model="numpy")
def follow(kind: int, p: Float64s, s: Float64s, x: float, dt_s: float) -> Any:
    """State: output, whether there is one."""
    if s[1] == 0.0:
        s[0], s[1] = x, 1.0
    elif kind == DEADBAND:
        if abs(x - s[0]) > p[0]:
            s[0] = x
    else:
        s[0] = min(max(x, s[0] - p[1] * dt_s), s[0] + p[0] * dt_s)
    return s[0]


@njit(cache=True, nogil=True, error_model="numpy")
def between(p: Float64s, x: float) -> Any:
    """Of `p`: how many points, then x and y of each, x rising."""
    points = int(p[0])
    if x <= p[1]:
        return p[2]
    for i in range(1, points):
        x1 = p[1 + 2 * i]
        if x <= x1:
            x0, y0, y1 = p[2 * i - 1], p[2 * i], p[2 + 2 * i]
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return p[2 * points]


@njit(cache=True, nogil=True, error_model="numpy")
def profile(p: Float64s, s: Float64s, x: Float64s, n: int, dt_s: float) -> Any:
    """State: seconds since run became true. Not run: at the course's beginning."""
    if not x[0] > TRUE_ABOVE:
        s[0] = 0.0
        s[1] = 0.0
    elif s[1] == 0.0:
        s[1] = 1.0  # its clock begins with this step
    elif n < 2 or not x[1] > TRUE_ABOVE:
        s[0] += dt_s
    return between(p, s[0])


@njit(cache=True, nogil=True, error_model="numpy")
def switch(kind: int, p: Float64s, s: Float64s, x: float, dt_s: float) -> Any:
    """State: on or off, seconds since it changed, whether it has been stepped."""
    is_on = s[0] > TRUE_ABOVE
    s[1] += dt_s
    wanted = is_on
    if kind == ON_OFF:
        rises = p[0] > p[1]
        if (x >= p[0]) if rises else (x <= p[0]):
            wanted = True
        elif (x <= p[1]) if rises else (x >= p[1]):
            wanted = False
        held = s[2] > 0.0 and s[1] < (p[2] if is_on else p[3])
    elif kind == COMPARE:
        over = p[2] * (x - p[0])
        wanted = over > 0.0 or (is_on and over > -p[1])
        held = False
    else:
        is_true = x > TRUE_ABOVE
        if is_true == is_on:
            s[1] = 0.0
        wanted = is_true
        held = s[1] < (p[1] if is_on else p[0])
    if wanted != is_on and not held:
        s[0] = 1.0 if wanted else 0.0
        s[1] = 0.0
    s[2] = 1.0
    return s[0]


@njit(cache=True, nogil=True, error_model="numpy")
def logic(kind: int, x: Float64s, n: int) -> Any:
    """Three-valued: a bad input counts only where the others do not decide."""
    trues = bad = 0
    for i in range(n):
        bad += math.isnan(x[i])
        trues += x[i] > TRUE_ABOVE
    if kind == ALL:
        if trues + bad < n:
            return 0.0
        return NAN if bad > 0 else 1.0
    if trues > 0:
        return 1.0 if kind == ANY else 0.0
    if bad > 0:
        return NAN
    return 0.0 if kind == ANY else 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def latch(s: Float64s, x: Float64s) -> Any:
    if x[0] > TRUE_ABOVE:
        s[0] = 1.0
    if x[1] > TRUE_ABOVE:
        s[0] = 0.0
    return s[0]


@njit(cache=True, nogil=True, error_model="numpy")
def choose(x: Float64s, n: int) -> Any:
    which = np.rint(x[0])
    if math.isnan(which) or which < 0.0 or which >= n - 1:
        return NAN
    return x[1 + int(which)]


@njit(cache=True, nogil=True, error_model="numpy")
def counter(p: Float64s, s: Float64s, dt_s: float) -> Any:
    """State: the count, seconds since it changed. At most one on in each step."""
    s[1] += dt_s
    if s[1] >= p[0]:
        s[0] = 0.0 if s[0] >= p[1] else s[0] + 1.0
        s[1] = 0.0
    return s[0]


@njit(cache=True, nogil=True, error_model="numpy")
def interlock(p: Float64s, x: Float64s, n: int) -> Any:
    """The first condition that demands."""
    for i in range(n):
        if math.isnan(x[i]) or x[i] > TRUE_ABOVE:
            return p[i]
    return NAN


@njit(cache=True, nogil=True, error_model="numpy")
def sequence(p: Float64s, s: Float64s, x: Float64s, n: int, dt_s: float) -> Any:
    """State: the step, seconds in it. One step on at most in each call."""
    if not x[0] > TRUE_ABOVE:
        s[0] = 0.0
        s[1] = 0.0
    elif s[0] == 0.0:
        s[0] = 1.0
        s[1] = 0.0
    elif s[0] > 0.0 and s[0] < n:
        at = int(s[0])
        s[1] += dt_s
        if x[at] > TRUE_ABOVE:
            s[0] += 1.0
            s[1] = 0.0
        elif s[1] >= p[at - 1]:
            s[0] = -s[0]
    return s[0]
