"""One key of the reference: its path, what it accepts, its default, what it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.settings.forms import Form, form_of

ANY = frozenset({"NAME", "TAG", "KIND"})
"""Parts of a path that stand for any name."""
REQUIRED = "(none: must be written)"
NOTHING = "(none)"


@dataclass(frozen=True, slots=True)
class Key:
    """`accepts` is the parser that the loader uses, or the form of a table that has more than one."""

    path: str
    accepts: Callable[[object], Any] | Form
    default: str
    help: str

    @property
    def form(self) -> Form:
        return self.accepts if isinstance(self.accepts, Form) else form_of(self.accepts)

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.path.split("."))
