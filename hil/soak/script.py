"""What happens to the plant while it is soaked: a script made from a seed. Pure.

Every kind of fault comes once in each round, the rounds in a random order, with a calm stretch behind each; the first
and the last part of the whole are calm.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    UPLINK_CUT = "uplink cut"
    UPLINK_BLACK_HOLE = "uplink black hole"
    UPLINK_RESET = "uplink reset"
    UPLINK_BROKER_RESTART = "uplink broker restart"
    METERS_DEAD = "meters dead"
    METERS_SLOW = "meters slow"
    FAN_CUT = "fan cut"
    PLC_CUT = "plc cut"
    RELOAD = "reload"


LASTS_S: Final = {
    Kind.UPLINK_CUT: 60.0,
    Kind.UPLINK_BLACK_HOLE: 60.0,
    Kind.UPLINK_RESET: 0.0,
    Kind.UPLINK_BROKER_RESTART: 5.0,
    Kind.METERS_DEAD: 30.0,
    Kind.METERS_SLOW: 30.0,
    Kind.FAN_CUT: 20.0,
    Kind.PLC_CUT: 10.0,
    Kind.RELOAD: 0.0,
}
CALM_S: Final = 30.0
"""Behind each fault, about."""
FULL_LENGTH_S: Final = 1_800.0
"""In a soak that is shorter, faults and calm are shorter, too."""


@dataclass(frozen=True, slots=True)
class Fault:
    at_s: float
    lasts_s: float
    kind: Kind

    @property
    def end_s(self) -> float:
        return self.at_s + self.lasts_s


def script(seconds: float, seed: int) -> tuple[Fault, ...]:
    """The faults of a soak of this length, one after the other, in the order of their times."""
    draw = random.Random(seed)
    share = min(1.0, seconds / FULL_LENGTH_S)
    at_s, last_s = 0.05 * seconds, 0.95 * seconds
    found: list[Fault] = []
    while True:
        for kind in draw.sample(list(Kind), len(Kind)):
            at_s += share * CALM_S * draw.uniform(0.5, 1.5)
            fault = Fault(round(at_s, 1), round(share * LASTS_S[kind], 1), kind)
            if fault.end_s > last_s:
                return tuple(found)
            found.append(fault)
            at_s = fault.end_s
