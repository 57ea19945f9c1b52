"""Whether a configuration on trial does worse than the one before it: a decision over two looks at the plant.

Only what is in both counts: a device that is new cannot have been lost. A single sensor that falls silent is no verdict
on a configuration; a device of which nothing is good any more is, and so are many tags at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.core.histogram import quantile_ns, total
from gateway.core.types import NS_PER_MS, Int64s

LOST_SHARE_MAX: Final = 0.1
"""Of the tags that were good and are in both configurations."""
LOST_TAGS_MIN: Final = 10
"""Fewer lost tags are judged by their devices alone."""
MISSES_MORE_MAX: Final = 0.05
"""Of the control cycles, how many more may miss their deadline."""
CYCLES_MIN: Final = 20
"""Fewer cycles say nothing about misses."""
COUNTS_MIN: Final = 100
"""Fewer measurements say nothing about a percentile."""
NAMED_MAX: Final = 5
"""Reasons that are told. More are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """How the plant is. `good`: by device, its tags whose values are; `known`: all tags, by device.

    `upstream`: by uplink, whether it is connected. `loops`: by loop, whether it is in its fail-safe. `cycles`,
    `misses`: of control, since its start. `latencies`: by stage with a budget, its histogram; `budgets_ns` by stage.
    """

    known: Mapping[str, frozenset[str]]
    good: Mapping[str, frozenset[str]]
    upstream: Mapping[str, bool] = field(default_factory=dict)
    loops: Mapping[str, bool] = field(default_factory=dict)
    cycles: int = 0
    misses: int = 0
    latencies: Mapping[str, Int64s] = field(default_factory=dict)
    budgets_ns: Mapping[str, int] = field(default_factory=dict)

    def of(self, *, plant: bool, uplinks: bool) -> Vitals:
        """Without what a change did not touch: that a line goes down during its trial is no verdict on it.

        What the machine has to share, its processor, counts with every change.
        """
        return replace(
            self,
            good=self.good if plant else {},
            loops=self.loops if plant else {},
            upstream=self.upstream if uplinks else {},
        )


def worse(before: Vitals, settled: Vitals, now: Vitals) -> dict[str, str]:
    """What is worse, in words, by what it is about. Empty: it may stay.

    `before`: just before the change. `settled`: after it, when what had to begin anew has had its time; what is counted
    counts from there.
    """
    return {
        **_devices(before, now),
        **_tags(before, now),
        **_upstream(before, now),
        **_loops(before, now),
        **_misses(before, settled, now),
        **_latencies(before, settled, now),
    }


def told(reasons: Mapping[str, str]) -> str:
    """In one line."""
    shown = list(reasons.values())[:NAMED_MAX]
    return ", ".join(shown) + (f", and {len(reasons) - NAMED_MAX} more" if len(reasons) > NAMED_MAX else "")


def _devices(before: Vitals, now: Vitals) -> dict[str, str]:
    lost = (device for device, good in before.good.items() if _has_lost_all(good, device, now))
    return {f"device {device}": f"{device} was good and is not any more" for device in lost}


def _has_lost_all(good: frozenset[str], device: str, now: Vitals) -> bool:
    """Of those tags that are still there."""
    stayed = good & now.known.get(device, frozenset())
    return bool(stayed) and not stayed & now.good.get(device, frozenset())


def _tags(before: Vitals, now: Vitals) -> dict[str, str]:
    nothing: frozenset[str] = frozenset()
    stayed = lost = 0
    for device, good in before.good.items():
        here = good & now.known.get(device, nothing)
        stayed += len(here)
        lost += len(here - now.good.get(device, nothing))
    if lost < LOST_TAGS_MIN or lost <= LOST_SHARE_MAX * stayed:
        return {}
    return {"tags": f"{lost} of {stayed} tags that were good are not any more"}


def _upstream(before: Vitals, now: Vitals) -> dict[str, str]:
    cut = (name for name, was_connected in before.upstream.items() if was_connected and now.upstream.get(name) is False)
    return {f"uplink {name}": f"uplink {name} was connected and is not any more" for name in cut}


def _loops(before: Vitals, now: Vitals) -> dict[str, str]:
    failed = (name for name, is_safe in now.loops.items() if is_safe and before.loops.get(name) is False)
    return {f"loop {name}": f"loop {name} went to its fail-safe" for name in failed}


def _misses(before: Vitals, settled: Vitals, now: Vitals) -> dict[str, str]:
    cycles, misses = now.cycles - settled.cycles, now.misses - settled.misses
    if cycles < CYCLES_MIN or before.cycles < CYCLES_MIN:
        return {}
    share, was = misses / cycles, before.misses / before.cycles
    if share <= was + MISSES_MORE_MAX:
        return {}
    return {"misses": f"{share:.1%} of the control cycles miss their deadline, {was:.1%} did before"}


def _latencies(before: Vitals, settled: Vitals, now: Vitals) -> dict[str, str]:
    found = {}
    for stage, budget_ns in now.budgets_ns.items():
        if not all(stage in each.latencies for each in (before, settled, now)):
            continue
        was, during = before.latencies[stage], now.latencies[stage] - settled.latencies[stage]
        if min(total(was), total(during)) < COUNTS_MIN:
            continue
        was_ns, is_ns = quantile_ns(was, 0.99), quantile_ns(during, 0.99)
        if was_ns <= budget_ns < is_ns:
            found[f"latency {stage}"] = (
                f"{stage}: p99 of {is_ns / NS_PER_MS:.0f} ms is over its budget of {budget_ns / NS_PER_MS:.0f} ms,"
                f" it was {was_ns / NS_PER_MS:.0f} ms"
            )
    return found


class Trial:
    """One configuration's trial, from `began_ns` on. It is looked at again and again until `is_over`.

    Sessions begin anew with a reload, so its first third says nothing; in its last third, what is worse in every look
    is worse, and what comes and goes is not.
    """

    def __init__(self, before: Vitals, began_ns: int, length_ns: int) -> None:
        self._before = before
        self._settles_ns = began_ns + length_ns // 3
        self._judges_ns = began_ns + 2 * length_ns // 3
        self._ends_ns = began_ns + length_ns
        self._settled: Vitals | None = None
        self._reasons: dict[str, str] | None = None
        self.is_over = False

    def wants_look(self, now_ns: int) -> bool:
        """Whether a look at the plant says anything now; of a large one it is a tenth of a second's work."""
        return not self.is_over and now_ns >= (self._settles_ns if self._settled is None else self._judges_ns)

    def look(self, now: Vitals, now_ns: int) -> None:
        if not self.wants_look(now_ns):
            return
        if self._settled is None:
            self._settled = now
            return
        found = worse(self._before, self._settled, now)
        known = self._reasons
        self._reasons = found if known is None else {key: why for key, why in found.items() if key in known}
        self.is_over = now_ns >= self._ends_ns

    @property
    def reasons(self) -> dict[str, str]:
        """What was worse in every look so far that counts."""
        return self._reasons or {}
