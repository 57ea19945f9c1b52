"""`polling.Poller` as kernels over the rows of many links: the same decisions, for a thread that runs without Python.

What is decided and why stands in `polling`; a property test lets both run through the same faults and compares every
decision. Where `Poller` has a heap, the next block is found by looking through `due`: a link has few hundred blocks.
Where `Poller` has a set of transactions, a link has its rows of `slots`, in the order in which they were sent; when
all are taken, nothing is sent. Time is an argument, engine time in ns; `link`, `unit` and `block` are rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gateway.core.types import NS_PER_S
from gateway.protocol.modbus import polled, polling
from gateway.protocol.modbus import schedule_rows as at
from gateway.protocol.modbus.kernel import kernel, mix
from gateway.protocol.modbus.schedule_breakers import OWED_MAX, block_failed, is_bus_dead, is_open, unit_missed
from gateway.protocol.modbus.schedule_rows import Schedule

TRANSACTIONS = np.int64(polling.TRANSACTIONS)
NOBODY = np.int64(-1)


@kernel
def begin(s: Schedule, link: int, now_ns: int) -> None:
    """A new connection: nothing is under way, every block is due at once and then on its grid."""
    state = s.links[link]
    state[at.OUTSTANDING] = state[at.HOLDING] = 0
    state[at.FREE_NS] = state[at.PROBE_FREE_NS] = now_ns
    state[at.PROBED_NS] = -1
    for unit in range(state[at.FIRST_UNIT], state[at.FIRST_UNIT] + state[at.UNITS]):
        s.units[unit, at.UNIT_FAILURES] = 0
        s.units[unit, at.PROBE_GIVES_UP_NS] = -1
    for block in range(state[at.FIRST_BLOCK], state[at.FIRST_BLOCK] + state[at.BLOCKS]):
        row = s.blocks[block]
        row[at.BLOCK_FAILURES] = 0
        row[at.WAITS] = 0
        row[at.GRID_NS] = row[at.PHASE_NS]
        row[at.SEQUENCE] = state[at.PUSHES] + row[at.RANK]
        s.due[block] = now_ns
    state[at.PUSHES] += state[at.BLOCKS]


@kernel
def schedule(s: Schedule, link: int, block: int, due_ns: int) -> None:
    """Who is due at the same time goes in the order of being scheduled."""
    state = s.links[link]
    s.due[block] = due_ns
    s.blocks[block, at.SEQUENCE] = state[at.PUSHES]
    state[at.PUSHES] += 1


@kernel
def schedule_after(s: Schedule, link: int, block: int, time_ns: int) -> Any:
    """Due at its first grid point after `time_ns`; returns how many grid points were passed over for it."""
    row = s.blocks[block]
    period_ns = row[at.SLOW_NS] if s.links[link, at.IS_EASED] else row[at.PERIOD_NS]
    number = (time_ns - row[at.GRID_NS]) // period_ns + 1
    skipped = max(np.int64(0), number - (s.due[block] - row[at.GRID_NS]) // period_ns - 1)
    due_ns = row[at.GRID_NS] + number * period_ns
    if row[at.JITTER_NS]:
        due_ns += row[at.JITTER_NS] * mix(row[at.SEED], number) // 1024
    schedule(s, link, block, due_ns)
    return skipped


@kernel
def earliest(s: Schedule, link: int) -> Any:
    """The block that is due first; NOBODY of a link without any."""
    first = s.links[link, at.FIRST_BLOCK]
    found = NOBODY
    for block in range(first, first + s.links[link, at.BLOCKS]):
        if (
            found == NOBODY
            or s.due[block] < s.due[found]
            or (s.due[block] == s.due[found] and s.blocks[block, at.SEQUENCE] < s.blocks[found, at.SEQUENCE])
        ):
            found = np.int64(block)
    return found


@kernel
def has_room(s: Schedule, link: int) -> Any:
    """Whether one more request may be under way."""
    state = s.links[link]
    return state[at.HOLDING] < state[at.IN_FLIGHT_MAX] and state[at.OUTSTANDING] < state[at.SLOTS]


@kernel
def next_request(s: Schedule, link: int, now_ns: int, is_held_back: int) -> Any:
    """The transaction to send now, a row of `slots`, or NOBODY. While held back, what falls due is skipped instead."""
    state = s.links[link]
    if now_ns < state[at.FREE_NS]:
        return NOBODY
    while has_room(s, link):
        block = earliest(s, link)
        if block == NOBODY or s.due[block] > now_ns:
            return NOBODY
        if is_held_back:
            state[at.SKIPPED_HELD_BACK] += 1 + schedule_after(s, link, block, now_ns)
            continue
        ready = ready_ns(s, link, block, now_ns)
        if ready > now_ns:
            state[at.SKIPPED_FAILING] += (ready - s.due[block]) // s.blocks[block, at.PERIOD_NS]
            schedule(s, link, block, ready)
            continue
        state[at.LATE] += schedule_after(s, link, block, now_ns)
        if s.blocks[block, at.WAITS]:
            state[at.LATE] += 1
            continue
        s.blocks[block, at.WAITS] = 1
        return sent(s, link, s.blocks[block, at.UNIT], block, now_ns)
    return NOBODY


@kernel
def ready_ns(s: Schedule, link: int, block: int, now_ns: int) -> Any:
    """When its breakers let a block pass."""
    ready = now_ns
    row = s.blocks[block]
    unit = s.units[row[at.UNIT]]
    if unit[at.UNIT_FAILURES] >= OWED_MAX:
        ready = max(unit[at.UNIT_RETRY_NS], s.links[link, at.PROBE_FREE_NS])
        if unit[at.PROBE_GIVES_UP_NS] >= 0:
            ready = max(ready, unit[at.PROBE_GIVES_UP_NS] + 1)
    if row[at.BLOCK_FAILURES] >= OWED_MAX:
        ready = max(ready, row[at.BLOCK_RETRY_NS])
    return ready


@kernel
def next_id(s: Schedule, link: int) -> Any:
    """The next transaction id that is not under way."""
    state = s.links[link]
    number = (state[at.LAST_ID] + 1) % TRANSACTIONS
    while find(s, link, number) != NOBODY:
        number = (number + 1) % TRANSACTIONS
    state[at.LAST_ID] = number
    return number


@kernel
def sent(s: Schedule, link: int, unit: int, block: int, now_ns: int) -> Any:
    """A request goes out now; `block` is NOT_A_BLOCK for one outside the schedule. Returns its transaction's row."""
    state = s.links[link]
    number = next_id(s, link)
    slot = state[at.FIRST_SLOT] + state[at.OUTSTANDING]
    row = s.slots[slot]
    row[at.ID] = number
    row[at.OF_BLOCK] = block
    row[at.OF_UNIT] = unit
    row[at.OF_VERSION] = s.blocks[block, at.VERSION] if block >= 0 else 0
    row[at.SENT_NS] = now_ns
    row[at.GIVES_UP_NS] = now_ns + patience_ns(s, link, unit)
    row[at.IS_PROBE] = is_open(s, unit)
    row[at.HOLDS_SLOT] = 1
    if row[at.IS_PROBE]:
        s.units[unit, at.PROBE_GIVES_UP_NS] = row[at.GIVES_UP_NS]
        state[at.PROBE_FREE_NS] = row[at.GIVES_UP_NS] + 1
    state[at.OUTSTANDING] += 1
    state[at.HOLDING] += 1
    state[at.FREE_NS] = now_ns + state[at.GAP_NS]
    return slot


