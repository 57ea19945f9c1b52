"""Positions: at which character of a TOML text each key stands.

`tomllib` reads values and forgets where they stood. This scanner walks the same text a second time and keeps only the
places. It is run when there is a problem to report, on text that `tomllib` has accepted: it may trust the grammar
and only has to find its way (strings, comments, nesting), never to judge.

Path of a key: its parts from the root; an element of an array (or of an array of tables) adds its index. The
place of an element of an inline array is its value; the place of an array-of-tables element is its header's key.
"""

from __future__ import annotations

import re
import tomllib
from typing import NamedTuple, TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:\\.|[^"\\\n])*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_MULTILINE_BASIC = re.compile(r'"""(?:\\.|[^\\])*?"""{1,3}', re.DOTALL)
_MULTILINE_LITERAL = re.compile(r"'''.*?'''{1,3}", re.DOTALL)
_PLAIN = re.compile(r"\d{4}-\d\d-\d\d \d\d[^,\]}\s#]*|[^,\]}\s#]+")
_STRINGS = (("'''", _MULTILINE_LITERAL), ('"""', _MULTILINE_BASIC), ("'", _LITERAL), ('"', _BASIC))


def scan(text: str) -> dict[KeyPath, int]:
    """Offset of every key path in a text that `tomllib` accepts, with `\\r\\n` already made `\\n`."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.found


class Pair(NamedTuple):
    """Where `key = value` begins, where its value does, and where it ends."""

    begin: int
    value: int
    end: int


def pairs(text: str) -> dict[KeyPath, Pair]:
    """All that is written as `key = value`, between braces too, in such a text."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.pairs


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[KeyPath, int] = {}
        self.pairs: dict[KeyPath, Pair] = {}
        self._elements: dict[KeyPath, int] = {}
        """Number of elements so far of each array of tables."""

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        assert match is not None, f"the scanner lost its way at offset {self.at}"
        self.at = match.end()

    def document(self) -> None:
        base: KeyPath = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self.text.startswith("[[", self.at):
                base = self._header(array=True)
            elif self.text[self.at] == "[":
                base = self._header(array=False)
            else:
                self._pair(base)
            self._skip(_BLANK)

    def _header(self, *, array: bool) -> KeyPath:
        width = 2 if array else 1
        self.at += width
        parts = self._key()
        self.at += width
        path: KeyPath = ()
        for name, offset in parts[:-1]:
            path = (*path, name)
            self.found.setdefault(path, offset)
            if path in self._elements:
                path = (*path, self._elements[path] - 1)
        name, offset = parts[-1]
        path = (*path, name)
        if not array:
            self.found[path] = offset
            return path
        self.found.setdefault(path, offset)
        index = self._elements.get(path, 0)
        self._elements[path] = index + 1
        path = (*path, index)
        self.found[path] = offset
        return path

    def _key(self) -> list[tuple[str, int]]:
        """A dotted key: its parts and their offsets. Leaves off at what follows it (`=` or `]`)."""
        parts = []
        while True:
            self._skip(_SPACE)
            offset = self.at
            if self.text[offset] in "\"'":
                self._skip(_BASIC if self.text[offset] == '"' else _LITERAL)
                name = tomllib.loads("key=" + self.text[offset : self.at])["key"]
            else:
                self._skip(_BARE_KEY)
                name = self.text[offset : self.at]
            parts.append((name, offset))
            self._skip(_SPACE)
            if self.text[self.at] != ".":
                return parts
            self.at += 1

    def _pair(self, base: KeyPath) -> None:
        path, begin = base, self.at
        for name, offset in self._key():
            path = (*path, name)
            self.found.setdefault(path, offset)
        self.at += 1  # the equals sign
        self._skip(_SPACE)
        value = self.at
        self._value(path)
        self.pairs[path] = Pair(begin, value, self.at)

    def _value(self, path: KeyPath) -> None:
        opening = self.text[self.at]
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        else:
            for quote, pattern in _STRINGS:
                if self.text.startswith(quote, self.at):
                    self._skip(pattern)
                    return
            self._skip(_PLAIN)

    def _array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while self._goes_on("]"):
            element = (*path, index)
            self.found[element] = self.at
            self._value(element)
            index += 1

    def _inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while self._goes_on("}"):
            self._pair(path)

    def _goes_on(self, closing: str) -> bool:
        """Step over blanks and a comma to the next element, or over the closing bracket."""
        self._skip(_BLANK)
        if self.text[self.at] == ",":
            self.at += 1
            self._skip(_BLANK)
        if self.text[self.at] == closing:
            self.at += 1
            return False
        return True
