"""The breakers of the compiled schedule: `core.breaker.Breaker` of units and blocks, as kernels over their rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from gateway.protocol.modbus import polled
from gateway.protocol.modbus import schedule_rows as at
from gateway.protocol.modbus.kernel import delay, kernel
from gateway.protocol.modbus.schedule_rows import Schedule

OWED_MAX = np.int64(polled.OWED_MAX)
PROBES_BASE_NS, PROBES_CAP_NS = np.int64(polled.PROBES.base_ns), np.int64(polled.PROBES.cap_ns)
REFUSALS_BASE_NS, REFUSALS_CAP_NS = np.int64(polled.REFUSALS.base_ns), np.int64(polled.REFUSALS.cap_ns)


@kernel
def unit_missed(s: Schedule, unit: int, sent_ns: int, now_ns: int) -> None:
    """`Unit.missed`."""
    state = s.units[unit]
    if state[at.UNIT_FAILURES] == 0:
        state[at.OWED_NS] = sent_ns
    if state[at.UNIT_FAILURES] >= OWED_MAX and now_ns < state[at.UNIT_RETRY_NS]:
        return
    state[at.UNIT_FAILURES] += 1
    if state[at.UNIT_FAILURES] >= OWED_MAX:
        attempts = state[at.UNIT_FAILURES] - OWED_MAX + 1
        state[at.UNIT_RETRY_NS] = now_ns + delay(PROBES_BASE_NS, PROBES_CAP_NS, attempts, state[at.UNIT_ID])


@kernel
def block_failed(s: Schedule, block: int, now_ns: int) -> None:
    """`Breaker.failed` of a block."""
    state = s.blocks[block]
    if state[at.BLOCK_FAILURES] >= OWED_MAX and now_ns < state[at.BLOCK_RETRY_NS]:
        return
    state[at.BLOCK_FAILURES] += 1
    if state[at.BLOCK_FAILURES] >= OWED_MAX:
        attempts = state[at.BLOCK_FAILURES] - OWED_MAX + 1
        state[at.BLOCK_RETRY_NS] = now_ns + delay(REFUSALS_BASE_NS, REFUSALS_CAP_NS, attempts, state[at.SEED])


@kernel
def is_open(s: Schedule, unit: int) -> Any:
    return s.units[unit, at.UNIT_FAILURES] >= OWED_MAX


@kernel
def is_bus_dead(s: Schedule, link: int) -> Any:
    """Whether all of the link's units, two or more, owe so many answers that they are only probed."""
    state = s.links[link]
    for unit in range(state[at.FIRST_UNIT], state[at.FIRST_UNIT] + state[at.UNITS]):
        if not is_open(s, unit):
            return False
    return state[at.UNITS] > 1
