"""The pressure ladder: what is given up, and in which order, when more is made than can be kept.

Two things press, each with a ladder of its own, as a number from 0 to 1. Speed: how many drafts wait for the spool's
thread, and how near the disk is to the floor that is to stay free. Space: how full the spool is. Each step does its own
and all that the steps below it do:

    step  from   what it does
    1     0.50   coalesce: of each tag one raw sample a second, and each change of quality
    2     0.70   shed raw samples
    3     0.85   shed aggregates, calculations and disagreements: events (alarms, control, audit) are always kept
    4     0.92   poll low-priority blocks more slowly
    5     0.97   hold acknowledgements of durable tags, so that the broker keeps what its publishers send

Under speed what is shed is what comes; under space it is the oldest that waits, so that the spool holds what happened
last. Raw samples may fill LOWEST_SHARE of the spool: new aggregates take the place of old raw samples, and steps from
the third on are climbed only where the others alone fill the rest.

A step that was climbed is left when the pressure has fallen HYSTERESIS below its mark. One step at a time: up no
faster than every UP_NS, so that a step can show what it does before the next is tried, down no faster than every
DOWN_NS, so that what comes back does not come back at once.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from gateway.core.record import Stream
from gateway.core.types import NS_PER_MS, NS_PER_S


class Step(IntEnum):
    CALM = 0
    COALESCE = 1
    SHED_SAMPLES = 2
    SHED_AGGREGATES = 3
    SLOW_POLLS = 4
    HOLD = 5


FROM: Final = (0.0, 0.50, 0.70, 0.85, 0.92, 0.97)
"""By step: the pressure from which on it is climbed."""
HYSTERESIS: Final = 0.1
UP_NS: Final = 200 * NS_PER_MS
DOWN_NS: Final = 2 * NS_PER_S
LOWEST_SHARE: Final = 0.75
"""Of the spool's bytes: what records of the lowest priority may fill."""
COALESCED_NS: Final = NS_PER_S
"""Of each tag one raw sample in so long is kept while they are coalesced."""

DOES: Final = (
    "everything is recorded again",
    "of raw samples one a tag and second is recorded",
    "raw samples are shed",
    "aggregates are shed too, events alone are recorded",
    "blocks of low priority are polled more slowly too",
    "acknowledgements of durable tags are held back too",
)
"""By step, for people."""

SHED_FROM: Final = {
    Stream.SAMPLES: Step.SHED_SAMPLES,
    Stream.AGGREGATES: Step.SHED_AGGREGATES,
    Stream.CALCULATIONS: Step.SHED_AGGREGATES,
    Stream.MULTIVARIATE: Step.SHED_AGGREGATES,
}
"""The step from which on a stream is shed. Those that are not here never are."""


class Ladder:
    """One spool's. Look at it often; it moves at most one step at a look."""

    def __init__(self) -> None:
        self.step = Step.CALM
        self.climbed = [0] * len(Step)
        """By step, how often it was climbed."""
        self._moved_ns: int | None = None

    def look(self, pressure: float, now_ns: int) -> bool:
        """Whether the step has changed. `now_ns` is steady."""
        since_ns = DOWN_NS if self._moved_ns is None else now_ns - self._moved_ns
        if self.step < Step.HOLD and pressure >= FROM[self.step + 1] and since_ns >= UP_NS:
            self.step = Step(self.step + 1)
            self.climbed[self.step] += 1
        elif self.step > Step.CALM and pressure < FROM[self.step] - HYSTERESIS and since_ns >= DOWN_NS:
            self.step = Step(self.step - 1)
        else:
            return False
        self._moved_ns = now_ns
        return True


def disk_pressure(free_bytes: int, floor_bytes: int) -> float:
    """1 when no more is free than is to stay free, 0.5 at twice that; 0 without a floor."""
    return min(1.0, floor_bytes / max(1, free_bytes)) if floor_bytes else 0.0
