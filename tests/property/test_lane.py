"""A lane against a list: whatever is put in and taken out, nothing is lost, doubled or reordered."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.inbox import Lane
from gateway.core.types import SAMPLE


@settings(deadline=None)
@given(st.integers(1, 12), st.lists(st.integers(-15, 15), max_size=40))
def test_a_lane_gives_back_what_fitted_in_order(capacity: int, steps: list[int]) -> None:
    """A step puts in that many samples, or takes out that many."""
    lane = Lane("l", capacity)
    held: list[int] = []
    n = 0
    for step in steps:
        if step >= 0:
            samples = np.zeros(step, SAMPLE)
            samples["bits"] = np.arange(n, n + step)
            fits = lane.append(samples)
            assert fits == min(step, capacity - len(held))
            held += range(n, n + fits)
            n += step
        else:
            out = np.zeros(-step, SAMPLE)
            taken = lane.take_into(out)
            assert list(out["bits"][:taken]) == held[:-step]
            held = held[-step:]
        assert len(lane) == len(held)
