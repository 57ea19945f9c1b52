"""Plain-Python twins of the function blocks: what a manual of function blocks says, in lists and `sorted`."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from typing import Any

NAN = math.nan


def added(values: Iterable[float]) -> float:
    """One after the other, as a kernel does; `sum` carries a compensation along since Python 3.12."""
    return reduce(operator.add, values, 0.0)


@dataclass
class Block:
    """One block; `step` takes its inputs and the seconds since the last step."""

    kind: str
    parameters: Sequence[float] = ()
    memory: dict[str, Any] = field(default_factory=dict)

    def step(self, inputs: Sequence[float], dt_s: float) -> float:
        good = [value for value in inputs if not math.isnan(value)]
        if self.kind in SELECTORS:
            return SELECTORS[self.kind](good) if good else NAN
        if self.kind in LOGIC:
            return LOGIC[self.kind](inputs)
        special = getattr(self, f"_{self.kind}_with_bad", None)
        if special is not None:
            return float(special(inputs))
        if len(good) < len(inputs):
            return NAN
        return float(getattr(self, f"_{self.kind}")(inputs, dt_s))

    def _scale(self, x: Sequence[float], dt_s: float) -> float:
        return self.parameters[0] * x[0] + self.parameters[1]

    def _sum(self, x: Sequence[float], dt_s: float) -> float:
        return added(gain * value for gain, value in zip(self.parameters, x, strict=False))

    def _product(self, x: Sequence[float], dt_s: float) -> float:
        return math.prod(x, start=1.0)

    def _lead_lag(self, x: Sequence[float], dt_s: float) -> float:
        lead_s, lag_s = self.parameters
        if "y" not in self.memory:
            self.memory.update(x=x[0], y=x[0])
        elif dt_s > 0:
            y = (lag_s * self.memory["y"] + (dt_s + lead_s) * x[0] - lead_s * self.memory["x"]) / (lag_s + dt_s)
            self.memory.update(x=x[0], y=y)
        return float(self.memory["y"])

    def _deadband(self, x: Sequence[float], dt_s: float) -> float:
        if "y" not in self.memory or abs(x[0] - self.memory["y"]) > self.parameters[0]:
            self.memory["y"] = x[0]
        return float(self.memory["y"])

    def _rate_limit(self, x: Sequence[float], dt_s: float) -> float:
        up, down = self.parameters
        last = self.memory.get("y", x[0])
        y = x[0]
        if y > last + up * dt_s:
            y = last + up * dt_s
        elif y < last - down * dt_s:
            y = last - down * dt_s
        self.memory["y"] = y
        return float(y)

    def _curve(self, x: Sequence[float], dt_s: float) -> float:
        return course(self.parameters, x[0])

    def _profile(self, x: Sequence[float], dt_s: float) -> float:
        if x[0] <= 0.5:
            self.memory.pop("t", None)
        elif "t" not in self.memory:
            self.memory["t"] = 0.0
        elif len(x) < 2 or x[1] <= 0.5:
            self.memory["t"] += dt_s
        return course(self.parameters, self.memory.get("t", 0.0))

    def _on_off(self, x: Sequence[float], dt_s: float) -> float:
        on_at, off_at, min_on_s, min_off_s = self.parameters
        on, since_s = self.memory.get("on", False), self.memory.get("since_s", math.inf) + dt_s
        sign = 1.0 if on_at > off_at else -1.0
        wanted = on
        if sign * x[0] >= sign * on_at:
            wanted = True
        elif sign * x[0] <= sign * off_at:
            wanted = False
        if wanted != on and since_s >= (min_on_s if on else min_off_s):
            on, since_s = wanted, 0.0
        elif "on" not in self.memory:
            since_s = dt_s
        self.memory.update(on=on, since_s=since_s)
        return float(on)

    def _compare(self, x: Sequence[float], dt_s: float) -> float:
        limit, hysteresis, sign = self.parameters
        over = sign * (x[0] - limit)
        self.memory["on"] = over > 0 or (self.memory.get("on", False) and over > -hysteresis)
        return float(self.memory["on"])

    def _timer(self, x: Sequence[float], dt_s: float) -> float:
        on_s, off_s = self.parameters
        on, wanted = self.memory.get("on", False), x[0] > 0.5
        since_s = 0.0 if wanted == on else self.memory.get("since_s", 0.0) + dt_s
        if wanted != on and since_s >= (off_s if on else on_s):
            on, since_s = wanted, 0.0
        self.memory.update(on=on, since_s=since_s)
        return float(on)

    def _sequence(self, x: Sequence[float], dt_s: float) -> float:
        at = self.memory.get("at", 0)
        if x[0] <= 0.5:
            at, self.memory["s"] = 0, 0.0
        elif at == 0:
            at, self.memory["s"] = 1, 0.0
        elif 0 < at < len(x):
            self.memory["s"] += dt_s
            if x[at] > 0.5:
                at, self.memory["s"] = at + 1, 0.0
            elif self.memory["s"] >= self.parameters[at - 1]:
                at = -at
        self.memory["at"] = at
        return float(at)

    def _counter(self, x: Sequence[float], dt_s: float) -> float:
        every_s, end = self.parameters
        count, since_s = self.memory.get("count", 0.0), self.memory.get("since_s", 0.0) + dt_s
        if since_s >= every_s:
            count, since_s = (count + 1) if count < end else 0.0, 0.0
        self.memory.update(count=count, since_s=since_s)
        return float(count)

    def _latch_with_bad(self, x: Sequence[float]) -> float:
        if x[1] > 0.5:
            self.memory["on"] = False
        elif x[0] > 0.5:
            self.memory["on"] = True
        return float(self.memory.get("on", False))

    def _choose_with_bad(self, x: Sequence[float]) -> float:
        if math.isnan(x[0]) or not 0 <= round(x[0]) < len(x) - 1:
            return NAN
        return x[1 + round(x[0])]

    def _interlock_with_bad(self, x: Sequence[float]) -> float:
        demanded = [p for p, value in zip(self.parameters, x, strict=False) if not value <= 0.5]
        return demanded[0] if demanded else NAN


def course(parameters: Sequence[float], x: float) -> float:
    numbers = parameters[1 : 1 + 2 * int(parameters[0])]
    points = list(zip(numbers[::2], numbers[1::2], strict=True))
    if x <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]


def median(values: list[float]) -> float:
    ordered = sorted(values)
    count = len(ordered)
    return 0.5 * ordered[(count - 1) // 2] + 0.5 * ordered[count // 2]


SELECTORS: dict[str, Callable[[list[float]], float]] = {
    "minimum": min,
    "maximum": max,
    "median": median,
    "mean": lambda values: added(values) / len(values),
    "first": lambda values: values[0],
}


def three_valued(decisive: bool, result: float) -> Callable[[Sequence[float]], float]:
    """`result` when an input is `decisive`; else NaN when one is bad; else the other result."""

    def decide(inputs: Sequence[float]) -> float:
        known = [value > 0.5 for value in inputs if not math.isnan(value)]
        if decisive in known:
            return result
        return NAN if len(known) < len(inputs) else 1.0 - result

    return decide


LOGIC: dict[str, Callable[[Sequence[float]], float]] = {
    "all": three_valued(False, 0.0),
    "any": three_valued(True, 1.0),
    "none": three_valued(True, 0.0),
}