@kernel
def patience_ns(s: Schedule, link: int, unit: int) -> Any:
    peak_ns = s.units[unit, at.PEAK_NS]
    if peak_ns == 0:
        peak_ns = s.links[link, at.LINK_PEAK_NS]
    patience = np.int64(polling.PATIENCE_UNKNOWN_NS)
    if peak_ns:
        patience = max(np.int64(polling.PATIENCE_FLOOR_NS), polling.PATIENCE_FACTOR * peak_ns)
    return min(s.links[link, at.TIMEOUT_NS], patience)


@kernel
def find(s: Schedule, link: int, number: int) -> Any:
    """The row of the transaction with this id that is under way, or NOBODY."""
    first = s.links[link, at.FIRST_SLOT]
    for slot in range(first, first + s.links[link, at.OUTSTANDING]):
        if s.slots[slot, at.ID] == number:
            return np.int64(slot)
    return NOBODY


@kernel
def take(s: Schedule, link: int, slot: int, now_ns: int) -> None:
    """A reply has come for this transaction. It stays readable until `drop`, which the caller owes."""
    state = s.links[link]
    row = s.slots[slot]
    state[at.FREE_NS] = max(state[at.FREE_NS], now_ns + state[at.GAP_NS])
    if state[at.PROBED_NS] >= 0 and row[at.SENT_NS] > state[at.PROBED_NS]:
        if not row[at.HOLDS_SLOT]:
            cost_max_ns = polling.PROBE_COST_TIMEOUTS_MAX * s.links[link, at.TIMEOUT_NS]
            cost_ns = min(now_ns - state[at.PROBED_NS], cost_max_ns) * polling.PROBE_SHARE
            state[at.PROBE_FREE_NS] = max(state[at.PROBE_FREE_NS], now_ns + cost_ns)
        state[at.PROBED_NS] = -1
    if row[at.HOLDS_SLOT]:
        release(s, link, slot, now_ns)


