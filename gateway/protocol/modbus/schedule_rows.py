"""The schedule of many links as arrays: which field lies where. `schedule` decides by them; this is state alone.

A link, a unit, a block and a transaction are rows of int64. Units and blocks of a link lie together, as do its
transactions, in the order in which they were sent. `due` stands apart from its block, because it is looked through at
every turn. Config fields are written before a link runs; the others belong to the kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from gateway.core.types import Int64s
from gateway.protocol.modbus.plan import Block

# links, config
FIRST_UNIT, UNITS, FIRST_BLOCK, BLOCKS, FIRST_SLOT, SLOTS, IN_FLIGHT_MAX, TIMEOUT_NS, GAP_NS = range(9)
# links, state
OUTSTANDING, HOLDING, LAST_ID, FREE_NS, PROBE_FREE_NS, PROBED_NS, LINK_PEAK_NS, LINK_TRIP_NS, PUSHES = range(9, 18)
LINK_ANSWERED_NS = 18
# links, counters
LATE, SKIPPED_HELD_BACK, SKIPPED_FAILING, TIMEOUTS, STRAYS = range(19, 24)
# links, written while they run: whether blocks of low priority are asked for more seldom
IS_EASED, LINK_FIELDS = 24, 25

# units
UNIT_ID, PEAK_NS, TRIP_NS, ANSWERED_NS, OWED_NS, PROBE_GIVES_UP_NS, UNIT_FAILURES, UNIT_RETRY_NS = range(8)
# units, of whoever takes the replies
IS_SILENT, IS_BABBLING, UNIT_FIELDS = range(8, 11)

# blocks, config
UNIT, PERIOD_NS, PHASE_NS, JITTER_NS, SEED, RANK, SLOW_NS = range(7)
# blocks, state
GRID_NS, SEQUENCE, GOOD_NS, WAITS, BLOCK_FAILURES, BLOCK_RETRY_NS, VERSION, BLOCK_FIELDS = range(7, 15)

# transactions
ID, OF_BLOCK, OF_UNIT, SENT_NS, GIVES_UP_NS, IS_PROBE, HOLDS_SLOT, OF_VERSION, SLOT_FIELDS = range(9)

NOT_A_BLOCK: Final = -1
"""OF_BLOCK of a request outside the schedule."""
SLOTS_PER_UNIT: Final = 4
SLOTS_SPARE: Final = 16


class Schedule(NamedTuple):
    """Links, units, blocks and transactions are [row, field]; `due` is [block], engine time in ns."""

    links: Int64s
    units: Int64s
    blocks: Int64s
    due: Int64s
    slots: Int64s


class Size(NamedTuple):
    """What one link takes: its units, the blocks it may ever have, and its transactions under way."""

    units: int
    blocks: int
    slots: int


def size_of(blocks: Sequence[Block]) -> Size:
    """A block may be cut until each of its tags stands alone."""
    units = len({block.unit for block in blocks})
    return Size(units, sum(len(block.points) for block in blocks), transactions_max(units))


def transactions_max(units: int) -> int:
    """A silent unit is owed a few answers and is then only probed, so this bounds nothing that works."""
    return SLOTS_SPARE + SLOTS_PER_UNIT * units


def allocate(sizes: Sequence[Size]) -> Schedule:
    """Zeroed arrays with a link's rows for each of `sizes`, in their order.

    After a link's units comes the row of its guest: whichever unit is asked for something and has no blocks.
    """
    links = np.zeros((len(sizes), LINK_FIELDS), np.int64)
    units = blocks = slots = 0
    for row, size in zip(links, sizes, strict=True):
        row[FIRST_UNIT], row[FIRST_BLOCK], row[FIRST_SLOT], row[SLOTS] = units, blocks, slots, size.slots
        units, blocks, slots = units + size.units + 1, blocks + size.blocks, slots + size.slots
    return Schedule(
        links,
        np.zeros((max(1, units), UNIT_FIELDS), np.int64),
        np.zeros((max(1, blocks), BLOCK_FIELDS), np.int64),
        np.zeros(max(1, blocks), np.int64),
        np.zeros((max(1, slots), SLOT_FIELDS), np.int64),
    )


def fill(
    s: Schedule, link: int, blocks: Sequence[Block], *, in_flight: int, timeout_ns: int, gap_ns: int = 0
) -> dict[int, int]:
    """Write a link's configuration; returns the rows of its units by unit id. Blocks get rows in their order."""
    row = s.links[link]
    row[IN_FLIGHT_MAX], row[TIMEOUT_NS], row[GAP_NS], row[BLOCKS] = in_flight, timeout_ns, gap_ns, len(blocks)
    row[LINK_ANSWERED_NS] = -1
    first = int(row[FIRST_UNIT])
    units = {unit: first + i for i, unit in enumerate(dict.fromkeys(block.unit for block in blocks))}
    row[UNITS] = len(units)
    for at, unit in enumerate((*units, 0), first):
        s.units[at] = 0
        s.units[at, UNIT_ID] = unit
        s.units[at, ANSWERED_NS] = s.units[at, OWED_NS] = s.units[at, PROBE_GIVES_UP_NS] = -1
    for at, block in enumerate(blocks, int(row[FIRST_BLOCK])):
        fill_block(s, at, block, units[block.unit])
    rank(s, link, range(int(row[FIRST_BLOCK]), int(row[FIRST_BLOCK]) + len(blocks)))
    return units


def fill_block(s: Schedule, at: int, block: Block, unit: int) -> None:
    row = s.blocks[at]
    version = row[VERSION]
    row[:] = 0
    row[UNIT], row[PERIOD_NS], row[PHASE_NS], row[SEED] = unit, block.period_ns, block.phase_ns, block.request.address
    row[JITTER_NS], row[SLOW_NS], row[GOOD_NS] = block.jitter_ns, block.slow_ns or block.period_ns, -1
    row[VERSION] = version + 1


def rank(s: Schedule, link: int, order: Sequence[int]) -> None:
    """How the blocks, in `order` by unit, follow each other at a new connection: by phase."""
    grouped = sorted(order, key=lambda at: int(s.blocks[at, UNIT]))
    for place, at in enumerate(
        sorted(grouped, key=lambda at: int(s.blocks[at, PHASE_NS]) * 1000 // int(s.blocks[at, PERIOD_NS]))
    ):
        s.blocks[at, RANK] = place
