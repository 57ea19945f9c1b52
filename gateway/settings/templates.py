"""Templates: one table written once for many devices.

`each = { n = "1..40" }` makes forty; several variables make every combination, the last one running fastest. `{n}` is
replaced in every string inside. `01..40` counts with leading zeros. `{device}` and `{tag}` are always known inside
a device.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from gateway.settings.units import WrongValueError, show

Variables: TypeAlias = Mapping[str, str]
NO_VARIABLES: Variables = {}
RESERVED = frozenset({"device", "tag", "gateway", "stream"})

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
_RANGE = re.compile(r"([0-9]{1,6})\.\.([0-9]{1,6})")


def fill(value: object, variables: Variables) -> object:
    """Replace `{name}` in a string, or in the strings of an array. Tables are filled when they are read."""
    if isinstance(value, str):
        return _fill_text(value, variables) if "{" in value else value
    if isinstance(value, list):
        return [fill(element, variables) for element in value]
    return value


def _fill_text(text: str, variables: Variables) -> str:
    def replace(match: re.Match[str]) -> str:
        if match[1] not in variables:
            known = ", ".join(f"{{{variable}}}" for variable in variables)
            raise WrongValueError(f"{show(text)} has {{{match[1]}}}, which is not known here; write one of {known}")
        return variables[match[1]]

    return _PLACEHOLDER.sub(replace, text)


def has_placeholder(value: object) -> bool:
    """Whether an instance of this value may differ from another."""
    if isinstance(value, str):
        return "{" in value
    if isinstance(value, dict):
        return any(has_placeholder(inner) for inner in value.values())
    if isinstance(value, list):
        return any(has_placeholder(inner) for inner in value)
    return False


class Each:
    """The combinations of a template's variables. Parser of the key `each`."""

    def __init__(self, values: dict[str, list[str]]) -> None:
        self.values = values

    def __len__(self) -> int:
        return math.prod(len(choices) for choices in self.values.values())

    def __iter__(self) -> Iterator[dict[str, str]]:
        for combination in itertools.product(*self.values.values()):
            yield dict(zip(self.values, combination, strict=True))


def each(instances_max: int) -> _EachParser:
    return _EachParser(instances_max)


class _EachParser:
    def __init__(self, instances_max: int) -> None:
        self.instances_max = instances_max

    def __call__(self, value: object) -> Each:
        if not isinstance(value, dict) or not value:
            raise WrongValueError(f'{show(value)} is not a table of variables; write {{ n = "1..40" }}')
        found = Each({variable: self._choices(variable, choices) for variable, choices in value.items()})
        if len(found) > self.instances_max:
            raise WrongValueError(f"makes {len(found)} instances; write ranges that make at most {self.instances_max}")
        return found

    def _choices(self, variable: str, choices: object) -> list[str]:
        if variable in RESERVED or not _VARIABLE.fullmatch(variable):
            raise WrongValueError(
                f"{show(variable)} cannot be a variable; write a name like n, other than device and tag"
            )
        if isinstance(choices, str):
            return self._range(variable, choices)
        if not isinstance(choices, list) or not choices:
            raise WrongValueError(
                f'{variable} is {show(choices)}; write a range like "1..40" or an array like ["a", "b"]'
            )
        words = []
        for choice in choices:
            if isinstance(choice, bool) or not isinstance(choice, str | int) or has_placeholder(choice):
                raise WrongValueError(f"{variable} has {show(choice)}; write texts or whole numbers, without braces")
            words.append(choice if isinstance(choice, str) else show(choice))
        if len(set(words)) < len(words):
            raise WrongValueError(f"{variable} has a value twice; write each value once")
        return words

    def _range(self, variable: str, choices: str) -> list[str]:
        match = _RANGE.fullmatch(choices)
        if match is None or int(match[1]) > int(match[2]):
            raise WrongValueError(f'{variable} is {show(choices)}; write a range that counts up, like "1..40"')
        first, last = int(match[1]), int(match[2])
        if last - first >= self.instances_max:
            raise WrongValueError(f"{variable} has {last - first + 1} values; write at most {self.instances_max}")
        width = len(match[1]) if match[1].startswith("0") else 0
        return [f"{index:0{width}}" for index in range(first, last + 1)]
