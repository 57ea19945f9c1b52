"""Versions of the configuration: what older ones called differently, and how a file is brought to the present one.

`version = 2` at the top of the main file says by which keys it is written; a file without one is of version 1. Of an
older version all keys that were renamed since are understood, with a note; of the present one they are not, and a newer
one is refused. A rename never changes what a value means: a key that means something else gets another name.

A rewritten file differs in its keys, where they stand, and its version only: comments, order and spelling of all else
stay. Keys that stand in another table since are in `moves`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from gateway.settings.document import Document, TomlPlace
from gateway.settings.moves import ANY, BothThere, CannotMove, matching, move, moved, with_moved
from gateway.settings.positions import KeyPath, scan
from gateway.settings.problems import ConfigurationError, Problem, Report, show_key
from gateway.settings.units import integer, show

VERSION: Final = "version"
PRESENT: Final = 2
VERSIONS: Final = integer(1, PRESENT)


class Renamed(NamedTuple):
    """A key that has had another name up to a version. `path` is that name; ANY stands for one part of it."""

    until: int
    path: tuple[str, ...]
    now: str


MIGRATIONS: Final = tuple(
    Renamed(1, (*link, "certificate_file"), "cert_file")
    for link in (("links", ANY), ("devices", ANY, "link"), ("topics", ANY, "link"))
)
"""Oldest first."""


def version_of(document: Document) -> int:
    """Raises ConfigurationError for one that is not known here."""
    said = document.content.get(VERSION, 1)
    if type(said) is int and 1 <= said <= PRESENT:
        return said
    if type(said) is int and said > PRESENT:
        why = f"is {said}, and this fieldgate reads up to {PRESENT}; install a newer one, or the file's older state"
    else:
        why = f"{show(said)} is not a version; write {VERSION} = {PRESENT}"
    place = document.root().child(VERSION)
    raise ConfigurationError((Problem(*place.position(), VERSION, why),))


def understood(document: Document, report: Report) -> Document:
    """The document with the keys of the present version; what was renamed is warned of. Raises ConfigurationError."""
    version = version_of(document)
    found = list(renamed(document.content, version))
    for path, now in found:
        new = show_key((*path[:-1], now))
        report.warn(TomlPlace(document, path), f"is called {new} now; `fieldgate migrate FILE --write` rewrites it")
    content = _with_names(document, dict(found)) if found else document.content
    elsewhere = list(moved(content, version))
    for path, place in elsewhere:
        new = show_key(place)
        report.warn(TomlPlace(document, path), f"stands at {new} now; `fieldgate migrate FILE --write` moves it")
        try:
            content = with_moved(content, path, place)
        except CannotMove as error:
            is_twice = isinstance(error, BothThere)
            why = (
                f"and {new} are the same setting; take {path[-1]} out"
                if is_twice
                else f"stands at {new} now; move it by hand"
            )
            raise ConfigurationError((Problem(*document.position(path), show_key(path), why),)) from None
    return Document(document.source, content, document.parts) if found or elsewhere else document


def renamed(content: Mapping[str, object], version: int) -> Iterator[tuple[KeyPath, str]]:
    """Keys with an old name, and their present one."""
    for one in MIGRATIONS:
        if one.until >= version:
            for path, _ in matching(content, one.path, (), ()):
                yield path, one.now


def rewritten(text: str, version: int, *, is_main: bool) -> str:
    """A file's text in the present version. `text` is one that `tomllib` accepts, with line ends of one character.

    Raises CannotMove, with both paths.
    """
    names = list(renamed(tomllib.loads(text), version))
    places = scan(text)
    edits = [(places[path], len(_token(text, places[path])), now) for path, now in names]
    if is_main and version < PRESENT:
        edits.append(_edit_of_version(text, places))
    for offset, length, new in sorted(edits, reverse=True):
        text = text[:offset] + new + text[offset + length :]
    for path, now in list(moved(tomllib.loads(text), version)):
        text = move(text, path, now)
    return text


def _edit_of_version(text: str, places: Mapping[KeyPath, int]) -> tuple[int, int, str]:
    if (VERSION,) in places:
        at = places[(VERSION,)]
        value = re.compile(r"[ \t]*=[ \t]*([^\s#]+)").match(text, at + len(_token(text, at)))
        assert value is not None
        return value.start(1), len(value[1]), str(PRESENT)
    first = min(places.values(), default=len(text))
    line = text.rfind("\n", 0, first) + 1
    return line, 0, f"{VERSION} = {PRESENT}\n" + ("\n" if text[line : line + 1] == "[" else "")


def _token(text: str, offset: int) -> str:
    """The key as it is written."""
    match = re.compile(r'"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|[A-Za-z0-9_-]+').match(text, offset)
    assert match is not None
    return match[0]


def _with_names(document: Document, names: Mapping[KeyPath, str]) -> dict[str, object]:
    def walk(value: object, path: KeyPath) -> object:
        if not isinstance(value, dict):
            return value
        out: dict[str, object] = {}
        for key, inner in value.items():
            here = (*path, key)
            now = names.get(here, key)
            if now != key and now in value:
                why = f"and {now} are the same setting; take {key} out"
                raise ConfigurationError((Problem(*document.position(here), show_key(here), why),))
            out[now] = walk(inner, here)
        return out

    content = walk(document.content, ())
    assert isinstance(content, dict)
    return content
