"""Memory and the turns of threads while a plant is built, and after.

A plant of 100,000 tags is some millions of objects that stay. Python's collector looks through them again and again
while they are made (a quarter of the time of a start), and later holds up every thread that runs Python when it looks
through all of them. So it is called seldom while a plant is built, and told to leave alone what is there afterwards.

A plant is built beside the replay of its journal, whose thread wants Python's lock for some microseconds at a time,
every few hundred: by Python's own rule it would wait 5 ms for each.

The plant before a reload is a heap of cycles that a task or two still look at for some moments. It is looked for when
they have let go (`tidy`), and what it leaves is given back to the system: the next reload would begin with new memory
otherwise, as each thread that ever built something has a heap of its own, unless there are few of them.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Final

OBJECTS_BETWEEN: Final = 100_000
"""New objects between two looks while a plant is built. Compiling kernels leaves cycles, so it must not be for ever."""
OBJECTS_A_TAG: Final = 15
"""That stay, or go for the most part without the collector."""
USUAL: Final = gc.get_threshold()
TIDY_AFTER_S: Final = 3.0
"""Behind a reload. The daemon's own tasks look at the plant every second or two."""
HEAPS: Final = 2
M_ARENA_MAX: Final = -8
"""The C library's name for how many heaps threads share (malloc.h)."""
_libc: Final = ctypes.CDLL(None)
"""GNU's, as Debian has it."""
TURN_S: Final = 0.0002
TURN_S_USUAL: Final = sys.getswitchinterval()


def begin_reading() -> None:
    """Nearly all that is made while a configuration is read stays, or does not refer to itself."""
    gc.disable()


def begin_building(tags: int) -> None:
    """Of a plant of about so many tags."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(OBJECTS_BETWEEN + OBJECTS_A_TAG * tags, 50, 1_000)
    sys.setswitchinterval(TURN_S)


def end_building() -> None:
    """What is there now is not looked through any more."""
    gc.set_threshold(*USUAL)
    sys.setswitchinterval(TURN_S_USUAL)
    gc.freeze()


def tidy() -> None:
    """Free the plant before."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    _libc.malloc_trim(0)


def share_heaps() -> None:
    """Before there are threads. Python's lock lets one at a time ask for memory, so a heap for each would be waste."""
    _libc.mallopt(M_ARENA_MAX, HEAPS)
