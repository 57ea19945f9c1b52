"""Dead letters of the way in: a payload that could not be used, with all that is needed to try it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

LETTER_BYTES_MAX: Final = 65_536
"""Of a payload that is kept. A longer one is kept in its beginning and cannot be tried again."""


@dataclass(frozen=True, slots=True)
class Letter:
    """`link` is the session's lane, `size` the length of the whole payload, `arrival_ns` engine time."""

    link: str
    topic: str
    payload: bytes
    size: int
    reason: str
    arrival_ns: int

    @property
    def is_whole(self) -> bool:
        return len(self.payload) == self.size


Keep: TypeAlias = Callable[[Letter], None]


def keep_nothing(letter: Letter) -> None:
    """Where nobody keeps them."""
