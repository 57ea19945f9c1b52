"""Results of calculations: the outputs of one interval, given, corrected or taken back.

They are appended to `results`, whose fill is a counter. What finds no room is counted as lost; nothing else follows
from whether there was room, so that what a calculation remembers hangs on its own samples and on time alone.
"""

from __future__ import annotations

import math

from gateway.core.calculations import Function, Span
from gateway.core.kernels.accumulate import read_out
from gateway.core.kernels.jit import inner
from gateway.core.kernels.quantile import quantile
from gateway.core.state import Counter, Tables
from gateway.core.types import Float64s, Quality, Samples

COUNT = int(Span.COUNT)
COVERAGE = int(Function.COVERAGE)
QUANTILE = int(Function.QUANTILE)
USED = int(Counter.RESULTS)
LOST = int(Counter.RESULTS_LOST)
BAD = int(Quality.BAD)
GOOD = int(Quality.GOOD)
UNCERTAIN = int(Quality.UNCERTAIN)


@inner
def write_outputs(
    tables: Tables, c: int, one: Samples, start_ns: int, end_ns: int, revision: int, scratch: Float64s,
    out: Samples, at: int,
) -> None:  # fmt: skip
    """All outputs of a calculation over one interval, from `out[at]`."""
    rule = tables.calculations.rules[c]
    length_ns = end_ns - start_ns
    coverage = min(1.0, one["covered_ns"] / length_ns) if length_ns > 0 else 1.0
    for k in range(rule["output_count"]):
        output = tables.calculations.outputs[rule["output_first"] + k]
        function = output["function"]
        result = out[at + k]
        result["row"] = rule["row"]
        result["output"] = rule["output_first"] + k
        result["start_ns"] = start_ns
        result["end_ns"] = end_ns
        result["count"] = one["count"]
        result["coverage"] = coverage
        result["revision"] = revision
        result["quality"] = GOOD
        if function == COVERAGE:
            result["value"] = coverage
        elif function == QUANTILE:
            most = one["count"] if rule["span"] == COUNT else rule["ring_size"]
            result["value"], found = quantile(tables, c, most, start_ns, end_ns, output["quantile"], scratch)
            if found < one["count"]:
                result["quality"] = UNCERTAIN
        else:
            result["value"] = read_out(one, function)


@inner
def place_of(tables: Tables, c: int) -> int:
    """Where the next outputs of a calculation go; -1, and they are counted as lost, when there is no room."""
    outputs = tables.calculations.rules[c]["output_count"]
    used = tables.counters[USED]
    if used + outputs > len(tables.calculations.results):
        tables.counters[LOST] += outputs
        return -1
    tables.counters[USED] = used + outputs
    return int(used)


@inner
def give(tables: Tables, c: int, one: Samples, start_ns: int, end_ns: int, revision: int) -> None:
    """Append a result, if there is anything known of the interval."""
    if one["count"] == 0 and one["covered_ns"] == 0:
        return
    at = place_of(tables, c)
    if at >= 0:
        write_outputs(
            tables, c, one, start_ns, end_ns, revision, tables.calculations.scratch, tables.calculations.results, at
        )


@inner
def take_back(tables: Tables, c: int, start_ns: int, end_ns: int, revision: int) -> None:
    """Append that a result which was given holds no more: its samples are in another interval."""
    at = place_of(tables, c)
    if at < 0:
        return
    rule = tables.calculations.rules[c]
    for k in range(rule["output_count"]):
        result = tables.calculations.results[at + k]
        result["row"] = rule["row"]
        result["output"] = rule["output_first"] + k
        result["start_ns"] = start_ns
        result["end_ns"] = end_ns
        result["value"] = math.nan
        result["count"] = 0
        result["coverage"] = 0.0
        result["revision"] = revision
        result["quality"] = BAD
