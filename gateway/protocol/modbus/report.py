"""Report by exception: which readings of a block are news, by the rules of `gateway.protocol.deadband`.

A block's rules have one RULE a tag, made by the planner; what was passed on last is MEMORY, kept with the schedule.
"""

from __future__ import annotations

from numba import njit

from gateway.core.types import Samples
from gateway.protocol.difference import differs


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
            is_early = age_ns < rule["hold_ns"] or not differs(sample, last, rule)
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
