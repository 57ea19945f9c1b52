"""The PID step, apart from all plumbing: ISA form, u = kp · (b · sp − pv + ∫e dt / ti − td · d(pv)/dt), e = sp − pv.

- The derivative acts on the measurement, so that a setpoint step gives no spike, behind a first-order filter with the
  time constant td / N (`DERIVATIVE_FILTER`, 8 unless set).
- The setpoint weight b, 1 unless set, is how much of a setpoint step the proportional part passes on at once; with
  less there is less overshoot, and disturbances are answered as before.
- Limits: the output moves at most `rate_max · dt` in a step and stays within [output_min, output_max].
- Anti-windup by conditional integration: when either limit holds the output back and the integral would push it
  further the same way, that step's contribution to the integral is dropped.
- With `tracking_s`, anti-windup by back-calculation instead: what was held back corrects the integral with that time
  constant.
- `feed_forward` is added before the limits; `retune` takes other gains without a jump.
- Bumpless: `track` chooses the integral such that the next step starts from the output that is there now. It is
  called on the way into AUTO from anywhere: manual, fail-safe, first start.
- A loop without ti has no integral to work off that start: there it is a bias, which fades with a time constant of
  10 s, so that a proportional controller ends up where its setting says.
- `reverse_acting` (ACTION = +1): the output rises when the measurement is below the setpoint, as in heating.

The arithmetic is in the order written here, without fastmath; the oracle in the tests gives the same bits.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

from gateway.core.types import Float64s

FIELDS: Final = (
    "action",
    "setpoint",
    "kp",
    "ti_s",
    "td_s",
    "output_min",
    "output_max",
    "rate_max",
    "setpoint_weight",
    "derivative_filter",
    "tracking_s",
    "feed_forward",
    "integral",
    "derivative",
    "measured",
    "output",
)
"""`ti_s` is infinite without integral action, `td_s` is 0 without derivative, `rate_max` infinite without rate limit.

`tracking_s` is 0 for conditional integration.
State: `integral` and `derivative` in units of the output, `measured` the last measurement, `output` the last output.
"""

(
    ACTION,
    SETPOINT,
    KP,
    TI_S,
    TD_S,
    OUTPUT_MIN,
    OUTPUT_MAX,
    RATE_MAX,
    SETPOINT_WEIGHT,
    DERIVATIVE_FILTER,
    TRACKING_S,
    FEED_FORWARD,
    INTEGRAL,
    DERIVATIVE,
    MEASURED,
    OUTPUT,
) = range(len(FIELDS))

BIAS_FADE_S: Final = 10.0


@njit(cache=True, nogil=True, error_model="numpy")
def track(state: Float64s, loop: int, measured: float, output: float) -> None:
    """Make the controller's next step start from `output` at this measurement."""
    weighted = state[loop, ACTION] * (state[loop, SETPOINT_WEIGHT] * state[loop, SETPOINT] - measured)
    state[loop, INTEGRAL] = output - state[loop, KP] * weighted - state[loop, FEED_FORWARD]
    state[loop, DERIVATIVE] = 0.0
    state[loop, MEASURED] = measured
    state[loop, OUTPUT] = output


@njit(cache=True, nogil=True, error_model="numpy")
def step(state: Float64s, loop: int, measured: float, dt_s: float) -> Any:
    """One step, `dt_s` after the last or after `track`. Returns the output; with dt_s ≤ 0 nothing moves."""
    if not dt_s > 0.0:
        return state[loop, OUTPUT]
    action = state[loop, ACTION]
    kp = state[loop, KP]
    error = action * (state[loop, SETPOINT] - measured)
    weighted = action * (state[loop, SETPOINT_WEIGHT] * state[loop, SETPOINT] - measured)

    td_s = state[loop, TD_S]
    derivative = 0.0
    if td_s > 0.0:
        filter_s = td_s / state[loop, DERIVATIVE_FILTER]
        rise = action * (measured - state[loop, MEASURED])
        derivative = (filter_s * state[loop, DERIVATIVE] - kp * td_s * rise) / (filter_s + dt_s)

    integral = state[loop, INTEGRAL]
    if np.isinf(state[loop, TI_S]):
        growth = -integral * dt_s / (BIAS_FADE_S + dt_s)
    else:
        growth = kp * error * dt_s / state[loop, TI_S]

    wanted = kp * weighted + integral + growth + derivative + state[loop, FEED_FORWARD]
    output = limited(state, loop, wanted, dt_s)
    held_back = wanted - output
    if state[loop, TRACKING_S] > 0.0:
        growth -= held_back * dt_s / (state[loop, TRACKING_S] + dt_s)
    elif held_back * growth > 0.0:
        growth = 0.0

    state[loop, INTEGRAL] = integral + growth
    state[loop, DERIVATIVE] = derivative
    state[loop, MEASURED] = measured
    state[loop, OUTPUT] = output
    return output


@njit(cache=True, nogil=True, error_model="numpy")
def retune(state: Float64s, loop: int, kp: float, ti_s: float, td_s: float) -> None:
    """Other gains from the next step on, which starts from where the last one ended."""
    if kp == state[loop, KP] and ti_s == state[loop, TI_S] and td_s == state[loop, TD_S]:
        return
    weighted = state[loop, ACTION] * (state[loop, SETPOINT_WEIGHT] * state[loop, SETPOINT] - state[loop, MEASURED])
    state[loop, INTEGRAL] += (state[loop, KP] - kp) * weighted
    if td_s == 0.0:
        state[loop, DERIVATIVE] = 0.0
    state[loop, KP] = kp
    state[loop, TI_S] = ti_s
    state[loop, TD_S] = td_s


@njit(cache=True, nogil=True, error_model="numpy")
def limited(state: Float64s, loop: int, wanted: float, dt_s: float) -> Any:
    """`wanted` within what the rate limit permits from the last output, then within the range."""
    travel = state[loop, RATE_MAX] * dt_s
    last = state[loop, OUTPUT]
    output = min(max(wanted, last - travel), last + travel)
    return min(max(output, state[loop, OUTPUT_MIN]), state[loop, OUTPUT_MAX])
