"""Forms: what a parser accepts, in words and as JSON Schema.

A parser says its form where it is made, so the range that is checked and the range that is documented are one. Texts
with `{n}` in them are a template's and pass everywhere, because what they become is checked later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

TEMPLATE: Final = r"\{"
"""Pattern of a text that a template fills in."""


@dataclass(frozen=True, slots=True)
class Form:
    """`words` follow "write"; `schema` is JSON Schema."""

    words: str
    schema: Mapping[str, object]


_FORMS: WeakKeyDictionary[Callable[[object], Any], Form] = WeakKeyDictionary()
"""Weak, as some parsers know the configuration that they were made for, and would keep it for ever. Parsers must be
different objects: of two that are equal (methods, once bound each) the second loses its form with the first."""


def says(parser: Callable[[object], T], words: str, schema: Mapping[str, object]) -> Callable[[object], T]:
    """The parser, with its form noted."""
    _FORMS[parser] = Form(words, schema)
    return parser


def form_of(parser: Callable[[object], Any]) -> Form:
    """Raises KeyError for a parser that never said what it accepts."""
    return _FORMS[parser]


def matching(pattern: str) -> dict[str, object]:
    return {"type": "string", "pattern": f"^{pattern}$|{TEMPLATE}"}


def words_of(words: list[str]) -> dict[str, object]:
    return {"anyOf": [{"enum": words}, {"type": "string", "pattern": TEMPLATE}]}
