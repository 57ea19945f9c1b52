"""Garbage collection and the turns of threads while a plant is built, and after.

A plant of 100,000 tags is some millions of objects that stay. Python's collector looks through them again and again
while they are made (a quarter of the time of a start), and later holds up every thread that runs Python when it looks
through all of them. So it is called seldom while a plant is built, and told to leave alone what is there afterwards.

A plant is built beside the replay of its journal, whose thread wants Python's lock for some microseconds at a time,
every few hundred: by Python's own rule it would wait 5 ms for each.
"""

from __future__ import annotations

import gc
import sys
from typing import Final

OBJECTS_BETWEEN: Final = 100_000
"""New objects between two looks while a plant is built. Compiling kernels leaves cycles, so it must not be for ever."""
USUAL: Final = gc.get_threshold()
TURN_S: Final = 0.0002
TURN_S_USUAL: Final = sys.getswitchinterval()


def begin_building() -> None:
    gc.set_threshold(OBJECTS_BETWEEN, 50, 1_000)
    sys.setswitchinterval(TURN_S)


def end_building(*, is_first: bool) -> None:
    """What is there now is not looked through any more. Behind a reload the plant before is freed."""
    gc.set_threshold(*USUAL)
    sys.setswitchinterval(TURN_S_USUAL)
    if not is_first:
        gc.unfreeze()
        gc.collect()
    gc.freeze()
