"""The parameters of lists: a search, and which part of what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

SEARCH_CHARS_MAX: Final = 200
PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 500
OFFSET_MAX: Final = 1_000_000


class QueryInvalid(ValueError):
    """A parameter that cannot be meant; the message says which and what may be written."""


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a list, checked. Raises QueryInvalid."""

    search: str = ""
    offset: int = 0
    limit: int = PAGE_DEFAULT

    @classmethod
    def of(cls, request: Request) -> Query:
        search = request.query_params.get("search", "")
        if len(search) > SEARCH_CHARS_MAX:
            raise QueryInvalid(f"search: at most {SEARCH_CHARS_MAX} characters")
        return cls(
            search=search,
            offset=whole(request, "offset", default=0, low=0, high=OFFSET_MAX),
            limit=whole(request, "limit", default=PAGE_DEFAULT, low=1, high=PAGE_MAX),
        )


@dataclass(frozen=True, slots=True)
class TagQuery:
    """Which tags: those that are named, or those that a search finds. Raises QueryInvalid."""

    part: Query
    names: tuple[str, ...]
    only_problems: bool

    @classmethod
    def of(cls, request: Request) -> TagQuery:
        names = tuple(request.query_params.getlist("name"))
        if len(names) > PAGE_MAX:
            raise QueryInvalid(f"name: at most {PAGE_MAX} tags at a time")
        only = request.query_params.get("only", "")
        if only not in ("", "problems"):
            raise QueryInvalid("only: write problems, or leave it out")
        return cls(Query.of(request), names, only == "problems")


def whole(request: Request, name: str, *, default: int, low: int, high: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise QueryInvalid(f"{name}: write a whole number from {low} to {high}")
    return int(text)
