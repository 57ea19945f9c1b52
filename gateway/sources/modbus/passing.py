"""What goes wrong inside a callback goes to its owner, and not just to the loop's handler."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol


class Owner(Protocol):
    def fail(self, error: BaseException) -> None: ...


class Passing:
    """`with Passing(owner):` whatever comes out of it is the owner's; what follows is done all the same."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if error is not None:
            self._owner.fail(error)
        return error is not None
