"""Auto-tuning by relay feedback: what the loop swings like tells the gains. Pure: time is an argument.

The output is switched by ±d around where it stood, whenever the measurement crosses where *that* stood by more than a
band of noise. Most processes answer with a steady swing of amplitude a and period Tu, and the gain at which a
proportional controller alone would just swing is Ku = 4 d / (π √(a² − ε²)), ε being the band (Åström, Hägglund 1984).
From Ku and Tu come gains by rules: calm (Tyreus, Luyben 1992) and quick (Ziegler, Nichols 1942).

The first swing is not counted: it still has the start in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

ALIKE: Final = 0.25
"""How much of its mean the counted swings' periods may differ; else the process does not swing steadily."""


class TuneAborted(Exception):
    """The test was ended: the text says why, and what to change."""


@dataclass(frozen=True)
class Gains:
    """In ISA form; None: without that part."""

    rule: str
    kp: float
    ti_s: float | None
    td_s: float | None


@dataclass(frozen=True)
class Swing:
    """The critical gain, in output units for each input unit, and the critical period; what they come from."""

    ku: float
    tu_s: float
    amplitude: float
    swings: int

    def gains(self) -> tuple[Gains, ...]:
        return (
            Gains("calm PI (Tyreus-Luyben)", self.ku / 3.2, 2.2 * self.tu_s, None),
            Gains("calm PID (Tyreus-Luyben)", self.ku / 2.2, 2.2 * self.tu_s, self.tu_s / 6.3),
            Gains("quick PI (Ziegler-Nichols)", 0.45 * self.ku, self.tu_s / 1.2, None),
            Gains("quick PID (Ziegler-Nichols)", 0.6 * self.ku, self.tu_s / 2.0, self.tu_s / 8.0),
        )


@dataclass
class Relay:
    """One test. `rest` and `output` are where measurement and output stand before it; `swings` are counted swings.

    `deviation` is how far the measurement may go from `rest`, `timeout_s` how long the whole may take.
    """

    rest: float
    output: float
    step: float
    band: float
    deviation: float
    swings: int
    timeout_s: float
    is_reverse: bool = True
    _is_up: bool = True
    _starts_s: list[float] = field(default_factory=list)
    _extremes: list[tuple[float, float]] = field(default_factory=list)
    _low: float = math.inf
    _high: float = -math.inf
    _begun_s: float | None = None

    @property
    def is_done(self) -> bool:
        return len(self._starts_s) >= self.swings + 2

    def next_output(self, measured: float, now_s: float) -> float:
        """What the output is to be now. Raises TuneAborted."""
        if self._begun_s is None:
            self._begun_s = now_s
        if not math.isfinite(measured):
            raise TuneAborted("the input is bad; repair it first")
        if abs(measured - self.rest) > self.deviation:
            raise TuneAborted(
                f"the input went to {measured:g}, more than {self.deviation:g} from {self.rest:g}; "
                "take a smaller step, or permit a larger deviation"
            )
        if now_s - self._begun_s > self.timeout_s:
            raise TuneAborted(
                f"{len(self._starts_s)} swings began within {self.timeout_s:g} s; take a larger step or more time"
            )
        self._low, self._high = min(self._low, measured), max(self._high, measured)
        error = (self.rest - measured) * (1.0 if self.is_reverse else -1.0)
        if not self._is_up and error > self.band:
            self._is_up = True
            self._starts_s.append(now_s)
            self._extremes.append((self._low, self._high))
            self._low, self._high = math.inf, -math.inf
        elif self._is_up and error < -self.band:
            self._is_up = False
        return self.output + (self.step if self._is_up else -self.step)

    def result(self) -> Swing:
        """Of the counted swings. Raises TuneAborted when they are not alike, or too small against the band."""
        periods_s = [b - a for a, b in zip(self._starts_s[1:], self._starts_s[2:], strict=False)]
        extremes = self._extremes[2:]
        assert len(periods_s) >= 1
        assert len(periods_s) == len(extremes)
        tu_s = sum(periods_s, 0.0) / len(periods_s)
        amplitude = sum((high - low) / 2.0 for low, high in extremes) / len(extremes)
        if max(abs(period_s - tu_s) for period_s in periods_s) > ALIKE * tu_s:
            raise TuneAborted("the swings differ too much from each other; take a larger step, or quieten the process")
        if amplitude <= 1.2 * self.band:
            raise TuneAborted(
                f"the input swings by {amplitude:g}, hardly more than its noise of {self.band:g}; take a larger step"
            )
        ku = 4.0 * self.step / (math.pi * math.sqrt(amplitude**2 - self.band**2))
        return Swing(ku, tu_s, amplitude, len(periods_s))
