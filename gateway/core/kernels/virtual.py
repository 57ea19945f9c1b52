"""Virtual tags computed: a stack machine over the programs of all of them (`gateway.core.formula`).

A program is done when one of its inputs got a sample, or another quality, since it was done last. In the first case
it gives a sample, with the newest times among its inputs; in the second only the cell's quality moves, as with any
value that becomes stale, so that no window takes a value twice.

Each place of the stack holds a value, its quality and the fault that made it bad. What could raise in Python, or give
infinity, is asked before it is done, so a formula gives the same with the JIT off.
"""

from __future__ import annotations

import math

from numba import njit

from gateway.core import formula
from gateway.core.formula import Fault, Op, Statistic
from gateway.core.kernels.atomics import begin_write, end_write
from gateway.core.kernels.number import as_float
from gateway.core.kernels.read import read_window
from gateway.core.state import Tables
from gateway.core.types import QUALITY_GOOD_MIN, QUALITY_UNCERTAIN_MIN, Quality
from gateway.core.virtual import VirtualTables

VALUE_MAX = 1e140
"""As the fold takes it: nothing greater is a number here."""

GOOD = int(Quality.GOOD)
BAD = int(Quality.BAD)
UNCERTAIN = int(Quality.UNCERTAIN)
SUBNORMAL = int(Quality.UNCERTAIN_SUBNORMAL)

CONSTANT, INPUT, NEGATE, NOT, ABS = int(Op.CONSTANT), int(Op.INPUT), int(Op.NEGATE), int(Op.NOT), int(Op.ABS)
SQRT, EXP, LOG, LOG10 = int(Op.SQRT), int(Op.EXP), int(Op.LOG), int(Op.LOG10)
FLOOR, CEIL, ROUND, GOOD_OP, BAD_OP = int(Op.FLOOR), int(Op.CEIL), int(Op.ROUND), int(Op.GOOD), int(Op.BAD)
ADD, SUBTRACT, MULTIPLY, DIVIDE = int(Op.ADD), int(Op.SUBTRACT), int(Op.MULTIPLY), int(Op.DIVIDE)
MODULO, POWER, LOWER, HIGHER = int(Op.MODULO), int(Op.POWER), int(Op.LOWER), int(Op.HIGHER)
LESS, LESS_EQUAL, GREATER = int(Op.LESS), int(Op.LESS_EQUAL), int(Op.GREATER)
GREATER_EQUAL, EQUAL, NOT_EQUAL = int(Op.GREATER_EQUAL), int(Op.EQUAL), int(Op.NOT_EQUAL)
AND, OR, IF = int(Op.AND), int(Op.OR), int(Op.IF)
SUM_OF, MEAN_OF, MIN_OF, COUNT_OF = int(Op.SUM_OF), int(Op.MEAN_OF), int(Op.MIN_OF), int(Op.COUNT_OF)
TWO_FROM, LOGIC_FROM = formula.TWO_FROM, formula.LOGIC_FROM
THREE_FROM, ROLL_UPS_FROM = formula.THREE_FROM, formula.ROLL_UPS_FROM

NO_FAULT, DIVISION, ROOT, LOGARITHM = int(Fault.NONE), int(Fault.DIVISION), int(Fault.ROOT), int(Fault.LOGARITHM)
POWER_FAULT, OVERFLOW, EMPTY, NO_INPUT = int(Fault.POWER), int(Fault.OVERFLOW), int(Fault.EMPTY), int(Fault.NO_INPUT)

VALUE, COUNT, MEAN = int(Statistic.VALUE), int(Statistic.COUNT), int(Statistic.MEAN)
SD, MIN, MAX, RATE = int(Statistic.SD), int(Statistic.MIN), int(Statistic.MAX), int(Statistic.RATE)

