"""Finding names: which tags or devices hold every word of a search.

A page asks the same again each second and a plant has up to 200,000 tags, so lower-case names are kept for the model at
hand, and the last few searches with them. The model is known by identity: comparing or hashing it would cost more than
the search.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.core.model import Model

Int32s: TypeAlias = npt.NDArray[np.int32]

SEARCHES_KEPT: Final = 16
"""Overflow: the one not asked for longest is forgotten."""


class Names:
    """One list of names and the searches made in it."""

    def __init__(self, names: list[str]) -> None:
        self._names = [name.lower() for name in names]
        self._all = np.arange(len(names), dtype=np.int32)
        self._found: OrderedDict[str, Int32s] = OrderedDict()

    def find(self, search: str) -> Int32s:
        """Indices in order; all of them for an empty search. Upper and lower case are alike."""
        words = search.lower().split()
        if not words:
            return self._all
        key = " ".join(words)
        if key not in self._found:
            found = [index for index, name in enumerate(self._names) if all(word in name for word in words)]
            self._found[key] = np.array(found, np.int32)
            if len(self._found) > SEARCHES_KEPT:
                self._found.popitem(last=False)
        self._found.move_to_end(key)
        return self._found[key]


class Finder:
    """The names of the model at hand; another model makes them anew."""

    def __init__(self) -> None:
        self._take(Model(devices=(), tags=()))

    def _take(self, model: Model) -> None:
        self._model = model
        self._tags = Names([tag.name for tag in model.tags])
        self._devices = Names([device.name for device in model.devices])
        self._rows: dict[str, int] | None = None

    def tags(self, model: Model, search: str) -> Int32s:
        if model is not self._model:
            self._take(model)
        return self._tags.find(search)

    def exactly(self, model: Model, names: list[str]) -> Int32s:
        """Rows of the tags with these very names, in the order asked for; names of no tag are left out."""
        if model is not self._model:
            self._take(model)
        if self._rows is None:
            self._rows = {tag.name: row for row, tag in enumerate(model.tags)}
        return np.array([self._rows[name] for name in names if name in self._rows], np.int32)

    def devices(self, model: Model, search: str) -> Int32s:
        if model is not self._model:
            self._take(model)
        return self._devices.find(search)
