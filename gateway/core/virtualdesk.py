"""The virtual tags of one engine: when they are computed, and what is told of those that have no result.

The desk belongs to the engine and to its thread. In a plant without virtual tags it does nothing, and compiles nothing.

A formula is computed from all that came under one time: with the first step of a later time, as of the time before, so
that the cut of a batch does not matter, and two inputs that come together give one result. What becomes stale is
looked for at the grid's points, in the same step.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gateway.core.events import Event, Severity
from gateway.core.formula import FAULTS
from gateway.core.kernels.virtual import compute
from gateway.core.limits import EVENTS_PER_GRID_MAX
from gateway.core.model import Model
from gateway.core.readings import Reading
from gateway.core.state import State
from gateway.core.types import NS_PER_S, Samples
from gateway.core.virtual import levels_of

METRICS: tuple[tuple[str, str, str], ...] = (
    ("fieldgate_virtual_tags", "gauge", "Virtual tags."),
    ("fieldgate_virtual_computed_total", "counter", "Times that a virtual tag was computed."),
    ("fieldgate_virtual_faults_total", "counter", "Times that a virtual tag had no result: a division by zero, say."),
    ("fieldgate_virtual_without_result", "gauge", "Virtual tags that have no result at the moment."),
)

WELL_NS = 5 * NS_PER_S
"""How long a formula must have had results again before that is told."""


class VirtualDesk:
    """The virtual tags of `model`, whose records lie in `state`."""

    def __init__(self, model: Model, state: State) -> None:
        self._model = model
        self._state = state
        self.levels = levels_of(model)
        self.is_waiting = False
        """Whether samples came since the formulas were computed."""

    def compute(self, level: tuple[int, int], now_ns: int, last: int, grid: int) -> Samples:
        """The samples of one level's tags as of `now_ns`; lower levels come first. `last` and `grid`: points of the
        grid, the same between two points."""
        state = self._state
        made = compute(state.tables, state.virtual, state.panes, *level, now_ns, last, grid)
        return state.virtual.out[:made].copy()

    def warm(self) -> None:
        """Compile, by computing nothing."""
        if self.levels:
            self.compute((0, 0), 0, 0, 0)

    def events(self, point_ns: int) -> list[Event]:
        """What formulas have no result, and which have one again, if that was not told yet."""
        states = self._state.virtual.states
        if not self.levels:
            return []
        told = []
        changed = np.flatnonzero(states["fault"] != states["told"])[:EVENTS_PER_GRID_MAX]
        for place in changed.tolist():
            fault = int(states[place]["fault"])
            if not fault and point_ns - int(states[place]["fault_ns"]) < WELL_NS:
                continue
            states[place]["told"] = fault
            told.append(self._event(place, fault, point_ns))
        return told

    def _event(self, place: int, fault: int, point_ns: int) -> Event:
        tag = self._model.tags[int(self._state.virtual.programs[place]["row"])]
        if not fault:
            return Event(point_ns, Severity.NOTICE, "virtual.result", tag.name, f"{tag.name}: has a result again")
        text = "" if tag.formula is None else tag.formula.text
        message = f"{tag.name}: no result, {FAULTS[fault]} in {text}"
        return Event(point_ns, Severity.WARNING, "virtual.fault", tag.name, message)

    def readings(self) -> Iterator[Reading]:
        states = self._state.virtual.states
        yield Reading("fieldgate_virtual_tags", len(states))
        yield Reading("fieldgate_virtual_computed_total", int(states["computed"].sum()))
        yield Reading("fieldgate_virtual_faults_total", int(states["faults"].sum()))
        yield Reading("fieldgate_virtual_without_result", int(np.count_nonzero(states["fault"])))
