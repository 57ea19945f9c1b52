"""The formulas' oracle: a tree, walked in plain Python, beside the program that the gateway makes of its text.

A tree is a number, a tag's name, or (word, trees…); `text_of` writes it as a user would, in brackets everywhere. What
it is worth is a value and a quality, the value None where the quality is bad.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

Tree: TypeAlias = "float | str | tuple[object, ...]"
Worth: TypeAlias = "tuple[float | None, int]"

GOOD, UNCERTAIN_FROM, SUBSTITUTED, SUBNORMAL = 192, 64, 64, 88
SIGNS = ("+", "-", "*", "/", "%", "**", "<", "<=", ">", ">=", "==", "!=", "and", "or")
ROLL_UPS = ("sum", "mean", "min", "max", "count")


def text_of(tree: object) -> str:
    if isinstance(tree, str):
        return f"'{tree}'"
    if not isinstance(tree, tuple):
        return repr(tree) if tree >= 0 else f"({tree!r})"  # type: ignore[operator]
    word, *parts = tree
    if word in SIGNS:
        return f"({text_of(parts[0])} {word} {text_of(parts[1])})"
    if word in ("not", "neg"):
        return f"({'not' if word == 'not' else '-'} {text_of(parts[0])})"
    return f"{str(word).removeprefix('all ')}({', '.join(text_of(part) for part in parts)})"


def worth(tree: object, tags: Mapping[str, Worth]) -> Worth:
    if isinstance(tree, str):
        return tags[tree]
    if not isinstance(tree, tuple):
        return float(tree), GOOD  # type: ignore[arg-type]
    word, *parts = tree
    if word in [f"all {one}" for one in ROLL_UPS]:
        return of_all(str(word).removeprefix("all "), list(tags.values()))
    found = [worth(part, tags) for part in parts]
    if word == "good":
        return float(found[0][1] >= GOOD), GOOD
    if word == "bad":
        return float(found[0][0] is None), GOOD
    if word == "default":
        return found[0] if found[0][0] is not None else (found[1][0], min(found[1][1], SUBSTITUTED))
    if word == "if":
        if found[0][0] is None:
            return found[0]
        value, quality = found[1] if found[0][0] else found[2]
        return value, min(quality, found[0][1])
    if word in ("and", "or"):
        decided = float(word == "or")
        deciding = [quality for value, quality in found if value is not None and bool(value) == bool(decided)]
        if deciding:
            return decided, max(deciding)
    quality = min(quality for _, quality in found)
    values = [value for value, _ in found]
    if None in values:
        return None, quality
    try:
        value = FUNCTIONS[str(word)](*values)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None, 0
    if isinstance(value, complex) or not abs(value) <= 1e140:
        return None, 0
    return float(value), quality


def added(values: list[float]) -> float:
    """One after the other: `sum` of later Pythons compensates."""
    total = 0.0
    for value in values:
        total += value
    return total


def of_all(word: str, found: list[Worth]) -> Worth:
    usable = [(value, quality) for value, quality in found if value is not None]
    if word == "count":
        return float(len(usable)), GOOD
    worst = min(quality for _, quality in found)
    if word == "sum":
        return (added([value for value, _ in usable]), worst) if len(usable) == len(found) else (None, worst)
    if not usable:
        return None, 0
    values = [value for value, _ in usable]
    value = {"mean": added(values) / len(values), "min": min(values), "max": max(values)}[word]
    quality = min(quality for _, quality in usable)
    return value, quality if len(usable) == len(found) else min(quality, SUBNORMAL)


FUNCTIONS: dict[str, Callable[..., float]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "%": lambda x, y: x - y * math.floor(x / y),
    "**": lambda x, y: x**y,
    "<": lambda x, y: x < y,
    "<=": lambda x, y: x <= y,
    ">": lambda x, y: x > y,
    ">=": lambda x, y: x >= y,
    "==": lambda x, y: x == y,
    "!=": lambda x, y: x != y,
    "and": lambda x, y: bool(x) and bool(y),
    "or": lambda x, y: bool(x) or bool(y),
    "not": lambda x: not x,
    "neg": lambda x: -x,
    "abs": abs,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "log10": math.log10,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": lambda x: math.floor(x + 0.5),
    "sign": lambda x: (x > 0) - (x < 0),
    "min": min,
    "max": max,
    "clamp": lambda x, low, high: min(max(x, low), high),
}
