"""Report by exception: which readings of a block are news.

A reading is news when nothing was passed on before it, when its quality changed, when `heartbeat_ns` have passed since
the last one, or when it differs by more than one of its deadbands allows, `hold_ns` after the last one or later. The
difference is taken from the last reading that was passed on, never from the last one read: a slow drift is not lost.

A block's rules have one RULE a tag, made by the planner; what was passed on last is MEMORY, kept with the schedule.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from gateway.core.types import Kind, Samples

_F64 = int(Kind.F64)
_U64 = int(Kind.U64)


@njit(cache=True, nogil=True, error_model="numpy")
def _differs(sample: Samples, last: Samples, rule: Samples) -> bool:
    """Whether the value has left a deadband around the last one."""
    if rule["kind"] == _F64:
        size = math.fabs(last["value"])
        difference = math.fabs(sample["value"] - last["value"])
        return bool(difference > rule["change"] or difference > rule["fraction"] * size)
    now_bits = np.int64(sample["bits"])
    last_bits = np.int64(last["bits"])
    if now_bits == last_bits:
        return False
    if rule["kind"] == _U64:
        now, then = now_bits.view(np.uint64), last_bits.view(np.uint64)
        difference = np.float64(now - then if now > then else then - now)
        size = np.float64(then)
    else:
        # In two steps: the distance of two int64 needs 64 bits of its own.
        apart = now_bits.view(np.uint64) - last_bits.view(np.uint64)
        difference = np.float64(apart if now_bits > last_bits else np.uint64(0) - apart)
        size = math.fabs(last_bits)
    return bool(difference > rule["change"] or difference > rule["fraction"] * size)


@njit(cache=True, nogil=True, error_model="numpy")
def keep_news(samples: Samples, rules: Samples, memory: Samples) -> int:
    """Move what is news to the front of `samples`, in order, and remember it; returns how many."""
    kept = 0
    for i in range(len(samples)):
        sample = samples[i]
        rule = rules[i]
        last = memory[i]
        if rule["is_ruled"]:
            age_ns = sample["arrival_ns"] - last["sent_ns"]
            is_same = last["is_known"] and last["quality"] == sample["quality"]
            is_early = age_ns < rule["hold_ns"] or not _differs(sample, last, rule)
            if is_same and is_early and age_ns < rule["heartbeat_ns"]:
                continue
            last["bits"] = sample["bits"]
            last["quality"] = sample["quality"]
            last["sent_ns"] = sample["arrival_ns"]
            last["is_known"] = 1
        if kept < i:
            samples[kept]["row"] = sample["row"]
            samples[kept]["quality"] = sample["quality"]
            samples[kept]["source_ns"] = sample["source_ns"]
            samples[kept]["arrival_ns"] = sample["arrival_ns"]
            samples[kept]["bits"] = sample["bits"]
        kept += 1
    return kept
