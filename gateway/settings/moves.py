"""Keys that stand in another table since a version: understood where they were, and moved in the file's text.

TOML has many ways to write one thing: a table by its header, by dotted keys, inside of braces. So a move is not derived
but tried: the statement is taken out, put in at each place where it may belong, the most natural first, and the first
text that means what is wanted is taken. Where none does, the file's owner is told to move it.
"""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from gateway.settings.positions import KeyPath, Pair, pairs, scan

ANY: Final = "*"


class Moved(NamedTuple):
    """A key that stood elsewhere up to a version. ANY stands for one part; both paths have as many, in the same order.

    `path` is written with the names of the present version: keys are renamed before they are moved.
    """

    until: int
    path: tuple[str, ...]
    now: tuple[str, ...]


MOVES: Final[tuple[Moved, ...]] = ()
"""Oldest first. None yet: version 1 differs from the present one in names alone."""


class CannotMove(Exception):
    """It is written in a way that no move fits. Its arguments are both paths."""


class BothThere(CannotMove):
    """It stands in its old and in its new place."""


def moved(content: Mapping[str, object], version: int) -> Iterator[tuple[KeyPath, KeyPath]]:
    """Keys that stand where an older version had them, and where they belong."""
    for one in MOVES:
        if one.until >= version:
            for path, names in matching(content, one.path, (), ()):
                rest = iter(names)
                yield path, tuple(next(rest) if part == ANY else part for part in one.now)


def matching(
    value: object, pattern: tuple[str, ...], path: KeyPath, names: tuple[str, ...]
) -> Iterator[tuple[KeyPath, tuple[str, ...]]]:
    """Paths that fit a pattern, and what ANY stood for in each."""
    if not pattern:
        yield path, names
    elif isinstance(value, dict):
        for key, inner in value.items():
            if pattern[0] in (ANY, key):
                found = (*names, key) if pattern[0] == ANY else names
                yield from matching(inner, pattern[1:], (*path, key), found)


def with_moved(content: Mapping[str, object], path: KeyPath, now: KeyPath) -> dict[str, Any]:
    """The same with one key elsewhere; a table that is empty then stays. Raises CannotMove."""
    out: dict[Any, Any] = copy.deepcopy(dict(content))
    table = out
    for part in path[:-1]:
        table = table[part]
    value = table.pop(path[-1])
    table = out
    for part in now[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise CannotMove(path, now)
    if now[-1] in table:
        raise BothThere(path, now)
    table[now[-1]] = value
    return out


def move(text: str, path: KeyPath, now: KeyPath) -> str:
    """A file's text with one key elsewhere; comments and the order of all else stay. Raises CannotMove."""
    wanted = with_moved(tomllib.loads(text), path, now)
    found = pairs(text)
    if path not in found:
        raise CannotMove(path, now)
    value = text[found[path].value : found[path].end]
    without, comment = _taken_out(text, found[path])
    for tried in _put_in(without, now, value, comment):
        try:
            if same(tomllib.loads(tried), wanted):
                return tried
        except tomllib.TOMLDecodeError:
            continue
    raise CannotMove(path, now)


def same(one: object, other: object) -> bool:
    """Whether both mean the same, but for empty tables: `a.b = 1` leaves none behind when it goes, `[a]` does."""
    return _full(one) == _full(other)


def _full(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return {key: inner for key, inner in ((key, _full(inner)) for key, inner in value.items()) if inner != {}}


def _taken_out(text: str, pair: Pair) -> tuple[str, str]:
    """The text without a pair, and the comment behind it, which goes with it; between braces, without its comma."""
    line = text.rfind("\n", 0, pair.begin) + 1
    rest = re.compile(r"[ \t]*(#[^\n]*)?(\n|\Z)").match(text, pair.end)
    if text[line : pair.begin].strip(" \t") == "" and rest is not None:
        return text[:line] + text[rest.end() :], f"  {rest[1]}" if rest[1] else ""
    behind = re.compile(r"[ \t]*,[ \t]*").match(text, pair.end)
    if behind is not None:
        return text[: pair.begin] + text[behind.end() :], ""
    before = text[: pair.begin].rstrip(" \t").removesuffix(",").rstrip(" \t")
    return before + text[pair.end :], ""


def _put_in(text: str, now: KeyPath, value: str, comment: str) -> Iterator[str]:
    """Texts with it, from the most natural on: between the braces of its table, under the nearest header, under one of
    its own, at the top. Not all of them need be TOML."""
    found = pairs(text)
    for depth in range(len(now) - 1, 0, -1):
        braces = found.get(now[:depth])
        if braces is not None and text[braces.value] == "{":
            at = braces.value + 1
            comma = "" if text[at : braces.end - 1].strip() == "" else ","
            yield f"{text[:at]} {_dotted(now[depth:])} = {value}{comma}{text[at:]}"
    places = scan(text)
    for depth in range(len(now) - 1, 0, -1):
        place = places.get(now[:depth])
        line = -1 if place is None else text.rfind("\n", 0, place) + 1
        if place is not None and text[line : line + 1] == "[":
            end = text.find("\n", place)
            body = text if end >= 0 else f"{text}\n"
            at = end + 1 if end >= 0 else len(body)
            yield f"{body[:at]}{_dotted(now[depth:])} = {value}{comment}\n{body[at:]}"
    ending = "" if text.endswith("\n") else "\n"
    yield f"{text}{ending}\n[{_dotted(now[:-1])}]\n{_dotted(now[-1:])} = {value}{comment}\n"
    yield f"{_dotted(now)} = {value}{comment}\n{text}"


def _dotted(path: KeyPath) -> str:
    return ".".join(str(part) if re.fullmatch(r"[A-Za-z0-9_-]+", str(part)) else _quoted(str(part)) for part in path)


def _quoted(part: str) -> str:
    escaped = part.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