@kernel
def release(s: Schedule, link: int, slot: int, now_ns: int) -> None:
    state = s.links[link]
    row = s.slots[slot]
    row[at.HOLDS_SLOT] = 0
    state[at.HOLDING] -= 1
    block = row[at.OF_BLOCK]
    if block >= 0 and s.blocks[block, at.VERSION] == row[at.OF_VERSION] and s.blocks[block, at.WAITS] == 1:
        s.blocks[block, at.WAITS] = 0  # what else it says is its owner's: under review, whatever else comes of it
    if row[at.IS_PROBE]:
        s.units[row[at.OF_UNIT], at.PROBE_GIVES_UP_NS] = -1
        state[at.PROBED_NS] = row[at.SENT_NS]
        state[at.PROBE_FREE_NS] = now_ns + (now_ns - row[at.SENT_NS]) * polling.PROBE_SHARE


@kernel
def drop(s: Schedule, link: int, slot: int) -> None:
    """The transaction is over: the later ones move up."""
    state = s.links[link]
    state[at.OUTSTANDING] -= 1
    for later in range(slot, state[at.FIRST_SLOT] + state[at.OUTSTANDING]):
        for field in range(at.SLOT_FIELDS):
            s.slots[later, field] = s.slots[later + 1, field]


@kernel
def answered(s: Schedule, link: int, unit: int, sent_ns: int, now_ns: int) -> None:
    """The unit has said something, whatever it was."""
    state = s.links[link]
    row = s.units[unit]
    trip_ns = now_ns - sent_ns
    row[at.ANSWERED_NS] = state[at.LINK_ANSWERED_NS] = now_ns
    steady_ns = min(trip_ns, row[at.TRIP_NS]) if row[at.TRIP_NS] else trip_ns
    row[at.TRIP_NS] = trip_ns
    row[at.PEAK_NS] = max(steady_ns, row[at.PEAK_NS] - (row[at.PEAK_NS] >> polled.PEAK_DECAY_BITS))
    steady_ns = min(trip_ns, state[at.LINK_TRIP_NS]) if state[at.LINK_TRIP_NS] else trip_ns
    state[at.LINK_TRIP_NS] = trip_ns
    state[at.LINK_PEAK_NS] = max(steady_ns, state[at.LINK_PEAK_NS] - (state[at.LINK_PEAK_NS] >> polled.PEAK_DECAY_BITS))
    if row[at.UNIT_FAILURES] == 0:
        return
    if row[at.UNIT_FAILURES] >= OWED_MAX:
        bring_back(s, link, unit, now_ns)
        if is_bus_dead(s, link):
            state[at.PROBE_FREE_NS] = now_ns
            for other in range(state[at.FIRST_UNIT], state[at.FIRST_UNIT] + state[at.UNITS]):
                if other != unit:
                    s.units[other, at.UNIT_FAILURES] = OWED_MAX - 1
                    s.units[other, at.OWED_NS] = now_ns
                    bring_back(s, link, np.int64(other), now_ns)
    row[at.UNIT_FAILURES] = 0


@kernel
def bring_back(s: Schedule, link: int, unit: int, now_ns: int) -> None:
    """All blocks of a unit are due at once."""
    state = s.links[link]
    for block in range(state[at.FIRST_BLOCK], state[at.FIRST_BLOCK] + state[at.BLOCKS]):
        if s.blocks[block, at.UNIT] == unit:
            s.blocks[block, at.BLOCK_FAILURES] = 0
            ahead_ns = max(np.int64(0), s.due[block] - now_ns)
            state[at.SKIPPED_FAILING] -= ahead_ns // s.blocks[block, at.PERIOD_NS]
            schedule(s, link, block, now_ns)


