"""The memory of all virtual tags of a plant: programs, and what they have seen of their inputs.

Programs lie in the order of their rows, level by level: those of a level look at tags of lower levels only, so a level
is computed at once. Whether a program has anything to do is told by its inputs: of each the count of samples and the
quality are kept as they were seen last.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gateway.core.blank import records
from gateway.core.formula import Statistic
from gateway.core.limits import FORMULA_DEPTH_MAX, GRID_NS
from gateway.core.model import Model
from gateway.core.record import AGGREGATE
from gateway.core.types import SAMPLE, Float64s, Samples

PROGRAM = np.dtype(
    [
        ("row", "<i4"),
        ("first", "<i4"),
        ("steps", "<i4"),
        ("constant_first", "<i4"),
        ("input_first", "<i4"),
        ("inputs", "<i4"),
        ("every", "<i8"),
    ],
    align=True,
)
"""Never written after construction. `every` in steps of the grid; 0: whenever an input changes."""

STEP = np.dtype([("op", "<i4"), ("a", "<i4"), ("b", "<i4")], align=True)

INPUT = np.dtype([("row", "<i4"), ("window", "<i4"), ("statistic", "<i4")], align=True)

SEEN = np.dtype([("samples", "<i8"), ("quality", "<i8")], align=True)
"""An input as it was when its formula was computed last; -1 before."""

VIRTUAL = np.dtype(
    [
        ("fault", "<i8"),
        ("told", "<i8"),
        ("fault_ns", "<i8"),
        ("computed", "<i8"),
        ("faults", "<i8"),
    ],
    align=True,
)
"""`fault`: of the last result, see `gateway.core.formula.Fault`; `told`: the one that an event told; `fault_ns`: when
there was one last; `computed` and `faults` count."""

SLOT = np.dtype([("value", "<f8"), ("quality", "<i8"), ("fault", "<i8")], align=True)
"""A place of the stack."""

STACK: int = 3 * FORMULA_DEPTH_MAX + 4
"""Each level of nesting leaves at most two values below it."""


class VirtualTables(NamedTuple):
    """`states` and `seen` are state, the last four room to work in."""

    programs: Samples
    steps: Samples
    constants: Float64s
    inputs: Samples
    states: Samples
    seen: Samples
    stack: Samples
    window: Samples
    pane: Samples
    out: Samples


def virtual_tables(model: Model, window_firsts: list[int], pane: np.dtype[np.void]) -> VirtualTables:
    """Of all tags with a formula, in the order of rows. `window_firsts` are the rows' first windows, `pane` is PANE."""
    all_of = [(row, tag.formula) for row, tag in enumerate(model.tags) if tag.formula is not None]
    tables = VirtualTables(
        programs=records(len(all_of), PROGRAM),
        steps=records(sum(len(one.steps) for _, one in all_of), STEP),
        constants=np.full(sum(len(one.constants) for _, one in all_of), 0.0),
        inputs=records(sum(len(one.inputs) for _, one in all_of), INPUT),
        states=records(len(all_of), VIRTUAL),
        seen=records(sum(len(one.inputs) for _, one in all_of), SEEN),
        stack=records(STACK, SLOT),
        window=records(1, AGGREGATE),
        pane=records(1, pane),
        out=records(len(all_of), SAMPLE),
    )
    tables.seen["samples"] = tables.seen["quality"] = -1
    step = constant = at = 0
    for place, (row, one) in enumerate(all_of):
        every = -(-one.every_ns // GRID_NS)
        tables.programs[place] = (row, step, len(one.steps), constant, at, len(one.inputs), every)
        for k, written in enumerate(one.steps):
            tables.steps[step + k] = written
        tables.constants[constant : constant + len(one.constants)] = one.constants
        for k, read in enumerate(one.inputs):
            source = model.row_of[read.tag]
            window = -1
            if read.statistic is not Statistic.VALUE:
                window = window_firsts[source] + model.tags[source].windows_ns.index(read.window_ns)
            tables.inputs[at + k] = (source, window, int(read.statistic))
        step += len(one.steps)
        constant += len(one.constants)
        at += len(one.inputs)
    return tables


def levels_of(model: Model) -> list[tuple[int, int]]:
    """The programs of each level, as [start, stop). Raises ValueError when a formula looks at a later level."""
    level_of: dict[str, int] = {}
    levels: list[tuple[int, int]] = []
    place = 0
    for tag in model.tags:
        if tag.formula is None:
            continue
        own = max((level_of.get(one.tag, 0) for one in tag.formula.inputs), default=0) + 1
        level_of[tag.name] = own
        if own < len(levels):
            raise ValueError(f"{tag.name} stands behind tags of a later level")
        if own > len(levels):
            levels.append((place, place))
        levels[-1] = (levels[-1][0], place + 1)
        place += 1
    return levels
