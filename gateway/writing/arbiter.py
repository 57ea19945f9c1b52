"""Who commands a loop: one commander at a time, the more important one first. Pure: time is an argument.

A loop says who may command it, in the order of their importance, and for how long a command holds it (`commands` under
[control.NAME]). Whoever commands a free loop has it from then on, until `hold` after the last command. Meanwhile

- the same commander goes on, and each command holds anew;
- a more important way takes it over, which is told;
- another one of the same way, and any less important one, is refused, and told by whom and for how long;
- `take` by one of the same importance is a deliberate take-over, and `release` gives the loop up.

Without `hold` the last command wins. A commander is a way and a name: a user of this machine or of the page, the
address of a SCADA client, what an MQTT message says of its sender. A dead man (`dead_man`) is another matter: it asks
whether anybody commands at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from gateway.core.types import NS_PER_S
from gateway.settings.schema import PidLoop

TAKE: Final = "take"
RELEASE: Final = "release"
HOLDS: Final = (TAKE, RELEASE)
NOBODY: Final = "nobody"


class Commander(NamedTuple):
    way: str
    who: str

    def __str__(self) -> str:
        return f"{self.who} by {self.way}"


class Held(NamedTuple):
    """`until_ns` is engine time."""

    by: Commander
    until_ns: int


class CommandRefusedError(Exception):
    """The text says by whom the loop is held, or who may command it. `is_held`: it may be so later."""

    def __init__(self, reason: str, *, is_held: bool) -> None:
        super().__init__(reason)
        self.is_held = is_held


class Arbiter:
    """Of all loops. `held` are the holds of the configuration before."""

    def __init__(self, loops: Sequence[PidLoop], held: Mapping[str, Held]) -> None:
        self._loops = {loop.name: loop for loop in loops}
        self._held = {name: one for name, one in held.items() if name in self._loops}

    @property
    def held(self) -> Mapping[str, Held]:
        return self._held

    def holder(self, loop: str, now_ns: int) -> Held | None:
        held = self._held.get(loop)
        return held if held is not None and now_ns < held.until_ns else None

    def shown(self, loop: str, now_ns: int) -> str:
        held = self.holder(loop, now_ns)
        return NOBODY if held is None else str(held.by)

    def check(self, loop: str, by: Commander, now_ns: int, *, is_taking: bool = False) -> None:
        """Whether this commander may command now. Raises CommandRefusedError."""
        ways = self._loops[loop].commanders
        if by.way not in ways:
            raise CommandRefusedError(f"loop {loop} takes commands by {', '.join(ways)} only", is_held=False)
        held = self.holder(loop, now_ns)
        if held is None or held.by == by or held.by.way not in ways:
            return
        mine, its = ways.index(by.way), ways.index(held.by.way)
        if mine < its or (is_taking and mine == its):
            return
        left_s = -(-(held.until_ns - now_ns) // NS_PER_S)
        remedy = ""
        if mine == its:
            remedy = f'; write "{TAKE}" to control.{loop}.hold to take it over'
        raise CommandRefusedError(f"loop {loop} is held by {held.by} for {left_s} s more{remedy}", is_held=True)

    def took(self, loop: str, by: Commander, now_ns: int) -> str:
        """It commanded. What there is to tell: that the loop has another commander now, or nothing."""
        hold_ns = self._loops[loop].command_hold_ns
        if hold_ns == 0:
            return ""
        before = self.holder(loop, now_ns)
        self._held[loop] = Held(by, now_ns + hold_ns)
        if before is None:
            return f"{by} has loop {loop}"
        return "" if before.by == by else f"{by} took loop {loop} over from {before.by}"

    def release(self, loop: str, by: Commander, now_ns: int) -> str:
        """After `check`. What there is to tell."""
        before = self.holder(loop, now_ns)
        self._held.pop(loop, None)
        return "" if before is None else f"{by} released loop {loop}, which {before.by} had"

    def can_hold(self, loop: str) -> bool:
        return self._loops[loop].command_hold_ns > 0