@kernel
def read(s: Schedule, link: int, slot: int, now_ns: int) -> Any:
    """It was answered well. False when a newer reading of its block is already known: drop this one."""
    row = s.slots[slot]
    block = row[at.OF_BLOCK]
    answered(s, link, row[at.OF_UNIT], row[at.SENT_NS], now_ns)
    s.blocks[block, at.BLOCK_FAILURES] = 0
    if row[at.SENT_NS] < s.blocks[block, at.GOOD_NS]:
        return False
    s.blocks[block, at.GOOD_NS] = row[at.SENT_NS]
    return True


@kernel
def refused(s: Schedule, link: int, unit: int, block: int, sent_ns: int, now_ns: int) -> None:
    """The unit answers, but not with what was asked for: an exception, or a reply that does not fit."""
    answered(s, link, unit, sent_ns, now_ns)
    block_failed(s, block, now_ns)


@kernel
def postponed(s: Schedule, link: int, unit: int, block: int, sent_ns: int, now_ns: int) -> None:
    """The unit answers that it is busy: the same block again a little later, which no breaker counts."""
    answered(s, link, unit, sent_ns, now_ns)
    schedule(s, link, block, now_ns + polling.BUSY_RETRY_NS)


@kernel
def lose_patience(s: Schedule, link: int, now_ns: int) -> None:
    """Transactions past their patience hand their slot on."""
    state = s.links[link]
    for slot in range(state[at.FIRST_SLOT], state[at.FIRST_SLOT] + state[at.OUTSTANDING]):
        row = s.slots[slot]
        if not row[at.HOLDS_SLOT] or row[at.GIVES_UP_NS] > now_ns:
            continue
        release(s, link, np.int64(slot), now_ns)
        unit = row[at.OF_UNIT]
        if s.units[unit, at.ANSWERED_NS] < row[at.SENT_NS]:
            unit_missed(s, unit, row[at.SENT_NS], now_ns)
            s.units[unit, at.PEAK_NS] >>= 1
        elif row[at.OF_BLOCK] >= 0 and s.blocks[row[at.OF_BLOCK], at.VERSION] == row[at.OF_VERSION]:
            block_failed(s, row[at.OF_BLOCK], now_ns)


@kernel
def is_dead(s: Schedule, link: int, now_ns: int) -> Any:
    """Whether the response timeout of the oldest transaction has passed. Then look at it and `drop` it, and again."""
    state = s.links[link]
    if state[at.OUTSTANDING] == 0:
        return False
    return s.slots[state[at.FIRST_SLOT], at.SENT_NS] + state[at.TIMEOUT_NS] <= now_ns


@kernel
def is_found_silent(s: Schedule, slot: int) -> Any:
    """Whether this dead transaction makes its unit a silent one: not one reply since it was sent."""
    unit = s.slots[slot, at.OF_UNIT]
    return is_open(s, unit) and s.units[unit, at.ANSWERED_NS] < s.slots[slot, at.SENT_NS]


@kernel
def split(s: Schedule, link: int, block: int, half: int, now_ns: int) -> None:
    """`block` was cut; its second half is `half`, the row after the link's last. Both are due at once."""
    s.links[link, at.BLOCKS] += 1
    grid_ns = s.blocks[block, at.GRID_NS]
    for each in (block, half):
        row = s.blocks[each]
        row[at.GOOD_NS] = -1
        row[at.WAITS] = row[at.BLOCK_FAILURES] = row[at.BLOCK_RETRY_NS] = 0
        row[at.GRID_NS] = grid_ns
        row[at.VERSION] += 1
        schedule(s, link, each, now_ns)


@kernel
def wake_ns(s: Schedule, link: int, now_ns: int) -> Any:
    """When there is something to do next, if nothing comes in before."""
    state = s.links[link]
    wake = now_ns + NS_PER_S
    block = earliest(s, link)
    if block != NOBODY:
        due_ns = max(s.due[block], state[at.FREE_NS])
        if due_ns < wake and (due_ns > now_ns or has_room(s, link)):
            wake = due_ns
    first = state[at.FIRST_SLOT]
    for slot in range(first, first + state[at.OUTSTANDING]):
        if s.slots[slot, at.HOLDS_SLOT]:
            wake = min(wake, s.slots[slot, at.GIVES_UP_NS])
    if state[at.OUTSTANDING]:
        wake = min(wake, s.slots[first, at.SENT_NS] + state[at.TIMEOUT_NS])
    return wake
