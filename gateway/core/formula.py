"""Formulas: what a virtual tag is computed by, as a bounded program for a stack machine.

A formula is read once (`gateway.core.formulaparser`) and becomes steps in postfix order, constants, and inputs: other
tags' values or their windows' statistics. Each step is done once, in turn; there are no jumps, so a formula costs what
its length says. What is on the stack has a quality of its own, and what is not chosen (`if`, `default`, `and`, `or`)
does not count: `if(x > 0, a / x, 0)` is good where x is 0.

    quality     the worst of what entered
    no number   a division by zero, the root of something negative and the like: bad, with a Fault as its reason
    roll-ups    of a pattern's tags leave out what is bad, and are then uncertain; a sum does not
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Op(IntEnum):
    """A step. A number keeps its meaning for ever: journals have it. `a` and `b` are the step's two numbers."""

    CONSTANT = 0
    """Put constant `a` on the stack."""
    INPUT = 1
    """Put input `a` on the stack."""
    NEGATE = 2
    NOT = 3
    ABS = 4
    SQRT = 5
    EXP = 6
    LOG = 7
    LOG10 = 8
    FLOOR = 9
    CEIL = 10
    ROUND = 11
    SIGN = 12
    GOOD = 13
    BAD = 14
    ADD = 20
    SUBTRACT = 21
    MULTIPLY = 22
    DIVIDE = 23
    MODULO = 24
    POWER = 25
    LESS = 26
    LESS_EQUAL = 27
    GREATER = 28
    GREATER_EQUAL = 29
    EQUAL = 30
    NOT_EQUAL = 31
    LOWER = 32
    HIGHER = 33
    AND = 40
    OR = 41
    DEFAULT = 42
    IF = 50
    CLAMP = 51
    SUM_OF = 60
    """Roll-ups: of the inputs `a` to `a + b`."""
    MEAN_OF = 61
    MIN_OF = 62
    MAX_OF = 63
    COUNT_OF = 64


ONE_FROM, TWO_FROM, LOGIC_FROM, THREE_FROM, ROLL_UPS_FROM = 2, 20, 40, 50, 60
"""The first op of each kind: of one number, of two, that choose among two, of three, of many inputs."""


class Fault(IntEnum):
    """Why there is no number."""

    NONE = 0
    DIVISION = 1
    ROOT = 2
    LOGARITHM = 3
    POWER = 4
    OVERFLOW = 5
    EMPTY = 6
    NO_INPUT = 7


FAULTS: Final[dict[int, str]] = {
    Fault.DIVISION: "division by zero",
    Fault.ROOT: "square root of a negative number",
    Fault.LOGARITHM: "logarithm of zero or a negative number",
    Fault.POWER: "a power that is no real number",
    Fault.OVERFLOW: "a result too large for a number",
    Fault.EMPTY: "a window that holds too few samples",
    Fault.NO_INPUT: "no input of a roll-up is usable",
}


class Statistic(IntEnum):
    """What of an input is taken."""

    VALUE = 0
    COUNT = 1
    MEAN = 2
    SD = 3
    MIN = 4
    MAX = 5
    RATE = 6
    EWMA = 7


@dataclass(frozen=True, slots=True)
class Input:
    """Another tag by its full name; with a statistic, that of its window of `window_ns`."""

    tag: str
    statistic: Statistic = Statistic.VALUE
    window_ns: int = 0


@dataclass(frozen=True, slots=True)
class Formula:
    """`text` as it was written; `steps` are (op, a, b). `every_ns` 0: whenever an input changes; else at multiples of
    it on the grid of engine time, when one has changed since."""

    text: str
    steps: tuple[tuple[int, int, int], ...]
    constants: tuple[float, ...]
    inputs: tuple[Input, ...]
    every_ns: int = 0


@dataclass(frozen=True, slots=True)
class Word:
    """A function of the language: its op, and how many arguments it takes. Further ones are taken two by two."""

    op: Op
    arguments: int
    takes_more: bool = False


FUNCTIONS: Final[dict[str, Word]] = {
    "abs": Word(Op.ABS, 1),
    "sqrt": Word(Op.SQRT, 1),
    "exp": Word(Op.EXP, 1),
    "log": Word(Op.LOG, 1),
    "log10": Word(Op.LOG10, 1),
    "floor": Word(Op.FLOOR, 1),
    "ceil": Word(Op.CEIL, 1),
    "round": Word(Op.ROUND, 1),
    "sign": Word(Op.SIGN, 1),
    "good": Word(Op.GOOD, 1),
    "bad": Word(Op.BAD, 1),
    "min": Word(Op.LOWER, 2, takes_more=True),
    "max": Word(Op.HIGHER, 2, takes_more=True),
    "default": Word(Op.DEFAULT, 2, takes_more=True),
    "if": Word(Op.IF, 3),
    "clamp": Word(Op.CLAMP, 3),
}
ROLL_UPS: Final[dict[str, Op]] = {
    "sum": Op.SUM_OF,
    "mean": Op.MEAN_OF,
    "min": Op.MIN_OF,
    "max": Op.MAX_OF,
    "count": Op.COUNT_OF,
}
"""Of tags and patterns; `min` and `max` of anything else are those of FUNCTIONS."""
STATISTICS: Final[dict[str, Statistic]] = {one.name.lower(): one for one in Statistic if one is not Statistic.VALUE}
"""Of a tag and one of its windows: mean(boiler.temperature, 1min)."""
WORDS: Final = sorted({*FUNCTIONS, *ROLL_UPS, *STATISTICS})