LOG_MAX = math.log(VALUE_MAX)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def of_one(op: int, x: float) -> tuple[float, int]:
    """A function of one number, and the fault."""
    if op == NEGATE:
        return -x, NO_FAULT
    if op == NOT:
        return (1.0 if x == 0.0 else 0.0), NO_FAULT
    if op == ABS:
        return abs(x), NO_FAULT
    if op == SQRT:
        return (math.sqrt(x), NO_FAULT) if x >= 0.0 else (0.0, ROOT)
    if op == EXP:
        return (math.exp(x), NO_FAULT) if x <= LOG_MAX else (0.0, OVERFLOW)
    if op == LOG:
        return (math.log(x), NO_FAULT) if x > 0.0 else (0.0, LOGARITHM)
    if op == LOG10:
        return (math.log10(x), NO_FAULT) if x > 0.0 else (0.0, LOGARITHM)
    if op == FLOOR:
        return whole(x, 0.0), NO_FAULT
    if op == CEIL:
        return -whole(-x, 0.0), NO_FAULT
    if op == ROUND:
        return whole(x, 0.5), NO_FAULT
    return (1.0 if x > 0.0 else -1.0 if x < 0.0 else 0.0), NO_FAULT  # SIGN


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def whole(x: float, more: float) -> float:
    """The largest whole number not above `x + more`. Beyond 2^52 every float is whole."""
    return x if abs(x) >= 4503599627370496.0 else float(math.floor(x + more))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def power(x: float, y: float) -> tuple[float, int]:
    if x == 0.0:
        return (0.0, DIVISION) if y < 0.0 else (1.0 if y == 0.0 else 0.0, NO_FAULT)
    if x < 0.0 and y != whole(y, 0.0):
        return 0.0, POWER_FAULT
    if y * math.log(abs(x)) > LOG_MAX:
        return 0.0, OVERFLOW
    return x**y, NO_FAULT


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def of_two(op: int, x: float, y: float) -> tuple[float, int]:
    """A function of two numbers, and the fault."""
    if op == ADD:
        return x + y, NO_FAULT
    if op == SUBTRACT:
        return x - y, NO_FAULT
    if op == MULTIPLY:
        return x * y, NO_FAULT
    if op == DIVIDE:
        return (x / y, NO_FAULT) if y != 0.0 else (0.0, DIVISION)
    if op == MODULO:
        return (x - y * whole(x / y, 0.0), NO_FAULT) if y != 0.0 else (0.0, DIVISION)
    if op == POWER:
        return power(x, y)
    if op == LOWER:
        return min(x, y), NO_FAULT
    if op == HIGHER:
        return max(x, y), NO_FAULT
    is_so = False
    if op == LESS:
        is_so = x < y
    elif op == LESS_EQUAL:
        is_so = x <= y
    elif op == GREATER:
        is_so = x > y
    elif op == GREATER_EQUAL:
        is_so = x >= y
    elif op == EQUAL:
        is_so = x == y
    elif op == NOT_EQUAL:
        is_so = x != y
    return (1.0 if is_so else 0.0), NO_FAULT


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def put(virtual: VirtualTables, at: int, value: float, quality: int, fault: int) -> None:
    """A result onto the stack. One that is no number is bad."""
    slot = virtual.stack[at]
    if fault == NO_FAULT and quality >= QUALITY_UNCERTAIN_MIN and not abs(value) <= VALUE_MAX:
        fault = OVERFLOW
    if fault != NO_FAULT:
        quality = min(quality, BAD)
    slot["value"] = value if quality >= QUALITY_UNCERTAIN_MIN else 0.0
    slot["quality"] = quality
    slot["fault"] = fault


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def read_input(tables: Tables, virtual: VirtualTables, panes: int, at: int, now_ns: int) -> tuple[float, int, int]:
    """Value, quality and fault of an input."""
    row = int(virtual.inputs[at]["row"])
    statistic = virtual.inputs[at]["statistic"]
    cell = tables.cells[row]
    quality = int(cell["quality"])
    if quality < QUALITY_UNCERTAIN_MIN:
        return 0.0, quality, NO_FAULT
    if statistic == VALUE:
        return as_float(cell["value"], cell["bits"], tables.limits[row]["kind"]), quality, NO_FAULT
    into = virtual.window[0]
    read_window(tables, panes, row, int(virtual.inputs[at]["window"]), now_ns, virtual.pane, into)
    value = into["ewma"]
    if statistic == COUNT:
        return float(into["count"]), quality, NO_FAULT
    if statistic == MEAN:
        value = into["mean"]
    elif statistic == SD:
        value = into["sd"]
    elif statistic == MIN:
        value = into["min"]
    elif statistic == MAX:
        value = into["max"]
    elif statistic == RATE:
        value = into["rate"]
    if math.isnan(value):
        return 0.0, BAD, EMPTY
    return value, quality, NO_FAULT


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def roll_up_inputs(
    tables: Tables, virtual: VirtualTables, panes: int, op: int, first: int, count: int, now_ns: int, at: int
) -> None:
    """Sum, mean, least, greatest or number of many inputs, onto the stack at `at`."""
    total = 0.0
    extreme = 0.0
    used = 0
    worst = GOOD
    worst_of_all = GOOD
    for k in range(first, first + count):
        value, quality, _ = read_input(tables, virtual, panes, k, now_ns)
        worst_of_all = min(worst_of_all, quality)
        if quality < QUALITY_UNCERTAIN_MIN:
            continue
        worst = min(worst, quality)
        total += value
        if used == 0 or (value < extreme if op == MIN_OF else value > extreme):
            extreme = value
        used += 1
    if op == COUNT_OF:
        put(virtual, at, float(used), GOOD, NO_FAULT)
        return
    if op == SUM_OF:
        put(virtual, at, total, worst_of_all, NO_FAULT)
        return
    if used == 0:
        put(virtual, at, 0.0, worst_of_all, NO_INPUT)
        return
    if used < count:
        worst = min(worst, SUBNORMAL)
    put(virtual, at, total / used if op == MEAN_OF else extreme, worst, NO_FAULT)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def copy_slot(virtual: VirtualTables, source: int, at: int, quality_max: int) -> None:
    slot = virtual.stack[source]
    put(virtual, at, slot["value"], min(int(slot["quality"]), quality_max), int(slot["fault"]))


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def choose_of_two(virtual: VirtualTables, op: int, at: int) -> None:
    """AND, OR and DEFAULT of the slots `at` and `at + 1`, into `at`: one of them may be enough."""
    x, y = virtual.stack[at], virtual.stack[at + 1]
    x_usable, y_usable = x["quality"] >= QUALITY_UNCERTAIN_MIN, y["quality"] >= QUALITY_UNCERTAIN_MIN
    if op != AND and op != OR:
        if not x_usable:
            copy_slot(virtual, at + 1, at, UNCERTAIN)
        return
    x_decides = x_usable and (x["value"] != 0.0) == (op == OR)
    y_decides = y_usable and (y["value"] != 0.0) == (op == OR)
    decided = 1.0 if op == OR else 0.0
    if x_decides and (not y_decides or x["quality"] >= y["quality"]):
        put(virtual, at, decided, int(x["quality"]), NO_FAULT)
    elif y_decides:
        put(virtual, at, decided, int(y["quality"]), NO_FAULT)
    else:
        fault = int(x["fault"]) if x["fault"] != NO_FAULT else int(y["fault"])
        put(virtual, at, 1.0 - decided, min(int(x["quality"]), int(y["quality"])), fault)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def of_three(virtual: VirtualTables, op: int, at: int) -> None:
    """IF and CLAMP of the slots from `at`, into `at`."""
    x, y, z = virtual.stack[at], virtual.stack[at + 1], virtual.stack[at + 2]
    if op == IF:
        quality, fault = int(x["quality"]), int(x["fault"])
        if quality < QUALITY_UNCERTAIN_MIN:
            put(virtual, at, 0.0, quality, fault)
        else:
            copy_slot(virtual, at + 1 if x["value"] != 0.0 else at + 2, at, quality)
        return
    fault = int(x["fault"])
    if fault == NO_FAULT:
        fault = int(y["fault"]) if y["fault"] != NO_FAULT else int(z["fault"])
    quality = min(int(x["quality"]), int(y["quality"]), int(z["quality"]))
    put(virtual, at, min(max(x["value"], y["value"]), z["value"]), quality, fault)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def run_program(tables: Tables, virtual: VirtualTables, panes: int, v: int, now_ns: int) -> None:
    """All steps of one program; the result lies in slot 0."""
    program = virtual.programs[v]
    stack = virtual.stack
    first = int(program["first"])
    inputs = int(program["input_first"])
    top = 0
    for s in range(first, first + program["steps"]):
        op = int(virtual.steps[s]["op"])
        a = int(virtual.steps[s]["a"])
        if op == CONSTANT:
            put(virtual, top, virtual.constants[program["constant_first"] + a], GOOD, NO_FAULT)
            top += 1
        elif op == INPUT:
            value, quality, fault = read_input(tables, virtual, panes, inputs + a, now_ns)
            put(virtual, top, value, quality, fault)
            top += 1
        elif op >= ROLL_UPS_FROM:
            roll_up_inputs(tables, virtual, panes, op, inputs + a, int(virtual.steps[s]["b"]), now_ns, top)
            top += 1
        elif op >= THREE_FROM:
            top -= 2
            of_three(virtual, op, top - 1)
        elif op >= LOGIC_FROM:
            top -= 1
            choose_of_two(virtual, op, top - 1)
        elif op >= TWO_FROM:
            top -= 1
            x, y = stack[top - 1], stack[top]
            quality = min(int(x["quality"]), int(y["quality"]))
            fault = int(x["fault"]) if x["fault"] != NO_FAULT else int(y["fault"])
            value = 0.0
            if quality >= QUALITY_UNCERTAIN_MIN:
                value, fault = of_two(op, x["value"], y["value"])
            put(virtual, top - 1, value, quality, fault)
        elif op == GOOD_OP:
            put(virtual, top - 1, 1.0 if stack[top - 1]["quality"] >= QUALITY_GOOD_MIN else 0.0, GOOD, NO_FAULT)
        elif op == BAD_OP:
            put(virtual, top - 1, 1.0 if stack[top - 1]["quality"] < QUALITY_UNCERTAIN_MIN else 0.0, GOOD, NO_FAULT)
        elif stack[top - 1]["quality"] >= QUALITY_UNCERTAIN_MIN:
            value, fault = of_one(op, stack[top - 1]["value"])
            put(virtual, top - 1, value, int(stack[top - 1]["quality"]), fault)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def look_at_inputs(tables: Tables, virtual: VirtualTables, v: int) -> tuple[bool, bool, int, int]:
    """Whether an input got a sample, or another quality, since this was asked last; the newest times among them."""
    program = virtual.programs[v]
    got_sample = False
    is_other = False
    source_ns = 0
    arrival_ns = 0
    for k in range(program["input_first"], program["input_first"] + program["inputs"]):
        cell = tables.cells[virtual.inputs[k]["row"]]
        seen = virtual.seen[k]
        got_sample |= cell["samples"] != seen["samples"]
        is_other |= cell["quality"] != seen["quality"]
        seen["samples"] = cell["samples"]
        seen["quality"] = cell["quality"]
        source_ns = max(source_ns, int(cell["source_ns"]))
        arrival_ns = max(arrival_ns, int(cell["arrival_ns"]))
    return got_sample, is_other, source_ns, arrival_ns


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def compute(
    tables: Tables, virtual: VirtualTables, panes: int, start: int, stop: int, now_ns: int, last: int, grid: int
) -> int:
    """Programs [start, stop) as of `now_ns`; `last` and `grid` are the points of the grid before and now, the same
    between two points. Returns how many samples lie in `virtual.out`."""
    made = 0
    for v in range(start, stop):
        every = virtual.programs[v]["every"]
        if every > 0 and grid // every == last // every:
            continue
        got_sample, is_other, source_ns, arrival_ns = look_at_inputs(tables, virtual, v)
        if not (got_sample or is_other):
            continue
        run_program(tables, virtual, panes, v, now_ns)
        result = virtual.stack[0]
        state = virtual.states[v]
        state["computed"] += 1
        state["fault"] = result["fault"]
        if result["fault"] != NO_FAULT:
            state["faults"] += 1
            state["fault_ns"] = now_ns
        row = int(virtual.programs[v]["row"])
        if got_sample:
            sample = virtual.out[made]
            sample["row"] = row
            sample["quality"] = result["quality"]
            sample["source_ns"] = source_ns if source_ns > 0 else now_ns
            sample["arrival_ns"] = arrival_ns if arrival_ns > 0 else now_ns
            sample["value"] = result["value"]
            made += 1
        elif tables.cells[row]["quality"] != result["quality"]:
            begin_write(tables.words, row)
            tables.cells[row]["quality"] = result["quality"]
            end_write(tables.words, row)
    return made
