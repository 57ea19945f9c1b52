"""Lanes whose producers do not wait for the GIL."""

from __future__ import annotations

import numpy as np

from gateway.core.inbox import Inbox, Lane
from gateway.core.types import SAMPLE


class Filling(Lane):
    """One whose producer appends between the first look and the second."""

    looks = 0

    def __len__(self) -> int:
        self.looks += 1
        return 0 if self.looks == 1 else super().__len__()


def test_a_lane_that_fills_while_the_lanes_are_looked_at_waits_for_its_turn() -> None:
    lane = Filling("fast", 8)
    lane.append(np.zeros(3, SAMPLE))
    lane.looks = 0
    assert Inbox([lane]).drain(np.zeros(8, SAMPLE)) == 3
