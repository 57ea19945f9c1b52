"""Finding names: which tags or devices hold every word of a search.

A page asks the same again each second and a plant has up to 200,000 tags, so lower-case names are kept for the
directory at hand, and the last few searches with them, until tags come or go.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from gateway.core.directory import Directory
from gateway.core.types import Int32s

SEARCHES_KEPT: Final = 16
"""Overflow: the one not asked for longest is forgotten."""


class Names:
    """One list of names and the searches made in it. A place without a name is never found."""

    def __init__(self, names: list[str]) -> None:
        self._names = [name.lower() for name in names]
        self._all = np.flatnonzero(np.array([bool(name) for name in names], np.bool_)).astype(np.int32)
        self._found: OrderedDict[str, Int32s] = OrderedDict()

    def find(self, search: str) -> Int32s:
        """Indices in order; all of them for an empty search. Upper and lower case are alike."""
        words = search.lower().split()
        if not words:
            return self._all
        key = " ".join(words)
        if key not in self._found:
            found = [index for index, name in enumerate(self._names) if name and all(word in name for word in words)]
            self._found[key] = np.array(found, np.int32)
            if len(self._found) > SEARCHES_KEPT:
                self._found.popitem(last=False)
        self._found.move_to_end(key)
        return self._found[key]


class Finder:
    """The names in the directory at hand; another one, or another edition of it, makes them anew."""

    def __init__(self) -> None:
        self._directory: Directory | None = None
        self._edition = 0
        self._tags = self._devices = Names([])

    def tags(self, directory: Directory, search: str) -> Int32s:
        self._take(directory)
        return self._tags.find(search)

    def exactly(self, directory: Directory, names: Sequence[str]) -> Int32s:
        """Rows of the tags with these very names, in the order asked for; names of no tag are left out."""
        found = [directory.find(name) for name in names]
        return np.array([place[0] for place in found if place is not None], np.int32)

    def devices(self, directory: Directory, search: str) -> Int32s:
        self._take(directory)
        return self._devices.find(search)

    def _take(self, directory: Directory) -> None:
        edition = directory.edition
        if directory is self._directory and edition == self._edition:
            return
        self._directory, self._edition = directory, edition
        self._tags = Names([directory.tag_name(row) for row in range(len(directory.tags))])
        self._devices = Names([directory.device_name(number) for number in range(len(directory.devices))])
