"""The alarm engine's oracle: one alarm as ISA-18.2 draws it, in plain Python, told each sample and grid point."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class AlarmOracle:
    """`begins` and `ends` are the condition; what is neither leaves it as it was. Delays are in ns."""

    begins: Callable[[float], bool]
    ends: Callable[[float], bool]
    on_delay: int = 0
    off_delay: int = 0
    latches: bool = False
    state: str = "normal"
    holds: bool = False
    heard: list[bool] = field(default_factory=list)
    since: int | None = None
    shelved_until: int = 0

    def sample(self, x: float) -> None:
        if self.begins(x):
            self.holds = True
        elif self.ends(x):
            self.holds = False
        self.heard.append(self.holds)

    def grid(self, now: int, *, suppressed: bool = False) -> str:
        """The state that is shown after this grid point."""
        if self.state in ("normal", "returned"):
            if self.on_delay == 0:
                rises = self.holds or any(self.heard)
            else:
                rises = self._lasts(self.holds, all(self.heard), now, self.on_delay)
            if rises:
                self.state, self.since = "active", None
        elif self._lasts(not self.holds, not any(self.heard), now, self.off_delay):
            self.state = "returned" if self.latches and self.state == "active" else "normal"
            self.since = None
        # What held at this point is heard at the next one too: nothing has ended it in between.
        self.heard = [self.holds] if self.holds else []
        if 0 < self.shelved_until <= now:
            self.shelved_until = 0
        return "normal" if suppressed or self.shelved_until else self.state

    def acknowledge(self) -> None:
        self.state = {"active": "acknowledged", "returned": "normal"}.get(self.state, self.state)

    def _lasts(self, holds: bool, without_break: bool, now: int, delay: int) -> bool:
        if not holds:
            self.since = None
            return False
        if self.since is None or not without_break:
            self.since = now
        return now - self.since >= delay


def above(limit: float, deadband: float) -> tuple[Callable[[float], bool], Callable[[float], bool]]:
    return lambda x: x > limit, lambda x: x <= limit - deadband


def below(limit: float, deadband: float) -> tuple[Callable[[float], bool], Callable[[float], bool]]:
    return lambda x: x < limit, lambda x: x >= limit + deadband


def apart(limit: float, deadband: float, reference: float) -> tuple[Callable[[float], bool], Callable[[float], bool]]:
    return lambda x: abs(x - reference) > limit, lambda x: abs(x - reference) <= limit - deadband


def equal(limit: float) -> tuple[Callable[[float], bool], Callable[[float], bool]]:
    return lambda x: x == limit, lambda x: x != limit and not math.isnan(x)
