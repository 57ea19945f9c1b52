"""What two configurations differ in, named one by one: what `fieldgate diff` lists beside what a reload restarts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from gateway.settings.schema import Settings

PARTS: Final = (
    ("link", "links"),
    ("device", "devices"),
    ("tag", "tags"),
    ("topics", "topics"),
    ("loop", "loops"),
    ("block", "blocks"),
    ("uplink", "uplinks"),
    ("reference", "reference"),
)
"""What has a name, and where it stands in the settings."""
WHOLE: Final = ("scada", "writes", "http", "journal")
"""Tables of which there is one."""
LEFT_OUT: Final = frozenset({"path", "reference_rows", "reference_findings", *WHOLE, *(where for _, where in PARTS)})


class Difference(msgspec.Struct, frozen=True):
    """`how` is added, removed or changed; `fields` says in what, as the settings call it."""

    what: str
    name: str
    how: str
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        fields = f": {', '.join(self.fields)}" if self.fields else ""
        return f"{self.how} {self.what} {self.name}".rstrip() + fields


def differences(old: Settings, new: Settings) -> list[Difference]:
    """In the order of the settings, removed ones last in each part."""
    found = []
    for what, where in PARTS:
        found += _of_names(what, _by_name(getattr(old, where)), _by_name(getattr(new, where)))
    for where in WHOLE:
        found += _of_names(where, *({"": one} if one is not None else {} for one in _both(old, new, where)))
    fields = _fields(old, new, LEFT_OUT)
    return found + ([Difference("gateway", "", "changed", fields)] if fields else [])


def _both(old: Settings, new: Settings, where: str) -> tuple[Any, Any]:
    return getattr(old, where), getattr(new, where)


def _by_name(parts: Iterable[Any]) -> dict[str, Any]:
    return {part.name: part for part in parts}


def _of_names(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    found = []
    for name, part in new.items():
        if name not in old:
            found.append(Difference(what, name, "added"))
        elif part != old[name]:
            found.append(Difference(what, name, "changed", _fields(old[name], part)))
    return found + [Difference(what, name, "removed") for name in old if name not in new]


def _fields(old: Any, new: Any, left_out: frozenset[str] = frozenset()) -> tuple[str, ...]:
    if type(old) is not type(new):
        return ()
    names = [field.name for field in msgspec.structs.fields(new) if field.name not in left_out]
    return tuple(name for name in names if getattr(old, name) != getattr(new, name))
