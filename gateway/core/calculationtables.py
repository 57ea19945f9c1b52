"""The memory of all calculations of a plant: rules and empty states, in the order of rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gateway.core.blank import records
from gateway.core.calculations import (
    ACCUMULATOR,
    CALCULATION_RULE,
    CALCULATION_STATE,
    FOR_EVER,
    KEPT_SAMPLE,
    OUTPUT,
    RESULT,
    VALUE_ASIDE,
    accumulators_of,
    calculation_rule,
)
from gateway.core.limits import RESULTS_WAITING_MAX, VALUES_ASIDE_MAX
from gateway.core.model import Model
from gateway.core.types import Float64s, Samples


class CalculationTables(NamedTuple):
    """The arrays of calculations (`gateway.core.calculations`); the last three are no state but room to work in."""

    rules: Samples
    states: Samples
    accumulators: Samples
    kept: Samples
    outputs: Samples
    results: Samples
    waiting: Samples
    merged: Samples
    scratch: Float64s


def calculation_tables(model: Model) -> CalculationTables:
    """Rules and empty states of all calculations, in the order of rows."""
    all_of = [(row, tag, one) for row, tag in enumerate(model.tags) for one in tag.calculations]
    sizes = [accumulators_of(one, model.panes_per_window) for _, _, one in all_of]
    tables = CalculationTables(
        rules=records(len(all_of), CALCULATION_RULE),
        states=records(len(all_of), CALCULATION_STATE),
        accumulators=records(sum(count for count, _ in sizes), ACCUMULATOR),
        kept=records(sum(one.ring_samples for _, _, one in all_of), KEPT_SAMPLE),
        outputs=records(sum(len(one.outputs) for _, _, one in all_of), OUTPUT),
        results=records(RESULTS_WAITING_MAX if all_of else 0, RESULT),
        waiting=records(VALUES_ASIDE_MAX if all_of else 1, VALUE_ASIDE),
        merged=records(1, ACCUMULATOR),
        scratch=np.zeros(max((one.ring_samples for _, _, one in all_of), default=0)),
    )
    tables.accumulators["pane"] = -1
    tables.states["end_ns"] = tables.states["next_end_ns"] = FOR_EVER
    first = ring = output = 0
    for place, ((row, tag, one), (count, pane_ns)) in enumerate(zip(all_of, sizes, strict=True)):
        tables.rules[place] = calculation_rule(one, row, tag.stale_after_ns, first, count, ring, output, pane_ns)
        for k, wanted in enumerate(one.outputs):
            tables.outputs[output + k] = (place, int(wanted.function), wanted.quantile)
        first += count
        ring += one.ring_samples
        output += len(one.outputs)
    return tables
