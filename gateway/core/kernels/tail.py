"""What a score means: how often the tag itself reaches it, from its own past.

Time is cut into blocks of one scale, and each block gives the highest odds s / (1 - s) that a score s had in it. Of the
logarithms of these tops two numbers are kept: where the highest TAIL_SHARE of them begin (a running quantile, moved by
a step for each block), and how far those lie beyond it on the average. Peaks over a threshold have a generalised
Pareto tail in the limit (Pickands 1975); with its shape taken as 0 it is exponential, so a score whose log-odds are y
is reached in one block of

    1 / (TAIL_SHARE · exp((tail - y) / spread))

Nothing but the block's top is looked at for each sample; a logarithm is taken once a block. What is told is capped at
TOLD_PASTS_MAX times the tag's own past: nobody who has watched for a day can say what happens once in a year.
Feedback ("this was normal") moves a score, not how rare it is: the tail learns the odds before it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from gateway.core.state import BEGUN_EVENT_RATE, BEGUN_PERSISTENT_RATE
from gateway.core.types import Samples

BLOCK_SCALES = 1.0
TAIL_SHARE = 0.3
BLOCKS_MIN = 10.0
"""Before so many blocks nothing is told."""

BLOCKS_MAX = 100.0
"""The tail remembers about so many."""

TOLD_PASTS_MAX = 10.0
HIGH_AT = 0.5
"""A persistent score this high goes on with its block: one fault is one top, however long it lasts."""

ODDS_MIN = 1e-6
ODDS_MAX = 1e6
STEP_MIN = 0.3
STEP_SPREAD_MIN = 0.2
SPREAD_MIN = 0.05
SPREAD_MAX = 10.0


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def odds_of(score: float) -> float:
    """Of a score in [0, 1]; 0 for NaN."""
    if not score > 0.0:
        return 0.0
    return min(score / max(1.0 - score, 1.0 / ODDS_MAX), ODDS_MAX)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def eased(score: float, slack: float) -> float:
    """A score whose odds are divided by 1 + slack."""
    if slack == 0.0:
        return score
    return score / (score + (1.0 - score) * (1.0 + slack))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def tail_after(top: float, tail: float, spread: float, blocks: float) -> tuple[float, float]:
    """Where the tail begins and its mean excess, after one more block; spread 0 is no block yet."""
    # As precise as `tail` is kept: two blocks with the same top, at the floor most often, are equal.
    y = np.float64(np.float32(math.log(min(max(top, ODDS_MIN), ODDS_MAX))))
    if spread == 0.0:
        return y, 1.0
    blocks = max(blocks, 1.0)
    step = max(spread, STEP_SPREAD_MIN) * max(1.0 / math.sqrt(blocks), STEP_MIN)
    if y > tail:
        weight = min(1.0 / (TAIL_SHARE * min(blocks, BLOCKS_MAX)), 1.0)
        spread += weight * (y - tail - spread)
        tail += step * (1.0 - TAIL_SHARE)
    else:
        tail -= step * TAIL_SHARE
    return tail, min(max(spread, SPREAD_MIN), SPREAD_MAX)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def blocks_until(score: float, slack: float, tail: float, spread: float, blocks: float) -> float:
    """In how many blocks a score is reached once; NaN where there is no score."""
    if math.isnan(score):
        return math.nan
    y = math.log(min(max(odds_of(score) * (1.0 + slack), ODDS_MIN), ODDS_MAX))
    often = TAIL_SHARE * math.exp(min((tail - y) / spread, 50.0))
    return min(1.0 / min(max(often, 1e-12), 1.0), TOLD_PASTS_MAX * max(blocks, BLOCKS_MIN))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def take_in(novelty: Samples, row: int, event: float, persistent: float, u: float, ages: tuple[float, float]) -> None:
    """Both scores before any slack (NaN while they warm up) into their blocks; `ages` in scales since each began."""
    memory = novelty[row]
    memory["event_top"] = max(float(memory["event_top"]), odds_of(event))
    memory["persistent_top"] = max(float(memory["persistent_top"]), odds_of(persistent))
    left = float(memory["block_left"]) - u
    if left <= 0.0:
        left = BLOCK_SCALES if left < -BLOCK_SCALES else left + BLOCK_SCALES
        if not math.isnan(event):
            blocks = ages[0] / BLOCK_SCALES
            tail, spread = tail_after(
                float(memory["event_top"]), float(memory["event_tail"]), float(memory["event_spread"]), blocks
            )
            memory["event_tail"] = tail
            memory["event_spread"] = spread
            if blocks >= BLOCKS_MIN:
                memory["begun"] = int(memory["begun"]) | BEGUN_EVENT_RATE
        if persistent < HIGH_AT:  # false while it is NaN
            blocks = ages[1] / BLOCK_SCALES
            tail, spread = tail_after(
                float(memory["persistent_top"]),
                float(memory["persistent_tail"]),
                float(memory["persistent_spread"]),
                blocks,
            )
            memory["persistent_tail"] = tail
            memory["persistent_spread"] = spread
            if blocks >= BLOCKS_MIN:
                memory["begun"] = int(memory["begun"]) | BEGUN_PERSISTENT_RATE
            memory["persistent_top"] = 0.0
        memory["event_top"] = 0.0
    memory["block_left"] = left
