"""Places in the table of topics that are taken and given up at run time, between two scans.

Each spare place has one entry, and room for a name. It is filled from a template, which is a topic without a name that
no message finds. Deletion moves the slots behind it up (Knuth 6.4, algorithm R), so that a search costs what it did.
Topics that have been refused are remembered for a while in a table of their own, by their bytes.
"""

from __future__ import annotations

from numba import njit

from gateway.protocol.mqtt.table import SPARE_NAME_BYTES, UNKNOWN, Table
from gateway.protocol.octets import Bytes, hash_bytes, same_bytes


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def is_refused(table: Table, buffer: Bytes, at: int, size: int) -> bool:
    """Whether the topic of these bytes was refused lately."""
    if len(table.refused) == 0:
        return False
    place = hash_bytes(buffer, at, at + size) & (len(table.refused) - 1)
    return table.refused[place] == size and same_bytes(table.refused_text, place * SPARE_NAME_BYTES, buffer, at, size)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def take_place(table: Table, t: int, template: int, row: int, name: Bytes, first: int, at: int) -> None:
    """Fill spare place `t` from a template: entry `first`, name at `text[at]`. It begins held."""
    size = len(name)
    topics = table.topics
    topics[t] = topics[template]
    for i in range(table.members.shape[1]):
        table.members[t, i] = table.members[template, i]
    table.entries[first] = table.entries[topics[template]["first"]]
    table.entries[first]["row"] = row
    for i in range(size):
        table.text[at + i] = name[i]
    topics[t]["hash"] = hash_bytes(name, 0, size)
    topics[t]["name_at"] = at
    topics[t]["name_bytes"] = size
    topics[t]["first"] = first
    topics[t]["held"] = 1
    mask = len(table.slots) - 1
    slot = topics[t]["hash"] & mask
    while table.slots[slot] != UNKNOWN:
        slot = (slot + 1) & mask
    table.slots[slot] = t


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def give_up_place(table: Table, t: int) -> None:
    """Have nobody find topic `t` any more."""
    slots = table.slots
    mask = len(slots) - 1
    hole = table.topics[t]["hash"] & mask
    while slots[hole] != t:
        hole = (hole + 1) & mask
    slot = hole
    while True:
        slot = (slot + 1) & mask
        if slots[slot] == UNKNOWN:
            break
        home = table.topics[slots[slot]]["hash"] & mask
        # What lies between its home and the hole may move into the hole without being lost to a search.
        if (slot - home) & mask >= (slot - hole) & mask:
            slots[hole] = slots[slot]
            hole = slot
    slots[hole] = UNKNOWN


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def refuse(table: Table, name: Bytes) -> None:
    """Remember a topic of at most SPARE_NAME_BYTES as refused."""
    size = len(name)
    place = hash_bytes(name, 0, size) & (len(table.refused) - 1)
    for i in range(size):
        table.refused_text[place * SPARE_NAME_BYTES + i] = name[i]
    table.refused[place] = size
