"""Lending: how rows pass from one tag to another, as input of the engine.

A tag that appears by itself gets a row of its link's pool for as long as it speaks. Whoever reads the link decides
which row (it alone knows which samples are on their way to it) and puts two commands into the lane, among the samples:

    LEND    the row is the tag's from here on. Name, device, and the state that it had when it left, if that was kept,
            come beside the lane as a `Lending`, before the command
    EVICT   the row is free from here on; the engine gives its state back, to be parked

So the order of samples and commands is that of the lane, no sample can reach a stranger's state, and a journal that
holds each step's batch and lendings holds all there is to know. A command is a SAMPLE record:

    row         -1 - row
    quality     the command
    source_ns   the generation: the row's count of changes of hands, odd while it is lent
    arrival_ns  when it was decided, engine time

A generation is never given twice for one row, so (row, generation) names a tag for ever, and so does its id: 63 bits of
its name's BLAKE2b hash, the same on every start and every machine. Names decide where ids are looked up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.core.types import SAMPLE, Samples


class Command(IntEnum):
    """What a record of negative row asks for."""

    LEND = 1
    EVICT = 2


TAG_ID_BITS: Final = 63


def tag_id(name: str) -> int:
    """The persistent id of a tag, by its full name; fits an int64 and is not negative."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") >> 64 - TAG_ID_BITS


@dataclass(frozen=True, slots=True)
class Lending:
    """What goes with a LEND. `device_number` is the model's; `shape` is a place in the shapes of the row's pool.

    `address` is what the source knows the tag by (a topic); `state` is as the engine gave it when the tag was evicted,
    None for a tag that begins anew.
    """

    row: int
    generation: int
    name: str
    device: str
    device_number: int
    shape: int
    address: str
    state: bytes | None = None


@dataclass(frozen=True, slots=True)
class Parked:
    """Tags that left one pool, with what they knew: names by place, and their states, [place, bytes].

    `evictions` counts the EVICT commands of the pool so far, these included; `layout` tells what the bytes mean.
    """

    pool: int
    evictions: int
    layout: int
    names: tuple[str, ...]
    states: npt.NDArray[np.uint8]


def command(what: Command, row: int, generation: int, now_ns: int) -> tuple[int, int, int, int]:
    """The fields of a command's record, for `commands`."""
    return (-1 - row, int(what), generation, now_ns)


def commands(made: Sequence[tuple[int, int, int, int]]) -> Samples:
    """Command records for a lane."""
    records: Samples = np.zeros(len(made), SAMPLE)
    if made:
        records["row"], records["quality"], records["source_ns"], records["arrival_ns"] = zip(*made, strict=True)
    return records
