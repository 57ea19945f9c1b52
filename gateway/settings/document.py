"""Files: a TOML text with the places of its keys, and what can go wrong before there are any keys.

The places are found when the first problem asks for one; a file without problems is read once.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gateway.settings.positions import KeyPath, scan
from gateway.settings.problems import ConfigurationError, Position, Problem, show_key

FILE_BYTES_MAX = 64 * 1024 * 1024
"""Size of a configuration file or tag list. More is refused unread."""

NESTING_MAX = 32
"""Tables within tables. More is refused."""

_SYNTAX_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class Text:
    """A file's text and its lines."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.text = text

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def position(self, offset: int) -> Position:
        line = bisect_right(self._line_starts, offset)
        return Position(self.file, line, offset - self._line_starts[line - 1] + 1)


def read_text(file: Path) -> Text:
    """The text of a file, line ends made one character. Raises ConfigurationError."""
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise _only_problem(
                Position(file, 1, 1), "file", f"is larger than {FILE_BYTES_MAX >> 20} MiB; write a template instead"
            )
        content = file.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise _only_problem(
            Position(file, 1, 1), "file", f"cannot be read ({reason}); check the path and its permissions"
        ) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig")
        place = Text(file, before).position(len(before))
        raise _only_problem(place, "file", "is not UTF-8 text; save it in the encoding UTF-8") from error
    return Text(file, text.replace("\r\n", "\n"))


@dataclass(frozen=True)
class Document:
    """A TOML file: what it says, and where it says it."""

    source: Text
    content: dict[str, object]
    parts: tuple[Document, ...] = ()
    """Files that it includes; what they say is in `content`."""

    @cached_property
    def _offsets(self) -> dict[KeyPath, int]:
        return scan(self.source.text)

    def position(self, path: KeyPath) -> Position:
        """Of the key, or of the nearest table around it when it is not there; in the file that comes nearest."""
        places = (self, *self.parts)
        for length in range(len(path), 0, -1):
            for place in places:
                if path[:length] in place._offsets:
                    return place.source.position(place._offsets[path[:length]])
        return Position(self.source.file, 1, 1)

    def root(self) -> TomlPlace:
        return TomlPlace(self, ())


@dataclass(frozen=True, slots=True)
class TomlPlace:
    document: Document
    path: KeyPath

    def child(self, key: str) -> TomlPlace:
        return TomlPlace(self.document, (*self.path, key))

    def position(self) -> Position:
        return self.document.position(self.path)

    @property
    def key(self) -> str:
        return show_key(self.path)


def read_document(file: Path) -> Document:
    """Raises ConfigurationError when the file cannot be read or is not TOML."""
    source = read_text(file)
    try:
        content = tomllib.loads(source.text)
    except ValueError as error:  # TOMLDecodeError, and Python's own refusal of numbers of thousands of digits
        raise _syntax_problem(source, str(error)) from error
    except RecursionError as error:
        raise _nesting_problem(file) from error
    if _nests_deeper(content, NESTING_MAX):
        raise _nesting_problem(file)
    return Document(source, content)


def _syntax_problem(source: Text, message: str) -> ConfigurationError:
    place = _SYNTAX_PLACE.search(message)
    position = Position(source.file, 1, 1)
    if place is not None and place[1] is not None:
        position = Position(source.file, int(place[1]), int(place[2]))
    elif place is not None:
        position = source.position(len(source.text))
    what = _SYNTAX_PLACE.sub("", message)
    what = what[:1].lower() + what[1:]
    return _only_problem(position, "syntax", f"{what}; {_syntax_remedy(what)}")


def _syntax_remedy(what: str) -> str:
    if what.startswith(("cannot overwrite", "cannot declare", "cannot mutate", "duplicate")):
        return "the same key or table stands there twice: take one of them out"
    if "table declaration" in what:
        return "write [table], or [table.NAME], in a line of its own"
    return 'write key = value, one a line, with text and units in quotes: every = "10s"'


def _nesting_problem(file: Path) -> ConfigurationError:
    return _only_problem(
        Position(file, 1, 1), "syntax", f"values are nested deeper than {NESTING_MAX} levels; write fewer brackets"
    )


def _nests_deeper(content: object, levels: int) -> bool:
    layer = [content]
    for _ in range(levels):
        inner: list[object] = []
        for value in layer:
            if isinstance(value, dict):
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
        layer = inner
    return any(isinstance(value, dict | list) for value in layer)


def _only_problem(position: Position, key: str, message: str) -> ConfigurationError:
    return ConfigurationError((Problem(*position, key, message),))
