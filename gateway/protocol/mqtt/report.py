"""Clamps, and report by exception: what is passed on of the samples that messages bring.

The rules are those of `gateway.protocol.deadband`, by the samples' own times: a message may bring a minute's readings
of one tag. A late sample, one from before the last that was passed on, is judged by its distance in time and value like
any other, but it does not take the last one's place.

A row that is lent has the rule of the tag that has it at the moment, whose first sample is always news.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

from gateway.core.types import HISTORICAL, Float64s, Kind, Quality, Samples
from gateway.protocol.deadband import MEMORY, Deadband, rules_of
from gateway.protocol.difference import differs

Places = np.ndarray[tuple[int], np.dtype[np.int32]]

_F64 = int(Kind.F64)
_UNCERTAIN = int(Quality.UNCERTAIN)


class Ruled(NamedTuple):
    """A tag of which not everything is passed on as it is."""

    row: int
    kind: Kind
    deadband: Deadband | None
    low: float
    high: float


class Report:
    """Of one link. `lent` are rows that get their rule by `lend`. Called from one thread."""

    def __init__(self, tags: Sequence[Ruled], lent: Sequence[range] = ()) -> None:
        self.unchanged = 0
        """Samples that were no news."""
        free = [Ruled(row, Kind.F64, None, -math.inf, math.inf) for rows in lent for row in rows]
        every = (*tags, *free)
        self._places: Places = np.full(max((tag.row for tag in every), default=-1) + 1, -1, np.int32)
        self._places[[tag.row for tag in every]] = np.arange(len(every))
        self._rules = rules_of([(tag.kind, tag.deadband) for tag in every])
        self._memory = np.zeros(len(every), MEMORY)
        self._low = np.array([tag.low for tag in every], np.float64)
        self._high = np.array([tag.high for tag in every], np.float64)

    def lend(self, row: int, ruled: Ruled | None) -> None:
        """A row belongs to another tag from here on, with this rule or none."""
        place = self._places[row] if row < len(self._places) else -1
        if place < 0:
            return
        kind, deadband, low, high = (Kind.F64, None, -math.inf, math.inf) if ruled is None else ruled[1:]
        self._rules[place] = rules_of([(kind, deadband)])[0]
        self._low[place], self._high[place] = low, high
        self._memory["is_known"][place] = 0

    def forget(self) -> None:
        """The next sample of each tag is news."""
        self._memory["is_known"] = 0

    def pass_on(self, samples: Samples) -> Samples:
        """What is news of them, clamped; they are written over."""
        kept = keep_news(samples, self._places, self._rules, self._memory, self._low, self._high)
        self.unchanged += len(samples) - kept
        return samples[:kept]


@njit(cache=True, nogil=True, error_model="numpy")
def is_news(sample: Samples, rule: Samples, last: Samples) -> bool:
    """Whether a sample is to be passed on; if so, and unless it is late, it is the last one from now on."""
    since_ns = sample["source_ns"] - last["sent_ns"]
    if last["is_known"] and last["quality"] == sample["quality"]:
        apart_ns = abs(since_ns)
        is_early = apart_ns < rule["hold_ns"] or not differs(sample, last, rule)
        if is_early and apart_ns < rule["heartbeat_ns"]:
            return False
    if not last["is_known"] or since_ns >= 0:
        last["bits"] = sample["bits"]
        last["quality"] = sample["quality"]
        last["sent_ns"] = sample["source_ns"]
        last["is_known"] = 1
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def keep_news(
    samples: Samples, places: Places, rules: Samples, memory: Samples, low: Float64s, high: Float64s
) -> int:  # fmt: skip
    """Clamp what has good or uncertain quality, move what is news to the front, in order; returns how many.

    `places` leads from a row to its rule, -1 where there is none; so does its end. What is historical is always news,
    and nothing is compared with it.
    """
    kept = 0
    for i in range(len(samples)):
        row = samples[i]["row"]
        place = places[row] if row < len(places) else -1
        if place >= 0:
            quality = int(samples[i]["quality"])
            if rules[place]["kind"] == _F64 and quality & ~HISTORICAL >= _UNCERTAIN:
                samples[i]["value"] = min(max(samples[i]["value"], low[place]), high[place])
            is_historical = quality & HISTORICAL != 0
            if rules[place]["is_ruled"] and not is_historical and not is_news(samples[i], rules[place], memory[place]):
                continue
        if kept < i:
            samples[kept]["row"] = samples[i]["row"]
            samples[kept]["quality"] = samples[i]["quality"]
            samples[kept]["source_ns"] = samples[i]["source_ns"]
            samples[kept]["arrival_ns"] = samples[i]["arrival_ns"]
            samples[kept]["bits"] = samples[i]["bits"]
        kept += 1
    return kept
